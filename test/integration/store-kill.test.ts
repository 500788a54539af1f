import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type GradientRecord, readManifest, type SkippedRow } from "../../src/store/index.ts";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

let folder = "";
beforeEach(() => {
  if (!existsSync(path("../../dist/store/index.js")))
    throw new Error("dist/store/index.js is missing: run `npm run build` first (Node 20 runs no TypeScript)");
  folder = mkdtempSync(join(tmpdir(), "layergrad-kill-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a child and kills it after so many milliseconds; gives what it printed. */
function killed(script: string, args: string[], afterMs: number, from?: string): Promise<{ output: string; signal: string | null }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [path(script), ...args], { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    let timer = from === undefined ? setTimeout(() => child.kill("SIGKILL"), afterMs) : undefined;
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk;
      if (from !== undefined && output.startsWith(from)) timer ??= setTimeout(() => child.kill("SIGKILL"), afterMs);
    });
    child.on("error", reject);
    child.on("close", (_, signal) => {
      clearTimeout(timer);
      resolve({ output, signal });
    });
  });
}

const lines = <T>(name: string): T[] =>
  readFileSync(join(folder, "run", name), "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as T);

describe("a run that is killed and started again", () => {
  it("ends with the rows of one that is not, each once, after at least 20 kills at random moments", async () => {
    const rows = 600;
    const args = [join(folder, "run"), String(rows)];
    let kills = 0;
    let open = 0;
    // Half of the kills fall while the child starts, takes the lock and repairs; half while it writes.
    for (let turn = 0; turn < 40 && kills < 24; turn++) {
      const { output, signal } =
        turn % 2
          ? await killed("store-child.mjs", args, 25 + Math.random() * 40)
          : await killed("store-child.mjs", args, Math.random() * 12, "open");
      if (signal === "SIGKILL") kills++;
      if (output.startsWith("open")) open++;
      if (output.includes("done")) rmSync(join(folder, "run"), { recursive: true });
    }
    expect(kills).toBeGreaterThanOrEqual(20);
    expect(open).toBeGreaterThanOrEqual(10);
    // Two whole calls: the first may only meet rows that it skips for the second to record.
    for (let call = 0; call < 2; call++) {
      expect(
        spawnSync(process.execPath, [path("store-child.mjs"), ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }).stdout,
      ).toBe("open\ndone\n");
    }

    const all = Array.from({ length: rows }, (_, row) => row);
    const records = lines<GradientRecord>("records.jsonl");
    const skipped = lines<SkippedRow>("skipped.jsonl");
    const byRow = (a: { row: number }, b: { row: number }) => a.row - b.row;
    expect(records.sort(byRow).map(({ row }) => row)).toEqual(all.filter((row) => row % 10 !== 7));
    expect(skipped.sort(byRow).map(({ row }) => row)).toEqual(all.filter((row) => row % 10 === 7));
    for (const record of records) expect(record).toMatchObject({ instruction: `instruction ${record.row}`, loss: record.row / 3 });
    expect(
      readdirSync(join(folder, "run"))
        .filter((name) => !/^run\.lock\./.test(name))
        .sort(),
    ).toEqual(["manifest.json", "records.jsonl", "skipped.jsonl"]);

    const { sessions } = readManifest(join(folder, "run"))!.times;
    expect(sessions.filter(({ status }) => status === "killed").length).toBe(sessions.length - 2);
    expect(sessions.reduce((sum, session) => sum + session.rowsDone, 0)).toBe(records.length);
  });
});

describe("the lock", () => {
  it("is never held by two processes, though some die with it and their locks are taken over", async () => {
    // In memory where there is such a folder: the races come a hundred times as often without the disk's flushes.
    const place = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "layergrad-lock-"));
    const until = Date.now() + 4000;
    const total = { taken: 0, refused: 0, broken: 0, died: 0, killed: 0, other: "" };
    const worker = async (): Promise<void> => {
      while (Date.now() < until) {
        const { output, signal } = await killed("lock-child.mjs", [place, String(until - Date.now()), "0.003"], 60_000);
        if (signal === "SIGKILL") total.killed++;
        const count = JSON.parse(output) as typeof total;
        for (const key of ["taken", "refused", "broken", "died"] as const) total[key] += count[key];
        total.other ||= count.other;
      }
    };
    try {
      await Promise.all([worker(), worker(), worker(), worker()]);
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
    expect(total).toMatchObject({ broken: 0, other: "" });
    expect(Math.min(total.killed, total.died, total.refused)).toBeGreaterThan(3);
  });
});
