import { armMeans, armOf, type Block, checkBlocks, columnMeans, questionsOf } from "./blocks.ts";
import { tailProbability, tails } from "./quantile.ts";
import { seeded } from "./random.ts";
import { drawWithReplacement, newDraw, weightedSum } from "./resample.ts";

export type { Block } from "./blocks.ts";

/** How to resample. */
export interface Resampling {
  readonly seed: string | number;
  /** Default 2000. */
  readonly resamples?: number;
  /** Of the intervals, default 0.95. */
  readonly level?: number;
}

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** A number with its uncertainty over questions. */
export interface Estimate {
  readonly value: number;
  /** null where the data do not give one: too few questions. */
  readonly interval: Interval | null;
  /** Two-sided, of the method's null value: difference 0, ratio 1, coefficient 0. null where there is none. */
  readonly p: number | null;
  readonly method: "bootstrap-t" | "basic bootstrap" | "jackknife-t";
  /** Of the interval. */
  readonly level: number;
  /** Questions in the smallest arm. */
  readonly n: number;
  /** Fewer than 30 questions, or fewer than 5 of a data set in a pool: the word "approximate" belongs beside the interval. */
  readonly approximate: boolean;
}

/** Level of intervals where none is asked for. */
export const DEFAULT_LEVEL = 0.95;
const DEFAULT_RESAMPLES = 2000;
/** Below this an interval is "approximate". */
const FEW_QUESTIONS = 30;
/** So it is below this in one of the data sets that are pooled, whose variance is then hardly known. */
const FEW_IN_A_SET = 5;

/** {@link Estimate.n} and what follows from it and from the questions of the smallest block. */
export const restingOn = (n: number, smallest = n) => ({ n, approximate: n < FEW_QUESTIONS || smallest < FEW_IN_A_SET });

/** {@link restingOn} the blocks that carry the arms. */
const restingOnBlocks = (blocks: readonly Block[], arms: readonly number[]) =>
  restingOn(fewestQuestions(blocks, arms), Math.min(...carrying(blocks, arms).map(({ n }) => n)));

/** The estimate of a log as one of the ratio. Without an interval where its ends are beyond what a number holds. */
export function exponential(log: Estimate): Estimate {
  const interval = log.interval && { low: Math.exp(log.interval.low), high: Math.exp(log.interval.high) };
  return {
    ...log,
    value: Math.exp(log.value),
    interval: interval && interval.low > 0 && interval.high < Number.POSITIVE_INFINITY ? interval : null,
  };
}

/** Mean of one arm, an estimate a column, with the bootstrap-t intervals of {@link differenceEstimates}. p is null. */
export function meanEstimates(blocks: readonly Block[], arm: number, options: Resampling): Estimate[] {
  return contrastEstimates(blocks, [arm], options).map((estimate) => ({ ...estimate, p: null }));
}

/**
 * Difference of two arms' means, a − b, an estimate a column, with bootstrap-t intervals.
 *
 * Of each block, d_i = w_a a_i − w_b b_i over its questions (one term where it carries one arm): θ̂ = Σ mean(d), SE² = Σ var(d)/n, so a paired
 * difference has the standard error of its per-question differences. A resample draws n questions with replacement within each block, gives θ*
 * and SE* by the same formulas, and t* = (θ* − θ̂)/SE*. The interval is [θ̂ − t*₍₁₋α/₂₎ SE, θ̂ − t*₍α/₂₎ SE]; p is where t = θ̂/SE lies in the
 * distribution of t*, two-sided by the same tails: p ≤ α just where the interval leaves 0 out. One set of draws serves all columns.
 *
 * A resample without variation (one question drawn n times) counts as t* = ±∞, by the sign of θ* − θ̂. With two or three questions these are
 * more than α/2 of all: interval and p are null then, as where a block has a single question. Data without variation, such as a run compared
 * with itself, give the point as interval, and p = 1 where that point is 0, else null.
 *
 * @throws {LayergradError} `data` if a value is not finite; `usage` if there are too few resamples for the level.
 *
 * Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 12.5. Coverage: docs/statistics.md.
 */
export function differenceEstimates(blocks: readonly Block[], a: number, b: number, options: Resampling): Estimate[] {
  return contrastEstimates(blocks, [a, b], options);
}

