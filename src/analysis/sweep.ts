import { LayergradError } from "../errors.ts";
import { type Block, type Estimate, meanEstimates, type Resampling, ratioEstimates } from "./bootstrap.ts";
import { pairRows } from "./pairing.ts";
import { pooledBlocks } from "./pooling.ts";
import type { RunTable, TableRow } from "./table.ts";

/** How a step's labels are chosen: the row's first k, or k random ones (averaged over draws). */
export type SweepLabels = "first" | "random";

/** One step of a row's sweep: the row's loss is the mean over k of its labels. */
export interface SweepStep {
  readonly labels: SweepLabels;
  readonly k: number;
  /** Mean cross-entropy over the k labels, nats. */
  readonly loss: number;
  /** Σσ of the gradient of that loss, by module (`self_attn.q_proj`) one value a layer. That of the summed loss is k times as large. */
  readonly nuclearNorm: Readonly<Record<string, readonly number[]>>;
}

/** A row measured with ever more of its labels: k = 1, 2, 4, … n. The last step, all n labels, is the plain record and stands once. */
export interface SweepRow {
  readonly row: number | null;
  readonly instruction: string;
  readonly output: string;
  readonly nTokens: number | null;
  /** Labels of the row, n. */
  readonly nLabels: number;
  readonly steps: readonly SweepStep[];
}

/** The row's step with k labels; undefined where the sweep has none. With all labels both ways of choosing are the same step. */
export const stepAt = (row: SweepRow, labels: SweepLabels, k: number): SweepStep | undefined =>
  row.steps.find((step) => step.k === k && (step.labels === labels || k === row.nLabels));

/**
 * The rows of a sweep with as many labels as `labelsOf` says, as the table of a run that counted only those: `nLabels` and `loss` are the
 * step's. Rows without such a step are left out.
 *
 * @param like - The plain run's table: name, modules, and rows that were left out.
 */
export function sweepTable(
  like: RunTable,
  rows: readonly SweepRow[],
  labels: SweepLabels,
  labelsOf: (row: SweepRow) => number | undefined,
): RunTable {
  const steps = rows.flatMap((row) => {
    const k = labelsOf(row);
    const step = k === undefined ? undefined : stepAt(row, labels, k);
    return step === undefined ? [] : [{ row, step }];
  });
  const { modules, layers } = like;
  const nuclearNorm = new Float64Array(steps.length * modules.length * layers).fill(Number.NaN);
  steps.forEach(({ step }, i) =>
    modules.forEach((module, m) => nuclearNorm.set(step.nuclearNorm[module] ?? [], (i * modules.length + m) * layers)),
  );
  const missing = rows.length - steps.length;
  return {
    name: `${like.name}, ${labels} labels of its sweep`,
    layers,
    modules,
    rows: steps.map(
      ({ row, step }): TableRow => ({
        row: row.row,
        instruction: row.instruction,
        output: row.output,
        loss: step.loss,
        nTokens: row.nTokens,
        nLabels: step.k,
      }),
    ),
    values: { nuclearNorm },
    leftOut: missing === 0 ? like.leftOut : { ...like.leftOut, "the sweep has no step with as many labels": missing },
  };
}

/**
 * Least-squares slope of y on x, Σ(x − x̄)(y − ȳ) / Σ(x − x̄)².
 *
 * @returns null where x does not vary.
 */
export function slope(x: readonly number[], y: readonly number[]): number | null {
  const meanX = x.reduce((a, b) => a + b, 0) / x.length;
  const meanY = y.reduce((a, b) => a + b, 0) / y.length;
  let [xy, xx] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    xy += (x[i]! - meanX) * (y[i]! - meanY);
    xx += (x[i]! - meanX) ** 2;
  }
  return xx > 0 ? xy / xx : null;
}

/** Mean over layers of a step's nuclear norm. */
const meanNorm = (step: SweepStep, module: string): number => {
  const layers = step.nuclearNorm[module] ?? [];
  return layers.reduce((a, b) => a + b, 0) / layers.length;
};

/** Slope of ln(mean over layers of ‖G‖_*) on ln k over one row's steps; null for fewer than two steps, or a norm of zero. */
export function rowSlope(row: SweepRow, labels: SweepLabels, module: string): number | null {
  const steps = row.steps.filter((step) => step.labels === labels || step.k === row.nLabels);
  const value = slope(
    steps.map((step) => Math.log(step.k)),
    steps.map((step) => Math.log(meanNorm(step, module))),
  );
  return value === null || !Number.isFinite(value) ? null : value;
}

/** A slope per log number of labels, of the norm of the mean loss's gradient and of the summed loss's: the second is the first plus 1. */
export interface SlopeEstimate {
  readonly mean: Estimate;
  readonly summed: Estimate;
  /** Rows without a slope, and those of a data set with a single one, which has no variation to estimate (unless all are such). */
  readonly leftOut: number;
}

/**
 * How fast the norm falls within a row as its loss counts more of the row's labels: the mean over rows of {@link rowSlope}, pooled with
 * equal weights over data sets, with a bootstrap-t interval over rows. As the text is the same, only the number of labels acts.
 *
 * @param strata - The sweeps of each data set.
 * @returns null where no row has a slope.
 */
