import { describe, expect, it } from "vitest";
import { LayergradError } from "../errors.ts";
import {
  effectiveRank,
  frobeniusNorm,
  nuclearNorm,
  numericalRank,
  sigmaMax,
  sigmaMin,
  sigmaOneRatio,
  spectrumStatistics,
  stableRank,
} from "./statistics.ts";

describe("effective rank", () => {
  it("matches the closed form for (3, 1)", () => expect(effectiveRank([3, 1])).toBeCloseTo(4 / 3 ** 0.75, 12));
  it("counts equal values", () => expect(effectiveRank([7, 7, 7, 7, 7])).toBeCloseTo(5, 12));
  it("is 1 for one value and unchanged by zeros", () => {
    expect(effectiveRank([2e-5])).toBe(1);
    expect(effectiveRank([3, 1, 0, 0])).toBe(effectiveRank([3, 1]));
  });
  it("depends on neither order nor scale", () => {
    expect(effectiveRank([1, 3])).toBeCloseTo(effectiveRank([3, 1])!, 14);
    expect(effectiveRank([3e-9, 1e-9])).toBeCloseTo(effectiveRank([3, 1])!, 12);
  });
  it("is null where Σσ is below 1e-12, and only there", () => {
    expect(effectiveRank([0, 0])).toBeNull();
    expect(effectiveRank([4e-13, 4e-13])).toBeNull();
    expect(effectiveRank([6e-13, 6e-13])).toBeCloseTo(2, 12);
  });
});

describe("norms", () => {
  it("are Σσ, √Σσ² and max σ", () => {
    expect(nuclearNorm([3, 4])).toBe(7);
    expect(frobeniusNorm([3, 4])).toBe(5);
    expect(sigmaMax([3, 4, 1])).toBe(4);
  });
  it("do not overflow or underflow in the squares", () => {
    expect(frobeniusNorm([3e200, 4e200])).toBeCloseTo(5e200, -188);
    expect(frobeniusNorm([3e-200, 4e-200]) / 5e-200).toBeCloseTo(1, 14);
  });
  it("are 0 for a zero matrix", () => expect([nuclearNorm([0]), frobeniusNorm([0]), sigmaMax([0])]).toEqual([0, 0, 0]));
});

describe("stable rank", () => {
  it("is Σσ²/σ₁²", () => expect(stableRank([2, 1, 1])).toBe(1.5));
  it("is null for a zero matrix", () => expect(stableRank([0, 0])).toBeNull());
});

describe("rank", () => {
  it("counts values strictly above max(m, n)·2⁻²³·σ₁", () => {
    const limit = 1024 * 2 ** -23 * 2;
    expect(numericalRank([2, limit * 1.001, limit, 0], [512, 1024])).toBe(2);
  });
  it("is 0 for a zero matrix", () => expect(numericalRank([0, 0], [2, 2])).toBe(0));
});

describe("smallest singular value", () => {
  it("is the least of a full spectrum", () => expect(sigmaMin([5, 2], [2, 9])).toBe(2));
  it("is 0 where fewer values than min(m, n) are given", () => expect(sigmaMin([5, 2], [3, 9])).toBe(0));
  it("refuses more values than the matrix has", () =>
    expect(() => sigmaMin([5, 2, 1], [2, 9])).toThrow("sigma has 3 values; a 2 x 9 matrix has 2"));
});

describe("σ₁ ratio", () => {
  it("is σ₁/Σσ", () => expect(sigmaOneRatio([3, 1])).toBe(0.75));
  it("is null for 0/0", () => expect(sigmaOneRatio([0, 0, 0])).toBeNull());
});

describe("spectrum statistics", () => {
  it("carry the record schema's names", () =>
    expect(spectrumStatistics(Float64Array.of(4, 3), [6, 8])).toEqual({
      frobenius_norm: 5,
      S_sum: 7,
      S_max: 4,
      S_min: 0,
      effective_rank: effectiveRank([4, 3]),
      stable_rank: 25 / 16,
      rank: 2,
    }));
  it("name the offending entry", () => {
    expect(() => effectiveRank([1, -0.5])).toThrow("sigma[1] is -0.5");
    expect(() => nuclearNorm([1, 1, Number.NaN])).toThrow("sigma[2] is NaN");
    expect(() => spectrumStatistics(Float64Array.of(Number.POSITIVE_INFINITY), [1, 1])).toThrow("sigma[0] is Infinity");
    expect(() => stableRank([])).toThrow("sigma is empty");
    expect(() => stableRank([])).toThrow(LayergradError);
  });
});