/** Mean of arm a, less that of arm b where there is one. */
function contrastEstimates(blocks: readonly Block[], arms: readonly number[], options: Resampling): Estimate[] {
  const columns = checkBlocks(blocks);
  const value = new Float64Array(columns);
  const variance = new Float64Array(columns);
  const summed = carrying(blocks, arms).map((block) => {
    const d = contrast(block, columns, arms);
    const mean = centre(d, block.n, columns);
    const squares = product(d, d);
    add(value, mean);
    addVariance(variance, block.n, mean, squares);
    return { n: block.n, matrices: [d, squares] };
  });
  const moments = newMoments(columns);
  const t = studentised(summed, columns, options, moments, (sums) => {
    sums.forEach(([sum, squares], k) => addMoments(moments, summed[k]!.n, sum!, squares!));
  });
  const resting = restingOnBlocks(blocks, arms);
  return t.map((tOfColumn, c) => bootstrapT(value[c]!, variance[c]!, tOfColumn, resting, options));
}

/**
 * Ratio of two arms' arithmetic means, a / b, an estimate a column, with bootstrap-t intervals through its log.
 *
 * θ̂ = ln A − ln B, with the linear terms a_i/A − b_i/B of the questions (delta method) in the place of d_i; a resample uses its own A* and B*.
 * Value and interval are the exponentials; p is that of ratio 1. Otherwise as {@link differenceEstimates}.
 *
 * @returns Interval and p are null in a column where A/B, or that of a resample, is not positive.
 * @throws {LayergradError} As {@link differenceEstimates}.
 */
export function ratioEstimates(blocks: readonly Block[], a: number, b: number, options: Resampling): Estimate[] {
  const means = armMeans(blocks);
  const [meanA, meanB] = [means[a]!, means[b]!];
  const columns = meanA.length;
  const variance = new Float64Array(columns);
  // With v = b/B and e = a/A − b/B, and a resample's U = A*/A and V = B*/B, its terms a_i/A* − b_i/B* are e_i/U + κ v_i with
  // κ = 1/U − 1/V = (V − U)/UV: nothing cancels where a and b are nearly the same.
  const summed = carrying(blocks, [a, b]).map((block) => {
    const v = contrast(block, columns, [b], [meanB]);
    const e = contrast(block, columns, [a, b], [meanA, meanB]);
    const meanV = centre(v, block.n, columns);
    const mean = centre(e, block.n, columns);
    const squares = product(e, e);
    add(mean, meanV);
    addVariance(variance, block.n, mean, squares);
    return { n: block.n, matrices: [e, v, squares, product(e, v), product(v, v)] };
  });
  const moments = newMoments(columns);
  const [shiftE, shiftV] = [new Float64Array(columns), new Float64Array(columns)];
  const [sum, squares] = [new Float64Array(columns), new Float64Array(columns)];
  const t = studentised(summed, columns, options, moments, (sums) => {
    for (const array of [shiftE, shiftV]) array.fill(0);
    sums.forEach(([e, v], k) => {
      const { n } = summed[k]!;
      for (let c = 0; c < columns; c++) {
        shiftE[c]! += e![c]! / n;
        shiftV[c]! += v![c]! / n;
      }
    });
    sums.forEach(([e, v, ee, ev, vv], k) => {
      for (let c = 0; c < columns; c++) {
        const vMean = 1 + shiftV[c]!;
        const uMean = vMean + shiftE[c]!;
        const kappa = -shiftE[c]! / (uMean * vMean);
        sum[c] = e![c]! / uMean + kappa * v![c]!;
        squares[c] = ee![c]! / uMean ** 2 + (2 * kappa * ev![c]!) / uMean + kappa ** 2 * vv![c]!;
      }
      addMoments(moments, summed[k]!.n, sum, squares);
    });
    for (let c = 0; c < columns; c++) moments.shift[c] = Math.log1p(shiftE[c]! / (1 + shiftV[c]!));
  });
  const resting = restingOnBlocks(blocks, [a, b]);
  return t.map((tOfColumn, c) => {
    const log = bootstrapT(Math.log(meanA[c]! / meanB[c]!), variance[c]!, tOfColumn, resting, options);
    return { ...exponential(log), value: meanA[c]! / meanB[c]! };
  });
}

/** Blocks that carry one of the arms. */
const carrying = (blocks: readonly Block[], arms: readonly number[]): Block[] =>
  blocks.filter((block) => arms.some((arm) => armOf(block, arm) !== undefined));

const fewestQuestions = (blocks: readonly Block[], arms: readonly number[]): number =>
  Math.min(...arms.map((arm) => questionsOf(blocks, arm)));

/** Σ (n − 1) over an arm's blocks. */
const degreesOf = (blocks: readonly Block[], arm: number): number => carrying(blocks, [arm]).reduce((sum, { n }) => sum + n - 1, 0);

