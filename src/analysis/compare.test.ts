import { describe, expect, it } from "vitest";
import { runTable } from "../../test/run-table.ts";
import { differenceEstimates, functionalEstimates, meanEstimates, ratioEstimates } from "./bootstrap.ts";
import { type CompareOptions, comparer, compareRuns, describeRun } from "./compare.ts";
import { layersOf, mean, meanAbsoluteDifference, meanCurve, relativeDifference, relativeMad, segmentMads, topLayers } from "./curves.ts";
import { noPartner } from "./pairing.ts";
import { buildBlocks } from "./pooling.ts";
import { seeded } from "./random.ts";
import type { RunTable, TableRow } from "./table.ts";

const quick: CompareOptions = { resamples: 200, seed: 7 };

interface World {
  readonly rows: number;
  /** Of the run, beside the questions' own sizes, which all runs share. */
  readonly level?: number;
  readonly name?: string;
  readonly layers?: number;
  readonly rowsOf?: (row: number) => Partial<TableRow>;
}

/** Two modules of 12 layers: log-normal questions, each layer with a level and noise of its own. */
function world({ rows, level = 1, name, layers = 12, rowsOf = () => ({}) }: World): RunTable {
  const noise = seeded(`noise ${level} ${name}`);
  const value = (row: number, layer: number) =>
    level * Math.exp(0.4 * seeded(`question ${row}`).normal() + Math.sin(layer) + 0.2 * noise.normal());
  const norms = Array.from({ length: rows }, (_, row) => ({
    q: Array.from({ length: layers }, (_, layer) => value(row, layer)),
    v: Array.from({ length: layers }, (_, layer) => value(row, 2 * layer)),
  }));
  return runTable({
    ...(name && { name }),
    modules: ["q", "v"],
    values: { nuclearNorm: norms },
    rows: Array.from({ length: rows }, (_, row) => rowsOf(row)),
  });
}

/** The run's numbers times `factor`, answered otherwise. */
const scaled = (table: RunTable, factor: number, name = "scaled"): RunTable => ({
  ...table,
  name,
  rows: table.rows.map((row) => ({ ...row, output: `${row.output} of ${name}` })),
  values: { nuclearNorm: table.values.nuclearNorm!.map((x) => factor * x) },
});

const a = world({ rows: 40, name: "a" });
const b = world({ rows: 40, name: "b", level: 0.7 });

