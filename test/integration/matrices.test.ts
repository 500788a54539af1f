import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openModel, rowEncoder } from "../../src/run/open-model.ts";
import type { Row } from "../../src/text/row.ts";
import { beyond, compare, declareSizes, medianExcess, noErrors, ours, theirs, tinyTolerances } from "../agreement.ts";
import { type ExpectedRow, expectedPath, fixtureModel, fixtures, readExpected } from "../fixtures.ts";
import { measure, sizesOf } from "../measure.ts";
import { storedOnly } from "../stored-only.ts";

const basic: readonly Row[] = (JSON.parse(readFileSync(join(fixtures, "data", "basic.json"), "utf8")) as Row[]).map((row) => ({
  ...row,
  input: row.input ?? "",
}));

/** A tiny model with the encoded rows that PyTorch was given. */
async function rowsFor(name: string, mode: "base" | "instruct", expected: readonly ExpectedRow[]) {
  const model = await openModel(fixtureModel(name));
  const encode = rowEncoder(model, { mode, maxLength: expected[0]!.max_length, singleBos: false, date: "2025-01-31" });
  const rows = expected.map((e) => encode(basic[e.row]!, e.row));
  expect(rows.map((r) => Array.from(r.inputIds))).toEqual(expected.map((e) => e.input_ids));
  return { model, rows };
}

describe("--matrices against PyTorch on the tiny models", () => {
  const mine = noErrors();
  const reference = noErrors();
  for (const name of ["llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "olmo2"]) {
    it(`${name}: "all" lies within the fixtures' tolerances, and "mlp" gives exactly its MLP's part`, async () => {
      const expected = readExpected(join(fixtures, "matrices", `${name}.base.all.json`));
      const { model, rows } = await rowsFor(name, "base", expected);
      const all = await measure(model, [rows], { matrices: "all" });
      const mlp = await measure(model, [rows], { matrices: "mlp", cosines: false });
      const here = noErrors();
      for (const [i, { row, f32, f64 }] of expected.entries()) {
        const where = `${name} row ${row}`;
        const numbers = storedOnly(model, ours(all[i]!));
        expect(Object.keys(numbers.matrices).toSorted()).toEqual(Object.keys(f64.params).toSorted());
        // Phi-3 stores four fused or plain matrices a layer; the parts of the fused ones are measured as well.
        const [stored, measured] = name === "phi3" ? [4, 9] : [7, 7];
        expect(Object.keys(f64.params).length).toBe(stored * model.spec.layers);
        expect(Object.keys(all[i]!.matrices).length).toBe(measured * model.spec.layers);
        declareSizes(f64, sizesOf(model, Object.keys(f64.params)));
        compare(here, where, numbers, f64);
        compare(mine, where, numbers, f64);
        compare(reference, where, theirs(f32), f64);
        const mlpOfAll = Object.entries(all[i]!.matrices).filter(([key]) => key.includes(".mlp."));
        expect(mlpOfAll.length).toBe((name === "phi3" ? 4 : 3) * model.spec.layers);
        expect(mlp[i]!.loss).toBe(all[i]!.loss);
        expect(mlp[i]!.matrices).toEqual(Object.fromEntries(mlpOfAll));
      }
      model.checkpoint.close();
      expect(beyond(here, tinyTolerances)).toEqual([]);
    });
  }
  it("median errors, pooled, are at most twice those of PyTorch's own float32", () => {
    expect(mine.S_max.length).toBe(3 * (5 * 28 + 42 + 16));
    expect(medianExcess(mine, reference)).toEqual([]);
  });
});

describe("ranks and lengths of spectra against PyTorch's float64 spectrum", () => {
  /** σ within this share of the threshold may fall on either side of it: the gradient was taken in float32. */
  const margin = 0.05;
  for (const name of ["llama", "llama31", "llama2", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "olmo2"]) {
    // OLMo 2's fixture has no chat template.
    for (const mode of name === "olmo2" ? (["base"] as const) : (["base", "instruct"] as const)) {
      it(`${name}, ${mode}: rank, stable rank and min(T, out, in) singular values`, async () => {
        const expected = readExpected(expectedPath(name, mode, "basic"));
        const { model, rows } = await rowsFor(name, mode, expected);
        const results = await measure(model, [rows]);
        for (const [i, { f64, row, input_ids }] of expected.entries()) {
          const shapes = sizesOf(model, Object.keys(f64.params));
          for (const [key, { S_list }] of Object.entries(f64.params)) {
            const [out, into] = shapes[key] as [number, number];
            const where = `${name} ${mode} row ${row} ${key}`;
            const matrix = results[i]!.matrices[key]!;
            const largest = S_list![0]!;
            expect(matrix.S_list!.length, where).toBe(Math.min(input_ids.length, out, into));

            const stable = S_list!.reduce((sum, s) => sum + (s / largest) ** 2, 0);
            expect(Math.abs(matrix.stable_rank! / stable - 1), where).toBeLessThan(5e-5);

            const threshold = Math.max(out, into) * 2 ** -23 * largest;
            const above = (factor: number) => S_list!.filter((s) => s > factor * threshold).length;
            expect(matrix.rank, where).toBeGreaterThanOrEqual(above(1 + margin));
            expect(matrix.rank, where).toBeLessThanOrEqual(above(1 - margin));
          }
        }
        model.checkpoint.close();
      });
    }
  }
});
