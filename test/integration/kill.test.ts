import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GradientRecord, readManifest, runFiles, type SkippedRow } from "../../src/store/index.ts";
import { readLines, recordsOf, skippedOf, start, succeeds } from "../cli.ts";
import { demoData, demoModel } from "../measure.ts";

const KILLS = 20;

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-kill-run-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A repeatable sequence in [0, 1). */
function sequence(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Row = { instruction: string; input: string; output: string };
const demoRows = (name: string, count: number): Row[] => (JSON.parse(readFileSync(demoData(name), "utf8")) as Row[]).slice(0, count);

/** 24 rows, four of which are skipped: two without a response, two whose response is cut away. */
function makeData(): { data: string; skipped: number[] } {
  const rows = demoRows("sums_detailed", 24);
  for (const i of [3, 17]) rows[i] = { ...rows[i]!, output: "" };
  for (const i of [8, 23]) rows[i] = { ...rows[i]!, instruction: `${rows[i]!.instruction} `.repeat(30) };
  const data = join(folder, "rows.json");
  writeFileSync(data, JSON.stringify(rows));
  return { data, skipped: [3, 8, 17, 23] };
}

const call = (data: string, out: string): string[] => [
  "run",
  "--model",
  demoModel("base"),
  "--data",
  data,
  "--out",
  out,
  "--max-length",
  "256",
  "--batch-tokens",
  "330",
  "--threads",
  "2",
  "--spectrum",
];

/** Lines of a file that may end in a torn one, which a reader leaves out. */
const wholeLines = (path: string): number => (existsSync(path) ? readFileSync(path, "utf8").split("\n").length - 1 : 0);

describe("a run of the command line", () => {
  it(`that is killed ${KILLS} times at any moment and started again ends with the uninterrupted run's rows, to the last digit`, async () => {
    const { data, skipped } = makeData();
    const whole = join(folder, "whole");
    await succeeds(...call(data, whole));
    const began = performance.now();
    await succeeds(...call(data, join(folder, "timed")));
    const duration = performance.now() - began;
    const expected = recordsOf(whole);
    const expectedSkipped = skippedOf(whole);
    expect(expected.map((r) => r.row)).toEqual(Array.from({ length: 24 }, (_, row) => row).filter((row) => !skipped.includes(row)));
    expect(expectedSkipped.map((r) => [r.row, r.reason])).toEqual([
      [3, "empty response"],
      [8, "response truncated away"],
      [17, "empty response"],
      [23, "response truncated away"],
    ]);

    const random = sequence(2410);
    let kills = 0;
    let attempts = 0;
    let finished = 0;
    let within = 0;
    while (kills < KILLS || finished === 0) {
      const out = join(folder, `killed-${finished}`);
      for (let done = false; !done; ) {
        const { child, ended } = start(call(data, out));
        // One moment of each twentieth of the time it should take, in an order that jumps about, from start-up to the very end.
        const share = (((attempts++ * 7) % KILLS) + random()) / KILLS;
        const left = 1 - wholeLines(join(out, runFiles.records)) / expected.length;
        // About two fifths of so short a run are start-up.
        const moment = share * duration * (0.4 + 0.6 * left);
        const timer = kills < KILLS ? setTimeout(() => child.kill("SIGKILL"), moment) : undefined;
        const { status, signal, stderr } = await ended;
        clearTimeout(timer);
        if (signal === "SIGKILL") {
          kills++;
          const there = wholeLines(join(out, runFiles.records));
          if (there > 0 && there < expected.length) within++;
        } else expect(status, stderr).toBe(0);
        done = signal === null;
      }
      // The same plan gives the same packs, and these the same digits.
      expect(recordsOf(out)).toEqual(expected);
      expect(skippedOf(out)).toEqual(expectedSkipped);
      expect(
        readdirSync(out)
          .filter((name) => !/^run\.lock\./.test(name))
          .toSorted(),
      ).toEqual(["manifest.json", "records.jsonl", "skipped.jsonl"]);
      const { sessions } = readManifest(out)!.times;
      // A kill may come when all is done but the process's end.
      expect(sessions.map((s) => s.status)).toEqual(
        sessions.map((s, i) => (i === sessions.length - 1 || s.status === "done" ? "done" : "killed")),
      );
      expect(sessions.reduce((sum, s) => sum + s.rowsDone, 0)).toBe(expected.length);
      finished++;
    }
    // Some of the kills met a run half done.
    expect(within).toBeGreaterThanOrEqual(3);
  }, 240_000);

  it("that was killed while it wrote resumes from the whole lines, and says what it repaired", async () => {
    const { data } = makeData();
    const out = join(folder, "torn");
    await succeeds(...call(data, out));
    const expected = recordsOf(out);
    const path = join(out, runFiles.records);
    const lines = readFileSync(path, "utf8").split("\n");
    writeFileSync(path, `${lines.slice(0, 5).join("\n")}\n${lines[5]!.slice(0, 100)}`);
    const { stderr, stdout } = await succeeds(...call(data, out));
    expect(stderr).toContain("a torn or damaged line was removed");
    expect(stdout).toContain("20 of 24 rows recorded");
    expect(recordsOf(out)).toEqual(expected);
  });
});

describe("Ctrl-C", () => {
  /** A run of 64 rows, a row a pack, once it has written some. */
  async function underWay(out: string) {
    const args = [
      "run",
      "--model",
      demoModel("base"),
      "--data",
      demoData("wiki_popular_1000_irrelevant"),
      "--out",
      out,
      "--batch-tokens",
      "1",
    ];
    const run = start(args);
    const until = performance.now() + 30_000;
    while (wholeLines(join(out, runFiles.records)) < 2) {
      if (performance.now() > until) throw new Error("the run wrote nothing in 30 s");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return { ...run, args };
  }

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it(`(${signal}) ends with status 130, keeps whole lines and frees the folder; the same call completes the run`, async () => {
      const out = join(folder, signal);
      const { child, ended, args } = await underWay(out);
      child.kill(signal);
      const { status, stdout, stderr } = await ended;
      expect(status).toBe(130);
      const kept = readLines<GradientRecord>(join(out, runFiles.records)).length;
      expect(kept).toBeGreaterThanOrEqual(2);
      expect(kept).toBeLessThan(64);
      expect(readLines<SkippedRow>(join(out, runFiles.skipped))).toEqual([]);
      expect(stdout).toContain(`${kept} of 64 rows recorded`);
      expect(stdout).toContain("interrupted: the same call goes on from here");
      expect(stderr).toContain("interrupted: ending cleanly");
      expect(stderr).not.toMatch(/^\s+at /m);
      expect(existsSync(join(out, runFiles.lock))).toBe(false);
      expect(readManifest(out)!.times.sessions.map((s) => s.status)).toEqual(["interrupted"]);

      const resumed = await succeeds(...args, "--limit", `${kept + 2}`);
      expect(resumed.stdout).toContain("2 rows and ");
      expect(recordsOf(out).map((r) => r.row)).toEqual(Array.from({ length: kept + 2 }, (_, row) => row));
      expect(existsSync(join(out, runFiles.lock))).toBe(false);
    });
  }

  it("twice exits at once, with status 130 and the lock freed", async () => {
    const out = join(folder, "twice");
    const { child, ended } = await underWay(out);
    child.kill("SIGINT");
    child.kill("SIGINT");
    setTimeout(() => child.kill("SIGINT"), 20);
    const { status, signal } = await ended;
    // A signal in the last moments of an exit, when Node has put its handlers down, ends the process itself: to a shell that is 130 too.
    expect(signal === "SIGINT" ? 130 : status).toBe(130);
    expect(existsSync(join(out, runFiles.lock))).toBe(false);
    expect(readLines<GradientRecord>(join(out, runFiles.records)).length).toBeGreaterThanOrEqual(2);
  });
});
