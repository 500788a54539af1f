import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  type Block,
  differenceEstimates,
  type Estimate,
  exponential,
  functionalEstimates,
  meanEstimates,
  ratioEstimates,
} from "./bootstrap.ts";
import { meanAbsoluteDifference } from "./curves.ts";
import { seeded } from "./random.ts";

interface Expected {
  readonly value: number;
  readonly low: number;
  readonly high: number;
  readonly p?: number | null;
}
interface Case {
  readonly name: string;
  readonly blocks: readonly { n: number; arms: { arm: number; weight: number; values: number[] }[] }[];
  readonly seed: string;
  readonly resamples: number;
  readonly level: number;
  readonly floor: (number | null)[];
  readonly mean: Expected[];
  readonly difference: Expected[];
  readonly ratio: Expected[];
  readonly functional: Expected[];
}
const cases: readonly Case[] = JSON.parse(readFileSync(new URL("../../test/fixtures/statistics.json", import.meta.url), "utf8")).bootstrap;

const block = (n: number, ...arms: (readonly number[] | Float64Array)[]): Block => ({
  n,
  arms: arms.map((values, arm) => ({ arm, weight: 1, values: Float64Array.from(values) })),
});
/** Log-normal values of log standard deviation 0.6. */
function logNormal(seed: string, count: number): Float64Array {
  const random = seeded(seed);
  return Float64Array.from({ length: count }, () => Math.exp(0.6 * random.normal()));
}
/** MAD of arm 0, RD of arms 0 and 1, difference of the two MADs: those of the fixture. */
function madRdDifference([a, b]: readonly Float64Array[]): number[] {
  const mads = [a!, b!].map((curve) => meanAbsoluteDifference([...curve])!);
  const rd = [...a!].reduce((sum, x, i) => sum + Math.abs(x - b![i]!) / Math.abs(x), 0) / a!.length;
  return [mads[0]!, rd, mads[0]! - mads[1]!];
}

/** NumPy adds in another order and forms variances without our rearrangements: agreement is to rounding, magnified by SE* near 0. */
function expectAgreement(estimates: readonly Estimate[], expected: readonly Expected[]): void {
  const close = (a: number, b: number): void => expect(Math.abs(a - b)).toBeLessThanOrEqual(1e-10 * Math.max(1, Math.abs(b)));
  expect(estimates.length).toBe(expected.length);
  estimates.forEach((estimate, k) => {
    const { value, low, high, p = null } = expected[k]!;
    close(estimate.value, value);
    close(estimate.interval!.low, low);
    close(estimate.interval!.high, high);
    expect(estimate.p).toEqual(p === null ? null : expect.closeTo(p, 12));
  });
}

describe.each(cases)(
  "on the same draws ($name), an independent NumPy computation gives the same",
  ({ blocks: plain, floor, ...expected }) => {
    const blocks: Block[] = plain.map(({ n, arms }) => ({ n, arms: arms.map((a) => ({ ...a, values: Float64Array.from(a.values) })) }));
    it("means", () => expectAgreement(meanEstimates(blocks, 0, expected), expected.mean));
    it("differences", () => expectAgreement(differenceEstimates(blocks, 0, 1, expected), expected.difference));
    it("ratios", () => expectAgreement(ratioEstimates(blocks, 0, 1, expected), expected.ratio));
    it("MAD, RD and a difference of MADs", () =>
      expectAgreement(functionalEstimates(blocks, madRdDifference, { ...expected, floor }), expected.functional));
  },
);

