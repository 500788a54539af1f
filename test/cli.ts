import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { GradientRecord, MatrixStatistics, SkippedRow } from "../src/store/index.ts";

/** The built command line; Node 20 runs no TypeScript. */
export const cliFile = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));

export interface Ended {
  /** null where a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts `layergrad …` and tells of its end. */
export function start(args: readonly string[]): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
  if (!existsSync(cliFile)) throw new Error("dist/cli/main.js is missing: run `npm run build` first");
  const child = spawn(process.execPath, [cliFile, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<Ended>((resolve, reject) => {
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ status, signal, stdout, stderr }));
  });
  return { child, ended };
}

/** Runs `layergrad …` to its end. */
export const cli = (...args: readonly string[]): Promise<Ended> => start(args).ended;

/** Expects a run without error and gives what it printed. */
export async function succeeds(...args: readonly string[]): Promise<Ended> {
  const ended = await cli(...args);
  expect(ended, ended.stderr).toMatchObject({ status: 0 });
  return ended;
}

/** Expects an exit status with one sentence on standard error, nothing on standard output and no stack trace; gives the sentence. */
export async function refused(status: number, ...args: readonly string[]): Promise<string> {
  const ended = await cli(...args);
  expect(ended, ended.stderr).toMatchObject({ status, stdout: "" });
  expect(ended.stderr).not.toMatch(/^\s+at /m);
  expect(ended.stderr).not.toContain("bug");
  const lines = ended.stderr
    .trimEnd()
    .split("\n")
    .filter((line) => line !== "(--help shows the options)");
  expect(lines.length, ended.stderr).toBe(1);
  const sentence = lines[0]!;
  // The option parser's own messages end without a full stop.
  expect(sentence).toMatch(/^(layergrad: .+\.|error: .+)$/);
  return sentence;
}

/** The objects of a file of lines; a torn or damaged line throws. */
export function readLines<T>(path: string): T[] {
  const text = readFileSync(path, "utf8");
  if (text !== "" && !text.endsWith("\n")) throw new Error(`${path}: the last line is torn`);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as T);
}

const byRow = (a: { readonly row: number }, b: { readonly row: number }): number => a.row - b.row;

/** A run folder's records by row; the order of lines is free. */
export const recordsOf = (folder: string): GradientRecord[] => readLines<GradientRecord>(join(folder, "records.jsonl")).sort(byRow);

export const skippedOf = (folder: string): SkippedRow[] => readLines<SkippedRow>(join(folder, "skipped.jsonl")).sort(byRow);

/** One layer's matrix of a record. */
export const matrixOf = (record: GradientRecord, layer: number, module: string): MatrixStatistics =>
  (record as unknown as Record<string, MatrixStatistics>)[`model.layers.${layer}.${module}.weight`]!;
