import { duration, type ProgressStream } from "./progress.ts";
import { size } from "./size.ts";

/** Shortest time between two drawings of the line on a terminal, and between two plain lines elsewhere, ms. */
const REDRAW = 200;
const PLAIN = 15_000;

export interface DownloadProgressOptions {
  /** Default `process.stderr`. */
  readonly stream?: ProgressStream;
  /** Milliseconds from any origin. Default `performance.now`. */
  readonly now?: () => number;
}

/** Shows how far a download is: on a terminal one line that is drawn over and gone at the end, elsewhere a plain line now and then. */
export class DownloadProgress {
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #live: boolean;
  #name = "";
  /** Of this download: when it began, and bytes that were here then. */
  #start = { time: 0, bytes: 0 };
  #last = Number.NEGATIVE_INFINITY;
  #drawn = false;

  constructor({ stream = process.stderr, now = () => performance.now() }: DownloadProgressOptions = {}) {
    this.#stream = stream;
    this.#now = now;
    this.#live = stream.isTTY === true && process.env.TERM !== "dumb";
  }

  /** Takes the state in and shows it, if it is time. */
  show(state: { readonly name: string; readonly bytes: number; readonly total: number }): void {
    const now = this.#now();
    if (this.#name !== state.name) {
      this.#name = state.name;
      this.#start = { time: now, bytes: state.bytes };
      // A download of a moment has no line.
      this.#last = this.#live ? Number.NEGATIVE_INFINITY : now;
    }
    if (now - this.#last >= (this.#live ? REDRAW : PLAIN)) {
      this.#last = now;
      this.#write(this.#line(state, (now - this.#start.time) / 1000));
    }
    if (state.bytes >= state.total) this.finish();
  }

  /** Clears the line for what comes after. */
  finish(): void {
    if (this.#drawn) this.#stream.write("\r\x1b[K");
    this.#drawn = false;
    this.#name = "";
  }

  #line({ name, bytes, total }: { readonly name: string; readonly bytes: number; readonly total: number }, seconds: number): string {
    const rate = (bytes - this.#start.bytes) / seconds;
    const share = total > 0 ? Math.floor((100 * bytes) / total) : 100;
    const pace = rate > 0 && Number.isFinite(rate) ? `, ${size(rate)}/s, ${duration((total - bytes) / rate)} left` : "";
    return `downloading ${name}: ${size(bytes)} of ${size(total)} (${share} %)${pace}`;
  }

  #write(line: string): void {
    // The last column stays free, or a terminal may wrap.
    this.#stream.write(this.#live ? `\r${line.slice(0, (this.#stream.columns || 80) - 1)}\x1b[K` : `${line}\n`);
    this.#drawn = this.#live;
  }
}
