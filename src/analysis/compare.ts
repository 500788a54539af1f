import { type AdjustedArm, adjustedRatios } from "./adjust.ts";
import { armOf, type Block } from "./blocks.ts";
import { differenceEstimates, type Estimate, functionalEstimates, meanEstimates, type Resampling, ratioEstimates } from "./bootstrap.ts";
import type { ComparedRun, Comparison, CurveDescription, ModuleComparison, ModuleDescription, RunDescription } from "./comparison.ts";
import {
  mean,
  meanAbsoluteDifference,
  relativeDifference,
  relativeDifferences,
  relativeMad,
  segmentMads,
  segments,
  topLayers,
} from "./curves.ts";
import { cliffsDelta, pairedD } from "./effect-size.ts";
import { isCollision, type LeftOut, noPartner, type RowGroup } from "./pairing.ts";
import { exchangeabilityTest, type Permuting } from "./permutation.ts";
import { type BuiltBlocks, blocksOf, type MatchChoice, type Selection, selectRows } from "./pooling.ts";
import { rdTests } from "./rd-test.ts";
import type { RunTable, StatisticName, TableRow } from "./table.ts";

/** Which numbers of runs are looked at, and how they are resampled. */
export interface DescribeOptions extends Partial<Resampling> {
  /** Default: the nuclear norm. */
  readonly statistics?: readonly StatisticName[];
  /** Default: those of the first run. */
  readonly modules?: readonly string[];
}

/** What of two runs is compared, and how. */
export interface CompareOptions extends DescribeOptions {
  /** Leaves out questions to which both runs have the same response. */
  readonly excludeCollisions?: boolean;
  /** Compares rows of like size instead of like questions. */
  readonly match?: MatchChoice;
  /** Adds effects with the number of labels, and with labels and loss, held fixed by regression. */
  readonly adjust?: "n_labels";
}

/** Mean numbers of labels that differ by more than this are worth a word: the loss is a mean over labels. */
const LABEL_FACTOR = 1.5;

/**
 * Compares two runs: their curves, and how these differ, with intervals over questions.
 *
 * Rows are paired by question where the runs share any, else the runs are two independent samples (see {@link selectRows}). A row with 0/0 in
 * a layer is left out of that statistic of that module. Means, their differences and ratios have bootstrap-t intervals; MAD, RD and their
 * differences those of the basic bootstrap, cut at 0 where the number cannot be negative. A seed (default 0) gives the same numbers to the
 * bit, whatever else is compared with it.
 *
 * @param a - The first condition, the one above the fraction line; the correct one for RD.
 * @throws {LayergradError} `data` if the runs differ in depth, one lacks a statistic or module, or no row is left.
 */
export const compareRuns = (a: RunTable, b: RunTable, options: CompareOptions = {}): Comparison => comparer(a, options)(b);

/** {@link compareRuns} of one run with others. The intervals of its own means are computed once as long as its rows stay the same. */
export function comparer(a: RunTable, options: CompareOptions = {}): (b: RunTable) => Comparison {
  const meansOfA = new Map<string, Estimate[]>();
  const meansOf = (batch: Batch, arm: number): Estimate[] => {
    const estimate = () => meanEstimates(batch.blocks, arm, resampling(options));
    if (arm > 0) return estimate();
    const key = JSON.stringify([batch.requests, rowsOf(batch.rows, 0)]);
    const means = meansOfA.get(key) ?? estimate();
    meansOfA.set(key, means);
    return means;
  };
  return (b) => {
    const tables = [a, b];
    const selection = selectRows(tables, {
      ...(options.excludeCollisions && { collisions: [[0, 1]] }),
      ...(options.match && { match: options.match }),
    });
    const modules = batches(tables, selection, options).flatMap((batch) => compareBatch(tables, batch, options, meansOf));
    const [runA, runB] = twice((t) => comparedRun(tables[t]!, rowsOf(selection.groups, t), selection.leftOut[t]!));
    const comparison = {
      design: options.match ? "matched" : selection.groups.length === 1 ? "paired" : "unpaired",
      a: runA,
      b: runB,
      layers: a.layers,
      segments: segments(a.layers),
      modules: inOrder(modules, requestsOf(tables, options)),
    } as const;
    return { ...comparison, warnings: warningsOf(comparison, pairsOf(tables, selection), options) };
  };
}

