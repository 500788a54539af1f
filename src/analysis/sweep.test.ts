import { describe, expect, it } from "vitest";
import { seeded } from "./random.ts";
import {
  atLabels,
  gapsAtSharedK,
  keepRows,
  rowSlope,
  type SweepRow,
  type SweptRun,
  slope,
  stepAt,
  sweepTable,
  withinRowSlope,
} from "./sweep.ts";
import type { RunTable } from "./table.ts";

const modules = ["self_attn.q_proj", "self_attn.v_proj"];

/** A row whose norms are unit · k^exponent in the first layer and thrice that in the second; those of random labels are twice as large. */
function sweptRow(row: number, n: number, unit: number, exponent: number): SweepRow {
  const counts = [1, 2, 4, 8, 16].filter((k) => k < n);
  const step = (labels: "first" | "random", k: number) => {
    const norm = unit * k ** exponent * (labels === "random" ? 2 : 1);
    return { labels, k, loss: k, nuclearNorm: { "self_attn.q_proj": [norm, 3 * norm], "self_attn.v_proj": [2 * norm, 6 * norm] } };
  };
  const steps = [...counts.flatMap((k) => [step("first", k), step("random", k)]), step("first", n)];
  return { row, instruction: `question ${row}`, output: "", nTokens: n + 5, nLabels: n, steps };
}

/** The plain run: the last step of each row. */
function plain(rows: readonly SweepRow[]): RunTable {
  const last = rows.map((row) => stepAt(row, "first", row.nLabels)!);
  return {
    name: "plain",
    layers: 2,
    modules,
    rows: rows.map(({ row, instruction, output, nTokens, nLabels }) => ({ row, instruction, output, nTokens, nLabels, loss: 1 })),
    values: { nuclearNorm: Float64Array.from(last.flatMap(({ nuclearNorm }) => modules.flatMap((module) => nuclearNorm[module]!))) },
    leftOut: { "empty response": 1 },
  };
}

const options = { seed: 1, resamples: 300 };

describe("the slope within a row", () => {
  it("is the exponent of a power law, by least squares on the logs", () => {
    expect(rowSlope(sweptRow(0, 16, 5, -0.37), "first", "self_attn.v_proj")).toBeCloseTo(-0.37, 12);
  });

  it("of random labels ends in the step with all labels, which both kinds share", () => {
    // Four points of a line and a last one that lies ln 2 lower: x = 0 … 4 in units of ln 2, so the slope changes by −1 · (4 − 2)/10.
    const expected = -0.37 - (Math.log(2) / Math.log(2)) * (2 / 10);
    expect(rowSlope(sweptRow(0, 16, 5, -0.37), "random", "self_attn.q_proj")).toBeCloseTo(expected, 12);
  });

  it("is null for a row with one label", () => {
    expect(rowSlope(sweptRow(0, 1, 5, -0.37), "first", "self_attn.q_proj")).toBeNull();
    expect(slope([2, 2], [1, 3])).toBeNull();
  });

  it("is averaged over rows, data sets weighing equally; the summed loss's is 1 more, with the same interval moved", () => {
    const random = seeded(5);
    const set = (rows: number, exponent: number) =>
      Array.from({ length: rows }, (_, i) => sweptRow(i, 16, 1, exponent + 0.05 * random.normal()));
    const strata = [set(40, -0.3), [...set(10, -0.5), sweptRow(10, 1, 1, 0)]];
    const { mean, summed, leftOut } = withinRowSlope(strata, "first", modules[0]!, options)!;
    // Standard error of the mean of the two means: 0.05 · √(1/40 + 1/10) / 2 = 0.009.
    expect(Math.abs(mean.value + 0.4)).toBeLessThan(0.03);
    expect(mean.interval!.low).toBeLessThan(-0.39);
    expect(summed.value - mean.value).toBeCloseTo(1, 12);
    expect(summed.interval!.high - mean.interval!.high).toBeCloseTo(1, 12);
    expect([mean.n, leftOut]).toEqual([50, 1]);
  });

  it("is null where no row has one", () => {
    expect(withinRowSlope([[sweptRow(0, 1, 1, 0)]], "first", modules[0]!, options)).toBeNull();
  });
});

