import { setTimeout as pause } from "node:timers/promises";
import { LayergradError } from "../errors.ts";
import { fsCode } from "../io/fs-reason.ts";

/** What is asked of a server, and what a user can do where it fails. */
export interface Request {
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Told the HTTP status, or undefined where there was no answer: what to do, as the end of a sentence. */
  advice(status: number | undefined): string;
}

/** Pauses before the second, third and fourth attempt, ms. */
const PAUSES = [300, 1000, 3000];

/** Longest silence of a server, ms. */
const SILENCE = 30_000;

/** Answers that another attempt may change. */
const isPassing = (status: number | undefined): boolean => status === undefined || status === 408 || status === 429 || status >= 500;

/** An attempt that failed on the way; its message goes on after the address. */
class Failed extends Error {
  constructor(
    message: string,
    readonly status: number | undefined,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * Hands the body of a server's answer to `consume`, piece by piece. Where the network or the server fails, it tries again, four times in
 * all; `consume` then starts anew.
 *
 * @throws {LayergradError} `data` with the address, what came, and the advice. What `consume` throws passes through.
 */
export async function download<T>(request: Request, consume: (body: AsyncIterable<Uint8Array>) => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await downloadOnce(request, consume);
    } catch (error) {
      if (!(error instanceof Failed)) throw error;
      if (attempt === PAUSES.length || !isPassing(error.status))
        throw new LayergradError("data", `${request.url} ${error.message}; ${request.advice(error.status)}.`, { cause: error.cause });
      await pause(PAUSES[attempt]);
    }
  }
}

async function downloadOnce<T>({ url, headers = {} }: Request, consume: (body: AsyncIterable<Uint8Array>) => Promise<T>): Promise<T> {
  const silent = new AbortController();
  const timer = setTimeout(() => silent.abort(), SILENCE);
  const reason = (error: unknown, otherwise: string): string =>
    silent.signal.aborted ? `has sent nothing for ${SILENCE / 1000} s` : `${otherwise}: ${networkReason(error)}`;
  async function* pieces(body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      for await (const piece of body) {
        timer.refresh();
        yield piece;
      }
    } catch (cause) {
      throw new Failed(reason(cause, "broke off"), undefined, { cause });
    }
  }
  try {
    const response = await fetch(url, { headers, signal: silent.signal }).catch((cause: unknown) => {
      throw new Failed(reason(cause, "cannot be reached"), undefined, { cause });
    });
    if (!response.ok) {
      await response.body?.cancel();
      throw new Failed(`answers ${`${response.status} ${response.statusText}`.trim()}`, response.status);
    }
    return await consume(pieces(response.body ?? []));
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