describe("the bootstrap-t", () => {
  const a = logNormal("a", 3 * 25);
  const b = logNormal("b", 3 * 25).map((x, i) => x * a[i]! * 1.5);
  const paired = [block(25, a, b)];
  const options = { seed: 1, resamples: 999 };

  it("repeats to the bit with its seed, and does not with another", () => {
    expect(differenceEstimates(paired, 0, 1, options)).toEqual(differenceEstimates(paired, 0, 1, options));
    expect(differenceEstimates(paired, 0, 1, options)[0]!.interval).not.toEqual(
      differenceEstimates(paired, 0, 1, { ...options, seed: 2 })[0]!.interval,
    );
  });

  it("gives a column the same alone and among others", () => {
    const second = (values: Float64Array): Float64Array => values.filter((_, i) => i % 3 === 1);
    const alone = [block(25, second(a), second(b))];
    for (const estimates of [differenceEstimates, ratioEstimates])
      expect(estimates(alone, 0, 1, options)[0]).toEqual(estimates(paired, 0, 1, options)[1]);
    expect(meanEstimates(alone, 1, options)[0]).toEqual(meanEstimates(paired, 1, options)[1]);
  });

  it("goes with the scale of the data: a power of two to the bit", () => {
    const scaled = [
      block(
        25,
        a.map((x) => 8 * x),
        b.map((x) => 8 * x),
      ),
    ];
    const [one, eight] = [differenceEstimates(paired, 0, 1, options)[0]!, differenceEstimates(scaled, 0, 1, options)[0]!];
    expect(eight.interval).toEqual({ low: 8 * one.interval!.low, high: 8 * one.interval!.high });
    expect(eight.p).toBe(one.p);
    expect(ratioEstimates(scaled, 0, 1, options)).toEqual(ratioEstimates(paired, 0, 1, options));
  });

  it("negates a difference and inverts a ratio when the arms change places", () => {
    const [forth, back] = [differenceEstimates(paired, 0, 1, options)[0]!, differenceEstimates(paired, 1, 0, options)[0]!];
    expect(back.interval!.low).toBeCloseTo(-forth.interval!.high, 12);
    expect(back.interval!.high).toBeCloseTo(-forth.interval!.low, 12);
    expect(back.p).toBe(forth.p);
    const [ratio, inverse] = [ratioEstimates(paired, 0, 1, options)[0]!, ratioEstimates(paired, 1, 0, options)[0]!];
    expect(inverse.interval!.low).toBeCloseTo(1 / ratio.interval!.high, 12);
    expect(inverse.interval!.high).toBeCloseTo(1 / ratio.interval!.low, 12);
    expect(inverse.p).toBe(ratio.p);
  });

  it("comes to Student's interval for normal data", () => {
    const random = seeded("normal");
    const n = 400;
    const values = Float64Array.from({ length: n }, () => 10 + random.normal());
    const { value, interval } = meanEstimates([block(n, values)], 0, { seed: 1, resamples: 20_000 })[0]!;
    const error = Math.sqrt(values.reduce((sum, x) => sum + (x - value) ** 2, 0) / (n - 1) / n);
    // 1.966 standard errors. The quantile's own Monte Carlo error at 20,000 resamples is 0.019; the sample's skewness moves it as much.
    expect(Math.abs((value - interval!.low) / error - 1.966)).toBeLessThan(0.1);
    expect(Math.abs((interval!.high - value) / error - 1.966)).toBeLessThan(0.1);
  });

  it("has ends at the exact quantiles over all 256 resamples of four questions", () => {
    const values = [1, 2, 4, 9];
    const mean = 4;
    const error = Math.sqrt(38 / 3 / 4);
    const t: number[] = [];
    for (let code = 0; code < 256; code++) {
      const drawn = [0, 2, 4, 6].map((shift) => values[(code >> shift) & 3]!);
      const m = drawn.reduce((sum, x) => sum + x) / 4;
      const se = Math.sqrt(drawn.reduce((sum, x) => sum + (x - m) ** 2, 0) / 3 / 4);
      t.push(m === mean ? 0 : (m - mean) / se);
    }
    t.sort((x, y) => x - y);
    // At 80 %, the tails' 25.6th values. Equal resamples in another order tie, and no step of the distribution lies within Monte Carlo error of 10 %.
    const { interval } = meanEstimates([block(4, values)], 0, { seed: 3, resamples: 40_000, level: 0.8 })[0]!;
    expect(interval!.low).toBeCloseTo(mean - t[255 - 25]! * error, 12);
    expect(interval!.high).toBeCloseTo(mean - t[25]! * error, 12);
  });

  it("gives p at most 1 − level exactly where the interval leaves the null value out", () => {
    const random = seeded("p");
    let outside = 0;
    for (let trial = 0; trial < 60; trial++) {
      const values = Float64Array.from({ length: 12 }, () => 0.6 + random.normal());
      const blocks = [block(12, values, new Float64Array(12))];
      const { interval, p } = differenceEstimates(blocks, 0, 1, { seed: trial, resamples: 200 })[0]!;
      expect(p! <= 0.05).toBe(interval!.low > 0 || interval!.high < 0);
      if (p! <= 0.05) outside++;
    }
    expect(outside).toBeGreaterThan(5);
    expect(outside).toBeLessThan(55);
  });

  it("covers the mean of normal data about as often as it says", () => {
    const random = seeded("coverage");
    const trials = 400;
    let covered = 0;
    for (let trial = 0; trial < trials; trial++) {
      const values = Float64Array.from({ length: 30 }, () => random.normal());
      const { low, high } = meanEstimates([block(30, values)], 0, { seed: trial, resamples: 399 })[0]!.interval!;
      if (low <= 0 && 0 <= high) covered++;
    }
    // 95 % within four binomial standard errors of 1.1 %.
    expect(Math.abs(covered / trials - 0.95)).toBeLessThan(0.044);
  });

  it("says how many questions it rests on, and that fewer than 30 are approximate", () => {
    const unpaired: Block[] = [block(25, a), { n: 30, arms: [{ arm: 1, weight: 1, values: logNormal("c", 90) }] }];
    expect(differenceEstimates(unpaired, 0, 1, options)[0]).toMatchObject({ n: 25, approximate: true, method: "bootstrap-t", level: 0.95 });
    expect(meanEstimates(unpaired, 1, options)[0]).toMatchObject({ n: 30, approximate: false, p: null });
  });

  it("has no interval where one or few questions can give none, and does not hide it", () => {
    for (const n of [1, 2, 3])
      expect(differenceEstimates([block(n, a.subarray(0, n), b.subarray(0, n))], 0, 1, options)[0]).toMatchObject({
        interval: null,
        p: null,
      });
    expect(differenceEstimates([block(4, a.subarray(0, 4), b.subarray(0, 4))], 0, 1, options)[0]!.interval).not.toBeNull();
    expect(ratioEstimates([block(1, [1], [2])], 0, 1, options)[0]).toMatchObject({ value: 0.5, interval: null, p: null });
  });

  it("gives a run compared with itself the point 0 (ratio 1) and p = 1; a constant difference its point and no p", () => {
    expect(differenceEstimates([block(25, a, a)], 0, 1, options)[0]).toMatchObject({ value: 0, interval: { low: 0, high: 0 }, p: 1 });
    expect(ratioEstimates([block(25, a, a)], 0, 1, options)[0]).toMatchObject({ value: 1, interval: { low: 1, high: 1 }, p: 1 });
    const [three] = differenceEstimates([block(5, [4, 5, 6, 7, 8], [1, 2, 3, 4, 5])], 0, 1, options);
    expect(three).toMatchObject({ value: 3, interval: { low: 3, high: 3 }, p: null });
  });

  it("is approximate, too, where a pooled data set has fewer than five questions", () => {
    const pool = (n: number): Block[] =>
      [40, n].map((size) => ({ n: size, arms: [{ arm: 0, weight: 0.5, values: logNormal(`${size}`, size) }] }));
    expect([4, 5].map((n) => meanEstimates(pool(n), 0, options)[0]!.approximate)).toEqual([true, false]);
  });

  it("gives a ratio no interval whose ends are beyond what a number holds", () => {
    const log = { value: 0, p: 0.5, method: "jackknife-t", level: 0.95, n: 2, approximate: true } as const;
    for (const [low, high] of [
      [-1, 800],
      [-800, 1],
    ] as const)
      expect(exponential({ ...log, interval: { low, high } })).toEqual({ ...log, value: 1, interval: null });
    expect(exponential({ ...log, interval: { low: 0, high: Math.log(2) } }).interval).toEqual({ low: 1, high: 2 });
  });

  it("gives the ratio of means that are not positive no interval", () => {
    expect(ratioEstimates([block(5, [1, 2, 3, 4, 5], [-1, 0, 0, 0, 0])], 0, 1, options)[0]).toMatchObject({
      value: -15,
      interval: null,
      p: null,
    });
  });

  it("asks for more resamples where the level needs them", () => {
    expect(() => meanEstimates(paired, 0, { seed: 1, resamples: 100, level: 0.99 })).toThrow("take at least 199");
  });
});

