import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { benjaminiHochberg, fcrLevel } from "./multiplicity.ts";

describe("Benjamini–Hochberg", () => {
  it("gives the q values of statsmodels, ties among them", () => {
    const { p, q } = JSON.parse(readFileSync(new URL("../../test/fixtures/statistics.json", import.meta.url), "utf8")).benjaminiHochberg;
    // Products and quotients of the same numbers in another order.
    expect(benjaminiHochberg(p)).toEqual(q.map((x: number) => expect.closeTo(x, 14)));
  });
  it("selects as the step-up rule does: the largest i with p_(i) ≤ iα/m", () => {
    const p = [0.01, 0.04, 0.03, 0.005, 0.5];
    // 0.04 ≤ 4 · 0.05 / 5, so all four are selected, 0.03 and 0.04 with them.
    expect(benjaminiHochberg(p).map((q) => q <= 0.05)).toEqual([true, true, true, true, false]);
    expect(benjaminiHochberg(p)[3]).toBeCloseTo(0.025, 15);
  });
  it("leaves a single p value alone and an empty family empty", () => {
    expect(benjaminiHochberg([0.2])).toEqual([0.2]);
    expect(benjaminiHochberg([])).toEqual([]);
  });
});

describe("the level of intervals after selection", () => {
  it("is 1 − α where all are selected, and the Bonferroni level where one is", () => {
    expect(fcrLevel(4, 4)).toBe(0.95);
    expect(fcrLevel(1, 4)).toBe(0.9875);
    expect(fcrLevel(2, 4, 0.1)).toBe(0.95);
  });
});
