import { LayergradError } from "../errors.ts";
import { armMeans, type Block } from "./blocks.ts";
import {
  differenceEstimates,
  type Estimate,
  exponential,
  functionalEstimates,
  type Interval,
  meanEstimates,
  type Resampling,
  ratioEstimates,
} from "./bootstrap.ts";
import { meanAbsoluteDifference, relativeDifference, relativeMad } from "./curves.ts";
import { jackknifeEstimates } from "./jackknife.ts";
import { type LeftOut, pairRows } from "./pairing.ts";
import { type BlockOptions, type BlockRequest, type BuiltBlocks, buildBlocks } from "./pooling.ts";
import { rdTests } from "./rd-test.ts";
import { adjustedEffect } from "./regression.ts";
import { slope } from "./sweep.ts";
import type { RunTable, StatisticName } from "./table.ts";

/** One data set's runs, one for each of a claim's conditions, in the claim's order. */
export interface Stratum {
  readonly dataset: string;
  /** What the conditions are called. */
  readonly conditions: readonly string[];
  readonly tables: readonly RunTable[];
  /** The same conditions with all labels counted: says how long the responses are where `tables` counts fewer labels. */
  readonly whole: readonly RunTable[];
}

/** Rows of one condition that a number rests on, and those that it does not, by reason. */
export interface RowCount {
  readonly used: number;
  readonly leftOut: LeftOut;
}

/** A number of one projection. */
export interface Measured {
  readonly estimate: Estimate;
  /** By group, stratum and condition. */
  readonly rows: readonly (readonly (readonly RowCount[])[])[];
  /** RD only: the 95 % quantile of what swapping correct and irrelevant at random gives. */
  readonly nullQuantile95?: number;
  /** Regression only: the conditions share too few label counts, so the number leans on the slope's being straight between them. */
  readonly extrapolated?: boolean;
}

/**
 * How a claim's conditions become a number. `groups` are independent sets of data sets; most measures take one, the comparison of slopes two.
 */
export interface Measure {
  /** What the number is, for the reader. */
  readonly effect: string;
  readonly scale: "ratio" | "difference";
  /** Where there is no effect: 1 of a ratio, 0 of a difference, or a margin. */
  readonly nullValue: number;
  readonly measure: (groups: readonly (readonly Stratum[])[], module: string, options: Required<Resampling>) => Measured;
}

const nuclearNorm = "nuclearNorm";

/** Which rows of a data set go together: `paired` ones must share questions, `unpaired` ones do not, though their positions and texts may agree. */
interface GatherOptions extends BlockOptions {
  readonly design?: "paired" | "unpaired";
}

/** Blocks of one group, data sets with equal weights, and how many rows went in and stayed out. */
function gather(strata: readonly Stratum[], request: BlockRequest, { design, ...options }: GatherOptions = {}) {
  for (const { tables } of strata) for (const table of tables) checkRows(table);
  const build = design === "unpaired" ? buildApart : buildBlocks;
  const built = strata.map(({ tables }) => build(tables, request, { ...options, weight: 1 / strata.length }));
  if (design === "paired")
    built.forEach(({ rows }, s) => {
      if (rows.length !== 1) throw new LayergradError("data", `${names(strata[s]!)} share no questions.`);
    });
  return { built, blocks: built.flatMap(({ blocks }) => blocks), rows: strata.map((stratum, s) => countRows(stratum, built[s]!)) };
}

function checkRows({ name, rows, leftOut }: RunTable): void {
  if (rows.length > 0) return;
  const reasons = Object.entries(leftOut).map(([reason, count]) => `${count} ${reason}`);
  throw new LayergradError("data", `${name}: no row is left${reasons.length > 0 ? ` (${reasons.join("; ")})` : ""}.`);
}

