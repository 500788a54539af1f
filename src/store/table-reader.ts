import { existsSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { type RunTable, type StatisticName, statistics, type TableRow } from "../analysis/table.ts";
import { LayergradError } from "../errors.ts";
import { effectiveRank } from "../spectra/statistics.ts";
import type { SkipReason } from "../text/encode-row.ts";
import type { SkippedRow } from "./record.ts";
import { runFiles } from "./records.ts";
import { type ReadRecord, type ReadStatistics, readLines, readRecords } from "./records-reader.ts";

/** Options of {@link readTable}. */
export interface ReadTableOptions {
  /**
   * Counts rows without a loss as the published scripts do: their zeros enter the means, a σ₁ ratio 0/0 is 0, and Σσ/loss drops them. Rows
   * that a run of ours skipped since they have no label count likewise, though they have no record.
   */
  readonly asPublished?: boolean;
  /** Modules to read, `self_attn.q_proj`, …; by default those of the four attention projections that the records hold. */
  readonly modules?: readonly string[];
  /** What the run is called; by default the path. */
  readonly name?: string;
}

const attention = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];

/** Reasons for which the published scripts record a row with a loss of NaN and zeros for its statistics. */
const withoutLabel: readonly string[] = ["empty response", "response truncated away", "no label left after merging"] satisfies SkipReason[];

/** A row on its way into the table: one array `[modules, layers]` a statistic. */
interface Draft {
  readonly row: TableRow;
  readonly values: Record<StatisticName, Float64Array>;
  /** Whether the file holds effective ranks, or the spectra that give them; anything else it holds always. */
  readonly hasEffectiveRank: boolean;
}

/** The matrices that every row has. */
interface Layout {
  readonly modules: readonly string[];
  readonly layers: number;
}

/**
 * Reads the numbers of a run, ours or the authors', line by line: memory holds the table and one record.
 *
 * Rows without a finite loss are left out and counted (but see {@link ReadTableOptions.asPublished}), as are ours in skipped.jsonl and a last
 * line that is cut off, as it is in a run that goes on. Rows are sorted by their position where all of them have one, so that the order of
 * lines changes nothing. Ratios are taken of each row: σ₁/Σσ, Σσ/loss; NaN where they are not finite. A stable rank that the file does not
 * hold is (‖G‖_F/σ₁)²; an effective rank is computed from S_list.
 *
 * @param path - A run's folder, or a file of records; skipped.jsonl is read beside a file called records.jsonl.
 * @throws {LayergradError} `data`, naming file and line, if a line is no record, lacks a matrix, or has other layers than the first; if a
 * row is there twice; if no row is left.
 */
export async function readTable(path: string, options: ReadTableOptions = {}): Promise<RunTable> {
  const file = recordsFile(path);
  const { asPublished = false, name = path } = options;
  const leftOut: Record<string, number> = {};
  const leaveOut = (reason: string): void => {
    leftOut[reason] = (leftOut[reason] ?? 0) + 1;
  };
  const drafts: (Draft & { readonly asked: Asked })[] = [];
  // All rows of the run, for the occurrences of their instructions.
  const all: Asked[] = [];
  const ask = ({ row, instruction }: Asked): Asked => {
    all.push({ row, instruction });
    return all.at(-1)!;
  };
  const lineOf = new Map<number, number>();
  let layout: Layout | undefined;
  for await (const record of readRecords(file, { tornTail: () => leaveOut("last line cut off") })) {
    const fail = failure(file, record.line);
    layout ??= layoutOf(record, options.modules, fail);
    if (record.row !== undefined) {
      const earlier = lineOf.get(record.row);
      if (earlier !== undefined) throw fail(`row ${record.row} is there twice, first in line ${earlier}; remove one of them.`);
      lineOf.set(record.row, record.line);
    }
    const asked = ask(record);
    if (!Number.isFinite(record.loss) && !asPublished) leaveOut("loss not finite");
    else drafts.push({ ...draftOf(record, layout, asPublished, fail), asked });
  }
  for await (const skipped of readSkipped(file)) {
    if (lineOf.has(skipped.row)) continue;
    const asked = ask(skipped);
    if (layout && asPublished && withoutLabel.includes(skipped.reason)) drafts.push({ ...zeroDraft(skipped, layout), asked });
    else leaveOut(skipped.reason);
  }
  if (!layout || drafts.length === 0)
    throw new LayergradError("data", `${file}: holds no row with a finite loss, so there is nothing to compare.`);
  if (drafts.every(({ row }) => row.row !== null)) drafts.sort((a, b) => a.row.row! - b.row.row!);
  const occurrenceOf = occurrences(all);
  const rows = drafts.map(({ row, asked }) => ({ ...row, occurrence: occurrenceOf.get(asked)! }));
  return { name, ...layout, rows, values: gather(drafts), leftOut };
}

/** What a row is known by. */
interface Asked {
  readonly row?: number | undefined;
  readonly instruction: string;
}

/** For each row, how many with its instruction come before it: by position where all rows have one, else in the order of lines. */
function occurrences(all: readonly Asked[]): Map<Asked, number> {
  const ordered = all.every(({ row }) => row !== undefined) ? all.toSorted((a, b) => a.row! - b.row!) : all;
  const seen = new Map<string, number>();
  return new Map(
    ordered.map((one) => {
      const before = seen.get(one.instruction) ?? 0;
      seen.set(one.instruction, before + 1);
      return [one, before];
    }),
  );
}

function recordsFile(path: string): string {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return path;
  const file = join(path, runFiles.records);
  if (!existsSync(file))
    throw new LayergradError("data", `${path}: holds no ${runFiles.records}; give a run's folder or a file of records.`);
  return file;
}

