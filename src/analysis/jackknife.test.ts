import { describe, expect, it } from "vitest";
import type { Block } from "./blocks.ts";
import { jackknifeEstimates } from "./jackknife.ts";
import { seeded } from "./random.ts";
import { studentQuantile, studentTailBothSides } from "./student-t.ts";

const random = seeded("jackknife");
const normal = (n: number, mean: number): Float64Array => Float64Array.from({ length: n }, () => mean + random.normal());
const block = (arm: number, values: Float64Array, weight = 1): Block => ({ n: values.length, arms: [{ arm, weight, values }] });
const mean = (values: ArrayLike<number>): number => Array.from(values).reduce((a, b) => a + b, 0) / values.length;
const variance = (values: ArrayLike<number>): number => {
  const m = mean(values);
  return Array.from(values).reduce((sum, x) => sum + (x - m) ** 2, 0) / (values.length - 1);
};

describe("the jackknife-t", () => {
  it("of a mean is Student's one-sample t, in closed form", () => {
    const values = normal(9, 0.5);
    const error = Math.sqrt(variance(values) / 9);
    const [estimate] = jackknifeEstimates([block(0, values)], ([m]) => [m![0]!], { level: 0.9 });
    expect(estimate!.value).toBeCloseTo(mean(values), 13);
    expect(estimate!.interval!.high).toBeCloseTo(mean(values) + studentQuantile(0.9, 8) * error, 12);
    expect(estimate!.p).toBeCloseTo(studentTailBothSides(mean(values) / error, 8), 12);
    expect(estimate).toMatchObject({ method: "jackknife-t", level: 0.9, n: 9, approximate: true });
  });

  it("adds the variances of weighted strata and of unpaired arms, with Σ (n − 1) degrees of freedom", () => {
    const [a, b, c] = [normal(7, 1), normal(4, 2), normal(12, 0)];
    const blocks = [block(0, a, 0.25), block(0, b, 0.75), block(1, c)];
    const error = Math.sqrt((0.25 ** 2 * variance(a)) / 7 + (0.75 ** 2 * variance(b)) / 4 + variance(c) / 12);
    const value = 0.25 * mean(a) + 0.75 * mean(b) - mean(c);
    const [estimate] = jackknifeEstimates(blocks, ([x, y]) => [x![0]! - y![0]!]);
    expect(estimate!.interval!.low).toBeCloseTo(value - studentQuantile(0.95, 20) * error, 12);
    expect(estimate!.p).toBeCloseTo(studentTailBothSides(value / error, 20), 12);
    expect([estimate!.n, estimate!.approximate]).toEqual([11, true]);
  });

  it("leaves a question out with all its conditions, of a function that is not linear", () => {
    const values = [normal(6, 10), normal(6, 10)] as const;
    const paired: Block = { n: 6, arms: values.map((arm, k) => ({ arm: k, weight: 1, values: arm })) };
    const log = (x: ArrayLike<number>, y: ArrayLike<number>): number => Math.log(mean(x) / mean(y));
    const without = Array.from({ length: 6 }, (_, i) =>
      log(...(values.map((v) => v.filter((_, j) => j !== i)) as [Float64Array, Float64Array])),
    );
    const error = Math.sqrt((25 / 6) * variance(without));
    const [estimate] = jackknifeEstimates([paired], ([x, y]) => [Math.log(x![0]! / y![0]!)]);
    expect(estimate!.interval!.high - estimate!.value).toBeCloseTo(studentQuantile(0.95, 5) * error, 12);
  });

  it("has an interval from two questions, none from one in a block, nor for what does not exist", () => {
    const of = (...sizes: number[]) =>
      jackknifeEstimates(
        sizes.map((n) => block(0, normal(n, 0), 1 / sizes.length)),
        ([m]) => [m![0]!, Number.NaN],
      );
    expect(of(2)[0]!.interval).not.toBeNull();
    for (const estimate of [of(1)[0], of(5, 1)[0], of(5)[1]]) expect(estimate).toMatchObject({ interval: null, p: null });
  });

  it("gives a condition and its copy the point 0 and p = 1, a constant difference its point and no p", () => {
    const values = normal(8, 3);
    const against = (by: number): Block => ({
      n: 8,
      arms: [
        { arm: 0, weight: 1, values },
        { arm: 1, weight: 1, values: values.map((x) => x - by) },
      ],
    });
    const difference = (by: number) => jackknifeEstimates([against(by)], ([x, y]) => [x![0]! - y![0]!])[0];
    expect(difference(0)).toMatchObject({ value: 0, interval: { low: 0, high: 0 }, p: 1 });
    expect(difference(2)!.p).toBeNull();
  });
});