describe("the basic bootstrap", () => {
  it("mirrors the exact quantiles over all 46,656 resamples of six questions, cut at the floor", () => {
    const rows = [
      [1, 3.31],
      [2.03, 2],
      [4, 1.17],
      [9.09, 5],
      [3, 4.47],
      [6.71, 5],
    ];
    const mad = (curve: ArrayLike<number>): number => Math.abs(curve[1]! - curve[0]!);
    const all: number[] = [];
    for (let code = 0; code < 6 ** 6; code++) {
      const drawn = [0, 1, 2, 3, 4, 5].map((digit) => rows[Math.floor(code / 6 ** digit) % 6]!);
      all.push(mad([0, 1].map((c) => drawn.reduce((sum, row) => sum + row[c]!, 0) / 6)));
    }
    all.sort((x, y) => x - y);
    const blocks = [block(6, rows.flat())];
    const functional = ([curve]: readonly Float64Array[]): number[] => [mad(curve!), mad(curve!)];
    const [free, cut] = functionalEstimates(blocks, functional, { seed: 5, resamples: 40_000, level: 0.8, floor: [null, 0] });
    const doubled = 2 * free!.value;
    expect(free!.value).toBeCloseTo(mad([25.83 / 6, 20.95 / 6]), 12);
    // At 80 %, the tails' 4665.6th values; a Monte Carlo error of their rank, 4 · √(0.1 · 0.9 / 40,000) of all, is what they may differ by.
    const at = (rank: number): number => doubled - all[Math.round(rank * all.length)]!;
    expect(free!.interval!.low).toBeGreaterThan(at(0.906));
    expect(free!.interval!.low).toBeLessThan(at(0.894));
    expect(free!.interval!.high).toBeGreaterThan(at(0.106));
    expect(free!.interval!.high).toBeLessThan(at(0.094));
    expect(free!.interval!.low).toBeLessThan(0);
    expect(cut!.interval).toEqual({ low: 0, high: free!.interval!.high });
    // p by inversion: twice the share of resamples at which 2θ̂ − θ* ≤ 0; within four of its Monte Carlo standard errors.
    const exact = (2 * all.filter((x) => doubled - x <= 1e-12).length) / all.length;
    expect(Math.abs(free!.p! - exact)).toBeLessThan(4 * 2 * Math.sqrt(((exact / 2) * (1 - exact / 2)) / 40_000));
    expect(cut!.p).toBeNull();
  });

  it("keeps conditions of one question together: the difference of a condition and its copy is always 0", () => {
    const a = logNormal("twin", 20);
    const [estimate] = functionalEstimates([block(20, a, a)], ([x, y]) => [x![0]! - y![0]!], { seed: 1 });
    expect(estimate).toMatchObject({ value: 0, interval: { low: 0, high: 0 }, p: 1 });
  });

  it("has no interval from five questions or fewer, nor from a block of two; of pooled sets the questions beyond the first count", () => {
    const sets = (...sizes: number[]): unknown => {
      const blocks = sizes.map((n): Block => ({ n, arms: [{ arm: 0, weight: 1 / sizes.length, values: logNormal(`${n}`, n) }] }));
      return functionalEstimates(blocks, ([x]) => [x![0]!], { seed: 1, resamples: 100 })[0]!.interval;
    };
    for (const sizes of [[5], [2, 10], [3, 3], [2, 2, 2, 2, 2, 2]]) expect(sets(...sizes)).toBeNull();
    for (const sizes of [[6], [3, 4], [3, 3, 3]]) expect(sets(...sizes)).not.toBeNull();
  });

  it("has no interval for a component that does not exist, nor from one question", () => {
    const blocks = [block(6, [1, 2, 3, 4, 5, 6])];
    expect(functionalEstimates(blocks, () => [Number.NaN], { seed: 1 })[0]).toMatchObject({ value: Number.NaN, interval: null, p: null });
    expect(functionalEstimates([block(1, [1])], ([x]) => [x![0]!], { seed: 1 })[0]).toMatchObject({ value: 1, interval: null, p: null });
  });
});