/** One run's curves, MADs and relative MADs with intervals over its rows; otherwise as {@link compareRuns}. */
export function describeRun(table: RunTable, options: DescribeOptions = {}): RunDescription {
  const tables = [table];
  const modules = batches(tables, selectRows(tables), options).flatMap((batch): ModuleDescription[] => {
    const draws = resampling(options);
    const descriptions = describeArm(batch, 0, shapesOf(batch, 1, draws), meanEstimates(batch.blocks, 0, draws));
    return descriptions.map((description, r) => ({ ...batch.requests[r]!, ...description }));
  });
  return {
    run: comparedRun(table, [...table.rows.keys()], {}),
    layers: table.layers,
    segments: segments(table.layers),
    modules: inOrder(modules, requestsOf(tables, options)),
  };
}

/** As many permutations as resamples. */
const resampling = ({ seed = 0, resamples, level }: Partial<Resampling>): Resampling & Permuting => ({
  seed,
  ...(resamples !== undefined && { resamples, permutations: resamples }),
  ...(level !== undefined && { level }),
});

/** A curve: one statistic of one module. */
interface Request {
  readonly module: string;
  readonly statistic: StatisticName;
}

const requestsOf = (
  tables: readonly RunTable[],
  { statistics = ["nuclearNorm"], modules = tables[0]!.modules }: DescribeOptions,
): Request[] => statistics.flatMap((statistic) => modules.map((module) => ({ module, statistic })));

/** Results in the order of requests, which batches break. */
const inOrder = <T extends Request>(results: readonly T[], requests: readonly Request[]): T[] =>
  requests.map(({ module, statistic }) => results.find((result) => result.module === module && result.statistic === statistic)!);

/** Curves that rest on the same rows, their columns side by side, so that one set of draws serves them all: drawing takes its time. */
interface Batch {
  readonly requests: readonly Request[];
  readonly layers: number;
  /** Of each request the layers and, last, their mean. */
  readonly blocks: readonly Block[];
  readonly rows: BuiltBlocks["rows"];
  /** Rows of each run without a place here, by reason. */
  readonly leftOut: readonly LeftOut[];
}

function batches(tables: readonly RunTable[], selection: Selection, options: DescribeOptions): Batch[] {
  const byRows = new Map<string, { requests: Request[]; built: BuiltBlocks[] }>();
  for (const request of requestsOf(tables, options)) {
    const built = blocksOf(tables, selection, { ...request, columns: "layers and mean" });
    const key = JSON.stringify(built.rows);
    const batch = byRows.get(key) ?? { requests: [], built: [] };
    byRows.set(key, batch);
    batch.requests.push(request);
    batch.built.push(built);
  }
  return Array.from(byRows.values(), ({ requests, built }) => ({
    requests,
    layers: tables[0]!.layers,
    blocks: sideBySide(built.map(({ blocks }) => blocks)),
    rows: built[0]!.rows,
    leftOut: tables.map((table, t) => ({ ...table.leftOut, ...built[0]!.leftOut[0]![t] })),
  }));
}

/** Blocks of the same rows and arms, the columns of each beside those of the one before. */
const sideBySide = (all: readonly (readonly Block[])[]): Block[] =>
  all[0]!.map((block, k) => ({
    ...block,
    arms: block.arms.map((arm, m) => ({
      ...arm,
      values: joinRows(
        all.map((blocks) => blocks[k]!.arms[m]!.values),
        block.n,
      ),
    })),
  }));

function joinRows(parts: readonly Float64Array[], n: number): Float64Array {
  const width = parts.reduce((sum, part) => sum + part.length / n, 0);
  const joined = new Float64Array(n * width);
  let start = 0;
  for (const part of parts) {
    const columns = part.length / n;
    for (let row = 0; row < n; row++) joined.set(part.subarray(row * columns, (row + 1) * columns), row * width + start);
    start += columns;
  }
  return joined;
}

/** The same blocks with some of their columns only. */
const pick = (blocks: readonly Block[], columns: readonly number[]): Block[] =>
  blocks.map((block) => ({
    ...block,
    arms: block.arms.map((arm) => {
      const width = arm.values.length / block.n;
      const values = new Float64Array(block.n * columns.length);
      for (let row = 0; row < block.n; row++)
        columns.forEach((column, c) => (values[row * columns.length + c] = arm.values[row * width + column]!));
      return { ...arm, values };
    }),
  }));

