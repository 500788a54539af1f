import { beforeEach, describe, expect, it } from "vitest";
import { duration, Progress, type ProgressOptions, printable } from "./progress.ts";

/** A terminal that keeps what it shows: enough of one to tell whether lines are drawn over and taken off as they should. */
class Terminal {
  isTTY = true;
  columns = 80;
  written = "";
  lines = [""];
  row = 0;
  column = 0;
  listeners = new Set<() => void>();

  write(text: string): void {
    this.written += text;
    const esc = String.fromCharCode(27);
    for (const part of text.split(new RegExp(`(${esc}\\[\\d*[A-Z]|\\r|\\n)`))) {
      if (part === "\r") this.column = 0;
      else if (part === "\n") {
        this.row++;
        this.column = 0;
        this.lines[this.row] ??= "";
      } else if (part === `${esc}[J`) {
        this.lines.length = this.row + 1;
        this.lines[this.row] = this.lines[this.row]!.slice(0, this.column);
      } else if (/\[\d+A$/.test(part)) this.row -= Number(part.slice(2, -1));
      else {
        for (const character of part) {
          if (this.column === this.columns) {
            this.row++;
            this.column = 0;
            this.lines[this.row] ??= "";
          }
          this.lines[this.row] = this.lines[this.row]!.slice(0, this.column) + character + this.lines[this.row]!.slice(this.column + 1);
          this.column++;
        }
      }
    }
  }

  on(_: "resize", listener: () => void): void {
    this.listeners.add(listener);
  }
  off(_: "resize", listener: () => void): void {
    this.listeners.delete(listener);
  }

  /** Makes the window so wide, wraps its last line anew as terminals do, and tells. */
  resize(columns: number): void {
    const last = this.lines.pop()!;
    this.columns = columns;
    for (let at = 0; at === 0 || at < last.length; at += columns) this.lines.push(last.slice(at, at + columns));
    this.row = this.lines.length - 1;
    this.column = this.lines[this.row]!.length;
    for (const listener of this.listeners) listener();
  }
}

let terminal = new Terminal();
let time = 0;
beforeEach(() => {
  terminal = new Terminal();
  time = 0;
});
const start = (options: Partial<ProgressOptions> = {}) =>
  new Progress({ total: 100, stream: terminal, now: () => time, live: true, ...options });
const plain = (options: Partial<ProgressOptions> = {}) => start({ live: false, ...options });

describe("on a terminal", () => {
  it("is one line: bar, rows, time left, tokens a second, skipped", () => {
    const progress = start();
    expect(terminal.lines).toEqual(["[                        ] 0/100 rows (0 %)"]);
    time = 10_000;
    progress.step({ rows: 24, tokens: 5000, skipped: 1 });
    expect(terminal.lines).toEqual(["[======                ] 25/100 rows (25 %)  30 s left  500 tokens/s  1 skipped"]);
  });

  it("leaves its last state on the screen and the cursor on the next line, once", () => {
    const progress = start({ total: 2 });
    time = 61_000;
    progress.step({ rows: 2 });
    progress.finish();
    progress.finish();
    expect(terminal.lines).toEqual(["[========================] 2/2 rows (100 %)  1 min 01 s in all", ""]);
    expect(terminal.listeners.size).toBe(0);
    progress.step({ rows: 1 });
    progress.log("after");
    expect(terminal.lines).toEqual(["[========================] 2/2 rows (100 %)  1 min 01 s in all", "after", ""]);
  });

  it("keeps messages above the line", () => {
    const progress = start({ total: 2 });
    progress.log("first\nsecond");
    progress.step({ rows: 1 });
    progress.log("third");
    expect(terminal.lines).toEqual(["first", "second", "third", "[============            ] 1/2 rows (50 %)"]);
  });

  it("draws at most ten times a second, and the last row at once", () => {
    const progress = start({ total: 1000 });
    const before = terminal.written.length;
    for (let i = 0; i < 99; i++) {
      time += 1;
      progress.step({ rows: 1 });
    }
    expect(terminal.written.length).toBe(before);
    progress.step({ rows: 901 });
    expect(terminal.lines[0]).toContain("1000/1000 rows (100 %)");
  });

  it("leaves out what does not fit, and never fills the last column", () => {
    const progress = start();
    time = 10_000;
    progress.step({ rows: 24, tokens: 5000, skipped: 1 });
    for (const columns of [200, 80, 70, 60, 50, 40, 30, 20, 12, 5, 1]) {
      terminal.resize(columns);
      expect(terminal.lines.length).toBe(1);
      expect(terminal.lines[0]!.length).toBeLessThanOrEqual(Math.max(1, columns - 1));
    }
    terminal.resize(50);
    expect(terminal.lines).toEqual(["25/100 rows (25 %)  30 s left  500 tokens/s"]);
    terminal.resize(30);
    expect(terminal.lines).toEqual(["25/100 rows (25 %)  30 s left"]);
    terminal.resize(200);
    expect(terminal.lines).toEqual(["[======                  ] 25/100 rows (25 %)  30 s left  500 tokens/s  1 skipped"]);
  });
});

describe("elsewhere", () => {
  it("prints a plain line with each further tenth, and the last", () => {
    const progress = plain({ total: 30 });
    for (let i = 0; i < 30; i++) {
      time += 100;
      progress.step({ rows: 1, tokens: 50 });
    }
    progress.finish();
    const lines = terminal.written.trimEnd().split("\n");
    expect(lines.length).toBe(10);
    expect(lines[0]).toBe("3/30 rows (10 %), 3 s left, 500 tokens/s");
    expect(lines[9]).toBe("30/30 rows (100 %), 3 s in all, 500 tokens/s");
    expect(terminal.written).not.toContain("\r");
  });

  it("prints one after 15 s where a tenth takes longer, and the state at the end", () => {
    const progress = plain({ total: 10_000 });
    for (let i = 0; i < 32; i++) {
      time += 1000;
      progress.step({ rows: 1 });
    }
    progress.finish();
    expect(terminal.written.split("\n").map((line) => line.split(" ")[0])).toEqual(["15/10000", "30/10000", "32/10000", ""]);
  });

  it("prints nothing where nothing was done, and messages as they come", () => {
    const progress = plain({ done: 5, total: 5 });
    progress.log("all rows are done");
    progress.finish();
    expect(terminal.written).toBe("all rows are done\n");
  });
});

describe("the time left", () => {
  it("counts rows of earlier calls in the bar, not in the speed", () => {
    const progress = start({ done: 50 });
    time = 10_000;
    progress.step({ rows: 10 });
    expect(terminal.lines[0]).toContain("60/100 rows (60 %)  40 s left");
  });

  it("follows the tokens where their total is known", () => {
    const progress = start({ totalTokens: 10_000 });
    time = 10_000;
    progress.step({ rows: 90, tokens: 1000 });
    expect(terminal.lines[0]).toContain("90/100 rows (90 %)  1 min 30 s left  100 tokens/s");
  });

  it("follows the work rather than the tokens where its total is known; the line then says how long it has taken and what is under way", () => {
    const progress = start({ totalTokens: 10_000, totalWork: 400 });
    progress.label("run 1 of 2");
    expect(terminal.lines).toEqual(["[                        ] run 1 of 2  0/100 rows (0 %)  0 s so far"]);
    time = 10_000;
    progress.step({ rows: 50, tokens: 1000, work: 100 });
    expect(terminal.lines[0]).toContain("run 1 of 2  50/100 rows (50 %)  30 s left  10 s so far  100 tokens/s");
  });

  it("takes in rows that turn out to be done, and work that falls away", () => {
    const progress = start({ totalWork: 400 });
    time = 10_000;
    progress.step({ rows: 10, work: 100 });
    time = 20_000;
    progress.correct({ rows: 40, work: 200 });
    expect(terminal.lines[0]).toContain("50/100 rows (50 %)  20 s left");
    time = 30_000;
    progress.correct({ rows: -20, work: -100 });
    expect(terminal.lines[0]).toContain("30/100 rows (30 %)  1 min 00 s left");
  });

  it("is not 100 % before the last row", () => {
    const progress = start({ total: 1000 });
    time = 1000;
    progress.step({ rows: 999 });
    expect(terminal.lines[0]).toContain("999/1000 rows (99 %)");
  });
});

it("quiet writes nothing at all", () => {
  for (const live of [true, false]) {
    const progress = start({ quiet: true, live });
    time += 100_000;
    progress.step({ rows: 100 });
    progress.log("message");
    progress.finish();
  }
  expect(terminal.written).toBe("");
});

it("a message cannot command the terminal", () => {
  expect(printable("a\u001b[2Jb\u009b\r\u0007\tc\nd \u007f é 🙂")).toBe("a\\u001b[2Jb\\u009b\\u000d\\u0007\tc\nd \\u007f é 🙂");
});

it.each([
  [0, "0 s"],
  [59.4, "59 s"],
  [59.6, "1 min 00 s"],
  [200, "3 min 20 s"],
  [3599.9, "1 h 00 min"],
  [7500, "2 h 05 min"],
  [48 * 3600, "2 d 0 h"],
  [100 * 3600, "4 d 4 h"],
])("%d seconds are %s", (seconds, text) => expect(duration(seconds)).toBe(text));
