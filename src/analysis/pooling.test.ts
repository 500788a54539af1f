import { describe, expect, it } from "vitest";
import { runTable } from "../../test/run-table.ts";
import { armMeans } from "./blocks.ts";
import { noPartner } from "./pairing.ts";
import { type BlockRequest, buildBlocks, pooledBlocks } from "./pooling.ts";
import type { RunTable, TableRow } from "./table.ts";

const request: BlockRequest = { statistic: "nuclearNorm", module: "q", columns: "layers and mean" };

/** A run of one module and two layers, whose row i has the norms `values[i]`. */
const run = (values: readonly (readonly [number, number])[], rows: readonly Partial<TableRow>[] = [], name = "a run"): RunTable =>
  runTable({ name, rows, values: { nuclearNorm: values.map((q) => ({ q })) } });
const other = (count: number): Partial<TableRow>[] => Array.from({ length: count }, (_, i) => ({ instruction: `other ${i}` }));

const a = run([
  [1, 3],
  [5, 7],
  [9, 11],
]);
const b = run([
  [2, 4],
  [6, 8],
]);

describe("one data set's blocks", () => {
  it("are one block with an arm a run where the runs share questions, over the questions of both", () => {
    const { blocks, rows, leftOut } = buildBlocks([a, b], request);
    expect(blocks).toEqual([
      {
        n: 2,
        arms: [
          { arm: 0, weight: 1, values: Float64Array.of(1, 3, 2, 5, 7, 6) },
          { arm: 1, weight: 1, values: Float64Array.of(2, 4, 3, 6, 8, 7) },
        ],
      },
    ]);
    expect(rows).toEqual([
      {
        stratum: 0,
        tables: [0, 1],
        indices: [
          [0, 1],
          [0, 1],
        ],
      },
    ]);
    expect(leftOut).toEqual([[{ [noPartner]: 1 }, {}]]);
  });
  it("are a block a run where they share none, and leave no row out", () => {
    const unpaired = run([[2, 4]], other(1));
    const { blocks, leftOut } = buildBlocks([a, unpaired], { ...request, columns: "mean" }, { arms: [3, 1] });
    expect(blocks).toEqual([
      { n: 3, arms: [{ arm: 3, weight: 1, values: Float64Array.of(2, 6, 10) }] },
      { n: 1, arms: [{ arm: 1, weight: 1, values: Float64Array.of(3) }] },
    ]);
    expect(leftOut).toEqual([[{}, {}]]);
  });
  it("leave a question with 0/0 in a layer of one run out of all of the group's runs, and count it", () => {
    const gap = run([
      [1, 2],
      [Number.NaN, 2],
      [3, 4],
    ]);
    const { blocks, leftOut } = buildBlocks([a, gap], { ...request, columns: "layers" });
    expect(blocks[0]!.arms.map(({ values }) => [...values])).toEqual([
      [1, 3, 9, 11],
      [1, 2, 3, 4],
    ]);
    expect(leftOut).toEqual([[{ "0/0 in a layer": 1 }, { "0/0 in a layer": 1 }]]);
  });
  it("leave a question out of all runs where a condition and its twin have one response", () => {
    const output = (text: string): Partial<TableRow> => ({ output: text });
    const values = [
      [1, 1],
      [2, 2],
      [3, 3],
    ] as const;
    const right = run(values, [output("yes"), output("no"), output("yes")]);
    const twin = run(values, [output("no"), output("no"), output("yes")]);
    const { blocks, leftOut } = buildBlocks([right, twin, a], request, { collisions: [[0, 1]] });
    expect(blocks).toMatchObject([{ n: 1, arms: [{ arm: 0 }, { arm: 1 }, { arm: 2 }] }]);
    expect(leftOut[0]![2]).toEqual({ "its twin has the same response": 2 });
    expect(buildBlocks([right, twin, a], request, { collisions: [[0, 2]] }).blocks[0]!.n).toBe(3);
  });
  it("match rows of like size one to one, whatever their questions, and count those without a match", () => {
    const sizes = (...all: number[]): Partial<TableRow>[] => all.map((nLabels) => ({ nLabels }));
    const x = run(
      [
        [1, 1],
        [2, 2],
        [3, 3],
      ],
      sizes(100, 10, 50),
    );
    const y = run(
      [
        [10, 10],
        [20, 20],
        [30, 30],
      ],
      sizes(51, 9, 200),
    );
    const { blocks, rows, leftOut } = buildBlocks([x, y], { ...request, columns: "mean" }, { match: "n_labels" });
    expect(blocks[0]!.arms.map(({ values }) => [...values])).toEqual([
      [2, 3],
      [20, 10],
    ]);
    expect(rows[0]!.indices).toEqual([
      [1, 2],
      [1, 0],
    ]);
    expect(leftOut).toEqual([[1, 1].map((n) => ({ "no row of the other run within 10 % of its n_labels": n }))]);
  });
  it("match none of the collisions", () => {
    const same = [{ output: "yes" }, { output: "x" }];
    const values = [
      [1, 1],
      [2, 2],
    ] as const;
    const { rows, leftOut } = buildBlocks([run(values, same), run(values, [{ output: "yes" }, { output: "y" }])], request, {
      collisions: [[0, 1]],
      match: "loss",
    });
    expect(rows[0]!.indices).toEqual([[1], [1]]);
    expect(leftOut[0]).toEqual([{ "its twin has the same response": 1 }, { "its twin has the same response": 1 }]);
  });
  it("are refused with names: other depths, nothing left, no number to match by, more than two runs to match", () => {
    const deeper = runTable({ name: "deep", values: { nuclearNorm: [{ q: [1, 2, 3] }] } });
    expect(() => buildBlocks([a, deeper], request)).toThrow("a run has 2 layers, deep has 3 layers: curves of different depth");
    expect(() => buildBlocks([run([[Number.NaN, 1]], [], "empty")], request)).toThrow(
      "empty: no row is left to compare in nuclearNorm of q",
    );
    const unknown = run([[1, 2]], [{ nLabels: null }], "theirs");
    expect(() => buildBlocks([a, unknown], request, { match: "n_labels" })).toThrow("theirs: not every row has a number n_labels");
    expect(() => buildBlocks([a, b, a], request, { match: "loss" })).toThrow("between two runs, not among 3");
  });
});

describe("pooled blocks", () => {
  it("give each data set the same weight, whatever its rows: an arm's mean is the mean of its data sets' means", () => {
    const second = [run([[100, 200]], other(1)), run([[10, 20]], other(1))];
    const { blocks, rows, leftOut } = pooledBlocks([[a, b], second], { ...request, columns: "layers" });
    // Of a and b the first two rows are paired.
    expect(armMeans(blocks).map((mean) => [...mean])).toEqual([
      [(3 + 100) / 2, (5 + 200) / 2],
      [(4 + 10) / 2, (6 + 20) / 2],
    ]);
    expect(blocks.map(({ stratum, n }) => [stratum, n])).toEqual([
      ["0", 2],
      ["1", 1],
    ]);
    expect(rows.map(({ stratum, tables }) => [stratum, tables])).toEqual([
      [0, [0, 1]],
      [1, [0, 1]],
    ]);
    expect(leftOut).toEqual([
      [{ [noPartner]: 1 }, {}],
      [{}, {}],
    ]);
  });
});
