/**
 * Pairs values of a with values of b one to one, nearest first: of all pairs still free the one with the least relative distance
 * |a − b| / max(|a|, |b|) (0 for two zeros), as long as that is within the caliper. Ties go to the lower index in a, then in b.
 *
 * @param a - Such as n_labels of one condition's rows.
 * @param options - `caliper`: the largest relative distance, such as 0.1.
 * @returns Pairs of indices [in a, in b], in the order of a. Values without a partner are in none.
 *
 * Time and memory grow with the number of pairs within the caliper.
 */
export function matchNearest(a: ArrayLike<number>, b: ArrayLike<number>, { caliper }: { readonly caliper: number }): [number, number][] {
  const candidates: { i: number; j: number; distance: number }[] = [];
  for (let i = 0; i < a.length; i++)
    for (let j = 0; j < b.length; j++) {
      const distance = relativeDistance(a[i]!, b[j]!);
      if (distance <= caliper) candidates.push({ i, j, distance });
    }
  candidates.sort((p, q) => p.distance - q.distance || p.i - q.i || p.j - q.j);
  const [takenA, takenB] = [new Set<number>(), new Set<number>()];
  const pairs: [number, number][] = [];
  for (const { i, j } of candidates) {
    if (takenA.has(i) || takenB.has(j)) continue;
    takenA.add(i);
    takenB.add(j);
    pairs.push([i, j]);
  }
  return pairs.sort(([i], [j]) => i - j);
}

function relativeDistance(a: number, b: number): number {
  const scale = Math.max(Math.abs(a), Math.abs(b));
  return scale === 0 ? 0 : Math.abs(a - b) / scale;
}
