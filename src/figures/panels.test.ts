import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { gridOf, spread } from "./panels.ts";

describe("spread", () => {
  it("moves overlapping labels apart, keeping their order and their mean", () => {
    expect(spread([50, 52, 10], 12, 200)).toEqual([45, 57, 10]);
  });

  it("leaves labels that lie apart", () => expect(spread([80, 10, 40], 12, 100)).toEqual([80, 10, 40]));

  it("keeps them within the panel and at least a gap apart, wherever they come from", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 100 }), { minLength: 1, maxLength: 8 }), (heights) => {
        const sorted = spread(heights, 12, 100).toSorted((a, b) => a - b);
        expect(sorted[0]).toBeGreaterThanOrEqual(0);
        expect(sorted.at(-1)).toBeLessThanOrEqual(100 + 1e-9);
        for (let i = 1; i < sorted.length; i++) expect(sorted[i]! - sorted[i - 1]!).toBeGreaterThanOrEqual(12 - 1e-9);
      }),
    );
  });
});

describe("gridOf", () => {
  it("puts panels side by side where they fit, and wraps them evenly where not", () => {
    expect(gridOf(920, 3)).toMatchObject({ columns: 3, lines: 1 });
    expect(gridOf(600, 4)).toMatchObject({ columns: 2, lines: 2 });
    expect(gridOf(280, 3)).toMatchObject({ columns: 1, lines: 3 });
  });

  it("ends at the right edge", () => {
    const grid = gridOf(920, 3, { right: 20 });
    expect(grid.x(2) + grid.panelWidth).toBeCloseTo(900, 9);
  });
});
