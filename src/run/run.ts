import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { setImmediate } from "node:timers/promises";
import { openRows } from "../data/open-rows.ts";
import { LayergradError } from "../errors.ts";
import type { DownloadWatcher } from "../hub/fetch-model.ts";
import type { ColumnOptions } from "../io/columns.ts";
import { type RowFile, type RowRange, selectRows } from "../io/rows.ts";
import { buildBlock, chooseLinears } from "../models/block.ts";
import { checkDevice } from "../runtime/device.ts";
import { wavesOf } from "../runtime/packing.ts";
import type { Phases } from "../runtime/phases.ts";
import { gigabytes, type Plan } from "../runtime/planner.ts";
import { RunFolder, readManifest, SCHEMA_VERSION } from "../store/index.ts";
import type { EncodedRow } from "../text/encode-row.ts";
import { localDay, parseDay } from "../text/strftime.ts";
import { checkLabels, type Labelling, measureLabelled, resolveLabels } from "./labels.ts";
import {
  checkCounts,
  contentOf,
  gradientRecord,
  type MeasureOptions,
  type Measuring,
  openMeasuring,
  planFor,
  skippedRow,
} from "./measuring.ts";
import type { ModelReference } from "./locate-model.ts";
import { checkMode, type Model, openModel, rowEncoder } from "./open-model.ts";