/** {@link buildBlocks} with a block for each run, whatever questions they share. */
function buildApart(tables: readonly RunTable[], request: BlockRequest, options: BlockOptions): BuiltBlocks {
  const each = tables.map((table, arm) => buildBlocks([table], request, { ...options, arms: [arm] }));
  return {
    blocks: each.flatMap(({ blocks }) => blocks),
    rows: each.flatMap(({ rows }, t) => rows.map((group) => ({ ...group, tables: [t] }))),
    leftOut: [each.map(({ leftOut }) => leftOut[0]![0]!)],
  };
}

const names = ({ tables }: Stratum): string => tables.map(({ name }) => name).join(" and ");

function countRows({ tables }: Stratum, { rows, leftOut }: BuiltBlocks): RowCount[] {
  return tables.map((table, t) => ({
    used: rows.reduce((sum, group) => sum + (group.indices[group.tables.indexOf(t)]?.length ?? 0), 0),
    leftOut: addCounts([table.leftOut, leftOut[0]![t]!]),
  }));
}

/** Sums counts by reason. */
export function addCounts(counts: readonly LeftOut[]): LeftOut {
  const sum: Record<string, number> = {};
  for (const count of counts) for (const [reason, rows] of Object.entries(count)) sum[reason] = (sum[reason] ?? 0) + rows;
  return sum;
}

/** @throws {LayergradError} `data` for what is no ratio: of a value that is 0 or that a curve has not. */
function checkRatio(estimate: Estimate, strata: readonly Stratum[]): Estimate {
  if (estimate.value > 0 && estimate.value < Number.POSITIVE_INFINITY) return estimate;
  throw new LayergradError("data", `${strata.map(names).join(", ")}: a value is 0 or does not exist, so there is no ratio.`);
}

const mapInterval = ({ low, high }: Interval, f: (x: number) => number): Interval => ({ low: f(low), high: f(high) });

/** Ratio of two conditions' arithmetic means of a row's mean over layers. */
export const meanRatio = (statistic: StatisticName, effect: string, options: GatherOptions = {}): Measure => ({
  effect,
  scale: "ratio",
  nullValue: 1,
  measure: ([strata], module, resampling) => {
    const { blocks, rows } = gather(strata!, { statistic, module, columns: "mean" }, options);
    return { estimate: checkRatio(ratioEstimates(blocks, 0, 1, resampling)[0]!, strata!), rows: [rows] };
  },
});

/** Any ratio of functions of the conditions' mean curves, through its log, with jackknife-t intervals and p. */
const curveRatio = (effect: string, columns: "layers" | "mean", log: (curves: readonly Float64Array[]) => number): Measure => ({
  effect,
  scale: "ratio",
  nullValue: 1,
  measure: ([strata], module, resampling) => {
    const { blocks, rows } = gather(strata!, { statistic: nuclearNorm, module, columns });
    const [estimate] = jackknifeEstimates(blocks, (means) => [log(means)], resampling);
    return { estimate: checkRatio(exponential(estimate!), strata!), rows: [rows] };
  },
});

type OfCurve = (curve: ArrayLike<number>) => number | null;