/** w_a a_i − w_b b_i of the arms [a, b] (or w_a a_i of [a]), each divided by its column's scale where there are scales; shape `[n, columns]`. */
function contrast(block: Block, columns: number, arms: readonly number[], scales: readonly Float64Array[] = []): Float64Array {
  const terms = new Float64Array(block.n * columns);
  arms.forEach((number, k) => {
    const arm = armOf(block, number);
    if (arm === undefined) return;
    const weight = k === 0 ? arm.weight : -arm.weight;
    for (let i = 0; i < terms.length; i++) terms[i]! += (weight * arm.values[i]!) / (scales[k]?.[i % columns] ?? 1);
  });
  return terms;
}

/** Subtracts each column's mean, in place; returns the means. */
function centre(values: Float64Array, n: number, columns: number): Float64Array {
  const mean = columnMeans(values, n, columns);
  for (let i = 0; i < values.length; i++) values[i]! -= mean[i % columns]!;
  return mean;
}

const product = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value * b[i]!);

function add(to: Float64Array, values: Float64Array): void {
  for (let c = 0; c < to.length; c++) to[c]! += values[c]!;
}

/** Adds var/n of each column, given the squares of its centred values and their scale, whose rounding is no variation. Infinite for n = 1. */
function addVariance(to: Float64Array, n: number, scale: Float64Array, squares: Float64Array): void {
  const sums = columnMeans(squares, n, to.length);
  for (let c = 0; c < to.length; c++) {
    if (n === 1) to[c] = Number.POSITIVE_INFINITY;
    else if (sums[c]! > (1e-14 * scale[c]!) ** 2) to[c]! += sums[c]! / (n - 1);
  }
}

/** Per column, of one resample: θ* − θ̂; SE*²; and SE*² as it would be around θ̂ in place of θ*, the scale against which SE*² is zero. */
interface Moments {
  readonly shift: Float64Array;
  readonly variance: Float64Array;
  readonly scale: Float64Array;
}

const newMoments = (columns: number): Moments => ({
  shift: new Float64Array(columns),
  variance: new Float64Array(columns),
  scale: new Float64Array(columns),
});

/** Adds a block's part, given its sums of centred terms and of their squares. */
function addMoments({ shift, variance, scale }: Moments, n: number, sum: Float64Array, squares: Float64Array): void {
  const factor = 1 / (n * (n - 1));
  for (let c = 0; c < sum.length; c++) {
    shift[c]! += sum[c]! / n;
    variance[c]! += factor * (squares[c]! - (sum[c]! * sum[c]!) / n);
    scale[c]! += factor * squares[c]!;
  }
}

/** One block's matrices, shape `[n, columns]`, whose rows each resample sums. */
interface Summed {
  readonly n: number;
  readonly matrices: readonly Float64Array[];
}

/** t* of all resamples, by column. `fill` sets the moments of one resample from its sums. */
function studentised(
  summed: readonly Summed[],
  columns: number,
  options: Resampling,
  moments: Moments,
  fill: (sums: readonly (readonly Float64Array[])[]) => void,
): Float64Array[] {
  const t = Array.from({ length: columns }, () => new Float64Array(options.resamples ?? DEFAULT_RESAMPLES));
  forEachResample(summed, columns, options, (sums, b) => {
    for (const array of [moments.shift, moments.variance, moments.scale]) array.fill(0);
    fill(sums);
    for (let c = 0; c < columns; c++) {
      const varies = moments.variance[c]! > 1e-14 * moments.scale[c]!;
      // x / 0 is the infinity that a resample without variation counts as.
      t[c]![b] = moments.shift[c]! === 0 ? 0 : moments.shift[c]! / (varies ? Math.sqrt(moments.variance[c]!) : 0);
    }
  });
  return t;
}

/**
 * Draws n of n questions within each block, and hands on the sums over them, by block and matrix, shape `[columns]`; the arrays are used again.
 */
function forEachResample(
  summed: readonly Summed[],
  columns: number,
  { seed, resamples = DEFAULT_RESAMPLES }: Resampling,
  use: (sums: readonly (readonly Float64Array[])[], resample: number) => void,
): void {
  const random = seeded(seed);
  const counts = summed.map(({ n }) => new Float64Array(n));
  const draws = summed.map(({ n }) => newDraw(n));
  const sums = summed.map(({ matrices }) => matrices.map(() => new Float64Array(columns)));
  for (let b = 0; b < resamples; b++) {
    summed.forEach(({ matrices }, k) => {
      drawWithReplacement(random, counts[k]!, draws[k]!);
      matrices.forEach((matrix, m) => weightedSum(draws[k]!, matrix, sums[k]![m]!));
    });
    use(sums, b);
  }
}

