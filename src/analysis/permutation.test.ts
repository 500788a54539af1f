import { describe, expect, it } from "vitest";
import type { Block } from "./bootstrap.ts";
import { exchangeabilityTest, swapTest } from "./permutation.ts";
import { seeded } from "./random.ts";

const paired = (a: readonly number[], b: readonly number[], columns = 1): Block[] => [
  {
    n: a.length / columns,
    arms: [
      { arm: 0, weight: 1, values: Float64Array.from(a) },
      { arm: 1, weight: 1, values: Float64Array.from(b) },
    ],
  },
];
const unpaired = (a: readonly number[], b: readonly number[], weight = 1, stratum?: string): Block[] =>
  [a, b].map((values, arm) => ({
    n: values.length,
    ...(stratum === undefined ? {} : { stratum }),
    arms: [{ arm, weight, values: Float64Array.from(values) }],
  }));
const sum = (values: readonly number[]): number => values.reduce((total, x) => total + x, 0);
/** Four standard errors of a share p over m permutations, and the 1/m of the identity's own. */
const monteCarlo = (p: number, m: number): number => 4 * Math.sqrt((p * (1 - p)) / m) + 1 / m;
const relativeDistance = ([a, b]: readonly Float64Array[]): number =>
  sum([...a!].map((x, i) => Math.abs(x - b![i]!) / Math.abs(x))) / a!.length;

describe("swapping two arms within questions", () => {
  const a = [4, 7, 5, 8, 6, 9, 4, 6];
  const b = [3, 6, 4, 7, 7, 6, 2, 4];

  it("gives the p value and the null's quantile of all 256 sign flips of eight pairs", () => {
    const all: number[] = [];
    for (let code = 0; code < 256; code++) {
      const swapped = (i: number): boolean => ((code >> i) & 1) === 1;
      const [x, y] = [a.map((v, i) => (swapped(i) ? b[i]! : v)), b.map((v, i) => (swapped(i) ? a[i]! : v))];
      all.push((sum(x) - sum(y)) / 8);
    }
    const permutations = 20_000;
    const test = swapTest(paired(a, b), 0, 1, ([x, y]) => x![0]! - y![0]!, { seed: 1, permutations });
    const exact = all.filter((t) => t >= 10 / 8).length / 256;
    expect(test).toMatchObject({ value: 10 / 8, permutations, n: 8 });
    // All larger values in arm a, or all but one of the five pairs that differ by 1.
    expect(exact).toBe(6 / 256);
    expect(Math.abs(test.p - exact)).toBeLessThan(monteCarlo(exact, permutations));
    all.sort((x, y) => x - y);
    // The 244th of 256 ties with the 239th to the 250th: Monte Carlo error cannot move the quantile.
    expect([all[238], all[249]]).toEqual([1, 1]);
    expect(test.nullQuantile95).toBeCloseTo(1, 12);
  });

  it("recomputes both curves: RD of two columns over all 16 swaps of four pairs", () => {
    const [x, y] = [
      [2, 5, 3, 4, 2, 6, 4, 4],
      [1, 7, 2, 6, 2, 9, 3, 3],
    ];
    const rd = (code: number): number => {
      const mean = (one: readonly number[], other: readonly number[], c: number): number =>
        sum([0, 1, 2, 3].map((i) => ((code >> i) & 1 ? other[2 * i + c]! : one[2 * i + c]!))) / 4;
      return sum([0, 1].map((c) => Math.abs(mean(x, y, c) - mean(y, x, c)) / mean(x, y, c))) / 2;
    };
    const all = Array.from({ length: 16 }, (_, code) => rd(code));
    const exact = all.filter((t) => t >= all[0]! - 1e-12).length / 16;
    const permutations = 20_000;
    const test = swapTest(paired(x, y, 2), 0, 1, relativeDistance, { seed: 2, permutations });
    expect(test.value).toBeCloseTo(all[0]!, 14);
    expect(Math.abs(test.p - exact)).toBeLessThan(monteCarlo(exact, permutations));
    expect(test.nullQuantile95).toBeCloseTo(Math.max(...all), 14);
  });

  it("leaves other arms as they are", () => {
    const [block] = paired(a, b);
    const third = { arm: 2, weight: 1, values: Float64Array.from({ length: 8 }, (_, i) => i) };
    swapTest(
      [{ n: 8, arms: [...block!.arms, third] }],
      0,
      1,
      (means) => {
        expect(means[2]![0]).toBe(3.5);
        return 0;
      },
      { seed: 1, permutations: 10 },
    );
  });

  it("gives p = 1 where nothing differs", () => {
    expect(swapTest(paired(a, a), 0, 1, relativeDistance, { seed: 1 })).toMatchObject({ value: 0, p: 1, nullQuantile95: 0 });
  });

  it("repeats to the bit with its seed", () => {
    const run = (seed: string): unknown => swapTest(paired(a, b), 0, 1, relativeDistance, { seed });
    expect(run("s")).toEqual(run("s"));
    expect(run("s")).not.toEqual(run("t"));
  });

  it("refuses arms that are not paired", () => {
    expect(() => swapTest(unpaired(a, b), 0, 1, relativeDistance, { seed: 1 })).toThrow("only one of the arms 0 and 1");
    const [block] = paired(a, b);
    const uneven = [0.4, 0.6].map((weight) => ({
      n: 8,
      arms: block!.arms.map((arm) => ({ ...arm, weight: arm.arm === 0 ? weight : 1 - weight })),
    }));
    expect(() => swapTest(uneven, 0, 1, relativeDistance, { seed: 1 })).toThrow("a pair has one");
  });
});

