/** The part of a terminal or file stream that {@link Progress} needs; `process.stderr` is one. */
export interface ProgressStream {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
  on?(event: "resize", listener: () => void): unknown;
  off?(event: "resize", listener: () => void): unknown;
}

/** Options of {@link Progress}. */
export interface ProgressOptions {
  /** Rows to do in all, those of earlier calls included. */
  total: number;
  /** Rows that earlier calls have done or skipped; they count in the bar, not in the speed. Default 0. */
  done?: number;
  /** Tokens of the rows still to do. With it the time left follows the tokens, which rows of unequal length make more even. */
  totalTokens?: number;
  /** Work still to do, in any unit, of something long. With it the time left follows the work rather than the tokens, and the time so far is shown. */
  totalWork?: number;
  /** Default `process.stderr`. */
  stream?: ProgressStream;
  /** Writes nothing at all, messages included. Default false. */
  quiet?: boolean;
  /** Milliseconds from any origin, never going back. Default `performance.now`. */
  now?: () => number;
  /** Redraws one line (a terminal) or prints a plain line now and then. Default: whether the stream is a terminal, and `TERM` is not `dumb`. */
  live?: boolean;
}

/** What happened since the last report. */
export interface ProgressStep {
  /** Rows recorded. */
  rows?: number;
  /** Tokens of those rows. */
  tokens?: number;
  /** Rows skipped. They count as rows done in the bar. */
  skipped?: number;
  /** Work of those rows, in the unit of `totalWork`. */
  work?: number;
}

/** What turned out otherwise than the options said. */
export interface ProgressCorrection {
  /** Rows that are done without this call's doing, beside those known; below 0 for rows that are not. They count in the bar, not in the speed. */
  rows: number;
  /** Work that falls away. */
  work: number;
}

/** Shortest time between two drawings of the line, ms: more is flicker. */
const redrawEvery = 100;

/** A plain line comes at the latest when 10 % more is done, and not before 15 s have passed unless it is. */
const plainEvery = 15_000;
const plainShare = 0.1;

/** Columns of the bar between its brackets, where there is room. */
const barWidth = 24;

/**
 * Shows how far a run is: on a terminal one line that is drawn over, elsewhere a plain line at most every 15 s or 10 %.
 * It has no timer: a run holds the event loop for seconds, so it draws when told of progress.
 */
export class Progress {
  readonly #stream: ProgressStream;
  readonly #quiet: boolean;
  readonly #live: boolean;
  readonly #now: () => number;
  readonly #total: number;
  readonly #totalTokens: number | undefined;
  #totalWork: number | undefined;
  #initial: number;
  readonly #started: number;
  #rows = 0;
  #skipped = 0;
  #tokens = 0;
  #work = 0;
  #label = "";
  #lastTime = Number.NEGATIVE_INFINITY;
  #lastShare: number;
  /** Rows shown by the last plain line. */
  #lastRows = 0;
  /** Columns of the line on the screen; 0 where there is none. */
  #drawn = 0;
  #finished = false;
  readonly #onResize = (): void => this.#draw();

