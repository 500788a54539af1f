import { describe, expect, it } from "vitest";
import { runTable } from "../../test/run-table.ts";
import {
  isComplete,
  layersOf,
  mean,
  meanAbsoluteDifference,
  meanCurve,
  relativeDifference,
  relativeDifferences,
  relativeMad,
  segmentMads,
  segments,
  symmetricDifference,
  topLayers,
} from "./curves.ts";

describe("the mean absolute difference of a curve", () => {
  it("is the mean of the steps, taken without sign", () => {
    expect(meanAbsoluteDifference([1, 3, 2])).toBe(1.5);
    expect(meanAbsoluteDifference([0, -4, 0, 4])).toBe(4);
  });
  it("is the slope of a straight line, 0 of a level one", () => {
    expect(meanAbsoluteDifference(Array.from({ length: 30 }, (_, i) => 5 - 0.25 * i))).toBe(0.25);
    expect(meanAbsoluteDifference([7, 7, 7])).toBe(0);
  });
  it("does not change with an added constant or the curve's direction, and grows with its scale", () => {
    const curve = [1, 4, 1, 5, 9, 2, 6];
    const mad = meanAbsoluteDifference(curve)!;
    expect(meanAbsoluteDifference(curve.map((c) => c + 64))).toBe(mad);
    expect(meanAbsoluteDifference(curve.toReversed())).toBe(mad);
    expect(meanAbsoluteDifference(curve.map((c) => -8 * c))).toBe(8 * mad);
  });
  it("is null for fewer than two layers", () => {
    expect(meanAbsoluteDifference([3])).toBeNull();
    expect(meanAbsoluteDifference([])).toBeNull();
  });
});

describe("segments", () => {
  it.each([
    [26, 7, 20],
    [28, 7, 21],
    [32, 10, 20],
    [42, 12, 30],
  ])("of %i layers are cut at %i and %i, as the paper cuts its own models", (layers, a, b) => {
    expect(segments(layers)).toEqual([
      [0, a],
      [a, b],
      [b, layers],
    ]);
  });
  it.each([
    [12, 3, 9],
    [30, 8, 23],
    [24, 6, 18],
    [36, 9, 27],
    [5, 1, 4],
    [2, 1, 2],
    [1, 0, 1],
  ])("of %i layers are cut at ⌊N/4 + ½⌋ = %i and ⌊3N/4 + ½⌋ = %i", (layers, a, b) => {
    expect(segments(layers).map(([, end]) => end)).toEqual([a, b, layers]);
  });
  it("cover every layer of any depth once", () => {
    for (let layers = 1; layers <= 200; layers++) {
      const all = segments(layers).flatMap(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i));
      expect(all).toEqual(Array.from({ length: layers }, (_, i) => i));
    }
  });
});

describe("the MAD of each segment", () => {
  it("leaves out the steps across a border, however large", () => {
    const [a, b] = [7, 21];
    // Level within each segment of 28 layers, with jumps between them.
    const jumps = Array.from({ length: 28 }, (_, i) => (i < a ? 0 : i < b ? 1000 : -1000));
    expect(segmentMads(jumps)).toEqual([0, 0, 0]);
    const slopes = Array.from({ length: 28 }, (_, i) => (i < a ? i : i < b ? 1000 - 2 * i : 4 * i));
    expect(segmentMads(slopes)).toEqual([1, 2, 4]);
  });
  it("is null for a segment of fewer than two layers", () => {
    expect(segmentMads([1, 2, 4, 8, 16])).toEqual([null, 3, null]);
    expect(segmentMads([1])).toEqual([null, null, null]);
  });
  it("weighted by its steps, and with the steps across the borders, gives the MAD of all layers", () => {
    const curve = Array.from({ length: 32 }, (_, i) => Math.sin(i * i));
    const steps = segments(32).map(([from, to]) => to - from - 1);
    const within = segmentMads(curve).reduce<number>((sum, mad, i) => sum + mad! * steps[i]!, 0);
    const across = [10, 20].reduce((sum, at) => sum + Math.abs(curve[at]! - curve[at - 1]!), 0);
    expect((within + across) / 31).toBeCloseTo(meanAbsoluteDifference(curve)!, 14);
  });
});

