import type { RowStatistics } from "../src/runtime/row-statistics.ts";
import type { ExpectedMatrix, ExpectedNumbers } from "./fixtures.ts";

/** The statistics that are compared; each has its own scale (fixtures' README). */
export type Compared =
  | "loss"
  | "M_mean"
  | "M_max"
  | "M_min"
  | "frobenius_norm"
  | "S_sum"
  | "S_max"
  | "S_min"
  | "S_list"
  | "effective_rank"
  | "cosine";

export type Tolerances = Readonly<Record<Compared, number>>;

/** 3.5 to 8 times the worst error of PyTorch's own float32 on the tiny models. */
export const tinyTolerances: Tolerances = {
  loss: 1e-6,
  M_mean: 1e-6,
  M_max: 2e-5,
  M_min: 2e-5,
  frobenius_norm: 1e-5,
  S_sum: 3e-5,
  S_max: 1e-5,
  S_min: 1e-6,
  S_list: 1e-5,
  effective_rank: 5e-4,
  cosine: 2e-6,
};

/** The same for a real 135M model, whose hidden values of up to 25,000 make rounding show far more. */
export const realTolerances: Tolerances = {
  loss: 2.5e-5,
  M_mean: 1e-5,
  M_max: 5e-3,
  M_min: 5e-3,
  frobenius_norm: 1e-3,
  S_sum: 3e-4,
  S_max: 1.2e-3,
  S_min: 1e-6,
  S_list: 8e-4,
  effective_rank: 3e-3,
  cosine: 3e-4,
};

/** Errors relative to each statistic's scale, with where they were met. */
export type Errors = Record<Compared, { where: string; error: number }[]>;

export const noErrors = (): Errors => Object.fromEntries(Object.keys(tinyTolerances).map((key) => [key, []])) as unknown as Errors;

/** Numbers in the shape of the expected ones; `S_list` may stop where only exact zeros follow. */
export interface Numbers {
  readonly loss: number;
  readonly matrices: Readonly<Record<string, ExpectedMatrix>>;
  readonly cosines?: Pick<ExpectedNumbers, "cosine_sim_qkvo" | "cosine_adjacent"> | undefined;
}

export const ours = (r: RowStatistics): Numbers => ({ loss: r.loss, matrices: r.matrices, cosines: r.cosines });
export const theirs = (n: ExpectedNumbers): Numbers => ({ loss: n.loss, matrices: n.params, cosines: n });

/** Adds the errors of `actual` against the float64 truth to `errors`. */
export function compare(errors: Errors, where: string, actual: Numbers, truth: ExpectedNumbers): void {
  const record = (statistic: Compared, at: string, value: number, reference: number, scale: number) =>
    errors[statistic].push({ where: `${where} ${at}`, error: value === reference ? 0 : Math.abs(value - reference) / scale });
  record("loss", "", actual.loss, truth.loss, Math.abs(truth.loss));
  if (Object.keys(actual.matrices).toSorted().join() !== Object.keys(truth.params).toSorted().join())
    throw new Error(`${where}: other matrices than expected`);
  for (const [name, t] of Object.entries(truth.params)) {
    const a = actual.matrices[name]!;
    const largest = Math.max(Math.abs(t.M_max), Math.abs(t.M_min));
    record("M_mean", name, a.M_mean, t.M_mean, t.frobenius_norm / rootElements(name, truth));
    record("M_max", name, a.M_max, t.M_max, largest);
    record("M_min", name, a.M_min, t.M_min, largest);
    record("frobenius_norm", name, a.frobenius_norm, t.frobenius_norm, t.frobenius_norm);
    record("S_sum", name, a.S_sum, t.S_sum, t.S_sum);
    record("S_max", name, a.S_max, t.S_max, t.S_max);
    record("S_min", name, a.S_min, t.S_min, t.S_max);
    if (t.effective_rank !== null && a.effective_rank !== null)
      record("effective_rank", name, a.effective_rank, t.effective_rank, t.effective_rank);
    else if (t.effective_rank !== a.effective_rank)
      throw new Error(`${where} ${name}: effective rank ${a.effective_rank}, expected ${t.effective_rank}`);
    t.S_list?.forEach((s, i) => record("S_list", `${name} σ${i}`, a.S_list?.[i] ?? 0, s, t.S_max));
  }
  for (const [layer, pairs] of Object.entries(truth.cosine_sim_qkvo ?? {})) {
    for (const [pair, c] of Object.entries(pairs))
      record("cosine", `${layer} ${pair}`, actual.cosines!.cosine_sim_qkvo![layer]![pair]!, c, 1);
  }
  for (const [projection, list] of Object.entries(truth.cosine_adjacent ?? {})) {
    list.forEach((c, i) => record("cosine", `${projection} ${i}`, actual.cosines!.cosine_adjacent![projection]![i]!, c, 1));
  }
}

const elements = new WeakMap<ExpectedNumbers, Readonly<Record<string, number>>>();

/** Tells the comparison the matrices' sizes, which the expected numbers do not hold. */
export const declareSizes = (truth: ExpectedNumbers, sizes: Readonly<Record<string, readonly number[]>>): void => {
  elements.set(truth, Object.fromEntries(Object.entries(sizes).map(([name, shape]) => [name, shape[0]! * shape[1]!])));
};

const rootElements = (name: string, truth: ExpectedNumbers): number => {
  const count = elements.get(truth)?.[name];
  if (count === undefined) throw new Error(`sizes of ${name} were not declared`);
  return Math.sqrt(count);
};

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted.length === 0 ? 0 : (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
};

/** The statistics beyond their tolerance, worst first, as sentences. */
export const beyond = (errors: Errors, tolerances: Tolerances): string[] =>
  (Object.keys(tolerances) as Compared[]).flatMap((key) => {
    const bad = errors[key].filter((e) => !(e.error <= tolerances[key])).toSorted((a, b) => b.error - a.error);
    return bad.length === 0
      ? []
      : [`${key}: ${bad.length} of ${errors[key].length} beyond ${tolerances[key]}, worst ${bad[0]!.error} (${bad[0]!.where})`];
  });

/** Statistics whose median error of ours is more than twice theirs, as sentences. */
export const medianExcess = (mine: Errors, reference: Errors): string[] =>
  (Object.keys(mine) as Compared[]).flatMap((key) => {
    const [a, b] = [median(mine[key].map((e) => e.error)), median(reference[key].map((e) => e.error))];
    return a <= 2 * b ? [] : [`${key}: median error ${a}, the reference's ${b}`];
  });