/** ln f(a) − ln f(b); NaN, which gives no interval and no p, where f is undefined or not positive. */
const logRatio = (f: OfCurve, a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Math.log(f(a) ?? Number.NaN) - Math.log(f(b) ?? Number.NaN);

/** Ratio of two conditions' MADs (or relative MADs), each of the mean curve over all data sets. */
export const madRatio = (of: "MAD" | "relative MAD"): Measure => {
  const f = of === "MAD" ? meanAbsoluteDifference : relativeMad;
  return curveRatio(`ratio of ${of}s`, "layers", ([a, b]) => logRatio(f, a!, b!));
};

/** Conditions [a, b of the first model, a, b of the second]: the second model's ratio a / b over the first's. */
const ratioOfRatios = (effect: string, columns: "layers" | "mean", f: OfCurve): Measure =>
  curveRatio(effect, columns, ([a, b, c, d]) => logRatio(f, c!, d!) - logRatio(f, a!, b!));

export const normRatioOfRatios = ratioOfRatios("ratio of the norms' ratios", "mean", (curve) => curve[0]!);

export const madRatioOfRatios = (of: "MAD" | "relative MAD"): Measure =>
  ratioOfRatios(`ratio of the ${of}s' ratios`, "layers", of === "MAD" ? meanAbsoluteDifference : relativeMad);

/** RD of a condition [correct, irrelevant twin], tested by swapping the two within questions ({@link rdTests}); equal responses are left out. */
export const rd: Measure = {
  effect: "RD",
  scale: "difference",
  nullValue: 0,
  measure: ([strata], module, resampling) => {
    const options = { collisions: [[0, 1]], design: "paired" } as const;
    const { blocks, rows } = gather(strata!, { statistic: nuclearNorm, module, columns: "layers" }, options);
    const [estimate] = functionalEstimates(blocks, ([a, b]) => [relativeDifference(a!, b!)], { ...resampling, floor: [0] });
    const { seed, resamples } = resampling;
    const layers = armMeans(blocks)[0]!.length;
    const [test] = rdTests(blocks, 0, 1, [{ from: 0, to: layers }], { seed, permutations: resamples });
    return { estimate: { ...estimate!, p: test!.p }, nullQuantile95: test!.nullQuantile95, rows: [rows] };
  },
};

/** RD of the first condition less that of the second, [first, its twin, second, its twin], over the same questions. */
export const rdDifference: Measure = {
  effect: "difference of RDs",
  scale: "difference",
  nullValue: 0,
  measure: ([strata], module, resampling) => {
    const collisions = [
      [0, 1],
      [2, 3],
    ] as const;
    const { blocks, rows } = gather(strata!, { statistic: nuclearNorm, module, columns: "layers" }, { collisions, design: "paired" });
    const difference = ([a, b, c, d]: readonly Float64Array[]) => [relativeDifference(a!, b!) - relativeDifference(c!, d!)];
    return { estimate: jackknifeEstimates(blocks, difference, resampling)[0]!, rows: [rows] };
  },
};

/**
 * Slope of the log norm per log length, first group less second. Of each question the least-squares slope, over the group's conditions, of
 * ln(mean over layers of the nuclear norm) on ln(number of labels of the whole response); then the mean over questions.
 *
 * @param margin - Slopes that differ by no more count as alike: the difference is tested against it.
 */
export const slopeDifference = (margin: number): Measure => ({
  effect: "difference of slopes",
  scale: "difference",
  nullValue: margin,
  measure: (groups, module, resampling) => {
    const gathered = groups.map((strata, g) => slopeBlocks(strata, module, g, g === 0 ? margin : 0));
    const blocks = gathered.flatMap((group) => group.blocks);
    const rows = gathered.map((group) => group.rows);
    // The blocks' first group is moved by the margin, so that the test of 0 is one of the margin.
    return { estimate: shifted(differenceEstimates(blocks, 0, 1, resampling)[0]!, margin), rows };
  },
});

const shifted = (estimate: Estimate, by: number): Estimate => ({
  ...estimate,
  value: estimate.value + by,
  interval: estimate.interval && mapInterval(estimate.interval, (x) => x + by),
});

/** Mean slope of one of two groups on its own, as {@link slopeDifference} takes it. */
export const meanSlope = (group: number, effect: string): Measure => ({
  effect,
  scale: "difference",
  nullValue: 0,
  measure: (groups, module, resampling) => {
    const { blocks, rows } = slopeBlocks(groups[group]!, module, 0, 0);
    return { estimate: meanEstimates(blocks, 0, resampling)[0]!, rows: groups.map((_, g) => (g === group ? rows : [])) };
  },
});

/**
 * How much the log norm falls per log length in one of two groups, the negative of {@link meanSlope}, against a margin: above it the group has a
 * slope with which another can be compared.
 */
export const fall = (group: number, margin: number): Measure => ({
  effect: "fall (slope, negated)",
  scale: "difference",
  nullValue: margin,
  measure: (groups, module, resampling) => {
    const { blocks, rows } = slopeBlocks(groups[group]!, module, 1, 0);
    // Arm 0 is −margin throughout: the test of the difference 0 is one of the margin.
    const against = blocks.map((block) => ({
      ...block,
      arms: [...block.arms, { arm: 0, weight: block.arms[0]!.weight, values: new Float64Array(block.n).fill(-margin) }],
    }));
    const estimate = shifted(differenceEstimates(against, 0, 1, resampling)[0]!, margin);
    return { estimate, rows: groups.map((_, g) => (g === group ? rows : [])) };
  },
});

/** The measure for the summed loss in place of the mean one, whose gradient is the row's number of labels times as large. */
export const ofSummedLoss = (measure: Measure): Measure => ({
  ...measure,
  effect: `${measure.effect}, summed loss`,
  measure: (groups, ...rest) =>
    measure.measure(
      groups.map((strata) => strata.map((stratum) => ({ ...stratum, tables: stratum.tables.map(timesLabels) }))),
      ...rest,
    ),
});

function timesLabels(table: RunTable): RunTable {
  const { nuclearNorm } = table.values;
  if (nuclearNorm === undefined) return table;
  const size = table.modules.length * table.layers;
  return { ...table, values: { nuclearNorm: nuclearNorm.map((value, i) => value * labelsOf(table.rows[Math.floor(i / size)]!, table)) } };
}

function slopeBlocks(strata: readonly Stratum[], module: string, arm: number, margin: number): { blocks: Block[]; rows: RowCount[][] } {
  const rows: RowCount[][] = [];
  const blocks = strata.map((stratum): Block => {
    const gathered = gather([stratum], { statistic: nuclearNorm, module, columns: "mean" }, { design: "paired" });
    const [block] = gathered.blocks;
    const [group] = gathered.built[0]!.rows;
    const lengths = stratum.tables.map((table, t) => lengthsOf(table, stratum.whole[t]!));
    const slopes = Array.from({ length: block!.n }, (_, question) => {
      const x = group!.indices.map((indices, t) => Math.log(lengths[t]![indices[question]!]!));
      return slope(
        x,
        block!.arms.map(({ values }) => Math.log(values[question]!)),
      );
    });
    const known = slopes.filter((value) => value !== null && Number.isFinite(value));
    if (known.length === 0) throw new LayergradError("data", `${names(stratum)}: no question has responses of different lengths.`);
    const flat = slopes.length - known.length;
    rows.push(
      gathered.rows[0]!.map(({ used, leftOut }) => ({
        used: used - flat,
        leftOut: flat === 0 ? leftOut : addCounts([leftOut, { "its question has no slope": flat }]),
      })),
    );
    const values = Float64Array.from(known, (value) => value! - margin);
    return { n: values.length, stratum: stratum.dataset, arms: [{ arm, weight: 1 / strata.length, values }] };
  });
  return { blocks, rows };
}

/** Labels of the whole response of each row of a run: its own or, where it counted fewer, those of the whole run's row; NaN where it has none. */
function lengthsOf(table: RunTable, whole: RunTable): number[] {
  if (table === whole) return table.rows.map(({ nLabels }) => nLabels ?? Number.NaN);
  const lengths: number[] = table.rows.map(() => Number.NaN);
  for (const [row, inWhole] of pairRows(table, whole).pairs) lengths[row] = whole.rows[inWhole]!.nLabels ?? Number.NaN;
  return lengths;
}

/**
 * Effect of the first of two conditions on the log norm with log n_labels (and log loss) held fixed by regression, as a ratio. With four
 * conditions, [a, b of the first model, a, b of the second], the outcome is the second model's log norm less the first's: the ratio of the
 * ratios.
 */
export const adjusted = (covariates: readonly ("n_labels" | "loss")[], options: GatherOptions = {}): Measure => ({
  effect: `ratio at equal ${covariates.join(" and ")}, by regression`,
  scale: "ratio",
  nullValue: 1,
  measure: ([strata], module, { level }) => {
    const design = strata![0]?.tables.length === 4 ? "paired" : options.design;
    const { built, rows } = gather(strata!, { statistic: nuclearNorm, module, columns: "mean" }, { ...options, ...(design && { design }) });
    const all = regressionEntries(strata!, built, covariates);
    const entries = all.filter(hasLogs);
    const { effect, reason, commonSupport } = adjustedEffect({
      outcome: entries.map(({ outcome }) => outcome),
      condition: entries.map(({ condition }) => condition),
      covariates: covariates.map((_, c) => entries.map((entry) => entry.covariates[c]!)),
      question: entries.map(({ question }) => question),
      stratum: entries.map(({ stratum }) => stratum),
      level,
    });
    if (effect === null) throw new LayergradError("data", reason!);
    const without = all.filter((entry) => !hasLogs(entry));
    const counts = rows.map((conditions, s) => withoutLogs(conditions, without, strata![s]!.dataset));
    return { estimate: checkRatio(exponential(effect), strata!), extrapolated: !commonSupport, rows: [counts] };
  },
});

const hasLogs = ({ outcome, covariates }: RegressionEntry): boolean => Number.isFinite(outcome) && covariates.every(Number.isFinite);

/** Moves rows without a logarithm to those left out, of the conditions whose rows the regression takes (the last two). */
const withoutLogs = (counts: readonly RowCount[], without: readonly RegressionEntry[], dataset: string): RowCount[] =>
  counts.map((count, c) => {
    const condition = counts.length - 2 === c ? 1 : counts.length - 1 === c ? 0 : null;
    const rows = without.filter((entry) => entry.stratum === dataset && entry.condition === condition).length;
    if (rows === 0) return count;
    return {
      used: count.used - rows,
      leftOut: addCounts([count.leftOut, { "no logarithm (a norm, a loss or a number of labels of 0)": rows }]),
    };
  });

/** One row of a regression. */
interface RegressionEntry {
  readonly outcome: number;
  /** 1 of the first condition, 0 of the second. */
  readonly condition: 0 | 1;
  readonly covariates: readonly number[];
  readonly question: string;
  readonly stratum: string;
}

function regressionEntries(
  strata: readonly Stratum[],
  built: readonly BuiltBlocks[],
  covariates: readonly ("n_labels" | "loss")[],
): RegressionEntry[] {
  return strata.flatMap(({ dataset, tables }, s) => {
    // Of four conditions the last two; the first two are then taken off, question by question.
    const from = tables.length - 2;
    return built[s]!.blocks.flatMap(({ arms }, b) => {
      const { tables: members, indices } = built[s]!.rows[b]!;
      return arms
        .filter(({ arm }) => arm >= from)
        .flatMap(({ arm, values }, a) =>
          indices[members.indexOf(arm)]!.map((index, i): RegressionEntry => {
            const table = tables[arm]!;
            const row = table.rows[index]!;
            return {
              outcome: Math.log(values[i]!) - (from === 0 ? 0 : Math.log(arms[a]!.values[i]!)),
              condition: arm === from ? 1 : 0,
              covariates: covariates.map((name) => Math.log(name === "loss" ? row.loss : labelsOf(row, table))),
              question: `${dataset}:${b}:${i}`,
              stratum: dataset,
            };
          }),
        );
    });
  });
}

function labelsOf(row: RunTable["rows"][number], table: RunTable): number {
  if (row.nLabels === null) throw new LayergradError("data", `${table.name}: its records do not say how many labels a row has.`);
  return row.nLabels;
}