describe("two runs of the same questions", () => {
  const comparison = compareRuns(a, b, quick);

  it("have the curves, MADs, RD and ratio of arithmetic means that their rows give", () => {
    expect(comparison.design).toBe("paired");
    expect(comparison.modules.map(({ module, statistic }) => [module, statistic])).toEqual([
      ["q", "nuclearNorm"],
      ["v", "nuclearNorm"],
    ]);
    for (const result of comparison.modules) {
      const [x, y] = [a, b].map((table) => meanCurve(table.rows.map((_, row) => layersOf(table, "nuclearNorm", result.module, row)))) as [
        number[],
        number[],
      ];
      result.a.curve.forEach(({ value }, layer) => expect(value).toBeCloseTo(x[layer]!, 12));
      expect(result.a.mean.value).toBeCloseTo(mean(x)!, 12);
      expect(result.b.mean.value).toBeCloseTo(mean(y)!, 12);
      expect(result.difference.value).toBeCloseTo(mean(x)! - mean(y)!, 12);
      expect(result.ratio.value).toBeCloseTo(mean(x)! / mean(y)!, 12);
      expect(result.a.mad!.value).toBeCloseTo(meanAbsoluteDifference(x)!, 12);
      expect(result.b.relativeMad!.value).toBeCloseTo(relativeMad(y)!, 12);
      expect(result.madDifference!.value).toBeCloseTo(meanAbsoluteDifference(x)! - meanAbsoluteDifference(y)!, 12);
      expect(result.relativeMadDifference!.value).toBeCloseTo(relativeMad(x)! - relativeMad(y)!, 12);
      segmentMads(y).forEach((mad, k) => expect(result.b.segmentMads[k]!.value).toBeCloseTo(mad!, 12));
      expect(result.relativeDifference.value).toBeCloseTo(relativeDifference(x, y), 12);
      expect(result.relativeDifference.topLayers).toEqual(topLayers(x.map((value, i) => Math.abs(value - y[i]!) / value)));
      expect(result.relativeDifference.swap!.value).toBeCloseTo(relativeDifference(x, y), 12);
      expect(result.a.rows).toEqual({ used: 40, leftOut: {} });
    }
  });

  it("have the very intervals that the statistical layer gives for a module by itself", () => {
    const blocksOf = (columns: "layers" | "mean") => buildBlocks([a, b], { statistic: "nuclearNorm", module: "v", columns }).blocks;
    const draws = { seed: 7, resamples: 200 };
    const [, v] = comparison.modules;
    expect(v!.difference).toEqual(differenceEstimates(blocksOf("mean"), 0, 1, draws)[0]);
    expect(v!.ratio).toEqual(ratioEstimates(blocksOf("mean"), 0, 1, draws)[0]);
    expect(v!.a.curve).toEqual(meanEstimates(blocksOf("layers"), 0, draws));
    const mads = functionalEstimates(
      blocksOf("layers"),
      ([x, y]) => [meanAbsoluteDifference(x!)!, meanAbsoluteDifference(x!)! - meanAbsoluteDifference(y!)!],
      { ...draws, floor: [0, null] },
    );
    expect([v!.a.mad, v!.madDifference]).toEqual(mads);
  });

  it("repeat to the bit with one seed, whatever else is compared with them, and not with another", () => {
    expect(compareRuns(a, b, { ...quick, modules: ["v"] }).modules).toEqual([comparison.modules[1]]);
    const compare = comparer(a, quick);
    compare(world({ rows: 30, name: "c" }));
    expect(compare(b)).toEqual(comparison);
    expect(compareRuns(a, b, { ...quick, seed: 8 }).modules[0]!.ratio.interval).not.toEqual(comparison.modules[0]!.ratio.interval);
  });

  it("do not depend on the unit: all ratios, tests and effect sizes stay, all norms follow", () => {
    // A power of two scales without rounding.
    const scaledUp = compareRuns(scaled(a, 8), scaled(b, 8), quick).modules[0]!;
    const plain = comparison.modules[0]!;
    for (const field of ["ratio", "relativeMadDifference", "relativeDifference", "effect"] as const)
      expect(scaledUp[field]).toEqual(plain[field]);
    expect(scaledUp.exchangeability.p).toBe(plain.exchangeability.p);
    expect(scaledUp.madDifference!.interval!.low).toBe(8 * plain.madDifference!.interval!.low);
    expect(scaledUp.a.curve[3]!.interval!.high).toBe(8 * plain.a.curve[3]!.interval!.high);
  });

  it("that differ by a factor throughout have it as ratio with an interval of no width, and RD |1 − 1/factor| in every layer", () => {
    const [q] = compareRuns(a, scaled(a, 0.5), quick).modules;
    expect(q!.ratio).toMatchObject({ value: 2, interval: { low: 2, high: 2 } });
    expect(q!.relativeDifference).toMatchObject({ value: 0.5, byLayer: Array(12).fill(0.5) });
    expect(q!.relativeMadDifference!.value).toBe(0);
    expect(q!.exchangeability.p).toBe(1 / 201);
  });

  it("are told apart by RD whichever of them is the larger", () => {
    const [low, high] = [1, 8].map((factor) => scaled(world({ rows: 8, name: "few" }), factor, `${factor}`)) as [RunTable, RunTable];
    const [up, down] = [compareRuns(low, high, quick), compareRuns(high, low, quick)];
    for (const [m, { relativeDifference: rd }] of up.modules.entries()) {
      const other = down.modules[m]!.relativeDifference;
      expect([rd.value, other.value]).toEqual([7, 0.875]);
      // Of 2⁸ ways of swapping two give the observed difference, none a larger one.
      expect(rd.swap!.p).toBeLessThan(0.03);
      expect(other.swap!.p).toBe(rd.swap!.p);
      // Chance in the unit of either's RD.
      expect(rd.swap!.nullQuantile95 / rd.value).toBeCloseTo(other.swap!.nullQuantile95 / other.value, 12);
      expect(rd.swap!.nullQuantile95).toBeLessThan(rd.value);
    }
    expect(down.warnings).toEqual(["Only 8 rows: intervals are approximate."]);
  });

  it("come out as JSON and back", () => {
    expect(JSON.parse(JSON.stringify(comparison))).toEqual(comparison);
  });

  it("that are not of one depth are refused", () => {
    expect(() => compareRuns(a, world({ rows: 3, layers: 5, name: "b" }))).toThrow("a has 12 layers, b has 5 layers");
  });
});

