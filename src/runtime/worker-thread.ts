import { type Transferable, Worker } from "node:worker_threads";
import { builtFile } from "./built-file.ts";
import { Channel, type Methods, type Result } from "./channel.ts";

/** A worker thread and the calls to it. Idle it does not keep the process alive; one that is asked something does. */
export class WorkerThread<Theirs extends Methods> {
  private readonly channel: Channel<Theirs>;
  private readonly worker: Worker;
  private readonly ended: Promise<void>;
  /** Questions without an answer yet. */
  private asked = 0;

  /**
   * @param file - The thread's script, by its path inside the build.
   * @param data - Its `workerData`.
   * @param ours - What it may call here.
   * @param deathOf - The error of calls that it does not live to answer.
   */
  constructor(file: string, data: unknown, ours: Methods, deathOf: (why: string, cause?: unknown) => Error) {
    // None of this process's flags: some (--input-type) make a worker refuse to start.
    this.worker = new Worker(builtFile(file), { workerData: data, execArgv: [] });
    this.channel = new Channel<Theirs>(this.worker, ours);
    this.ended = new Promise((resolve) => {
      const end = (why: string, cause?: unknown): void => {
        this.channel.end(deathOf(why, cause));
        resolve();
      };
      this.worker.on("error", (error) => end(error.message, error));
      this.worker.on("exit", (code) => end(`exit code ${code}`));
    });
    this.worker.unref();
  }

  /** As {@link Channel.call}. */
  async call<M extends keyof Theirs & string>(
    method: M,
    args: Parameters<Theirs[M]>,
    buffers: readonly Transferable[] = [],
  ): Promise<Result<Theirs[M]>> {
    this.asked++;
    this.worker.ref();
    try {
      return await this.channel.call(method, args, buffers);
    } finally {
      if (--this.asked === 0) this.worker.unref();
    }
  }

  /** Waits for the thread to end, which it does by itself. */
  join(): Promise<void> {
    this.worker.ref();
    return this.ended;
  }
}
