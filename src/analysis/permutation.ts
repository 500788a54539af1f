import { type Arm, armMeans, armOf, type Block, questionsOf } from "./blocks.ts";
import { type Random, seeded } from "./random.ts";
import { type Draw, weightedSum } from "./resample.ts";

/** How to permute. */
export interface Permuting {
  readonly seed: string | number;
  /** Default 2000. */
  readonly permutations?: number;
}

/** What a permutation test found. */
export interface PermutationTest {
  readonly value: number;
  /** (1 + #{T* at least as extreme as T}) / (1 + permutations). */
  readonly p: number;
  readonly permutations: number;
  /** Questions in the smaller arm. */
  readonly n: number;
}

/** What {@link swapTest} found; `nullQuantile95` is the 95 % quantile of T*. */
export interface SwapTest extends PermutationTest {
  readonly nullQuantile95: number;
}

const DEFAULT_PERMUTATIONS = 2000;

/** T* within rounding of T counts as equal to it: the identity is one of the permutations, and adds in another order. */
const reaches = (permuted: number, observed: number): boolean => permuted >= observed - 1e-12 * Math.abs(observed);

/**
 * Tests whether arms a and b may be swapped within each question: swaps them by a fair coin a question, and asks how often a statistic of the
 * arms' mean curves gets as large as it is. One-sided: T is to be large under the alternative, as RD is where correct and irrelevant differ.
 *
 * Only for nulls under which a and b are exchangeable (RD = 0). A difference of two RDs has no such null: docs/statistics.md shows what swapping
 * does there.
 *
 * @param blocks - Each that carries a or b carries both, with one weight (paired by question).
 * @param statistic - Of the means, by arm, shape `[columns]` (used again: not to be kept).
 * @returns Beside value and p, the 95 % quantile of T*: the ⌈0.95 (permutations + 1)⌉-th least.
 * @throws {LayergradError} `data` if a value is not finite.
 */
export const swapTest = (
  blocks: readonly Block[],
  a: number,
  b: number,
  statistic: (means: readonly Float64Array[]) => number,
  options: Permuting,
): SwapTest => swapTests(blocks, a, b, (means) => [statistic(means)], options)[0]!;

/** {@link swapTest} of several statistics of the same swaps, a test each. */
export function swapTests(
  blocks: readonly Block[],
  a: number,
  b: number,
  statistics: (means: readonly Float64Array[]) => readonly number[],
  { seed, permutations = DEFAULT_PERMUTATIONS }: Permuting,
): SwapTest[] {
  const means = armMeans(blocks);
  const [meanA, meanB] = [means[a]!, means[b]!];
  const values = [...statistics(means)];
  if (blocks.some((block) => (armOf(block, a) === undefined) !== (armOf(block, b) === undefined)))
    throw new Error(`swapTest: a block carries only one of the arms ${a} and ${b}, so there is nothing to swap.`);
  const shuffles = pairedShuffles(blocks, a, b);
  const middle = meanA.map((x, c) => (x + meanB[c]!) / 2);
  const difference = new Float64Array(middle.length);
  const random = seeded(seed);
  const distributions = values.map(() => new Float64Array(permutations));
  for (let i = 0; i < permutations; i++) {
    permutedDifference(shuffles, random, difference);
    for (let c = 0; c < middle.length; c++) {
      meanA[c] = middle[c]! + difference[c]! / 2;
      meanB[c] = middle[c]! - difference[c]! / 2;
    }
    const permuted = statistics(means);
    for (let k = 0; k < values.length; k++) distributions[k]![i] = permuted[k]!;
  }
  const rank = Math.min(permutations, Math.ceil(0.95 * (permutations + 1)));
  const n = questionsOf(blocks, a);
  return values.map((value, k) => {
    const distribution = distributions[k]!.sort();
    const extreme = distribution.reduce((count, permuted) => count + (reaches(permuted, value) ? 1 : 0), 0);
    return { value, p: (1 + extreme) / (1 + permutations), nullQuantile95: distribution[rank - 1]!, permutations, n };
  });
}

