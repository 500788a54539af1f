import { existsSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { seeded } from "../analysis/random.ts";
import { findCatalogueFile } from "../data/catalogue.ts";
import { openRows } from "../data/open-rows.ts";
import { catalogueFilePath } from "../data/pull.ts";
import { LayergradError } from "../errors.ts";
import { type RowFile, selectRows } from "../io/rows.ts";
import type { ModelSpec } from "../models/family.ts";
import { LEAST_DRAWS, parseLabels } from "../run/labels.ts";
import { planFor } from "../run/measuring.ts";
import type { ModelReference } from "../run/locate-model.ts";
import { checkMode, type Model, type ModelOrigin, type OpenModelOptions, openModel, rowEncoder } from "../run/open-model.ts";
import { readManifest } from "../store/index.ts";
import type { EncodedRow } from "../text/encode-row.ts";
import { type Row, userText } from "../text/row.ts";
import { type Cost, costOf, type RowLength } from "./estimate.ts";
import type { PlannedRun } from "./plan.ts";
import type { StudyData, StudyOptions } from "./spec.ts";

/** A run whose model, data and options were found to be in order, and about what it will take. */
export interface CheckedRun extends Cost {
  readonly run: PlannedRun;
  readonly spec: ModelSpec;
  /** The model as it was opened: one of the Hub at its commit, where the study names a branch. */
  readonly model: ModelReference;
  /** Of the model's weights and of those that are not here, as {@link Model} has it. */
  readonly weights: Model["weights"];
  /** Rows of the requested range, those without labels included. */
  readonly rows: number;
  /** Rows that earlier calls have recorded or skipped, as the folder's manifest counts them. */
  readonly done: number;
  readonly tokens: number;
  /** Peak of memory by the plan, bytes. */
  readonly memory: number;
}

/** Rows of a range that are tokenised to estimate the others: where lengths vary by half their mean, the estimate has a standard error of 6 %. */
const SAMPLE = 64;

/**
 * Opens the models and data of all runs, so that a study of days does not end on its second day for a mistyped name, and estimates what
 * each run takes from the lengths of its rows. Weights are not read.
 *
 * @param date - The day that chat templates show.
 * @param opening - Whether models of the Hub are fetched whole.
 * @throws {LayergradError} With the kind of what is wrong.
 */
export async function checkRuns(
  runs: readonly PlannedRun[],
  options: StudyOptions,
  date: string,
  opening: OpenModelOptions = {},
): Promise<CheckedRun[]> {
  refuseMissing(runs);
  const files = new Map<string, RowFile>();
  const open = async ({ reference, columns }: Pick<StudyData, "reference" | "columns">): Promise<RowFile> => {
    const key = JSON.stringify([reference, columns]);
    const file = files.get(key) ?? (await openRows(reference, columns));
    files.set(key, file);
    return file;
  };
  const checked: CheckedRun[] = [];
  for (const model of new Set(runs.map((run) => run.model))) {
    const opened = await openModel(model, opening);
    try {
      const lengths = new Map<string, RangeLengths>();
      for (const run of runs.filter((r) => r.model === model)) {
        await setImmediate();
        opening.signal?.throwIfAborted();
        checkMode(opened, run.mode);
        const { count } = parseLabels(run.labels.choice);
        if (typeof count === "object") await open({ ...run.data, reference: count.twins });
        const key = JSON.stringify([run.mode, run.data.reference, run.data.columns, run.range]);
        const range = lengths.get(key) ?? measureRange(opened, run, await open(run.data), options, date);
        lengths.set(key, range);
        checked.push(estimate(opened, run, range, options));
      }
    } finally {
      opened.checkpoint.close();
    }
  }
  return checked;
}

/** Names all files of the catalogue that are not here at once, so that they can be fetched at once. */
function refuseMissing(runs: readonly PlannedRun[]): void {
  const missing = new Set<string>();
  for (const { data, labels } of runs) {
    const { count } = parseLabels(labels.choice);
    for (const reference of [data.reference, ...(typeof count === "object" ? [count.twins] : [])]) {
      const file = findCatalogueFile(reference);
      if (file && !existsSync(catalogueFilePath(file))) missing.add(reference);
    }
  }
  if (missing.size === 0) return;
  const groups = new Set([...missing].map((name) => name.split("/")[0]!));
  throw new LayergradError(
    "data",
    `${missing.size} of the study's data files are not here yet, ${[...missing][0]} among them; run "layergrad data pull ${[...groups].join(" ")}", which fetches them.`,
  );
}

/** Lengths of a range of rows, from a sample of them. */
interface RangeLengths {
  readonly rows: number;
  /** Rows that each of the sample stands for. */
  readonly weight: number;
  readonly lengths: readonly RowLength[];
  readonly memory: number;
}

function measureRange(model: Model, { mode, data, range }: PlannedRun, file: RowFile, options: StudyOptions, date: string): RangeLengths {
  const { maxLength = 1024, singleBos = false } = options;
  const encode = rowEncoder(model, { mode, maxLength, singleBos: mode === "instruct" && singleBos, date });
  const { start, end } = rangeOf(file, data, range);
  const rows = end - start;
  const size = Math.min(rows, SAMPLE);
  // One from each of as many equal pieces, at a random place: a fixed one would meet the same kind of row in data that alternate.
  const random = seeded("sample");
  const sample = Array.from({ length: size }, (_, i) => start + Math.floor(((i + random.next()) * rows) / size));
  const encoded = sample.map((index) => encode(file.rows[index]!, index)).filter((row) => !row.skip);
  const longest = longestRow(file.rows, start, end);
  const forMemory = [...encoded, encode(file.rows[longest]!, longest)].filter((row) => !row.skip);
  return {
    rows,
    weight: rows / size,
    lengths: encoded.map((row) => lengthOf(row, file.rows[row.row]!)),
    memory: forMemory.length > 0 ? planFor(model, forMemory, options).memory : 0,
  };
}

function rangeOf(file: RowFile, { name }: StudyData, { rows, limit }: PlannedRun["range"]): ReturnType<typeof selectRows> {
  try {
    return selectRows(file.rows.length, rows, limit);
  } catch (error) {
    if (!(error instanceof LayergradError)) throw error;
    throw new LayergradError(error.kind, `${name}: ${error.message}`, { cause: error });
  }
}

/** The row of most characters: hardly another has more tokens. */
function longestRow(rows: readonly Row[], start: number, end: number): number {
  const size = ({ instruction, input, output }: Row): number => instruction.length + input.length + output.length;
  let longest = start;
  for (let i = start; i < end; i++) if (size(rows[i]!) > size(rows[longest]!)) longest = i;
  return longest;
}

const lengthOf = ({ inputIds, nLabels }: EncodedRow, row: Row): RowLength => ({
  tokens: inputIds.length,
  labels: nLabels,
  textBytes: Buffer.byteLength(JSON.stringify([userText(row), row.output])),
});

function estimate(model: Model, run: PlannedRun, { rows, weight, lengths, memory }: RangeLengths, options: StudyOptions): CheckedRun {
  const { matrices = "reference", spectrum = false, cosines = false, draws = LEAST_DRAWS } = options;
  const costs = lengths.map(costOf(model, { labels: run.labels.choice, draws, matrices, spectrum, cosines }));
  const total = (values: readonly number[]): number => weight * values.reduce((sum, value) => sum + value, 0);
  return {
    run,
    spec: model.spec,
    model: pinned(run.model, model.source),
    weights: model.weights,
    rows,
    done: Math.min(rows, rowsDone(run.out)),
    tokens: total(lengths.map((length) => length.tokens)),
    memory,
    flops: total(costs.map((cost) => cost.flops)),
    gradients: total(costs.map((cost) => cost.gradients)),
    bytes: total(costs.map((cost) => cost.bytes)),
  };
}

/** The same model in later runs of this call, whatever becomes of the branch meanwhile. */
const pinned = ({ model, adapter }: PlannedRun["model"], { revision, adapter: found }: ModelOrigin): ModelReference => ({
  model,
  revision,
  adapter: found?.id ? { hub: `${found.id}@${found.revision}` } : adapter,
});

/** Rows that a folder's calls have recorded or skipped, by its manifest. */
const rowsDone = (folder: string): number =>
  readManifest(folder)?.times.sessions.reduce((sum, { rowsDone, rowsSkipped }) => sum + rowsDone + rowsSkipped, 0) ?? 0;
