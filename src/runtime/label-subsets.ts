import { seeded } from "../analysis/random.ts";

/** Which labels of a row a loss is taken over. `sweep` takes ever more of them. */
export const labelRules = ["all", "first", "last", "random", "sweep"] as const;
export type LabelRule = (typeof labelRules)[number];

const range = (from: number, to: number): Int32Array => Int32Array.from({ length: to - from }, (_, i) => from + i);

/** The first k of n labels. */
export const firstLabels = (k: number): Int32Array => range(0, k);

/** The last k of n labels. */
export const lastLabels = (n: number, k: number): Int32Array => range(n - k, n);

/** What fixes a random choice of labels: a seed, and the row and the draw that it is for. */
export interface LabelDraw {
  readonly seed: number;
  readonly row: number;
  readonly draw: number;
}

/** A random k of n labels, ascending, each k-set equally likely. Of one draw, the smaller k's choice lies within the larger's. */
export function randomLabels(n: number, k: number, { seed, row, draw }: LabelDraw): Int32Array {
  return seeded(`labels ${seed} ${row} ${draw}`).shuffle(range(0, n)).slice(0, k).sort();
}

/** One step of a sweep over ever more labels of one row: its subsets, whose norms are averaged. */
export interface SweepStep {
  readonly rule: "first" | "random";
  /** Labels of each subset. */
  readonly k: number;
  readonly subsets: readonly Int32Array[];
}

/**
 * The steps of a sweep over a row's n labels: k = 1, 2, 4 … below n, each as the first k labels and as `draws` random choices of k;
 * last k = n, all of them. Subsets are nested: of one rule and draw, each holds the one before it.
 */
export function sweepSteps(n: number, { seed, row }: Omit<LabelDraw, "draw">, draws: number): SweepStep[] {
  const steps: SweepStep[] = [];
  for (let k = 1; k < n; k *= 2) {
    steps.push({ rule: "first", k, subsets: [firstLabels(k)] });
    steps.push({ rule: "random", k, subsets: Array.from({ length: draws }, (_, draw) => randomLabels(n, k, { seed, row, draw })) });
  }
  steps.push({ rule: "first", k: n, subsets: [firstLabels(n)] });
  return steps;
}
