/**
 * Cohen's d of paired differences, d_z = mean / standard deviation (n − 1).
 *
 * @returns Unitless; null for fewer than two differences or where they do not vary. Source: Cohen (1988), section 2.3.5.
 */
export function pairedD(differences: ArrayLike<number>): number | null {
  const n = differences.length;
  if (n < 2) return null;
  const values = Array.from(differences);
  const mean = values.reduce((sum, x) => sum + x, 0) / n;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1);
  // The mean's own rounding is no variation.
  return variance > (1e-14 * mean) ** 2 ? mean / Math.sqrt(variance) : null;
}

/**
 * Cliff's delta, P(a > b) − P(a < b) over all pairs of one value of each.
 *
 * @returns In [−1, 1]; null where one of them is empty. O((n + m) log(n + m)). Source: Cliff, Psychological Bulletin 114 (1993).
 */
export function cliffsDelta(a: ArrayLike<number>, b: ArrayLike<number>): number | null {
  if (a.length === 0 || b.length === 0) return null;
  const sorted = Float64Array.from(b).sort();
  let balance = 0;
  for (const x of Float64Array.from(a)) balance += countBelow(sorted, x, false) - (sorted.length - countBelow(sorted, x, true));
  return balance / (a.length * b.length);
}

/** How many sorted values are less than x, or equal where `inclusive`. */
function countBelow(sorted: Float64Array, x: number, inclusive: boolean): number {
  let [from, to] = [0, sorted.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (inclusive ? sorted[middle]! <= x : sorted[middle]! < x) from = middle + 1;
    else to = middle;
  }
  return from;
}
