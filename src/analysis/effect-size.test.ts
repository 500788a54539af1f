import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { cliffsDelta, pairedD } from "./effect-size.ts";

const fixture = JSON.parse(readFileSync(new URL("../../test/fixtures/statistics.json", import.meta.url), "utf8"));

describe("d of paired differences", () => {
  it("is NumPy's mean over standard deviation", () => {
    expect(pairedD(fixture.pairedD.differences)).toBeCloseTo(fixture.pairedD.d, 13);
  });
  it("is 2 for (1, 2, 3), without a unit", () => {
    expect(pairedD([1, 2, 3])).toBe(2);
    expect(pairedD(Float64Array.of(-0.5, -1, -1.5))).toBe(-2);
  });
  it("is null where differences do not vary, or are fewer than two", () => {
    expect(pairedD([0.1, 0.1, 0.1])).toBeNull();
    expect(pairedD([0, 0])).toBeNull();
    expect(pairedD([3])).toBeNull();
  });
});

describe("Cliff's delta", () => {
  it("is that of SciPy's Mann–Whitney U, 2U/nm − 1, ties among the values", () => {
    const { a, b, delta } = fixture.cliffsDelta;
    expect(cliffsDelta(a, b)).toBeCloseTo(delta, 14);
    expect(cliffsDelta(b, a)).toBeCloseTo(-delta, 14);
  });
  it("is 1 where all of a lie above all of b, 0 for equal values", () => {
    expect(cliffsDelta([5, 6], [1, 2, 3])).toBe(1);
    expect(cliffsDelta([1, 2, 3], [5])).toBe(-1);
    expect(cliffsDelta([2, 2], [2, 2, 2])).toBe(0);
  });
  it("is null of nothing", () => {
    expect(cliffsDelta([], [1])).toBeNull();
    expect(cliffsDelta([1], [])).toBeNull();
  });
});
