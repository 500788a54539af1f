import { availableParallelism, totalmem } from "node:os";
import { LayergradError } from "../errors.ts";
import type { Checkpoint } from "../io/checkpoint.ts";
import { WeightReader } from "../io/weight-reader.ts";
import type { MatrixChoice } from "../models/block.ts";
import { Engine, type EngineOptions, type MeasuringEngine, type ModelSource, type WeightMode } from "../runtime/engine.ts";
import { EngineLanes, type LanesOptions } from "../runtime/engine-lanes.ts";
import type { Device } from "../runtime/device.ts";
import { memoryError, onnxRuntime } from "../runtime/onnx-runtime.ts";
import { packRows } from "../runtime/packing.ts";
import { comparePlans, type Plan, type Planning, type PlanRequest } from "../runtime/planner.ts";
import { SpectrumPool } from "../runtime/spectrum-pool.ts";
import type { GradientRecord, SkippedRow } from "../store/index.ts";
import type { EncodedRow } from "../text/encode-row.ts";
import type { PromptMode } from "../text/prompt.ts";
import { type Row, userText } from "../text/row.ts";
import { LEAST_DRAWS, type Measured } from "./labels.ts";
import type { Model } from "./open-model.ts";

/** How rows are measured, whether they come from a file or from memory. */
export interface MeasureOptions {
  /** How instruction and response are joined; default `base`. */
  readonly mode?: PromptMode | undefined;
  /** Longest row in tokens, default 1024; what is longer is cut on the right. */
  readonly maxLength?: number | undefined;
  /** Which weight matrices, default `reference`. */
  readonly matrices?: MatrixChoice | undefined;
  /** Record every singular value. */
  readonly spectrum?: boolean | undefined;
  /** Record similarities of gradients within and between layers. */
  readonly cosines?: boolean | undefined;
  /** Drop the second BOS that a template's own BOS causes. */
  readonly singleBos?: boolean | undefined;
  /**
   * Which labels the loss counts: `all` (default), `first:K`, `last:K`, `random:K`, where K is a number or `@` and the data whose rows, each
   * at the same position and with the same instruction, say how many; or `sweep`, which adds to each record the same row with ever fewer labels.
   */
  readonly labels?: string | undefined;
  /** Seed of random labels, default 0. */
  readonly labelSeed?: number | undefined;
  /** Random choices of each size in a sweep, at least and by default 8. */
  readonly draws?: number | undefined;
  /** The date a template's clock shows, `YYYY-MM-DD`; default today, for a run the day of the folder's first call. */
  readonly date?: string | undefined;
  /** Most tokens in one pack; default by the plan. */
  readonly batchTokens?: number | undefined;
  /** Threads; default the machine's cores. */
  readonly threads?: number | undefined;
  /** Where float32 is computed, default `cpu`; float64 is always computed on the CPU. */
  readonly device?: Device | undefined;
  /** Bytes the process may take; default nine tenths of what is available. */
  readonly memory?: number | undefined;
  /** How weights reach the runtime; default `fed`, or `streamed` where that is faster within the memory. */
  readonly weights?: WeightMode | undefined;
  /** Ends the work cleanly: what is finished is kept. */
  readonly signal?: AbortSignal | undefined;
}

/** Refuses counts that are none. */
export function checkCounts(counts: Readonly<Record<string, number | undefined>>): void {
  for (const [name, value] of Object.entries(counts)) {
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 1)) {
      throw new LayergradError("usage", `${name} must be a whole number above 0, found ${value}.`);
    }
  }
}

/** An engine with its solver, opened for a set of rows. */
export interface Measuring {
  readonly engine: MeasuringEngine;
  /** The rows in packs, in their order. */
  readonly packs: readonly (readonly EncodedRow[])[];
  close(): Promise<void>;
}

/** Bytes a process may take where the user does not say: most of what is free. macOS counts reclaimable pages as used, so there it is a share of all. */
export const defaultMemory = (): number => (process.platform === "darwin" ? 0.7 * totalmem() : 0.9 * process.availableMemory());

/**
 * The plan for a set of rows.
 *
 * @param packedBefore - Token budget of an earlier call, kept where it still fits, so that packs and hence digits stay the same.
 * @throws {LayergradError} `resource` where memory is short.
 */
export const planFor = (model: Model, rows: readonly EncodedRow[], options: MeasureOptions, packedBefore?: number): Plan =>
  plansFor(model, rows, options, packedBefore).plan;