describe("the test of exchangeability", () => {
  it("gives the p value of all 70 ways to relabel four and four rows", () => {
    const [a, b] = [
      [5, 9, 7, 8],
      [4, 6, 5, 3],
    ];
    const rows = [...a, ...b];
    let extreme = 0;
    for (let code = 0; code < 256; code++) {
      const chosen = rows.filter((_, i) => (code >> i) & 1);
      if (chosen.length === 4 && Math.abs(2 * sum(chosen) - sum(rows)) >= sum(a) - sum(b)) extreme++;
    }
    const permutations = 20_000;
    const [test] = exchangeabilityTest(unpaired(a, b), 0, 1, { seed: 1, permutations });
    expect(test).toMatchObject({ value: 11 / 4, n: 4 });
    expect(Math.abs(test!.p - extreme / 70)).toBeLessThan(monteCarlo(extreme / 70, permutations));
  });

  it("relabels within strata: 3 × 3 ways of two strata with one row of arm a and two of arm b each", () => {
    const strata = [unpaired([9], [1, 2], 0.5, "first"), unpaired([4], [8, 3], 0.5, "second")];
    const ways = (rows: readonly number[]): number[] => rows.map((x) => 0.5 * (x - (sum(rows) - x) / 2));
    const all = ways([9, 1, 2]).flatMap((x) => ways([4, 8, 3]).map((y) => x + y));
    const observed = 0.5 * (9 - 1.5) + 0.5 * (4 - 5.5);
    const exact = all.filter((t) => Math.abs(t) >= observed).length / 9;
    const permutations = 20_000;
    const [test] = exchangeabilityTest(strata.flat(), 0, 1, { seed: 1, permutations });
    expect(test!.value).toBe(observed);
    expect(Math.abs(test!.p - exact)).toBeLessThan(monteCarlo(exact, permutations));
    // As one stratum, relabelled across, the same rows have another p.
    const [across] = exchangeabilityTest(
      strata.flat().map(({ n, arms }) => ({ n, arms })),
      0,
      1,
      { seed: 1, permutations },
    );
    expect(Math.abs(across!.p - exact)).toBeGreaterThan(monteCarlo(exact, permutations));
  });

  it("is two-sided: changing the arms' places negates the value and keeps p, paired or not", () => {
    const random = seeded("places");
    const [a, b] = [0, 1].map((k) => Array.from({ length: 24 }, () => k + 2 * random.normal()));
    for (const make of [paired, (x: number[], y: number[]) => unpaired(x, y)]) {
      const [forth] = exchangeabilityTest(make(a!, b!), 0, 1, { seed: 1, permutations: 10_000 });
      const [back] = exchangeabilityTest(make(b!, a!), 0, 1, { seed: 1, permutations: 10_000 });
      expect(back!.value).toBeCloseTo(-forth!.value, 12);
      expect(Math.abs(back!.p - forth!.p)).toBeLessThan(2 * monteCarlo(forth!.p, 10_000));
    }
  });

  it("rejects a true null about as often as it says", () => {
    const random = seeded("size");
    const [columns, trials] = [50, 20];
    let rejected = 0;
    for (let trial = 0; trial < trials; trial++) {
      const draw = (): number[] => Array.from({ length: 10 * columns }, () => Math.exp(random.normal()));
      rejected += exchangeabilityTest(paired(draw(), draw(), columns), 0, 1, { seed: trial, permutations: 199 }).filter(
        ({ p }) => p <= 0.05,
      ).length;
    }
    // 5 % of 1000 within four binomial standard errors.
    expect(Math.abs(rejected / 1000 - 0.05)).toBeLessThan(0.028);
  });
});
