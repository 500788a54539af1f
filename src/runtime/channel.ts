import type { MessagePort, Transferable, Worker } from "node:worker_threads";
import { type ErrorKind, LayergradError } from "../errors.ts";

/** What one side of a channel offers the other: methods of structured-clonable arguments and results. */
export type Methods = Readonly<Record<string, (...args: never[]) => unknown>>;

/** A result whose buffers are handed over rather than copied. */
export class HandedOver<T> {
  constructor(
    readonly value: T,
    readonly buffers: readonly Transferable[],
  ) {}
}

/** What a call of a method comes to on the other side. */
export type Result<F> = F extends (...args: never[]) => infer R ? (Awaited<R> extends HandedOver<infer T> ? T : Awaited<R>) : never;

type Message =
  | { readonly type: "call"; readonly id: number; readonly method: string; readonly args: readonly unknown[] }
  | { readonly type: "result"; readonly id: number; readonly value: unknown }
  | { readonly type: "error"; readonly id: number; readonly kind: ErrorKind | undefined; readonly message: string };

interface Call {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Calls in both directions between two threads, with promises for results. Errors keep their kind. */
export class Channel<Theirs extends Methods> {
  private readonly calls = new Map<number, Call>();
  private nextId = 0;
  private ended: Error | undefined;

  constructor(
    private readonly port: MessagePort | Worker,
    private readonly ours: Methods,
  ) {
    port.on("message", (message: Message) => this.receive(message));
  }

  /**
   * Calls the other side.
   *
   * @param buffers - What is handed over rather than copied; the caller's arrays in it are empty afterwards.
   */
  call<M extends keyof Theirs & string>(
    method: M,
    args: Parameters<Theirs[M]>,
    buffers: readonly Transferable[] = [],
  ): Promise<Result<Theirs[M]>> {
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(this.ended);
      const id = this.nextId++;
      this.calls.set(id, { resolve: resolve as Call["resolve"], reject });
      this.post({ type: "call", id, method, args }, buffers);
    });
  }

  /** Rejects all calls that wait, and those that are still made: the other side is gone. */
  end(reason: Error): void {
    this.ended ??= reason;
    for (const { reject } of this.calls.values()) reject(reason);
    this.calls.clear();
  }

  private receive(message: Message): void {
    if (message.type === "call") return void this.answer(message.id, message.method, message.args);
    const call = this.calls.get(message.id);
    this.calls.delete(message.id);
    if (message.type === "result") call?.resolve(message.value);
    else call?.reject(message.kind ? new LayergradError(message.kind, message.message) : new Error(message.message));
  }

  private async answer(id: number, method: string, args: readonly unknown[]): Promise<void> {
    try {
      const result = await this.ours[method]!(...(args as never[]));
      const { value, buffers } = result instanceof HandedOver ? result : new HandedOver(result, []);
      this.post({ type: "result", id, value }, buffers);
    } catch (error) {
      const kind = error instanceof LayergradError ? error.kind : undefined;
      this.post({ type: "error", id, kind, message: error instanceof Error ? error.message : String(error) });
    }
  }

  private post(message: Message, buffers: readonly Transferable[] = []): void {
    this.port.postMessage(message, buffers);
  }
}
