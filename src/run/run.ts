import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { LayergradError } from "../errors.ts";
import { type RowFile, readRows, selectRows } from "../io/rows.ts";
import { buildBlock, chooseLinears } from "../models/block.ts";
import type { Phases } from "../runtime/phases.ts";
import type { Plan } from "../runtime/planner.ts";
import { RunFolder, SCHEMA_VERSION, type SkippedRow } from "../store/index.ts";
import type { EncodedRow } from "../text/encode-row.ts";
import { parseDay } from "../text/strftime.ts";
import { checkCounts, contentOf, gradientRecord, type MeasureOptions, type Measuring, openMeasuring, skippedRow } from "./measuring.ts";
import { checkMode, type Model, openModel, rowEncoder } from "./open-model.ts";

/** What a run computes and where it goes. Only `model`, `data` and `out` are needed. */
export interface RunOptions extends MeasureOptions {
  /** A Hugging Face model folder. */
  readonly model: string;
  /** JSON or JSONL rows `{instruction, input?, output}`. */
  readonly data: string;
  /** Folder for records.jsonl, skipped.jsonl and manifest.json; one that an earlier call began is gone on with. */
  readonly out: string;
  /** `A:B`, half open; a decimal point marks a fraction of the file. Default all. */
  readonly rows?: string | undefined;
  /** At most so many of those rows. */
  readonly limit?: number | undefined;
  /** Start anew in a folder that holds another run. */
  readonly overwrite?: boolean | undefined;
  readonly watch?: RunWatcher | undefined;
}

/** Told how a run goes on. */
export interface RunWatcher {
  /** Something worth a line: a repaired file, the plan, the loading of the model. */
  note?(message: string): void;
  /** Before the first row: rows in all, those already there, tokens to be computed. */
  start?(run: { readonly rows: number; readonly done: number; readonly tokens: number }): void;
  /** After each pack. */
  step?(step: { readonly rows?: number; readonly tokens?: number; readonly skipped?: number }): void;
}

/** How a run ended. */
export interface RunSummary {
  readonly folder: string;
  /** Rows of the requested range: recorded, now or earlier, and skipped. */
  readonly recorded: number;
  readonly skipped: number;
  readonly requested: number;
  /** Skipped rows by reason. */
  readonly reasons: Readonly<Record<string, number>>;
  /** Rows and tokens of this call. */
  readonly computed: { readonly rows: number; readonly tokens: number };
  readonly seconds: number;
  readonly interrupted: boolean;
  /** Absent where nothing was left to compute. */
  readonly plan?: Plan;
  /** Milliseconds by phase of this call. */
  readonly phases?: Phases["milliseconds"];
}

const version = (file: string): string => (createRequire(import.meta.url)(file) as { version: string }).version;

/**
 * Measures every row of a data file and appends its record to the output folder; the same call again goes on where the last one stopped.
 *
 * @throws {LayergradError} With the kind of what is wrong. Records written before stay.
 */
export async function run(options: RunOptions): Promise<RunSummary> {
  const { mode = "base", maxLength = 1024, matrices = "reference", spectrum = false, cosines = false, singleBos = false } = options;
  const { watch = {}, signal } = options;
  const began = performance.now();
  checkOptions(options);
  const data = await readRows(options.data);
  const range = selectRows(data.rows.length, options.rows, options.limit);
  const model = await openModel(options.model);
  try {
    checkMode(model, mode);
    const threads = options.threads ?? availableParallelism();
    const hashes = await model.checkpoint.hashes();
    const folder = await RunFolder.open(
      options.out,
      {
        identity: {
          schemaVersion: SCHEMA_VERSION,
          weights: hashes.weights,
          tokenizer: hashes.tokenizer,
          data: data.sha256,
          mode,
          maxLength,
          singleBos,
          date: options.date,
          matrices: chooseLinears(buildBlock(model.family, model.spec), matrices).map((l) => l.name),
          spectrum,
          cosines,
        },
        model: { folder: options.model, type: model.spec.modelType, files: hashes.files },
        data: { path: options.data, sha256: data.sha256, rows: data.rows.length },
        options: {
          rows: options.rows ?? null,
          limit: options.limit ?? null,
          threads,
          batchTokens: options.batchTokens ?? null,
          memory: options.memory ?? null,
        },
        versions: {
          layergrad: version("../../package.json"),
          node: process.version,
          onnxruntime: version("onnxruntime-node/package.json"),
          platform: `${process.platform}-${process.arch}`,
        },
      },
      { overwrite: options.overwrite ?? false },
    );
    let status: "done" | "interrupted" | "failed" = "failed";
    const release = (): void => folder.close(status);
    process.once("exit", release);
    try {
      for (const note of folder.notes) watch.note?.(note);
      const work = encodeRange(model, data, range, folder, { mode, maxLength, singleBos, date: folder.manifest.identity.date });
      const summary = await computeRows({ ...options, threads }, model, data, folder, work);
      status = summary.interrupted ? "interrupted" : "done";
      const reasons: Record<string, number> = {};
      for (const [row, { reason }] of folder.skipped)
        if (row >= range.start && row < range.end) reasons[reason] = (reasons[reason] ?? 0) + 1;
      const skipped = Object.values(reasons).reduce((a, b) => a + b, 0);
      const requested = range.end - range.start;
      const recorded = [...folder.done.keys()].filter((row) => row >= range.start && row < range.end).length;
      return { folder: options.out, requested, recorded, skipped, reasons, seconds: (performance.now() - began) / 1000, ...summary };
    } catch (error) {
      if (signal?.aborted) status = "interrupted";
      throw error;
    } finally {
      process.off("exit", release);
      release();
    }
  } finally {
    model.checkpoint.close();
  }
}