  constructor(options: ProgressOptions) {
    this.#stream = options.stream ?? process.stderr;
    this.#quiet = options.quiet ?? false;
    this.#live = options.live ?? (this.#stream.isTTY === true && process.env.TERM !== "dumb");
    this.#now = options.now ?? (() => performance.now());
    this.#total = options.total;
    this.#totalTokens = options.totalTokens;
    this.#totalWork = options.totalWork;
    this.#initial = options.done ?? 0;
    this.#started = this.#now();
    this.#lastShare = this.#share();
    if (this.#quiet) return;
    if (this.#live) {
      this.#stream.on?.("resize", this.#onResize);
      this.#draw();
    } else {
      // The first plain line is due like every other, counted from the start.
      this.#lastTime = this.#started;
    }
  }

  /** Counts what was done and shows it, if it is time. */
  step(step: ProgressStep): void {
    this.#rows += step.rows ?? 0;
    this.#skipped += step.skipped ?? 0;
    this.#tokens += step.tokens ?? 0;
    this.#work += step.work ?? 0;
    this.#show();
  }

  /** Says what is under way, before all else in the line. */
  label(text: string): void {
    this.#label = text;
    if (this.#live && !this.#quiet) this.#draw();
  }

  /** Takes in what turned out otherwise. */
  correct({ rows, work }: ProgressCorrection): void {
    this.#initial += rows;
    if (this.#totalWork !== undefined) this.#totalWork -= work;
    this.#show();
  }

  /** Shows the state, if it is time. */
  #show(): void {
    if (this.#quiet || this.#finished) return;
    const now = this.#now();
    if (this.#live) {
      if (now - this.#lastTime >= redrawEvery || this.#share() >= 1) this.#draw();
    } else if (now - this.#lastTime >= plainEvery || this.#share() - this.#lastShare >= plainShare - 1e-9) {
      this.#print();
    }
  }

  /** Prints a message of its own line or lines, above the bar. Control characters in it (it may quote a stranger's file) are shown as text. */
  log(message: string): void {
    if (this.#quiet) return;
    const drawn = this.#drawn > 0;
    this.#stream.write(`${this.#erase()}${printable(message)}\n`);
    if (drawn) this.#draw();
  }

  /** Leaves the last state on a line of its own and the cursor below it. Does nothing the second time. */
  finish(): void {
    if (this.#finished) return;
    if (!this.#quiet) {
      if (this.#live) {
        this.#draw();
        this.#stream.write("\n");
        this.#drawn = 0;
        this.#stream.off?.("resize", this.#onResize);
      } else if (this.#rows + this.#skipped > this.#lastRows) {
        this.#print();
      }
    }
    this.#finished = true;
  }

  #share(): number {
    return this.#total > 0 ? Math.min(1, (this.#initial + this.#rows + this.#skipped) / this.#total) : 1;
  }

  #print(): void {
    this.#lastTime = this.#now();
    this.#lastShare = this.#share();
    this.#lastRows = this.#rows + this.#skipped;
    this.#stream.write(`${this.#fields().join(", ")}\n`);
  }

  #draw(): void {
    if (this.#finished) return;
    this.#lastTime = this.#now();
    // The last column stays free: a terminal that fills it may wrap the cursor to the next line.
    const room = Math.max(1, (this.#stream.columns || 80) - 1);
    const line = this.#line(room);
    this.#stream.write(this.#erase() + line);
    this.#drawn = line.length;
  }

  /** Takes the line off the screen, on all the screen lines that a terminal made narrower has spread it over. */
  #erase(): string {
    if (this.#drawn === 0) return "";
    const lines = Math.ceil(this.#drawn / Math.max(1, this.#stream.columns || 80));
    this.#drawn = 0;
    return `${lines > 1 ? `\x1b[${lines - 1}A` : ""}\r\x1b[J`;
  }

  /** The line for so many columns: what does not fit is left out, the bar first, then from the end. */
  #line(room: number): string {
    const fields = this.#fields();
    const share = this.#share();
    const text = fields.join("  ");
    const width = Math.min(barWidth, room - text.length - 3);
    if (width >= 6) {
      const full = Math.round(share * width);
      return `[${"=".repeat(full)}${" ".repeat(width - full)}] ${text}`;
    }
    while (fields.length > 1 && fields.join("  ").length > room) fields.pop();
    return fields.join("  ").slice(0, room);
  }

  #fields(): string[] {
    const done = this.#initial + this.#rows + this.#skipped;
    const share = this.#share();
    const seconds = (this.#now() - this.#started) / 1000;
    // Never 100 % before the last row.
    const percent = Math.floor(share * 100);
    const fields = [...(this.#label === "" ? [] : [this.#label]), `${done}/${this.#total} rows (${percent} %)`];
    const left = this.#secondsLeft(seconds);
    if (left !== undefined) fields.push(`${duration(left)} left`);
    else if (share >= 1) fields.push(`${duration(seconds)} in all`);
    if (this.#totalWork !== undefined && share < 1) fields.push(`${duration(seconds)} so far`);
    if (this.#tokens > 0 && seconds > 0) fields.push(`${rate(this.#tokens / seconds)} tokens/s`);
    if (this.#skipped > 0) fields.push(`${this.#skipped} skipped`);
    return fields;
  }

  #secondsLeft(seconds: number): number | undefined {
    const rowsLeft = this.#total - this.#initial - this.#rows - this.#skipped;
    if (rowsLeft <= 0 || seconds <= 0) return undefined;
    if (this.#totalWork !== undefined && this.#work > 0) return (seconds * Math.max(0, this.#totalWork - this.#work)) / this.#work;
    if (this.#totalTokens !== undefined && this.#tokens > 0)
      return (seconds * Math.max(0, this.#totalTokens - this.#tokens)) / this.#tokens;
    const rowsDone = this.#rows + this.#skipped;
    return rowsDone > 0 ? (seconds * rowsLeft) / rowsDone : undefined;
  }
}

/** Seconds as people say them: `8 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  const minutes = Math.round(s / 60);
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  const hours = Math.round(s / 3600);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function rate(perSecond: number): string {
  return perSecond >= 10 ? String(Math.round(perSecond)) : perSecond.toFixed(1);
}

/** Text that a terminal shows and does not obey: control characters (C0 without newline and tab, DEL, C1) as escapes. */
export function printable(text: string): string {
  let out = "";
  for (const character of text) {
    const code = character.codePointAt(0)!;
    const control = (code < 32 && character !== "\n" && character !== "\t") || (code >= 127 && code < 160);
    out += control ? `\\u${code.toString(16).padStart(4, "0")}` : character;
  }
  return out;
}