type Fail = (what: string, cause?: unknown) => LayergradError;

const failure =
  (file: string, line: number): Fail =>
  (what, cause) =>
    new LayergradError("data", `${file}:${line}: ${what}`, cause === undefined ? undefined : { cause });

/** Modules, in the record's order, and depth, both as the first record has them. */
function layoutOf({ matrices }: ReadRecord, wanted: readonly string[] | undefined, fail: Fail): Layout {
  const there = [...new Set(matrices.map(({ module }) => module))];
  const missing = wanted?.find((module) => !there.includes(module));
  const modules = there.filter((module) => (wanted ?? attention).includes(module));
  if (missing !== undefined || modules.length === 0)
    throw fail(`holds no matrix ${missing ?? attention[0]}; its modules are ${there.join(", ") || "none"}.`);
  return { modules, layers: 1 + Math.max(...matrices.filter(({ module }) => modules.includes(module)).map(({ layer }) => layer)) };
}

function draftOf(record: ReadRecord, { modules, layers }: Layout, asPublished: boolean, fail: Fail): Draft {
  const values = newValues(modules.length * layers);
  const seen = new Uint8Array(modules.length * layers);
  for (const { layer, module, statistics: matrix } of record.matrices) {
    const position = modules.indexOf(module);
    if (position < 0) continue;
    if (layer >= layers) throw fail(`has a layer ${layer}, the first record has ${layers} layers; records of one file are of one model.`);
    const at = position * layers + layer;
    seen[at] = 1;
    fill(values, at, matrix, record.loss, asPublished, fail);
  }
  const gap = seen.indexOf(0);
  if (gap >= 0) throw fail(`lacks model.layers.${gap % layers}.${modules[Math.floor(gap / layers)]}.weight, which the other records have.`);
  const { row = null, instruction, output, loss, n_tokens: nTokens = null, n_labels: nLabels = null } = record;
  const hasEffectiveRank = record.matrices.every(
    ({ module, statistics: { effective_rank, S_list } }) =>
      !modules.includes(module) || effective_rank !== undefined || S_list !== undefined,
  );
  return { row: { row, instruction, output, loss, nTokens, nLabels }, values, hasEffectiveRank };
}

function fill(values: Draft["values"], at: number, matrix: ReadStatistics, loss: number, asPublished: boolean, fail: Fail): void {
  const { S_sum: nuclear, S_max: largest, frobenius_norm: frobenius, effective_rank, stable_rank, S_list } = matrix;
  // As the published scripts do: a division by zero, which Python refuses, counts as 0.
  const ratio = (a: number, b: number): number => (asPublished && b === 0 ? 0 : a / b);
  values.nuclearNorm[at] = finite(nuclear);
  values.sigmaMax[at] = finite(largest);
  values.frobeniusNorm[at] = finite(frobenius);
  values.sigmaOneRatio[at] = finite(ratio(largest, nuclear));
  values.lossScaledNorm[at] = finite(ratio(nuclear, loss));
  values.effectiveRank[at] = finite(effective_rank ?? (S_list && rankOf(S_list, fail)) ?? Number.NaN);
  values.stableRank[at] = finite(stable_rank ?? (frobenius / largest) ** 2);
}

function rankOf(sigma: readonly number[], fail: Fail): number | null {
  try {
    return effectiveRank(sigma);
  } catch (error) {
    throw fail(`has an S_list that is no spectrum: ${(error as Error).message}.`, error);
  }
}

const finite = (value: number): number => (Number.isFinite(value) ? value : Number.NaN);

const newValues = (length: number): Draft["values"] =>
  Object.fromEntries(statistics.map((name) => [name, new Float64Array(length)])) as Draft["values"];

/** What the published scripts would have written for a row without a label. */
function zeroDraft({ row, instruction, output, n_tokens }: SkippedRow, { modules, layers }: Layout): Draft {
  const values = newValues(modules.length * layers);
  for (const undefinedOfZero of ["lossScaledNorm", "effectiveRank", "stableRank"] as const) values[undefinedOfZero].fill(Number.NaN);
  return { row: { row, instruction, output, loss: Number.NaN, nTokens: n_tokens ?? null, nLabels: 0 }, values, hasEffectiveRank: true };
}

/** The drafts' numbers one after another, without a statistic that some row's record does not hold. */
function gather(drafts: readonly Draft[]): RunTable["values"] {
  const held = statistics.filter((name) => name !== "effectiveRank" || drafts.every(({ hasEffectiveRank }) => hasEffectiveRank));
  return Object.fromEntries(
    held.map((name) => {
      const width = drafts[0]!.values[name].length;
      const all = new Float64Array(drafts.length * width);
      drafts.forEach(({ values }, i) => all.set(values[name], i * width));
      return [name, all];
    }),
  );
}

/** The rows without a record, of a run of ours; a last line that is cut off is passed over, as the run goes on. */
async function* readSkipped(records: string): AsyncGenerator<SkippedRow, void, undefined> {
  const file = join(dirname(records), runFiles.skipped);
  if (basename(records) !== runFiles.records || !existsSync(file)) return;
  for await (const { bytes, number, terminated } of readLines(file, "data")) {
    let value: unknown;
    try {
      value = JSON.parse(bytes.toString("utf8"));
    } catch (error) {
      if (!terminated) return;
      throw failure(file, number)("is not valid JSON; run the same command again, or remove the line.", error);
    }
    const { row, reason } = (value ?? {}) as Partial<SkippedRow>;
    if (typeof row !== "number" || typeof reason !== "string") throw failure(file, number)("is no skipped row: row or reason is missing.");
    yield value as SkippedRow;
  }
}