/** The interval and p of θ̂ by its t*. */
function bootstrapT(
  value: number,
  variance: number,
  t: Float64Array,
  resting: ReturnType<typeof restingOn>,
  { level = DEFAULT_LEVEL }: Resampling,
): Estimate {
  const estimate = { value, method: "bootstrap-t", level, ...resting } as const;
  if (!Number.isFinite(value) || t.includes(Number.NaN)) return { ...estimate, interval: null, p: null };
  if (variance === 0) return { ...estimate, interval: { low: value, high: value }, p: value === 0 ? 1 : null };
  const error = Math.sqrt(variance);
  const quantiles = tails(t, level);
  const interval = { low: value - quantiles.high * error, high: value - quantiles.low * error };
  return Number.isFinite(interval.low) && Number.isFinite(interval.high)
    ? { ...estimate, interval, p: tailProbability(t, value / error) }
    : { ...estimate, interval: null, p: null };
}

/**
 * Any function of the arms' mean curves (MAD, RD, their differences), an estimate a component, with basic bootstrap intervals
 * [2θ̂ − θ*₍₁₋α/₂₎, 2θ̂ − θ*₍α/₂₎]. Resampling biases means of absolute values upwards; the percentile interval adds that bias a second time,
 * the basic one takes it off. p is that of value 0, by inverting the interval; null where there is a floor, as 0 is then the border. At few
 * questions that p is far too small: a verdict takes {@link jackknifeEstimates}'s.
 *
 * @param functional - From the means, by arm, shape `[columns]` (used again: not to be kept), to its components. A component may be NaN where
 * it does not exist; interval and p are null then, as where there are too few questions: under six of an arm (with data sets pooled, one more for
 * each further set), or under three in a block, of which resamples keep less than two thirds of the variance.
 * @param options - `floor`: by component, the value at which both ends of its interval are cut (0 for MAD and RD), or null.
 * @throws {LayergradError} `data` if a value is not finite; `usage` if there are too few resamples for the level.
 *
 * Source: Davison & Hinkley (1997), section 5.2. Coverage: docs/statistics.md.
 */
export function functionalEstimates(
  blocks: readonly Block[],
  functional: (means: readonly Float64Array[]) => readonly number[],
  options: Resampling & { readonly floor?: readonly (number | null)[] },
): Estimate[] {
  const means = armMeans(blocks);
  const columns = means[0]?.length ?? 0;
  const { level = DEFAULT_LEVEL, resamples = DEFAULT_RESAMPLES, floor = [] } = options;
  // Copied, as a functional may hand out an array that it uses again.
  const values = [...functional(means)];
  const resampled = values.map(() => new Float64Array(resamples));
  const summed = blocks.map(({ n, arms }) => ({ n, matrices: arms.map((arm) => arm.values) }));
  forEachResample(summed, columns, options, (sums, b) => {
    for (const mean of means) mean.fill(0);
    blocks.forEach(({ n, arms }, k) =>
      arms.forEach(({ arm, weight }, m) => {
        const [mean, sum] = [means[arm]!, sums[k]![m]!];
        for (let c = 0; c < columns; c++) mean[c]! += (weight / n) * sum[c]!;
      }),
    );
    const components = functional(means);
    for (let k = 0; k < values.length; k++) resampled[k]![b] = components[k]!;
  });

  const arms = [...means.keys()].filter((arm) => questionsOf(blocks, arm) > 0);
  const rest = { method: "basic bootstrap", level, ...restingOnBlocks(blocks, arms) } as const;
  const enough = blocks.every(({ n }) => n >= 3) && arms.every((arm) => degreesOf(blocks, arm) >= 5);
  return values.map((value, k) => {
    const distribution = resampled[k]!;
    const known = Number.isFinite(value) && distribution.every(Number.isFinite) && enough;
    if (!known) return { value, interval: null, p: null, ...rest };
    const { low, high } = tails(distribution, level);
    const cut = (end: number): number => Math.max(end, floor[k] ?? Number.NEGATIVE_INFINITY);
    return {
      value,
      interval: { low: cut(2 * value - high), high: cut(2 * value - low) },
      p: floor[k] == null ? tailProbability(distribution, 2 * value) : null,
      ...rest,
    };
  });
}