export function withinRowSlope(
  strata: readonly (readonly SweepRow[])[],
  labels: SweepLabels,
  module: string,
  options: Resampling,
): SlopeEstimate | null {
  const slopes = withoutSingles(
    strata.map((rows) => rows.flatMap((row) => rowSlope(row, labels, module) ?? [])),
    ({ length }) => length,
  );
  if (slopes.length === 0) return null;
  const blocks: Block[] = slopes.map((values) => ({
    n: values.length,
    arms: [{ arm: 0, weight: 1 / slopes.length, values: Float64Array.from(values) }],
  }));
  const mean = meanEstimates(blocks, 0, options)[0]!;
  const leftOut = strata.reduce((n, rows) => n + rows.length, 0) - slopes.reduce((n, values) => n + values.length, 0);
  const { interval } = mean;
  return {
    mean,
    summed: { ...mean, value: mean.value + 1, interval: interval && { low: interval.low + 1, high: interval.high + 1 } },
    leftOut,
  };
}

/** Those with two questions or more; where there are none, those with one. */
function withoutSingles<T>(strata: readonly T[], questions: (stratum: T) => number): T[] {
  const several = strata.filter((stratum) => questions(stratum) > 1);
  return several.length > 0 ? several : strata.filter((stratum) => questions(stratum) > 0);
}

/** One run of a condition: its table with all labels and, where it was swept, its sweep. */
export interface SweptRun {
  readonly table: RunTable;
  readonly sweep?: readonly SweepRow[];
}

/** The run's rows with k labels: steps of the sweep, and of a run without one the rows that have k labels in all. */
export function atLabels({ table, sweep }: SweptRun, labels: SweepLabels, k: number): RunTable {
  if (sweep !== undefined) return sweepTable(table, sweep, labels, () => k);
  return keepRows(table, (row) => row.nLabels === k, `has another number of labels than ${k}`);
}

/** The table's rows for which `keep` holds; the others are counted among those left out. */
export function keepRows(table: RunTable, keep: (row: TableRow, index: number) => boolean, reason: string): RunTable {
  const kept = table.rows.flatMap((row, i) => (keep(row, i) ? [i] : []));
  const missing = table.rows.length - kept.length;
  if (missing === 0) return table;
  const picked = pickRows(table, kept);
  return { ...picked, leftOut: { ...table.leftOut, [reason]: (table.leftOut[reason] ?? 0) + missing } };
}

/** The table's rows at `indices`, in that order. */
export function pickRows(table: RunTable, indices: readonly number[]): RunTable {
  const size = table.modules.length * table.layers;
  const values = Object.fromEntries(
    Object.entries(table.values).map(([name, all]) => {
      const picked = new Float64Array(indices.length * size);
      indices.forEach((index, i) => picked.set(all.subarray(index * size, (index + 1) * size), i * size));
      return [name, picked];
    }),
  );
  return { ...table, rows: indices.map((index) => table.rows[index]!), values };
}

/** The ratio of two conditions' norms where both losses count k labels. */
export interface SharedGap {
  readonly k: number;
  /** Data sets that it rests on. */
  readonly datasets: readonly string[];
  /** By module; null where the data give none. */
  readonly ratios: readonly (Estimate | null)[];
}

/** A data set's runs of two conditions. */
export interface SweptPair {
  readonly dataset: string;
  readonly runs: readonly [SweptRun, SweptRun];
}

/**
 * The gap between two conditions at each k that rows of both have: the ratio a / b of their arithmetic mean nuclear norms (mean over layers),
 * paired by question where they share questions, pooled with equal weights over the data sets that have k,
 * with bootstrap-t intervals. It is the same for the mean loss and the summed one, as both sides are then k times as large. A data set with a single
 * question at k is left out, as it has no variation to estimate, unless all are such.
 *
 * @param strata - Of each data set, the two conditions' runs. One of them may lack a sweep: its rows then count at their own number of labels.
 * @returns By k, ascending, those with a question at least.
 */
export function gapsAtSharedK(
  strata: readonly SweptPair[],
  labels: SweepLabels,
  modules: readonly string[],
  options: Resampling,
): SharedGap[] {
  const counts = ({ table, sweep }: SweptRun): number[] =>
    sweep?.flatMap((row) => row.steps.map((step) => step.k)) ?? table.rows.flatMap((row) => row.nLabels ?? []);
  const shared = strata.flatMap(({ runs: [a, b] }) => {
    const ofB = new Set(counts(b));
    return counts(a).filter((k) => ofB.has(k));
  });
  return [...new Set(shared)]
    .toSorted((a, b) => a - b)
    .flatMap((k) => {
      const tablesAt = strata.map(({ dataset, runs: [a, b] }) => ({
        dataset,
        tables: [atLabels(a, labels, k), atLabels(b, labels, k)] as const,
      }));
      const atK = withoutSingles(tablesAt, ({ tables: [a, b] }) => {
        const { paired, pairs } = pairRows(a, b);
        return paired ? pairs.length : Math.min(a.rows.length, b.rows.length);
      });
      if (atK.length === 0) return [];
      const ratios = modules.map((module) =>
        ratioAt(
          atK.map(({ tables }) => tables),
          module,
          options,
        ),
      );
      return ratios.every((ratio) => ratio === null) ? [] : { k, datasets: atK.map(({ dataset }) => dataset), ratios };
    });
}

/** The pooled ratio of one module; null where a run has not the module, or no norm of it that is not 0. */
function ratioAt(strata: readonly (readonly RunTable[])[], module: string, options: Resampling): Estimate | null {
  try {
    const { blocks } = pooledBlocks(strata, { statistic: "nuclearNorm", module, columns: "mean" });
    const ratio = ratioEstimates(blocks, 0, 1, options)[0]!;
    return ratio.value > 0 && ratio.value < Number.POSITIVE_INFINITY ? ratio : null;
  } catch (error) {
    if (error instanceof LayergradError && error.kind === "data") return null;
    throw error;
  }
}