/** As {@link planFor}, with the plans that are too large. */
export function plansFor({ family, spec }: Model, rows: readonly EncodedRow[], options: MeasureOptions, packedBefore?: number): Planning {
  const { matrices = "reference", cosines = false, batchTokens, weights, memory = defaultMemory(), device = "cpu" } = options;
  // One engine drives a device, whatever the threads.
  const threads = device === "cpu" ? (options.threads ?? availableParallelism()) : 1;
  const lengths = rows.map(({ inputIds }) => inputIds.length);
  const passes = mostPasses(rows, options);
  const request: PlanRequest = { family, spec, matrices, cosines, lengths, passes, memory, weights, threads };
  if (batchTokens === undefined && packedBefore !== undefined) {
    try {
      return comparePlans({ ...request, batchTokens: packedBefore });
    } catch (error) {
      if (!(error instanceof LayergradError && error.kind === "resource")) throw error;
    }
  }
  return comparePlans({ ...request, batchTokens });
}

/** Most backward passes of a row: one, or in a sweep so many of each size below all its labels, and one of all. */
function mostPasses(rows: readonly EncodedRow[], { labels, draws = LEAST_DRAWS }: MeasureOptions): number {
  if (labels !== "sweep") return 1;
  const most = rows.reduce((n, { nLabels }) => Math.max(n, nLabels), 1);
  return (draws + 1) * Math.ceil(Math.log2(most)) + 1;
}

/**
 * Reads the weights and starts the threads. Rows without labels must have been left out.
 *
 * @throws {LayergradError} `model` where a weight cannot be read, `resource` where memory runs out.
 */
export async function openMeasuring(
  { checkpoint }: Model,
  rows: readonly EncodedRow[],
  plan: Plan,
  options: MeasureOptions,
): Promise<Measuring> {
  const { matrices = "reference", spectrum = false, cosines = false, signal } = options;
  const threads = options.threads ?? availableParallelism();
  const maxLength = rows.reduce((longest, { inputIds }) => Math.max(longest, inputIds.length), 1);
  const settings = { matrices, spectrum, cosines, maxLength, ...plan };
  const packs = packRows(rows, plan.batchTokens);
  const onLayer = (): void => signal?.throwIfAborted();
  const reader = plan.weights === "streamed" ? new WeightReader(checkpoint, { direct: exceedsCache(checkpoint, plan) }) : undefined;
  const source = reader ? reader.sourceOf(checkpoint) : checkpoint;
  try {
    const { engine, close } =
      plan.lanes > 1 && plan.weights !== "packed"
        ? await openLanes(source, { ...settings, weights: plan.weights, threads }, onLayer)
        : await openAlone(source, { ...settings, threads, device: options.device }, onLayer);
    const closeAll = async (): Promise<void> => {
      try {
        await close();
      } finally {
        await reader?.close();
      }
    };
    return { engine, packs, close: closeAll };
  } catch (error) {
    await reader?.close();
    throw memoryError(error) ?? error;
  }
}

/** Whether weights that are streamed find no room in what the plan leaves of the memory, so that the system's page cache is of no use to them. */
function exceedsCache({ tensors }: Checkpoint, { memory }: Plan): boolean {
  const bytes = [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  return bytes > process.availableMemory() - memory;
}

async function openLanes(source: ModelSource, options: LanesOptions, onLayer: () => void): Promise<Pick<Measuring, "engine" | "close">> {
  const engine = await EngineLanes.open(source, options, onLayer);
  return { engine, close: () => engine.close() };
}

/** One engine that has all threads, with a solver that has as many. */
async function openAlone(
  source: ModelSource,
  {
    threads,
    device,
    ...settings
  }: Omit<EngineOptions, "backend" | "solver"> & { readonly threads: number; readonly device: Device | undefined },
  onLayer: () => void,
): Promise<Pick<Measuring, "engine" | "close">> {
  const solver = new SpectrumPool(threads);
  try {
    const engine = await Engine.open(source, { ...settings, backend: onnxRuntime({ threads, device }), solver }, onLayer);
    const close = async (): Promise<void> => {
      try {
        await engine.close();
      } finally {
        await solver.close();
      }
    };
    return { engine, close };
  } catch (error) {
    await solver.close();
    throw error;
  }
}

/** A row as records tell it from others. */
export const contentOf = (row: Row): { instruction: string; output: string } => ({ instruction: userText(row), output: row.output });

/** One line of skipped.jsonl. */
export const skippedRow = (row: Row, { row: index, inputIds, labelStart }: EncodedRow, reason: string): SkippedRow => ({
  row: index,
  ...contentOf(row),
  reason,
  n_tokens: inputIds.length,
  label_start: labelStart,
});

/** One line of records.jsonl. */
export const gradientRecord = (row: Row, encoded: EncodedRow, measured: Measured): GradientRecord => ({
  ...contentOf(row),
  loss: measured.loss,
  row: encoded.row,
  n_tokens: encoded.inputIds.length,
  label_start: encoded.labelStart,
  n_labels: measured.nLabels,
  ...(measured.labels ? { labels: measured.labels } : {}),
  ...measured.matrices,
  ...measured.cosines,
  ...(measured.sweep ? { sweep: measured.sweep } : {}),
});
