import { armMeans, type Block } from "./blocks.ts";
import { relativeDifference, symmetricDifference } from "./curves.ts";
import { type Permuting, type SwapTest, swapTests } from "./permutation.ts";

/** Columns of a block's rows that are one curve over layers: from `from` to before `to`. */
export interface CurveColumns {
  readonly from: number;
  readonly to: number;
}

/**
 * Tests RD = 0 by swapping arms a and b within questions, a test a curve.
 *
 * What is swapped is the symmetric mean |aᵢ − bᵢ| / ((|aᵢ| + |bᵢ|)/2): where a's curve is the larger, swapping makes RD itself larger still, and a
 * test of it would have no power.
 *
 * @param blocks - As for {@link swapTests}.
 * @returns `value` is RD. The quantile of chance is scaled to RD's unit, so that RD lies above it where the symmetric difference does above its own.
 * @throws {LayergradError} `data` if a value is not finite.
 */
export function rdTests(blocks: readonly Block[], a: number, b: number, curves: readonly CurveColumns[], options: Permuting): SwapTest[] {
  const means = armMeans(blocks);
  const each = (of: readonly Float64Array[], f: (x: Float64Array, y: Float64Array) => number): number[] =>
    curves.map(({ from, to }) => f(of[a]!.subarray(from, to), of[b]!.subarray(from, to)));
  const rds = each(means, relativeDifference);
  return swapTests(blocks, a, b, (swapped) => each(swapped, symmetricDifference), options).map((test, k) => {
    const scale = test.value > 0 ? rds[k]! / test.value : 1;
    return { ...test, value: rds[k]!, nullQuantile95: test.nullQuantile95 * scale };
  });
}