/** The columns of a request's layers in a batch's blocks, `[from, to)`; that of their mean is `to`. */
function columnsOf({ layers }: Batch, request: number): { readonly from: number; readonly to: number } {
  const from = request * (layers + 1);
  return { from, to: from + layers };
}

function compareBatch(
  tables: readonly RunTable[],
  batch: Batch,
  options: CompareOptions,
  meansOf: (batch: Batch, arm: number) => Estimate[],
): ModuleComparison[] {
  const { requests, rows } = batch;
  const draws = resampling(options);
  const paired = rows.length === 1;
  const means = pick(
    batch.blocks,
    requests.map((_, r) => columnsOf(batch, r).to),
  );
  const difference = differenceEstimates(means, 0, 1, draws);
  const ratio = ratioEstimates(means, 0, 1, draws);
  const exchangeability = exchangeabilityTest(means, 0, 1, draws);
  const curves = requests.map((_, r) => columnsOf(batch, r));
  const swaps = paired ? rdTests(batch.blocks, 0, 1, curves, draws) : [];
  const shapes = shapesOf(batch, 2, draws);
  const [a, b] = twice((arm) => describeArm(batch, arm, shapes, meansOf(batch, arm)));
  return requests.map((request, r): ModuleComparison => {
    const [mad, relative, rd] = shapes[r]!.between;
    const byLayer = relativeDifferences(valuesOf(a[r]!.curve), valuesOf(b[r]!.curve));
    const [rowsA, rowsB] = twice((arm): AdjustedArm => ({ table: tables[arm]!, rows: rowsOf(rows, arm), values: columnOf(means, arm, r) }));
    return {
      ...request,
      a: a[r]!,
      b: b[r]!,
      difference: difference[r]!,
      ratio: ratio[r]!,
      madDifference: known(mad!),
      relativeMadDifference: known(relative!),
      relativeDifference: {
        ...rd!,
        byLayer: Array.from(byLayer),
        topLayers: topLayers(byLayer),
        swap: swaps[r] ?? null,
      },
      exchangeability: exchangeability[r]!,
      effect: paired
        ? { kind: "paired d", value: pairedD(rowsA.values.map((x, i) => x - rowsB.values[i]!)) }
        : { kind: "Cliff's delta", value: cliffsDelta(rowsA.values, rowsB.values) },
      ...(options.adjust && { adjusted: adjustedRatios(rowsA, rowsB, paired) }),
    };
  });
}

/** For both runs. */
const twice = <T>(of: (arm: number) => T): [T, T] => [of(0), of(1)];

const valuesOf = (estimates: readonly Estimate[]): number[] => estimates.map(({ value }) => value);

/** One arm's values of a column, in the order of the batch's rows. */
const columnOf = (blocks: readonly Block[], arm: number, column: number): number[] =>
  blocks.flatMap((block) => {
    const values = armOf(block, arm)?.values;
    return values ? Array.from({ length: block.n }, (_, row) => values[row * (values.length / block.n) + column]!) : [];
  });

/** Indices of a run's rows, over all groups. */
const rowsOf = (groups: readonly RowGroup[], table: number): number[] =>
  groups.flatMap(({ tables, indices }) => indices[tables.indexOf(table)] ?? []);

function describeArm(batch: Batch, arm: number, shapes: readonly Shapes[], means: readonly Estimate[]): CurveDescription[] {
  const rows = { used: rowsOf(batch.rows, arm).length, leftOut: batch.leftOut[arm]! };
  return batch.requests.map((_, r) => {
    const { from, to } = columnsOf(batch, r);
    const [mad, relative, ...bySegment] = shapes[r]!.arms[arm]!.map(known);
    return { rows, mean: means[to]!, curve: means.slice(from, to), mad: mad!, segmentMads: bySegment, relativeMad: relative! };
  });
}

/** What a curve's shape comes to: estimates of {@link shapeOf}, by arm, and of what two arms differ in. */
interface Shapes {
  readonly arms: readonly (readonly Estimate[])[];
  /** MAD a − b, relative MAD a − b, RD; empty for one arm. */
  readonly between: readonly Estimate[];
}

/** MAD, relative MAD, and the MAD of each segment; NaN for what a curve has not. */
const shapeOf = (curve: Float64Array): number[] =>
  [meanAbsoluteDifference(curve), relativeMad(curve), ...segmentMads(curve)].map((value) => value ?? Number.NaN);
const SHAPE_SIZE = 5;