describe("a sweep at a number of labels", () => {
  const rows = [sweptRow(0, 16, 1, -0.5), sweptRow(1, 3, 2, -0.5), sweptRow(2, 8, 3, -0.5)];

  it("is the table of a run that counts as many: norms, labels and loss of that step", () => {
    const table = sweepTable(plain(rows), rows, "random", () => 4);
    expect(table.rows.map(({ row, nLabels, loss }) => [row, nLabels, loss])).toEqual([
      [0, 4, 4],
      [2, 4, 4],
    ]);
    // unit · 4^−0.5 · 2 in the first layer of Q.
    expect([...table.values.nuclearNorm!]).toEqual([1, 3, 2, 6, 3, 9, 6, 18]);
    expect(table.leftOut).toEqual({ "empty response": 1, "the sweep has no step with as many labels": 1 });
  });

  it("at all labels is the plain run, whichever way the labels are chosen", () => {
    const whole = plain(rows);
    for (const labels of ["first", "random"] as const) {
      const table = sweepTable(whole, rows, labels, ({ nLabels }) => nLabels);
      expect(table.values).toEqual(whole.values);
      expect(table.leftOut).toEqual(whole.leftOut);
    }
  });

  it("of a run without a sweep is its rows that have so many labels in all", () => {
    const table = atLabels({ table: plain(rows) }, "first", 3);
    expect(table.rows.map(({ row }) => row)).toEqual([1]);
    expect(table.leftOut).toEqual({ "empty response": 1, "has another number of labels than 3": 2 });
  });
});

it("keeping all rows changes nothing", () => {
  const table = plain([sweptRow(0, 4, 1, 0)]);
  expect(keepRows(table, () => true, "never")).toBe(table);
});

describe("the gap at shared numbers of labels", () => {
  /** Rows with n labels each and a norm of unit · k^−0.5. */
  const swept = (n: number, unit: number, rows = 6): SweptRun & { readonly sweep: readonly SweepRow[] } => {
    const sweep = Array.from({ length: rows }, (_, i) => sweptRow(i, n, unit * (1 + i / 10), -0.5));
    return { table: plain(sweep), sweep };
  };

  const pair = (a: SweptRun, b: SweptRun, dataset = "one") => ({ dataset, runs: [a, b] as const });

  it("leaves out a data set with a single question at k, unless all are such", () => {
    const strata = [pair(swept(4, 3), swept(16, 2), "one"), pair(swept(8, 9, 1), swept(16, 2, 1), "two")];
    const gaps = gapsAtSharedK(strata, "first", modules, options);
    expect(gaps.map(({ k, datasets, ratios }) => [k, datasets, ratios[0]!.n, ratios[0]!.interval === null])).toEqual([
      [1, ["one"], 6, false],
      [2, ["one"], 6, false],
      [4, ["one"], 6, false],
      [8, ["two"], 1, true],
    ]);
    expect(gaps[0]!.ratios[0]!.value).toBeCloseTo(1.5, 12);
  });

  it("gives the modules that both have, and null for others", () => {
    const gaps = gapsAtSharedK([pair(swept(4, 3), swept(16, 2))], "first", [modules[0]!, "mlp.up_proj"], options);
    expect(gaps[0]!.ratios.map((ratio) => ratio !== null)).toEqual([true, false]);
  });

  it("is the ratio of the norms at each, where both are swept", () => {
    const gaps = gapsAtSharedK([pair(swept(4, 3), swept(16, 2))], "first", modules, options);
    expect(gaps.map(({ k }) => k)).toEqual([1, 2, 4]);
    for (const { ratios } of gaps) for (const ratio of ratios) expect([ratio!.value.toFixed(12), ratio!.n]).toEqual([(1.5).toFixed(12), 6]);
  });

  it("takes a run without a sweep at its own number of labels", () => {
    const { table } = swept(4, 3);
    const gaps = gapsAtSharedK([pair({ table }, swept(16, 2))], "first", modules, options);
    expect(gaps.map(({ k, ratios }) => [k, ratios[0]!.value.toFixed(12)])).toEqual([[4, (1.5).toFixed(12)]]);
  });

  it("pools the data sets that have the number", () => {
    const strata = [pair(swept(4, 3), swept(16, 2), "one"), pair(swept(2, 5, 8), swept(16, 2, 8), "two")];
    const gaps = gapsAtSharedK(strata, "first", modules, options);
    expect(gaps.map(({ ratios }) => ratios[0]!.n)).toEqual([14, 14, 6]);
    expect(gaps.map(({ datasets }) => datasets)).toEqual([["one", "two"], ["one", "two"], ["one"]]);
    // At k = 1: (3 · 1.25 + 5 · 1.35) / (2 · 1.25 + 2 · 1.35), rows' units being 1 + i/10.
    expect(gaps[0]!.ratios[0]!.value).toBeCloseTo((3 * 1.25 + 5 * 1.35) / (2 * 1.25 + 2 * 1.35), 12);
  });
});
