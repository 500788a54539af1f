import { describe, expect, it } from "vitest";
import { armMeans, type Block, questionsOf } from "./blocks.ts";

const block = (n: number, ...arms: (readonly number[])[]): Block => ({
  n,
  arms: arms.map((values, arm) => ({ arm, weight: 1, values: Float64Array.from(values) })),
});

describe("the means of arms", () => {
  it("weigh the means of blocks, not their rows", () => {
    const blocks: Block[] = [
      { n: 1, arms: [{ arm: 1, weight: 0.5, values: Float64Array.of(2, 4) }] },
      { n: 3, arms: [{ arm: 1, weight: 0.5, values: Float64Array.of(3, 0, 6, 0, 9, 0) }] },
    ];
    expect(armMeans(blocks).map((mean) => [...mean])).toEqual([
      [0, 0],
      [4, 2],
    ]);
  });
  it("refuse a value that is not finite, and say where it is", () => {
    expect(() => armMeans([block(2, [1, 2, 3, Number.NaN])])).toThrow("blocks[0], arm 0: row 1, column 1 is NaN");
  });
  it("refuse weights that do not sum to 1 and values of another shape", () => {
    expect(() => armMeans([{ n: 1, arms: [{ arm: 0, weight: 0.5, values: Float64Array.of(1) }] }])).toThrow("sum to 0.5");
    expect(() => armMeans([block(2, [1, 2], [1, 2, 3])])).toThrow("3 values for 2 questions and 1 columns");
  });
});

describe("the questions of an arm", () => {
  it("are those of the blocks that carry it", () => {
    const blocks = [block(3, [1, 2, 3], [4, 5, 6]), block(2, [7, 8])];
    expect([0, 1, 2].map((arm) => questionsOf(blocks, arm))).toEqual([5, 3, 0]);
  });
});
