import { LayergradError } from "../errors.ts";
import { checkDevice } from "../runtime/device.ts";
import { wavesOf } from "../runtime/packing.ts";
import type { GradientRecord, SkippedRow } from "../store/index.ts";
import type { Row } from "../text/row.ts";
import { localDay } from "../text/strftime.ts";
import { checkLabels, measureLabelled, resolveLabels } from "./labels.ts";
import { checkCounts, gradientRecord, type MeasureOptions, openMeasuring, planFor, skippedRow } from "./measuring.ts";
import type { ModelReference } from "./locate-model.ts";
import { checkMode, type Model, openModel, rowEncoder } from "./open-model.ts";

/** A row given in memory: as {@link Row}, but `input` may be missing. */
export type RowInput = Omit<Row, "input"> & { readonly input?: string | null | undefined };

/** What became of one row: its record, or, where `reason` is set, why it has none. The same objects that a run writes as lines. */
export type MeasuredRow = GradientRecord | SkippedRow;

/**
 * Measures rows that are given in memory, and yields what became of each, in their order; rows go through the model in packs, so
 * results come a pack at a time. `row` in a result is the row's index in `rows`.
 *
 * Nothing happens before the first result is asked for. Weights are read then, once a call, so one call with many rows costs
 * less than many calls. Leaving the loop early (`break`, `return`, an exception) frees the engine and its threads.
 *
 * @param model - From {@link openModel}, and left open; or what that takes, which is opened and closed again.
 * @param options - Defaults as in {@link run}; `date` is today.
 * @throws {LayergradError} `usage` for an option out of range, `model`, `data` for a row that is none, `resource` where memory is short.
 * @throws The signal's reason, once `signal` is aborted; the pack in hand is given up.
 *
 * Precision: float32 forward and backward passes, float64 Gram matrices and spectra.
 *
 * @example
 * for await (const result of measureRows("models/SmolLM2-135M", [{ instruction: "2 + 2 =", output: "4" }])) {
 *   if ("reason" in result) console.warn(`row ${result.row}: ${result.reason}`);
 *   else console.log(result.loss, result["model.layers.0.self_attn.v_proj.weight"]?.S_sum);
 * }
 */
export async function* measureRows(
  model: Model | ModelReference | string,
  rows: readonly RowInput[],
  options: MeasureOptions = {},
): AsyncGenerator<MeasuredRow, void, undefined> {
  const { maxLength, batchTokens, threads } = options;
  checkCounts({ maxLength, batchTokens, threads });
  checkLabels(options);
  await checkDevice(options.device ?? "cpu");
  const complete = rows.map(completeRow);
  const opened = typeof model === "string" || !("checkpoint" in model) ? await openModel(model, { signal: options.signal }) : model;
  try {
    yield* measureWith(opened, complete, options);
  } finally {
    if (opened !== model) opened.checkpoint.close();
  }
}

async function* measureWith(model: Model, rows: readonly Row[], options: MeasureOptions): AsyncGenerator<MeasuredRow, void, undefined> {
  const { mode = "base", maxLength = 1024, singleBos = false, signal } = options;
  checkMode(model, mode);
  const encode = rowEncoder(model, { mode, maxLength, singleBos, date: options.date ?? localDay(new Date()) });
  const { labelling, encoded } = await resolveLabels(options, rows, rows.map(encode), encode);
  const withLabels = encoded.filter((e) => !e.skip);
  // Rows without labels come out where they stand among the others.
  let next = 0;
  const skippedBefore = function* (row: number): Generator<SkippedRow, void, undefined> {
    for (; next < row; next++) if (encoded[next]!.skip) yield skippedRow(rows[next]!, encoded[next]!, encoded[next]!.skip!);
    next = row + 1;
  };

  if (withLabels.length > 0) {
    const plan = planFor(model, withLabels, options);
    const { engine, packs, close } = await openMeasuring(model, withLabels, plan, options);
    try {
      for await (const wave of measureLabelled(engine, wavesOf(packs, plan.waveTokens), labelling, signal)) {
        for (const [i, result] of wave.results.entries()) {
          const row = rows[result.row]!;
          yield* skippedBefore(result.row);
          yield result.problem ? skippedRow(row, wave.rows[i]!, result.problem) : gradientRecord(row, wave.rows[i]!, result);
        }
      }
    } finally {
      await close();
    }
  }
  yield* skippedBefore(rows.length);
}

/** Callers in JavaScript have no compiler: what is no row is named with its place. */
function completeRow({ instruction, input, output }: RowInput, index: number): Row {
  for (const [key, value] of Object.entries({ instruction, output, input: input ?? "" })) {
    if (typeof value !== "string")
      throw new LayergradError("data", `rows[${index}].${key} must be a text, found ${value === null ? "null" : typeof value}.`);
  }
  return { instruction, input: input ?? "", output };
}
