import { LayergradError } from "../errors.ts";
import { DEFAULT_LEVEL, type Estimate, restingOn } from "./bootstrap.ts";
import { jackknifeVariance, studentInterval } from "./jackknife.ts";

/** Rows to fit; all arrays of one length, all numbers finite. */
export interface Regression {
  /** Such as the log of a norm. */
  readonly outcome: ArrayLike<number>;
  /** One array a predictor, such as log n_labels. */
  readonly predictors: readonly ArrayLike<number>[];
  /** The question of each row. Rows of one question are left out together. Unique over strata. */
  readonly question: readonly (string | number)[];
  /** Each stratum (data set) has an intercept of its own; without strata there is one. */
  readonly stratum?: readonly (string | number)[];
  /** Of the intervals, default 0.95. */
  readonly level?: number;
}

/**
 * Least squares of the outcome on the predictors, with a fixed effect a stratum, and leave-one-question-out jackknife-t intervals.
 *
 * β̂₍₋g₎ is the fit without question g of G, SE² = (G − 1)/G · Σ (β̂₍₋g₎ − β̄)², the interval β̂ ± t SE with the quantile of Student's t at G − 1
 * degrees of freedom, and p that of β̂/SE there. So rows of one question may depend on each other, and no error variance is assumed equal.
 *
 * @returns By predictor. null where it is a linear function of the strata and the predictors before it. `n` is G. Interval and p are null where
 * there is one question, or where one question alone tells the predictor from the others.
 * @throws {LayergradError} `data` if a number is not finite, such as the log of 0.
 *
 * Source: Efron & Tibshirani (1993), section 11.5; over clusters: Bell & McCaffrey, Survey Methodology 28 (2002).
 */
export function regress({ outcome, predictors, question, stratum, level = DEFAULT_LEVEL }: Regression): (Estimate | null)[] {
  const rows = question.length;
  checkFinite("outcome", outcome, rows);
  predictors.forEach((predictor, k) => checkFinite(`predictors[${k}]`, predictor, rows));
  const design = standardised(predictors, strataOf(stratum ?? new Array(rows).fill(0)), outcome);
  const all = gram(design.columns, [...Array(rows).keys()]);
  const scale = all.map((line, j) => line[j]!);
  const fit = solve(all, scale);
  const clusters = rowsByKey(question);
  const without = clusters.map((cluster) => {
    const part = gram(design.columns, cluster);
    return solve(
      all.map((line, j) => line.map((x, k) => x - part[j]![k]!)),
      scale,
    );
  });
  return predictors.map((_, k) => {
    const coefficient = (solution: readonly (number | null)[]): number | null => {
      const standard = solution[design.strata + k]!;
      return standard === null ? null : standard / design.deviations[k]!;
    };
    const value = coefficient(fit);
    if (value === null) return null;
    const estimate = { value, method: "jackknife-t", level, ...restingOn(clusters.length) } as const;
    const jackknife = without.map(coefficient).filter((x) => x !== null);
    if (jackknife.length < clusters.length) return { ...estimate, interval: null, p: null };
    return { ...estimate, ...studentInterval(value, Math.sqrt(jackknifeVariance(jackknife)), clusters.length - 1, level) };
  });
}

function checkFinite(name: string, values: ArrayLike<number>, rows: number): void {
  if (values.length !== rows) throw new Error(`${name} has ${values.length} rows, question has ${rows}.`);
  for (let row = 0; row < rows; row++)
    if (!Number.isFinite(values[row]))
      throw new LayergradError("data", `${name} of a regression is ${values[row]} in row ${row}: leave such rows out first.`);
}

/** A comparison of two conditions that holds covariates fixed by regression. */
export interface Adjustment extends Omit<Regression, "predictors"> {
  /** 1 for rows of the condition whose effect is asked for, 0 for those of the other. */
  readonly condition: ArrayLike<number>;
  /** Log n_labels first, as {@link Adjusted.support} is judged on the first; then, for the direct effect, log loss. */
  readonly covariates: readonly ArrayLike<number>[];
}

export interface Adjusted {
  /**
   * Coefficient of the condition, on the outcome's (log) scale: its exponential is a ratio. null where the design does not hold it. `n` is the
   * number of questions of the condition with fewer.
   */
  readonly effect: Estimate | null;
  /** Why there is no effect, one sentence; null where there is one. */
  readonly reason: string | null;
  /** Slope on each covariate; null where the covariate does not vary beyond the strata and those before it. */
  readonly slopes: readonly (Estimate | null)[];
  /** The smaller, of the two conditions, of the share of its rows whose first covariate lies within the other's range in the same stratum. */
  readonly support: number;
  /** `support` is at least 0.1. Otherwise the effect is "extrapolated": it rests on the slope's being straight where one condition has no rows. */
  readonly commonSupport: boolean;
}

/** Fewest residual degrees of freedom, rows less coefficients, at which a fit is more than its own rows. */
const LEAST_RESIDUAL = 3;

/** {@link Adjusted.support} from which on two conditions share their support. */
const LEAST_SUPPORT = 0.1;

/**
 * Effect of a condition on an outcome with covariates held fixed: {@link regress} of log norm ~ strata + covariates + condition.
 *
 * With log loss among the covariates it is a direct effect: the loss is a mediator, as the condition changes the norm through it.
 * What it says where it cannot be trusted: docs/statistics.md.
 *
 * @throws {LayergradError} As {@link regress}; `data` if a condition has no rows.
 */
