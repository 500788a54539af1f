import { LayergradError } from "../errors.ts";

/** Lower and upper quantile. */
export interface Tails {
  readonly low: number;
  readonly high: number;
}

/**
 * The equal-tailed quantiles of a resampling distribution by the (B + 1)p rule, rounded outwards: of B sorted values the k-th smallest and the
 * k-th largest, k = ⌊(B + 1)(1 − level)/2⌋. No interpolation: so a p value (1 + #{beyond})/(B + 1), doubled, is at most 1 − level exactly
 * where the interval leaves the value out.
 *
 * @param values - B values, any order; sorted in place. Infinities may be among them, NaN may not.
 * @param level - In (0, 1).
 * @throws {LayergradError} `usage` if B is too small for the level (k = 0).
 *
 * Source: Davison & Hinkley, Bootstrap Methods and their Application, section 2.1.1 and 5.2.
 */
export function tails(values: Float64Array, level: number): Tails {
  const resamples = values.length;
  // A hair above, as (1 − 0.95)/2 · 2000 is 50.00000000000004 or 49.99999999999996 at rounding's whim.
  const rank = Math.floor(((resamples + 1) * (1 - level)) / 2 + 1e-9);
  if (!(level > 0 && level < 1 && rank >= 1))
    throw new LayergradError(
      "usage",
      `An interval of level ${level} cannot be read off ${resamples} resamples: take at least ${Math.ceil(2 / (1 - level) - 1 - 1e-6)}.`,
    );
  values.sort();
  return { low: values[rank - 1]!, high: values[resamples - rank]! };
}

/**
 * Two-sided p value of where `observed` lies in a resampling distribution: the smaller tail, doubled,
 * min(1, 2 (1 + min(#{values ≥ observed}, #{values ≤ observed})) / (B + 1)). The inverse of {@link tails}.
 *
 * @returns In [2/(B + 1), 1].
 */
export function tailProbability(values: Float64Array, observed: number): number {
  let above = 0;
  let below = 0;
  for (const value of values) {
    if (value >= observed) above++;
    if (value <= observed) below++;
  }
  return Math.min(1, (2 * (1 + Math.min(above, below))) / (values.length + 1));
}
