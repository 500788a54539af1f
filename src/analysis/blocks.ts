import { LayergradError } from "../errors.ts";

/**
 * Questions that are resampled together: those of one stratum (data set), or of one independent group of it. Conditions paired by question
 * share a block; unpaired ones are blocks of their own. Pooled over data sets: a block (or more) for each, with weights 1 / number of sets.
 */
export interface Block {
  /** Number of questions n, at least one. */
  readonly n: number;
  /** Relabelling (permutation tests of unpaired conditions) stays within a stratum; blocks that name none are one stratum together. */
  readonly stratum?: string;
  /** Conditions whose values these questions carry. */
  readonly arms: readonly Arm[];
}

/** One condition's values in a block. */
export interface Arm {
  /** Number of the condition, over all blocks, from zero. Its mean is Σ over blocks of weight × block mean. */
  readonly arm: number;
  /** The weights of an arm sum to 1 over the blocks. */
  readonly weight: number;
  /** Shape `[n, columns]`, row by row; all finite. */
  readonly values: Float64Array;
}

/**
 * Mean of each arm, Σ over blocks of weight × block mean.
 *
 * @returns By arm, shape `[columns]`.
 * @throws {LayergradError} `data` if a value is not finite.
 */
export function armMeans(blocks: readonly Block[]): Float64Array[] {
  const columns = checkBlocks(blocks);
  const means: Float64Array[] = [];
  for (const { n, arms } of blocks)
    for (const { arm, weight, values } of arms) {
      while (means.length <= arm) means.push(new Float64Array(columns));
      const mean = columnMeans(values, n, columns);
      for (let c = 0; c < columns; c++) means[arm]![c]! += weight * mean[c]!;
    }
  return means;
}

/** Mean of each column of `[n, columns]`. */
export function columnMeans(values: Float64Array, n: number, columns: number): Float64Array {
  const mean = new Float64Array(columns);
  for (let i = 0, k = 0; i < n; i++) for (let c = 0; c < columns; c++) mean[c]! += values[k++]!;
  for (let c = 0; c < columns; c++) mean[c]! /= n;
  return mean;
}

/** The block's values of an arm, where it carries that arm. */
export const armOf = (block: Block, arm: number): Arm | undefined => block.arms.find((a) => a.arm === arm);

/** Questions of an arm, over the blocks. */
export const questionsOf = (blocks: readonly Block[], arm: number): number =>
  blocks.reduce((sum, block) => sum + (armOf(block, arm) === undefined ? 0 : block.n), 0);

/**
 * Checks shapes, weights and values.
 *
 * @returns The number of columns.
 * @throws {LayergradError} `data` if a value is not finite. A wrong shape or weight is the caller's mistake, an ordinary error.
 */
export function checkBlocks(blocks: readonly Block[]): number {
  const [first] = blocks;
  const columns = first?.arms[0] === undefined ? 0 : first.arms[0].values.length / first.n;
  const weights: number[] = [];
  blocks.forEach(({ n, arms }, b) => {
    for (const { arm, weight, values } of arms) {
      if (!(n >= 1) || values.length !== n * columns)
        throw new Error(
          `blocks[${b}], arm ${arm}: ${values.length} values for ${n} questions and ${columns} columns (as in the first block's first arm).`,
        );
      const bad = values.findIndex((value) => !Number.isFinite(value));
      if (bad >= 0)
        throw new LayergradError(
          "data",
          `blocks[${b}], arm ${arm}: row ${Math.floor(bad / columns)}, column ${bad % columns} is ${values[bad]}: leave such rows out first.`,
        );
      weights[arm] = (weights[arm] ?? 0) + weight;
    }
  });
  weights.forEach((sum, arm) => {
    if (Math.abs(sum - 1) > 1e-9) throw new Error(`The weights of arm ${arm} sum to ${sum} over the blocks, not to 1.`);
  });
  return columns;
}
