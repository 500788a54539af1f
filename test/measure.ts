import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Model } from "../src/run/open-model.ts";
import { Engine, type EngineOptions, type TokenRow } from "../src/runtime/engine.ts";
import { onnxRuntime } from "../src/runtime/onnx-runtime.ts";
import type { RowStatistics } from "../src/runtime/row-statistics.ts";
import { SpectrumPool } from "../src/runtime/spectrum-pool.ts";
import { beyond, compare, declareSizes, noErrors, ours, type Tolerances } from "./agreement.ts";
import type { ExpectedNumbers } from "./fixtures.ts";

/** The bundled miniature. */
export const demo = fileURLToPath(new URL("../demo/", import.meta.url));
export const demoModel = (mode: "base" | "instruct"): string => join(demo, mode);
export const demoData = (name: string): string => join(demo, "data", `${name}.json`);

/** Every statistic, with the release kernel on the calling thread. */
export const allStatistics: EngineOptions = {
  backend: onnxRuntime(),
  solver: new SpectrumPool(0),
  matrices: "reference",
  spectrum: true,
  cosines: true,
  maxLength: 1024,
  weights: "fed",
  retention: "products",
  saved: "linears",
};

/** Measures packs one after the other with an engine of their own, rows in the packs' order. */
export async function measure(
  { checkpoint }: Pick<Model, "checkpoint">,
  packs: readonly (readonly TokenRow[])[],
  options: Partial<EngineOptions> = {},
): Promise<RowStatistics[]> {
  const engine = await Engine.open(checkpoint, { ...allStatistics, ...options });
  const results: RowStatistics[] = [];
  try {
    for (const pack of packs) results.push(...(await engine.measure(pack)));
  } finally {
    await engine.close();
  }
  return results;
}

/** Shapes of the measured matrices, by record key. */
export const sizesOf = ({ checkpoint }: Pick<Model, "checkpoint">, names: Iterable<string>): Record<string, readonly number[]> =>
  Object.fromEntries([...names].map((name) => [name, checkpoint.tensors.get(name)!.shape]));

/** Our own numbers as the truth that others of ours are held against. */
export const asTruth = (model: Pick<Model, "checkpoint">, r: RowStatistics): ExpectedNumbers => {
  const truth: ExpectedNumbers = { loss: r.loss, params: r.matrices, ...r.cosines };
  declareSizes(truth, sizesOf(model, Object.keys(r.matrices)));
  return truth;
};

/** What of `actual` is further from `reference` than the tolerances, as sentences; rows are matched by number. */
export function deviations(
  model: Pick<Model, "checkpoint">,
  actual: readonly RowStatistics[],
  reference: readonly RowStatistics[],
  tolerances: Tolerances,
): string[] {
  const errors = noErrors();
  const byRow = new Map(actual.map((r) => [r.row, r]));
  if (byRow.size !== reference.length) throw new Error(`${byRow.size} rows, expected ${reference.length}`);
  for (const r of reference) compare(errors, `row ${r.row}`, ours(byRow.get(r.row)!), asTruth(model, r));
  return beyond(errors, tolerances);
}
