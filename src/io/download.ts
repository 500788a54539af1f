import { setTimeout as pause } from "node:timers/promises";
import { type ErrorKind, LayergradError } from "../errors.ts";
import { fsCode } from "./fs-reason.ts";

/** What is asked of a server, and what a user can do where it fails. */
export interface Request {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Ends the waiting; what is thrown then is its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Of the error where it fails; default `data`. */
  readonly kind?: ErrorKind;
  /** Told the HTTP status, or undefined where there was no answer: what to do, as the end of a sentence. */
  advice(status: number | undefined): string;
  /** The error to throw for a refusal that says more than its status does. */
  refusal?(answer: Response): Error | undefined;
}

/** Takes an answer's body, piece by piece. */
export type Consumer<T> = (body: AsyncIterable<Uint8Array>, answer: Response) => Promise<T>;

/** Pauses before the second, third and fourth attempt, ms. */
const PAUSES = [300, 1000, 3000];

/** Longest silence of a server, ms. */
const SILENCE = 30_000;

/** Answers that another attempt may change. */
const isPassing = (status: number | undefined): boolean => status === undefined || status === 408 || status === 429 || status >= 500;

/** A download that failed at the network or the server. */
export class DownloadError extends LayergradError {
  constructor(
    request: Request,
    message: string,
    /** Of the last answer; undefined where there was none. */
    readonly status: number | undefined,
    options?: ErrorOptions,
  ) {
    super(request.kind ?? "data", message, options);
  }

  /** Whether the same request may do at another time. */
  get isPassing(): boolean {
    return isPassing(this.status);
  }
}

/** An attempt that failed on the way; its message goes on after the address. */
export class Failed extends Error {
  constructor(
    message: string,
    readonly status?: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * Hands the body of a server's answer to `consume`, piece by piece. Where the network or the server fails, it tries again, four times in
 * all; `consume` then starts anew.
 *
 * @param attempts - Fewer than four.
 * @throws {DownloadError} With the address, what came, and the advice. What `consume` throws passes through.
 */
export const download = <T>(request: Request, consume: Consumer<T>, attempts?: number): Promise<T> =>
  insist(request, () => ask(request, consume), { attempts });

/**
 * Makes an attempt again where it {@link Failed} in a way that may pass, until four in a row have failed.
 *
 * @param options.progress - Grows with what attempts achieve: one that came further than all before it is not counted with them.
 * @param options.attempts - In a row, at most 4.
 */
export async function insist<T>(
  request: Request,
  attempt: () => Promise<T>,
  { progress = () => 0, attempts = PAUSES.length + 1 }: { readonly progress?: () => number; readonly attempts?: number | undefined } = {},
): Promise<T> {
  let reached = progress();
  for (let failures = 0; ; ) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      failures = progress() > reached ? 1 : failures + 1;
      reached = Math.max(reached, progress());
      const { message, status, cause } = error;
      if (failures >= attempts || !isPassing(status))
        throw new DownloadError(request, `${request.url} ${message}; ${request.advice(status)}.`, status, { cause });
      await pause(PAUSES[failures - 1], undefined, { signal: request.signal }).catch(() => {});
      request.signal?.throwIfAborted();
    }
  }
}

/** One attempt. */
export async function ask<T>(request: Request, consume: Consumer<T>): Promise<T> {
  const { url, headers = {}, signal } = request;
  const silent = new AbortController();
  const timer = setTimeout(() => silent.abort(), SILENCE);
  const failure = (cause: unknown, otherwise: string): unknown => {
    if (signal?.aborted) return signal.reason;
    const what = silent.signal.aborted ? `has sent nothing for ${SILENCE / 1000} s` : `${otherwise}: ${networkReason(cause)}`;
    return new Failed(what, undefined, { cause });
  };
  async function* pieces(body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      for await (const piece of body) {
        timer.refresh();
        yield piece;
      }
    } catch (cause) {
      throw failure(cause, "broke off");
    }
  }
  try {
    const ends = signal ? AbortSignal.any([silent.signal, signal]) : silent.signal;
    const response = await fetch(url, { headers, signal: ends }).catch((cause: unknown) => {
      throw failure(cause, "cannot be reached");
    });
    if (!response.ok) {
      await response.body?.cancel();
      throw request.refusal?.(response) ?? new Failed(`answers ${`${response.status} ${response.statusText}`.trim()}`, response.status);
    }
    return await consume(pieces(response.body ?? []), response);
  } finally {
    clearTimeout(timer);
  }
}

/** What is behind fetch's own "fetch failed" and "terminated". */
function networkReason(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  const words: Readonly<Record<string, string>> = {
    ENOTFOUND: "there is no such host, or no network",
    EAI_AGAIN: "there is no such host, or no network",
    ECONNREFUSED: "the connection was refused",
    ECONNRESET: "the connection was closed",
    UND_ERR_SOCKET: "the connection was closed",
  };
  const code = fsCode(cause) ?? "";
  return words[code] ? `${words[code]} (${code})` : cause instanceof Error ? cause.message : String(cause);
}

/**
 * The whole body, of an answer that has to be small.
 *
 * @throws {Failed} Where it has more bytes than `limit`.
 */
export async function collect(body: AsyncIterable<Uint8Array>, limit: number): Promise<Buffer<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of body) {
    bytes += piece.length;
    if (bytes > limit) throw new Failed(`sends more than ${limit} bytes, which is no such answer`, 200);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