describe("the rows that a comparison rests on", () => {
  it("are those of questions in both runs; the others are counted with the reason, and a word is said where they are most", () => {
    const shifted = world({ rows: 40, name: "b", rowsOf: (row) => ({ row: row + 30, instruction: `question ${row + 30}` }) });
    const { a: runA, b: runB, modules, warnings } = compareRuns(a, shifted, quick);
    expect([runA.rows, runB.rows]).toEqual([1, 2].map(() => ({ used: 10, leftOut: { [noPartner]: 30 } })));
    expect(modules[0]!.difference).toMatchObject({ n: 10, approximate: true });
    expect(warnings).toEqual([
      "Most rows have no partner: 10 pairs are compared, 30 and 30 rows are left out.",
      "Only 10 rows: intervals are approximate.",
    ]);
  });

  it("include what the run itself left out, and lose 0/0 in the module that has it only", () => {
    const values = Float64Array.from(b.values.nuclearNorm!);
    values[5] = Number.NaN;
    const gap = { ...b, values: { nuclearNorm: values }, leftOut: { "loss not finite": 2 } };
    const { b: runB, modules } = compareRuns(a, gap, quick);
    expect(runB.rows).toEqual({ used: 40, leftOut: { "loss not finite": 2 } });
    expect(modules.map((m) => m.b.rows)).toEqual([
      { used: 39, leftOut: { "loss not finite": 2, "0/0 in a layer": 1 } },
      { used: 40, leftOut: { "loss not finite": 2 } },
    ]);
    // The module with all its rows is none the poorer for the other's gap.
    expect(modules[1]).toEqual({ ...compareRuns(a, b, quick).modules[1], b: modules[1]!.b });
  });

  it("of runs without a common question are all; effect size is Cliff's delta then, and nothing is swapped", () => {
    const other = world({ rows: 35, name: "other", level: 0.001, rowsOf: (row) => ({ instruction: `other ${row}` }) });
    const { design, modules } = compareRuns(a, other, quick);
    expect(design).toBe("unpaired");
    expect(modules[0]).toMatchObject({
      a: { rows: { used: 40 } },
      b: { rows: { used: 35 } },
      effect: { kind: "Cliff's delta", value: 1 },
      relativeDifference: { swap: null },
    });
    expect(modules[0]!.ratio.n).toBe(35);
  });

  it("leave equal responses out where asked to, and are told of where not", () => {
    const half = (row: number) => (row % 2 === 0 ? { output: "yes" } : {});
    const [right, twin] = [world({ rows: 80, name: "right", rowsOf: half }), world({ rows: 80, name: "twin", rowsOf: half })];
    expect(compareRuns(right, twin, quick).warnings).toEqual([
      "40 of 80 questions have the same response in both runs; --exclude-collisions leaves them out.",
    ]);
    const without = compareRuns(right, twin, { ...quick, excludeCollisions: true });
    expect(without.a.rows).toEqual({ used: 40, leftOut: { "its twin has the same response": 40 } });
    expect(without.warnings).toEqual([]);
    // The same data in two modes answer everything alike: no collision.
    expect(compareRuns(right, { ...right, name: "instruct" }, quick).warnings).toEqual([]);
  });

  it("may be matched by size; then the design says so", () => {
    const labels = (offset: number) => (row: number) => ({ nLabels: 10 * (row + 1) + offset });
    const [x, y] = [world({ rows: 40, name: "x", rowsOf: labels(0) }), world({ rows: 40, name: "y", rowsOf: labels(10) })];
    const { design, a: runA, b: runB, warnings } = compareRuns(x, y, { ...quick, match: "n_labels" });
    expect(design).toBe("matched");
    // 20, 30, … 400 are in both; 10 is too far from 20, and 410 is near 400, which is taken.
    expect([runA.rows.used, runB.rows.used]).toEqual([39, 39]);
    expect(runA.nLabels).toBe(runB.nLabels);
    expect(warnings[0]).toMatch(/^Rows are matched by size/);
  });
});

