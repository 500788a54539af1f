import { afterAll, describe, expect, it } from "vitest";
import { seeded } from "../analysis/random.ts";
import { tensor } from "../tensor/tensor.ts";
import { FactorStatistics, fromFactors } from "./factor-statistics.ts";
import { onnxRuntime } from "./onnx-runtime.ts";
import { Phases } from "./phases.ts";
import { SpectrumPool } from "./spectrum-pool.ts";

const normals = (rows: number, columns: number, seed: string): Float32Array => {
  const random = seeded(seed);
  return Float32Array.from({ length: rows * columns }, () => random.normal());
};

/** ΔᵀX by its definition, in float64. */
function product(delta: Float32Array, x: Float32Array, tokens: number, outFeatures: number, inFeatures: number): Float64Array {
  const g = new Float64Array(outFeatures * inFeatures);
  for (let t = 0; t < tokens; t++)
    for (let o = 0; o < outFeatures; o++)
      for (let i = 0; i < inFeatures; i++)
        g[o * inFeatures + i] = g[o * inFeatures + i]! + delta[t * outFeatures + o]! * x[t * inFeatures + i]!;
  return g;
}

describe.each([
  ["a whole gradient", 512, 40],
  ["a gradient in strips, the last one short", 1100, 40],
  ["a gradient with more tokens than inputs", 1100, 4],
  ["a gradient with about as many tokens as inputs", 1100, 7],
])("the entries and spectrum of %s", (_, outFeatures, inFeatures) => {
  const tokens = 6;
  const x = normals(tokens, inFeatures, "x");
  const delta = normals(tokens, outFeatures, "delta");
  const g = product(delta, x, tokens, outFeatures, inFeatures);

  const opened: FactorStatistics[] = [];
  afterAll(async () => {
    for (const factors of opened) await factors.release();
  });

  it.each([false, true])("are those of ΔᵀX (gradients wanted: %s)", async (wantGradients) => {
    const factors = new FactorStatistics(onnxRuntime({ threads: 1 }), new SpectrumPool(0), new Phases(), wantGradients);
    opened.push(factors);
    const [measure] = await factors.measure([
      { name: "w", delta: tensor([tokens, outFeatures], delta), x: tensor([tokens, inFeatures], x) },
    ]);
    // Sums of six float32 products, each entry a few units.
    const rounding = 5;
    expect(measure!.max).toBeCloseTo(
      g.reduce((a, b) => Math.max(a, b)),
      rounding,
    );
    expect(measure!.min).toBeCloseTo(
      g.reduce((a, b) => Math.min(a, b)),
      rounding,
    );
    expect(measure!.mean).toBeCloseTo(g.reduce((a, b) => a + b) / g.length, 12);
    const sigma = await measure!.sigma;
    expect(sigma).toHaveLength(Math.min(tokens, inFeatures));
    const squares = g.reduce((sum, v) => sum + v * v, 0);
    expect(sigma.reduce((sum, v) => sum + v * v, 0) / squares).toBeCloseTo(1, 10);
    expect(measure!.gradient === undefined).toBe(!wantGradients);
  });
});

it("a spectrum is the same whether it comes from the factors' Gram matrices or from the gradient's", async () => {
  const [tokens, outFeatures, inFeatures, wider] = [6, 50, 7, 40];
  const x = normals(tokens, inFeatures, "x");
  // Columns of zeros widen the gradient by columns of zeros, which change no singular value.
  const padded = Float32Array.from({ length: tokens * wider }, (_, i) =>
    i % wider < inFeatures ? x[Math.floor(i / wider) * inFeatures + (i % wider)]! : 0,
  );
  const delta = tensor([tokens, outFeatures], normals(tokens, outFeatures, "delta"));
  expect([fromFactors(tokens, [outFeatures, inFeatures]), fromFactors(tokens, [outFeatures, wider])]).toEqual([false, true]);
  const factors = new FactorStatistics(onnxRuntime({ threads: 1 }), new SpectrumPool(0), new Phases(), false);
  try {
    const measures = await factors.measure([
      { name: "narrow", delta, x: tensor([tokens, inFeatures], x) },
      { name: "wide", delta, x: tensor([tokens, wider], padded) },
    ]);
    const [narrow, wide] = await Promise.all(measures.map(({ sigma }) => sigma));
    expect(narrow).toHaveLength(tokens);
    // Both routes are float64; each is exact to about ε·σ₁²/σ, and this gradient's singular values lie within a factor of ten.
    for (const [i, value] of narrow!.entries()) expect(Math.abs(value - wide![i]!) / narrow![0]!).toBeLessThan(1e-13);
  } finally {
    await factors.release();
  }
});
