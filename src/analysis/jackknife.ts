import { armMeans, type Block, columnMeans } from "./blocks.ts";
import { DEFAULT_LEVEL, type Estimate, restingOn } from "./bootstrap.ts";
import { studentQuantile, studentTailBothSides } from "./student-t.ts";

/**
 * Any smooth function of the arms' mean curves (the log of a ratio of MADs, a difference of RDs), an estimate a component, with leave-one-question-out
 * jackknife-t intervals and p values of 0.
 *
 * θ̂₍₋sᵢ₎ leaves question i out of block s, with all the conditions that it carries: SE² = Σ_s (n_s − 1)/n_s Σ_i (θ̂₍₋sᵢ₎ − θ̄_s)², and Student's t at
 * Σ (n_s − 1) degrees of freedom. At few questions it errs far less than the basic bootstrap, whose resamples hold too little variation and whose p
 * takes it for the whole: docs/statistics.md.
 *
 * @param functional - From the means, by arm, shape `[columns]` (used again: not to be kept), to its components. A component may be NaN where it does
 * not exist; interval and p are null then, as where a block has a single question. Without variation the interval is the point; p is 1 if that is 0,
 * else null.
 * @throws {LayergradError} `data` if a value is not finite.
 *
 * Source: Efron & Tibshirani (1993), section 11.5; stratified: Wolter, Introduction to Variance Estimation (2007), section 4.5.
 */
export function jackknifeEstimates(
  blocks: readonly Block[],
  functional: (means: readonly Float64Array[]) => readonly number[],
  { level = DEFAULT_LEVEL }: { readonly level?: number } = {},
): Estimate[] {
  const means = armMeans(blocks);
  const whole = means.map((mean) => mean.slice());
  const values = [...functional(means)];
  const variances = values.map(() => 0);
  for (const { n, arms } of blocks) {
    const without: number[][] = [];
    const blockMeans = arms.map((arm) => columnMeans(arm.values, n, arm.values.length / n));
    for (let i = 0; i < n; i++) {
      arms.forEach(({ arm, weight, values: all }, a) => {
        const [mean, from, blockMean] = [means[arm]!, whole[arm]!, blockMeans[a]!];
        for (let c = 0; c < mean.length; c++) mean[c] = from[c]! + (weight * (blockMean[c]! - all[i * mean.length + c]!)) / (n - 1);
      });
      without.push([...functional(means)]);
    }
    for (const { arm } of arms) means[arm]!.set(whole[arm]!);
    for (let k = 0; k < values.length; k++) variances[k]! += jackknifeVariance(without.map((components) => components[k]!));
  }
  const questions = means.flatMap((_, arm) => {
    const ofArm = blocks.filter(({ arms }) => arms.some((a) => a.arm === arm));
    return ofArm.length === 0 ? [] : ofArm.reduce((sum, { n }) => sum + n, 0);
  });
  const rest = { method: "jackknife-t", level, ...restingOn(Math.min(...questions), Math.min(...blocks.map(({ n }) => n))) } as const;
  const degrees = blocks.reduce((sum, { n }) => sum + n - 1, 0);
  return values.map((value, k) => ({ value, ...studentInterval(value, Math.sqrt(variances[k]!), degrees, level), ...rest }));
}

/** (G − 1)/G · Σ (x − mean)² of G leave-one-out values; not a number where there is one. */
export function jackknifeVariance(values: readonly number[]): number {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = ((values.length - 1) / values.length) * values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return values.length < 2 ? Number.NaN : variance;
}

/** Interval value ± t·error and two-sided p of 0 by Student's t; null where the error is not a number. An error of rounding size is none. */
export function studentInterval(value: number, error: number, degrees: number, level: number): Pick<Estimate, "interval" | "p"> {
  if (!Number.isFinite(value) || !Number.isFinite(error)) return { interval: null, p: null };
  if (error <= 1e-13 * Math.abs(value)) return { interval: { low: value, high: value }, p: value === 0 ? 1 : null };
  const half = studentQuantile(level, degrees) * error;
  return { interval: { low: value - half, high: value + half }, p: studentTailBothSides(value / error, degrees) };
}
