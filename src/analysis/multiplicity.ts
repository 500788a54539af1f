/**
 * Benjamini–Hochberg adjusted p values, q_(i) = min over j ≥ i of min(1, m p_(j) / j) for p_(1) ≤ … ≤ p_(m): those with q ≤ α have a false
 * discovery rate of at most α (independent tests, or positively dependent ones).
 *
 * @param p - A family's p values, in any order.
 * @returns q values in the order of `p`. Source: Benjamini & Hochberg, J. R. Stat. Soc. B 57 (1995).
 */
export function benjaminiHochberg(p: readonly number[]): number[] {
  const order = p.map((_, i) => i).sort((i, j) => p[j]! - p[i]!);
  const q = new Array<number>(p.length);
  let least = 1;
  order.forEach((i, k) => {
    least = Math.min(least, (p.length * p[i]!) / (p.length - k));
    q[i] = least;
  });
  return q;
}

/**
 * Level at which the intervals of selected parameters have a false coverage rate of at most α: 1 − α · selected / family.
 *
 * @param selected - Parameters that were selected, such as those with q ≤ α; at least 1.
 * @param family - Parameters tested. Source: Benjamini & Yekutieli, J. Am. Stat. Assoc. 100 (2005).
 */
export const fcrLevel = (selected: number, family: number, alpha = 0.05): number => 1 - (alpha * selected) / family;
