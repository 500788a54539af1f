import { describe, expect, it } from "vitest";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { Engine, type EngineOptions, type TokenRow } from "../../src/runtime/engine.ts";
import { onnxRuntime } from "../../src/runtime/onnx-runtime.ts";
import type { RowStatistics } from "../../src/runtime/row-statistics.ts";
import { typescriptKernel } from "../../src/spectra/kernel-typescript.ts";
import { beyond, compare, declareSizes, medianExcess, noErrors, ours, theirs, tinyTolerances } from "../agreement.ts";
import { expectedPath, fixtureModel, readExpected } from "../fixtures.ts";

const models = ["llama", "llama31", "llama2", "qwen2"];
const solver = {
  fromGram: async (g: Float64Array, r: number) => typescriptKernel.singularValuesFromGram(g, r),
  fromGrams: async (x: Float64Array, d: Float64Array, n: number) => typescriptKernel.singularValuesFromGrams(x, d, n),
};
const options: EngineOptions = {
  backend: onnxRuntime(),
  solver,
  matrices: "reference",
  spectrum: true,
  cosines: true,
  maxLength: 1024,
  weights: "fed",
  retention: "products",
  labelsPerChunk: 100,
  saved: "linears",
};

const mine = noErrors();
const reference = noErrors();

describe("agreement with PyTorch on the tiny models", () => {
  for (const model of models) {
    for (const mode of ["base", "instruct"]) {
      for (const set of ["basic", "edge"]) {
        it(`${model}, ${mode}, ${set}: every number within the fixtures' tolerances`, async () => {
          const expected = readExpected(expectedPath(model, mode, set)).filter((e) => e.status === "ok");
          const checkpoint = await openCheckpoint(fixtureModel(model));
          const engine = await Engine.open(checkpoint, options);
          const rows: TokenRow[] = expected.map((e) => ({ row: e.row, inputIds: e.input_ids, labelStart: e.label_start }));
          const results: RowStatistics[] = await engine.measure(rows);
          await engine.close();
          const here = noErrors();
          for (const [i, e] of expected.entries()) {
            const where = `${model} ${mode} ${set} row ${e.row}`;
            const sizes = Object.fromEntries(Object.keys(e.f64.params).map((name) => [name, checkpoint.tensors.get(name)!.shape]));
            declareSizes(e.f64, sizes);
            compare(here, where, ours(results[i]!), e.f64);
            compare(mine, where, ours(results[i]!), e.f64);
            compare(reference, where, theirs(e.f32), e.f64);
          }
          checkpoint.close();
          expect(beyond(here, tinyTolerances)).toEqual([]);
        });
      }
    }
  }
  it("median errors, pooled, are at most twice those of PyTorch's own float32", () => {
    expect(mine.loss.length).toBeGreaterThan(50);
    expect(medianExcess(mine, reference)).toEqual([]);
  });
});
