import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { studentQuantile, studentTailBothSides } from "./student-t.ts";

const fixture = JSON.parse(readFileSync(new URL("../../test/fixtures/statistics.json", import.meta.url), "utf8"));

describe("Student's t distribution", () => {
  // 1e-11: at thousands of degrees of freedom, logarithms of gamma functions near 10⁴ are subtracted from each other.
  it("has SciPy's tails", () => {
    for (const { degrees, x, both } of fixture.student)
      expect(Math.abs(studentTailBothSides(x, degrees) / both - 1), `x ${x}, ${degrees} degrees`).toBeLessThan(1e-11);
  });
  it("has SciPy's quantiles", () => {
    for (const { degrees, level, t } of fixture.studentQuantiles)
      expect(Math.abs(studentQuantile(level, degrees) / t - 1), `level ${level}, ${degrees} degrees`).toBeLessThan(1e-11);
  });
  it("is Cauchy's at one degree of freedom: P(|t| ≥ x) = 1 − (2/π) arctan x", () => {
    for (const x of [0.3, 1, 7]) expect(studentTailBothSides(x, 1)).toBeCloseTo(1 - (2 / Math.PI) * Math.atan(x), 14);
    expect(studentQuantile(0.5, 1)).toBeCloseTo(1, 13);
  });
  it("has all its mass beyond 0 and none beyond infinity", () => {
    expect(studentTailBothSides(0, 7)).toBe(1);
    expect(studentTailBothSides(Number.POSITIVE_INFINITY, 7)).toBe(0);
    expect(studentTailBothSides(-2, 7)).toBe(studentTailBothSides(2, 7));
  });
});