export function adjustedEffect({ condition, covariates, ...rest }: Adjustment): Adjusted {
  for (const arm of [0, 1])
    if (!Array.from(condition).includes(arm))
      throw new LayergradError("data", `An adjusted effect needs rows of both conditions; condition ${arm} has none.`);
  const coefficients = regress({ ...rest, predictors: [...covariates, condition] });
  const effect = coefficients.at(-1)!;
  const strata = rowsByKey(rest.stratum ?? rest.question.map(() => 0));
  const support = commonSupport(condition, covariates[0]!, strata);
  const fitted = strata.length + coefficients.filter((coefficient) => coefficient !== null).length;
  const reason = whyNoEffect(effect, rest.question.length, fitted);
  const questions = (rows: readonly number[], arm: number) =>
    new Set(rows.filter((row) => condition[row] === arm).map((row) => rest.question[row])).size;
  const fewest = (rows: readonly number[]) => Math.min(questions(rows, 0), questions(rows, 1));
  return {
    effect:
      effect === null || reason !== null
        ? null
        : { ...effect, ...restingOn(fewest([...rest.question.keys()]), Math.min(...strata.map(fewest))) },
    reason,
    slopes: coefficients.slice(0, -1),
    support,
    commonSupport: support >= LEAST_SUPPORT,
  };
}

function whyNoEffect(effect: Estimate | null, rows: number, fitted: number): string | null {
  if (effect === null) return "The covariates tell the two conditions apart exactly, so no effect beside theirs can be told.";
  return rows - fitted < LEAST_RESIDUAL ? `Too few rows for a regression: ${rows} for ${fitted} coefficients.` : null;
}

function commonSupport(condition: ArrayLike<number>, covariate: ArrayLike<number>, strata: readonly (readonly number[])[]): number {
  const [rows, within] = [
    [0, 0],
    [0, 0],
  ];
  for (const stratum of strata) {
    const arms = [0, 1].map((arm) => stratum.filter((row) => condition[row] === arm).map((row) => covariate[row]!)) as [number[], number[]];
    arms.forEach((values, arm) => {
      const other = arms[1 - arm]!;
      // Of nothing: Infinity and −Infinity, a range that holds no value.
      const [low, high] = [Math.min(...other), Math.max(...other)];
      rows[arm]! += values.length;
      within[arm]! += values.filter((x) => x >= low && x <= high).length;
    });
  }
  return Math.min(within[0]! / rows[0]!, within[1]! / rows[1]!);
}

/** Row numbers of each key, keys in the order in which they first come. */
function rowsByKey(keys: readonly (string | number)[]): number[][] {
  const rows = new Map<string | number, number[]>();
  keys.forEach((key, row) => {
    const list = rows.get(key);
    if (list === undefined) rows.set(key, [row]);
    else list.push(row);
  });
  return [...rows.values()];
}

/** Columns of a fit: an indicator a stratum, the predictors with mean 0 and deviation 1 (for the numbers' sake), the outcome. */
interface Design {
  readonly columns: readonly Float64Array[];
  readonly strata: number;
  /** By which each predictor was divided; 1 for a constant one. */
  readonly deviations: readonly number[];
}

function standardised(predictors: readonly ArrayLike<number>[], strata: readonly Float64Array[], outcome: ArrayLike<number>): Design {
  const deviations: number[] = [];
  const columns = predictors.map((predictor) => {
    const values = Float64Array.from(predictor);
    const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
    const deviation = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
    // A constant's own rounding is no variation.
    deviations.push(deviation > 1e-14 * Math.abs(mean) ? deviation : 1);
    return values.map((x) => (deviation > 1e-14 * Math.abs(mean) ? (x - mean) / deviation : 0));
  });
  return { columns: [...strata, ...columns, Float64Array.from(outcome)], strata: strata.length, deviations };
}

/** An indicator of each stratum. */
const strataOf = (stratum: readonly (string | number)[]): Float64Array[] =>
  rowsByKey(stratum).map((rows) => {
    const indicator = new Float64Array(stratum.length);
    for (const row of rows) indicator[row] = 1;
    return indicator;
  });

/** Inner products of the columns over some rows. */
const gram = (columns: readonly Float64Array[], rows: readonly number[]): number[][] =>
  columns.map((a) => columns.map((b) => rows.reduce((sum, row) => sum + a[row]! * b[row]!, 0)));

/**
 * Least squares from the Gram matrix of the columns, the outcome last, by Cholesky.
 *
 * @param scale - Diagonal of the whole data's Gram matrix: a column of which less than 1e-10 of it is left by the columns before it is a linear
 * function of them (the Gram matrix itself is exact to about 1e-15 of it).
 * @returns By column, null for a linear function of those before it.
 */
function solve(gramMatrix: readonly (readonly number[])[], scale: readonly number[]): (number | null)[] {
  const size = gramMatrix.length - 1;
  const lower: number[][] = [];
  const aliased: boolean[] = [];
  for (let i = 0; i <= size; i++) {
    const row: number[] = [];
    lower.push(row);
    for (let j = 0; j <= i; j++) {
      let rest = gramMatrix[i]![j]!;
      for (let k = 0; k < j; k++) rest -= row[k]! * lower[j]![k]!;
      if (j === i) {
        aliased.push(!(rest > 1e-10 * scale[i]!));
        row.push(aliased[i] ? 0 : Math.sqrt(rest));
      } else row.push(aliased[j] ? 0 : rest / lower[j]![j]!);
    }
  }
  const solution: number[] = new Array(size).fill(0);
  for (let i = size - 1; i >= 0; i--) {
    if (aliased[i]) continue;
    let rest = lower[size]![i]!;
    for (let k = i + 1; k < size; k++) rest -= lower[k]![i]! * solution[k]!;
    solution[i] = rest / lower[i]![i]!;
  }
  return solution.map((x, i) => (aliased[i] ? null : x));
}