describe("numbers of labels that differ", () => {
  const withLabels = (name: string, low: number, ratio: number): RunTable => {
    const random = seeded(name);
    const labels = Array.from({ length: 60 }, () => Math.round(low * Math.exp(2 * random.next())));
    return runTable({
      name,
      values: { nuclearNorm: labels.map((n) => ({ q: [1, 2, 3].map((level) => (ratio * level * n ** -0.5) as number) })) },
      rows: labels.map((nLabels) => ({ nLabels, loss: 1 + random.next() })),
    });
  };

  it("are warned of beyond a factor of 1.5, and said to make gradients smaller", () => {
    const [few, many] = [withLabels("few", 10, 1), withLabels("many", 30, 1)];
    const [warning] = compareRuns(few, many, quick).warnings;
    expect(warning).toMatch(/^many has \d(\.\d)? times as many labels a row as few: the loss is a mean over labels/);
    expect(compareRuns(few, { ...few, name: "same" }, quick).warnings).toEqual([]);
  });

  it("are held fixed by regression: a planted factor and slope come out, with and without the loss beside them", () => {
    const [few, many] = [withLabels("few", 10, 1.25), withLabels("many", 20, 1)];
    const [q] = compareRuns(few, many, { ...quick, adjust: "n_labels" }).modules;
    expect(q!.adjusted!.map(({ covariates }) => covariates)).toEqual([["n_labels"], ["n_labels", "loss"]]);
    for (const { ratio, slopes, rows } of q!.adjusted!) {
      expect(ratio!.value).toBeCloseTo(1.25, 9);
      expect(slopes[0]!.value).toBeCloseTo(-0.5, 9);
      expect(rows).toEqual({ used: 120, leftOut: {} });
    }
    expect(q!.adjusted!.map(({ marks }) => marks)).toEqual([[], ["direct effect: the loss is a mediator"]]);
    // Not held fixed, the ratio is far from it.
    expect(q!.ratio.value).toBeGreaterThan(1.5);
  });

  it("that do not overlap make the effect an extrapolated one", () => {
    const [q] = compareRuns(withLabels("few", 1, 1), withLabels("many", 1000, 1), { ...quick, adjust: "n_labels" }).modules;
    for (const { marks } of q!.adjusted!) expect(marks[0]).toMatch(/^extrapolated: /);
  });

  it("leave rows without a logarithm out of the regression, and are missing in some files", () => {
    const [few, many] = [withLabels("few", 10, 1), withLabels("many", 20, 1)];
    const zero = { ...few, rows: few.rows.map((row, i) => (i < 3 ? { ...row, nLabels: 0 } : row)) };
    const { rows } = compareRuns(zero, many, { ...quick, adjust: "n_labels" }).modules[0]!.adjusted![0]!;
    expect([rows.used, Object.values(rows.leftOut)]).toEqual([117, [3]]);
    const unknown = { ...few, name: "theirs", rows: few.rows.map((row) => ({ ...row, nLabels: null })) };
    expect(() => compareRuns(unknown, many, { ...quick, adjust: "n_labels" })).toThrow("theirs: does not say how many labels a row has");
    expect(compareRuns(unknown, many, quick).warnings).toEqual([]);
  });
});

describe("one run by itself", () => {
  it("is described as the first side of a comparison describes it", () => {
    const { run, modules, segments } = describeRun(a, quick);
    const comparison = compareRuns(a, b, quick);
    expect(run).toEqual(comparison.a);
    expect(segments).toEqual(comparison.segments);
    expect(modules.map(({ module: _, statistic: __, ...rest }) => rest)).toEqual(comparison.modules.map((m) => m.a));
  });

  it("of fewer layers than it takes has null for MADs", () => {
    const { modules } = describeRun(world({ rows: 4, layers: 1, name: "flat" }), quick);
    expect(modules[0]).toMatchObject({ mad: null, relativeMad: null, segmentMads: [null, null, null] });
    expect(describeRun(world({ rows: 4, layers: 5, name: "five" }), quick).modules[0]!.segmentMads.map((m) => m === null)).toEqual([
      true,
      false,
      true,
    ]);
  });
});
