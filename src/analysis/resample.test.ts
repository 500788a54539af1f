import { describe, expect, it } from "vitest";
import { seeded } from "./random.ts";
import { drawWithReplacement, newDraw, weightedSum } from "./resample.ts";

describe("a draw with replacement", () => {
  it("names each drawn row once, in order, and its counts sum to n", () => {
    const random = seeded("draw");
    const draw = newDraw(20);
    const counts = new Float64Array(20);
    for (let k = 0; k < 50; k++) {
      drawWithReplacement(random, counts, draw);
      const rows = [...draw.rows.subarray(0, draw.length)];
      expect(rows).toEqual([...new Set(rows)].sort((a, b) => a - b));
      expect(draw.weights.subarray(0, draw.length).every((w) => w >= 1)).toBe(true);
      expect(draw.weights.subarray(0, draw.length).reduce((a, b) => a + b)).toBe(20);
    }
  });
  it("draws every row once on average, and leaves out (1 − 1/n)ⁿ of them", () => {
    const random = seeded("average");
    const [n, draws] = [10, 20_000];
    const draw = newDraw(n);
    const counts = new Float64Array(n);
    const total = new Float64Array(n);
    let distinct = 0;
    for (let k = 0; k < draws; k++) {
      drawWithReplacement(random, counts, draw);
      distinct += draw.length;
      counts.forEach((count, row) => (total[row]! += count));
    }
    // Four standard errors of a mean of binomial counts, √(1 − 1/n), and of the number of distinct rows, below 1.
    for (const sum of total) expect(Math.abs(sum / draws - 1)).toBeLessThan((4 * Math.sqrt(0.9)) / Math.sqrt(draws));
    expect(Math.abs(distinct / draws - n * (1 - 0.9 ** n))).toBeLessThan(4 / Math.sqrt(draws));
  });
});

describe("a weighted sum of rows", () => {
  it("is the plain sum for any number of rows, also none and such as four does not divide", () => {
    const columns = 3;
    // Small whole numbers add up without rounding, in any order.
    const values = Float64Array.from({ length: 12 * columns }, (_, i) => (i * 7) % 11);
    for (let length = 0; length <= 12; length++) {
      const rows = Int32Array.from({ length: 12 }, (_, k) => (k * 5) % 12);
      const weights = Float64Array.from({ length: 12 }, (_, k) => (k % 4) - 1);
      const out = new Float64Array(columns).fill(99);
      weightedSum({ rows, weights, length }, values, out);
      const plain = [0, 1, 2].map((c) =>
        Array.from({ length }, (_, k) => weights[k]! * values[rows[k]! * columns + c]!).reduce((a, b) => a + b, 0),
      );
      expect([...out]).toEqual(plain);
    }
  });
});