/** The shapes of each request's curves, all from one set of draws. */
function shapesOf(batch: Batch, arms: 1 | 2, draws: Resampling): Shapes[] {
  const functional = (means: readonly Float64Array[]): number[] =>
    batch.requests.flatMap((_, r) => {
      const { from, to } = columnsOf(batch, r);
      const curves = means.map((mean) => mean.subarray(from, to));
      const shapes = curves.map(shapeOf);
      const [a, b] = shapes;
      return b ? [...a!, ...b, a![0]! - b[0]!, a![1]! - b[1]!, relativeDifference(curves[0]!, curves[1]!)] : a!;
    });
  const own = Array.from({ length: arms * SHAPE_SIZE }, () => 0);
  const floor = batch.requests.flatMap(() => (arms === 2 ? [...own, null, null, 0] : own));
  const estimates = functionalEstimates(batch.blocks, functional, { ...draws, floor });
  const size = floor.length / batch.requests.length;
  return batch.requests.map((_, r) => {
    const all = estimates.slice(r * size, (r + 1) * size);
    return {
      arms: Array.from({ length: arms }, (_, arm) => all.slice(arm * SHAPE_SIZE, (arm + 1) * SHAPE_SIZE)),
      between: all.slice(arms * SHAPE_SIZE),
    };
  });
}

/** Without what a curve has not. */
const known = (estimate: Estimate): Estimate | null => (Number.isNaN(estimate.value) ? null : estimate);

function comparedRun(table: RunTable, rows: readonly number[], leftOut: LeftOut): ComparedRun {
  const meanOf = (number: "loss" | "nTokens" | "nLabels"): number | null =>
    mean(rows.map((row) => table.rows[row]![number]).filter((value) => value !== null && !Number.isNaN(value)) as number[]);
  return {
    name: table.name,
    rows: { used: rows.length, leftOut: { ...table.leftOut, ...leftOut } },
    loss: meanOf("loss"),
    nTokens: meanOf("nTokens"),
    nLabels: meanOf("nLabels"),
  };
}

/** Pairs of rows that answer one question, as far as they are compared. */
const pairsOf = (tables: readonly RunTable[], { groups }: Selection): (readonly [TableRow, TableRow])[] =>
  groups.flatMap(({ tables: members, indices: [a, b] }) =>
    members.length === 2 ? a!.map((row, i) => [tables[0]!.rows[row]!, tables[1]!.rows[b![i]!]!] as const) : [],
  );

function warningsOf(
  { design, a, b, modules }: Omit<Comparison, "warnings">,
  pairs: readonly (readonly [TableRow, TableRow])[],
  { excludeCollisions }: CompareOptions,
): string[] {
  const warnings: string[] = [];
  if (a.nLabels && b.nLabels && Math.max(a.nLabels / b.nLabels, b.nLabels / a.nLabels) > LABEL_FACTOR) {
    const [more, fewer] = a.nLabels > b.nLabels ? [a, b] : [b, a];
    warnings.push(
      `${more.name} has ${Number((more.nLabels! / fewer.nLabels!).toPrecision(2))} times as many labels a row as ${fewer.name}: the loss is a mean over labels, so that alone makes its gradients smaller. Controls: runs with equally many labels (run --labels), or --adjust n_labels.`,
    );
  }
  if (design === "matched")
    warnings.push("Rows are matched by size, not by question: intervals take the pairs as they came out, and rest on them alone.");
  if (excludeCollisions && design === "unpaired")
    warnings.push("The runs share no question, so there are no equal responses to leave out.");
  const unpaired = [a, b].map(({ rows }) => rows.leftOut[noPartner] ?? 0);
  if (unpaired.some((n) => n > pairs.length))
    warnings.push(`Most rows have no partner: ${pairs.length} pairs are compared, ${unpaired[0]} and ${unpaired[1]} rows are left out.`);
  const collisions = pairs.filter(([x, y]) => isCollision(x, y)).length;
  // Where all are equal, the runs are of the same data: two models, or two modes.
  if (design === "paired" && collisions > 0 && collisions < pairs.length)
    warnings.push(`${collisions} of ${pairs.length} questions have the same response in both runs; --exclude-collisions leaves them out.`);
  const few = modules.filter(({ difference }) => difference.approximate).map(({ difference }) => difference.n);
  if (few.length > 0) warnings.push(`Only ${Math.min(...few)} rows: intervals are approximate.`);
  return warnings;
}