/** What a run computes and where it goes. Only `model`, `data` and `out` are needed. */
export interface RunOptions extends MeasureOptions, ColumnOptions, Omit<ModelReference, "model"> {
  /** A model folder, a GGUF file or an id of the Hub, as {@link ModelReference} has it; or one that {@link openModel} opened, which stays open. */
  readonly model: string | Model;
  /** Rows `{instruction, input?, output}`: a file, a name of the catalogue, or a data set of the Hub, as {@link openRows} takes them. */
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
export interface RunWatcher extends DownloadWatcher {
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

/** Weights whose hashing takes seconds rather than a moment, bytes. */
const SLOW_TO_HASH = 2e9;

const version = (file: string): string => (createRequire(import.meta.url)(file) as { version: string }).version;

/**
 * Measures every row of a data file and appends its record to the output folder; the same call again goes on where the last one stopped.
 *
 * @throws {LayergradError} With the kind of what is wrong. Records written before stay.
 */
export async function run(options: RunOptions): Promise<RunSummary> {
  const { mode = "base", maxLength = 1024, matrices = "reference", spectrum = false, cosines = false } = options;
  const { watch = {}, signal } = options;
  // In base mode no template writes a BOS, so the option says nothing there.
  const singleBos = mode === "instruct" && (options.singleBos ?? false);
  const began = performance.now();
  checkOptions(options);
  await checkDevice(options.device ?? "cpu");
  const data = await openRows(options.data, options);
  const range = selectRows(data.rows.length, options.rows, options.limit);
  const model = await opened(options);
  try {
    checkMode(model, mode);
    const chosen = chooseLinears(buildBlock(model.family, model.spec), matrices).map((l) => l.name);
    const earlier = options.overwrite ? undefined : readManifest(options.out);
    const date = options.date ?? earlier?.identity.date ?? localDay(new Date());

    // All that can be refused is refused before the folder is touched: --overwrite must not cost the old records for nothing.
    const encode = rowEncoder(model, { mode, maxLength, singleBos, date });
    const whole = await encodeRange(encode, data, range, signal);
    const { labelling, identity: labels, encoded } = await resolveLabels(options, data.rows, whole, encode);
    const rows = encoded.filter((e) => !e.skip);
    const packedBefore = earlier?.options.packedTo;
    const plan = rows.length > 0 ? planFor(model, rows, options, typeof packedBefore === "number" ? packedBefore : undefined) : undefined;
    const bytes = [...model.checkpoint.tensors.values()].reduce((sum, t) => sum + t.byteLength, 0);
    if (bytes > SLOW_TO_HASH) watch.note?.(`checking ${gigabytes(bytes)} of weights`);
    const hashes = await model.checkpoint.hashes();
    signal?.throwIfAborted();

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
          date,
          matrices: chosen,
          spectrum,
          cosines,
          ...(labels ? { labels } : {}),
          ...(data.columns ? { columns: data.columns } : {}),
        },
        model: { ...model.source, type: model.spec.modelType, files: hashes.files },
        data: { path: options.data, sha256: data.sha256, rows: data.rows.length },
        options: {
          rows: options.rows ?? null,
          limit: options.limit ?? null,
          labels: options.labels ?? "all",
          threads: options.threads ?? availableParallelism(),
          device: options.device ?? "cpu",
          batchTokens: options.batchTokens ?? null,
          memory: options.memory ?? null,
          packedTo: plan?.batchTokens ?? null,
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
    const release = (): void => folder.close(signal?.aborted ? "interrupted" : status);
    process.once("exit", release);
    try {
      for (const note of folder.notes) watch.note?.(note);
      const known = new Set(encoded.filter(({ row }) => folder.has(row, contentOf(data.rows[row]!))).map((e) => e.row));
      folder.appendSkipped(encoded.flatMap((e) => (e.skip && !known.has(e.row) ? [skippedRow(data.rows[e.row]!, e, e.skip)] : [])));
      const open = new Set(rows.filter((e) => !known.has(e.row)).map((e) => e.row));
      const computation =
        plan && open.size > 0
          ? await computeRows(options, model, data, folder, { rows, open, plan, labelling })
          : { computed: { rows: 0, tokens: 0 }, interrupted: false };
      const summary = { folder: options.out, ...countRows(folder, range), seconds: (performance.now() - began) / 1000, ...computation };
      if (summary.recorded === 0 && !summary.interrupted) {
        throw new LayergradError(
          "data",
          `${options.data}: none of the chosen rows could be measured; skipped.jsonl in ${options.out} says why for each.`,
        );
      }
      status = summary.interrupted ? "interrupted" : "done";
      return summary;
    } finally {
      process.off("exit", release);
      release();
    }
  } finally {
    if (model !== options.model) model.checkpoint.close();
  }
}

/** The model, opened unless the caller has opened it. */
function opened({ model, revision, adapter, signal, watch }: RunOptions): Model | Promise<Model> {
  if (typeof model === "string") return openModel({ model, revision, adapter }, { signal, watch });
  if (revision === undefined && adapter === undefined) return model;
  throw new LayergradError("usage", "revision and adapter are said where a model is opened; this one is open.");
}

async function encodeRange(
  encode: ReturnType<typeof rowEncoder>,
  data: RowFile,
  { start, end }: RowRange,
  signal: AbortSignal | undefined,
): Promise<EncodedRow[]> {
  const encoded: EncodedRow[] = [];
  for (let index = start; index < end; index++) {
    // Now and then the event loop gets a turn, so that an interrupt is heard.
    if (index % 100 === 0) await setImmediate();
    signal?.throwIfAborted();
    encoded.push(encode(data.rows[index]!, index));
  }
  return encoded;
}

/** All rows of the range that have labels, as packs are planned from them, and which of them are still to be recorded. */
interface Work {
  readonly rows: readonly EncodedRow[];
  readonly open: ReadonlySet<number>;
  readonly plan: Plan;
  readonly labelling: Labelling;
}

async function computeRows(
  options: RunOptions,
  model: Model,
  data: RowFile,
  folder: RunFolder,
  { rows, open, plan, labelling }: Work,
): Promise<Pick<RunSummary, "computed" | "interrupted" | "plan" | "phases">> {
  const { watch = {}, signal } = options;
  const tokensOf = (list: readonly EncodedRow[]) => list.reduce((sum, r) => sum + r.inputIds.length, 0);
  const computed = { rows: 0, tokens: 0 };
  let measuring: Measuring | undefined;
  let interrupted = false;
  try {
    watch.note?.(`loading ${model.spec.layers} layers of ${model.source.folder}`);
    measuring = await openMeasuring(model, rows, plan, options);
    const { engine } = measuring;
    // An unfinished pack is computed again whole, so that a resumed run repeats the first one's numbers.
    const packs = measuring.packs.filter((pack) => pack.some((e) => open.has(e.row)));
    watch.start?.({ rows: rows.length, done: rows.length - open.size, tokens: packs.reduce((sum, p) => sum + tokensOf(p), 0) });
    for await (const { rows: inWave, results } of measureLabelled(engine, wavesOf(packs, plan.waveTokens), labelling, signal)) {
      const fresh = results.flatMap((result, i) =>
        open.has(result.row) ? [{ result, encoded: inWave[i]!, row: data.rows[result.row]! }] : [],
      );
      const good = fresh.filter(({ result }) => !result.problem);
      const bad = fresh.filter(({ result }) => result.problem);
      await engine.phases.time("writing", async () => {
        folder.appendRecords(good.map(({ result, encoded, row }) => gradientRecord(row, encoded, result)));
        folder.appendSkipped(bad.map(({ result, encoded, row }) => skippedRow(row, encoded, result.problem!)));
      });
      const tokens = tokensOf(inWave);
      computed.rows += good.length;
      computed.tokens += tokens;
      watch.step?.({ rows: good.length, skipped: bad.length, tokens });
    }
  } catch (error) {
    if (!signal?.aborted || error !== signal.reason) throw error;
    interrupted = true;
  } finally {
    await measuring?.close();
  }
  return { computed, interrupted, plan, ...(measuring ? { phases: measuring.engine.phases.milliseconds } : {}) };
}

/** Rows of the range that the folder holds, by what became of them. */
function countRows(folder: RunFolder, { start, end }: RowRange) {
  const inside = (row: number) => row >= start && row < end;
  const reasons: Record<string, number> = {};
  for (const [row, { reason }] of folder.skipped) if (inside(row)) reasons[reason] = (reasons[reason] ?? 0) + 1;
  const skipped = Object.values(reasons).reduce((a, b) => a + b, 0);
  return { requested: end - start, recorded: [...folder.done.keys()].filter(inside).length, skipped, reasons };
}

function checkOptions({ maxLength, batchTokens, threads, limit, date, matrices, cosines, ...labels }: RunOptions): void {
  if (cosines && matrices === "mlp")
    throw new LayergradError("usage", "--cosines are of attention matrices, and --matrices mlp leaves those out; drop one of the two.");
  checkLabels(labels);
  // Before the folder takes it into its identity.
  if (date !== undefined) parseDay(date);
  checkCounts({ "--max-length": maxLength, "--batch-tokens": batchTokens, "--threads": threads, "--limit": limit });
}
