import { describe, expect, it } from "vitest";
import { tailProbability, tails } from "./quantile.ts";
import { seeded } from "./random.ts";

/** 1, 2 … n in a shuffled order. */
const oneTo = (n: number): Float64Array => seeded(n).shuffle(Float64Array.from({ length: n }, (_, i) => i + 1));

describe("the tails of a resampling distribution", () => {
  it("are the k-th smallest and k-th largest, k = (B + 1)(1 − level)/2", () => {
    expect(tails(oneTo(99), 0.9)).toEqual({ low: 5, high: 95 });
    expect(tails(oneTo(1999), 0.95)).toEqual({ low: 50, high: 1950 });
    expect(tails(oneTo(1999), 0.9)).toEqual({ low: 100, high: 1900 });
  });
  it("are rounded outwards where that is no whole number", () => {
    // (2000 + 1) · 0.025 = 50.025; (99 + 1) · 0.025 = 2.5.
    expect(tails(oneTo(2000), 0.95)).toEqual({ low: 50, high: 1951 });
    expect(tails(oneTo(99), 0.95)).toEqual({ low: 2, high: 98 });
  });
  it("need at least one value beyond each", () => {
    expect(tails(oneTo(39), 0.95)).toEqual({ low: 1, high: 39 });
    expect(() => tails(oneTo(38), 0.95)).toThrow("take at least 39");
  });
});

describe("the two-sided p value", () => {
  it("doubles the smaller tail, the observed value counted in", () => {
    expect(tailProbability(oneTo(99), 99.5)).toBe(0.02);
    expect(tailProbability(oneTo(99), 98)).toBe((2 * (1 + 2)) / 100);
    expect(tailProbability(oneTo(99), 50)).toBe(1);
    expect(tailProbability(oneTo(99), 2)).toBe((2 * (1 + 2)) / 100);
  });
  it("is at most α exactly for values beyond the tails of level 1 − α", () => {
    for (const resamples of [99, 150, 200])
      for (const alpha of [0.02, 0.05, 0.1]) {
        const { low, high } = tails(oneTo(resamples), 1 - alpha);
        for (let x = 0; x <= resamples + 1; x += 0.5)
          expect(tailProbability(oneTo(resamples), x) <= alpha + 1e-12, `${x} of ${resamples} at ${alpha}`).toBe(x < low || x > high);
      }
  });
});