describe("a condition's curve", () => {
  it("is the mean over rows, layer by layer", () => {
    expect(
      meanCurve([
        [1, 10],
        [3, 20],
        [5, 60],
      ]),
    ).toEqual([3, 30]);
  });
  it("of one row is that row, of none has no layers", () => {
    expect(meanCurve([[2, 7]])).toEqual([2, 7]);
    expect(meanCurve([])).toEqual([]);
  });
  it("is refused for rows of different depths, which are of different models", () => {
    expect(() => meanCurve([[1, 2], [3, 4], [5]])).toThrow("rows[2] has 1 layers, rows[0] has 2");
  });
  it("has as its mean the mean of the rows' means", () => {
    const rows = Array.from({ length: 9 }, (_, r) => Array.from({ length: 12 }, (_, i) => Math.cos(3 * r + i)));
    expect(mean(meanCurve(rows))).toBeCloseTo(mean(rows.map((row) => mean(row)!))!, 14);
  });
});

describe("the relative MAD", () => {
  it("is the MAD over the curve's mean: 1.5 / 2 of (1, 3, 2)", () => {
    expect(relativeMad([1, 3, 2])).toBe(0.75);
  });
  it("does not change with the curve's scale", () => {
    const curve = [1, 4, 1, 5, 9, 2, 6];
    // Powers of two scale without rounding.
    expect(relativeMad(curve.map((c) => 8 * c))).toBe(relativeMad(curve));
  });
  it("is null for fewer than two layers and for a curve of mean 0", () => {
    expect([relativeMad([]), relativeMad([3]), relativeMad([0, 0]), relativeMad([-1, 1])]).toEqual([null, null, null, null]);
  });
});

describe("the relative difference of two curves", () => {
  it("is the mean over layers of |a − b| / |a|", () => {
    expect(Array.from(relativeDifferences([4, 2, -1], [5, 1, 1]))).toEqual([0.25, 0.5, 2]);
    expect(relativeDifference([4, 2, -1], [5, 1, 1])).toBe(2.75 / 3);
  });
  it("is 0 of a curve with itself, and does not change with the scale of both", () => {
    const [a, b] = [
      [3, 1, 4, 1, 5],
      [2, 7, 1, 8, 2],
    ];
    expect(relativeDifference(a, a)).toBe(0);
    const twice = (curve: number[]) => curve.map((c) => 2 * c);
    expect(relativeDifference(twice(a), twice(b))).toBe(relativeDifference(a, b));
  });
  it("puts 1e-10 in the place of a 0 of the first curve, above and below the line, and leaves the curve as it is", () => {
    const a = [0, 0];
    expect(Array.from(relativeDifferences(a, [0, 1e-10]))).toEqual([1, 0]);
    expect(a).toEqual([0, 0]);
  });
  it("is refused for curves of different depth", () => {
    expect(() => relativeDifference([1, 2], [1])).toThrow("these have 2 and 1 layers");
    expect(() => relativeDifference([], [])).toThrow("0 and 0 layers");
  });
});

describe("the symmetric difference of two curves", () => {
  it("is the mean over layers of |a − b| over the mean of |a| and |b|, whichever comes first", () => {
    const [a, b] = [
      [4, 2, -1, 0],
      [5, 1, 1, 0],
    ];
    expect(symmetricDifference(a, b)).toBeCloseTo((2 / 9 + 2 / 3 + 2 + 0) / 4, 15);
    expect(symmetricDifference(b, a)).toBe(symmetricDifference(a, b));
  });
  it("is refused for curves of different depth", () => {
    expect(() => symmetricDifference([1, 2], [1])).toThrow("these have 2 and 1 layers");
  });
});

describe("the layers where a curve is largest", () => {
  it("are five at most, largest first, of equal ones the deeper first", () => {
    expect(topLayers([0.1, 0.9, 0.5, 0.9, 0.2, 0.3, 0.05])).toEqual([3, 1, 2, 5, 4]);
    expect(topLayers([1, 2])).toEqual([1, 0]);
    expect(topLayers([1, 3, 2], 1)).toEqual([1]);
  });
});

describe("a row's layers", () => {
  const table = runTable({
    modules: ["q", "v"],
    values: {
      sigmaOneRatio: [
        { q: [0.5, 0.1], v: [0.3, 0.3] },
        { q: [0.1, Number.NaN], v: [0.5, 0.7] },
      ],
    },
  });
  it("are those of the row and module asked for, complete where none is 0/0", () => {
    const [q, v] = ["q", "v"].map((module) => layersOf(table, "sigmaOneRatio", module, 1)) as [Float64Array, Float64Array];
    expect([[...q], isComplete(q)]).toEqual([[0.1, Number.NaN], false]);
    expect([[...v], isComplete(v)]).toEqual([[0.5, 0.7], true]);
  });
  it("are refused for a module or statistic that the run has not, by name", () => {
    expect(() => layersOf(table, "sigmaOneRatio", "o", 0)).toThrow("has no module o; measured are q, v.");
    expect(() => layersOf(table, "effectiveRank", "q", 0)).toThrow("its records hold no effectiveRank");
  });
});