/**
 * Tests whether arms a and b are exchangeable, by the difference of their means, two-sided, a test a column. Blocks that carry both arms have
 * them swapped question by question; rows of blocks that carry one of them are relabelled within their stratum.
 *
 * @returns `value` is the difference a − b.
 * @throws {LayergradError} `data` if a value is not finite.
 *
 * Exchangeability is more than equal means: two arms of equal means and unequal spread, in unequal numbers, are not exchangeable.
 */
export function exchangeabilityTest(
  blocks: readonly Block[],
  a: number,
  b: number,
  { seed, permutations = DEFAULT_PERMUTATIONS }: Permuting,
): PermutationTest[] {
  const means = armMeans(blocks);
  const value = means[a]!.map((x, c) => x - means[b]![c]!);
  const shuffles = [...pairedShuffles(blocks, a, b), ...relabellings(blocks, a, b)];
  const random = seeded(seed);
  const difference = new Float64Array(value.length);
  const extreme = new Float64Array(value.length);
  for (let i = 0; i < permutations; i++) {
    permutedDifference(shuffles, random, difference);
    for (let c = 0; c < value.length; c++) if (reaches(Math.abs(difference[c]!), Math.abs(value[c]!))) extreme[c]!++;
  }
  const n = Math.min(questionsOf(blocks, a), questionsOf(blocks, b));
  return Array.from(value, (x, c) => ({ value: x, p: (1 + extreme[c]!) / (1 + permutations), permutations, n }));
}

/** Rows whose weighted sum is a part of the difference of means, and how a permutation changes the weights. */
interface Shuffle {
  readonly rows: Draw;
  /** Shape `[rows, columns]`. */
  readonly values: Float64Array;
  readonly permute: (weights: Float64Array, random: Random) => void;
}

/** The sum over `shuffles` of their weighted rows after one more permutation, into `out`. */
function permutedDifference(shuffles: readonly Shuffle[], random: Random, out: Float64Array): void {
  const part = new Float64Array(out.length);
  out.fill(0);
  for (const { rows, values, permute } of shuffles) {
    permute(rows.weights, random);
    weightedSum(rows, values, part);
    for (let c = 0; c < out.length; c++) out[c]! += part[c]!;
  }
}

const allRows = (weights: Float64Array): Draw => ({ rows: Int32Array.from(weights.keys()), weights, length: weights.length });

/** a_i − b_i of paired questions, the sign of each by a fair coin. */
const signFlips = (n: number, a: Arm, b: Arm): Shuffle => ({
  rows: allRows(new Float64Array(n).fill(a.weight / n)),
  values: a.values.map((x, i) => x - b.values[i]!),
  permute: (weights, random) => {
    for (let i = 0; i < n; i++) if (random.next() < 0.5) weights[i] = -weights[i]!;
  },
});

/** The shuffles of blocks that carry both arms. */
const pairedShuffles = (blocks: readonly Block[], a: number, b: number): Shuffle[] =>
  blocks.flatMap((block) => {
    const [inA, inB] = [armOf(block, a), armOf(block, b)];
    if (inA === undefined || inB === undefined) return [];
    if (inA.weight !== inB.weight)
      throw new Error(`Arms ${a} and ${b} of one block have weights ${inA.weight} and ${inB.weight}: a pair has one.`);
    return [signFlips(block.n, inA, inB)];
  });

/** Rows of blocks that carry one arm, by stratum: weight/n of an arm a row, −weight/n of an arm b row, dealt anew over the rows. */
function relabellings(blocks: readonly Block[], a: number, b: number): Shuffle[] {
  const strata = new Map<string | undefined, { weights: number[]; values: number[] }>();
  for (const block of blocks) {
    const [inA, inB] = [armOf(block, a), armOf(block, b)];
    if ((inA === undefined) === (inB === undefined)) continue;
    const stratum = strata.get(block.stratum) ?? { weights: [], values: [] };
    strata.set(block.stratum, stratum);
    const weight = (inA?.weight ?? -inB!.weight) / block.n;
    for (let i = 0; i < block.n; i++) stratum.weights.push(weight);
    for (const value of (inA ?? inB)!.values) stratum.values.push(value);
  }
  return Array.from(strata.values(), ({ weights, values }) => ({
    rows: allRows(Float64Array.from(weights)),
    values: Float64Array.from(values),
    permute: (all: Float64Array, random: Random) => void random.shuffle(all),
  }));
}