/** Rows of the range as packs are planned from them: all that can be computed, done or not. */
interface Work {
  readonly rows: readonly EncodedRow[];
  readonly skipped: readonly SkippedRow[];
}

function encodeRange(
  model: Model,
  data: RowFile,
  { start, end }: { start: number; end: number },
  folder: RunFolder,
  text: Parameters<typeof rowEncoder>[1],
): Work {
  const encode = rowEncoder(model, text);
  const rows: EncodedRow[] = [];
  const skipped: SkippedRow[] = [];
  for (let index = start; index < end; index++) {
    const row = data.rows[index]!;
    const known = folder.has(index, contentOf(row));
    const encoded = encode(row, index);
    if (!encoded.skip) rows.push(encoded);
    else if (!known) skipped.push(skippedRow(row, encoded, encoded.skip));
  }
  return { rows, skipped };
}

async function computeRows(
  options: RunOptions,
  model: Model,
  data: RowFile,
  folder: RunFolder,
  { rows, skipped }: Work,
): Promise<Pick<RunSummary, "computed" | "interrupted" | "plan" | "phases">> {
  const { watch = {}, signal } = options;
  folder.appendSkipped(skipped);
  const isOpen = (r: EncodedRow): boolean => !folder.has(r.row, contentOf(data.rows[r.row]!));
  const open = rows.filter(isOpen);
  const tokensOf = (list: readonly EncodedRow[]) => list.reduce((sum, r) => sum + r.inputIds.length, 0);
  const computed = { rows: 0, tokens: 0 };
  if (open.length === 0) {
    if (rows.length === 0)
      throw new LayergradError(
        "data",
        `${options.data}: none of the chosen rows has a label, so there is nothing to measure; skipped.jsonl says why for each.`,
      );
    return { computed, interrupted: false };
  }
  let measuring: Measuring | undefined;
  let interrupted = false;
  try {
    measuring = await openMeasuring(model, rows, options, watch.note);
    const { engine } = measuring;
    // An unfinished pack is computed again whole, so that a resumed run repeats the first one's numbers.
    const packs = measuring.packs.filter((pack) => pack.some(isOpen));
    watch.start?.({ rows: rows.length, done: rows.length - open.length, tokens: packs.reduce((sum, p) => sum + tokensOf(p), 0) });
    for (const pack of packs) {
      signal?.throwIfAborted();
      const results = await engine.measure(pack, signal);
      const fresh = results.flatMap((result, i) =>
        isOpen(pack[i]!) ? [{ result, encoded: pack[i]!, row: data.rows[pack[i]!.row]! }] : [],
      );
      const good = fresh.filter(({ result }) => !result.problem);
      const bad = fresh.filter(({ result }) => result.problem);
      await engine.phases.time("writing", async () => {
        folder.appendRecords(good.map(({ result, encoded, row }) => gradientRecord(row, encoded, result)));
        folder.appendSkipped(bad.map(({ result, encoded, row }) => skippedRow(row, encoded, result.problem!)));
      });
      const tokens = tokensOf(pack);
      computed.rows += good.length;
      computed.tokens += tokens;
      watch.step?.({ rows: good.length, skipped: bad.length, tokens });
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
    interrupted = true;
  } finally {
    await measuring?.close();
  }
  return { computed, interrupted, ...(measuring ? { plan: measuring.plan, phases: measuring.engine.phases.milliseconds } : {}) };
}

function checkOptions({ maxLength, batchTokens, threads, limit, date }: RunOptions): void {
  // Before the folder takes it into its identity.
  if (date !== undefined) parseDay(date);
  checkCounts({ "--max-length": maxLength, "--batch-tokens": batchTokens, "--threads": threads, "--limit": limit });
}
