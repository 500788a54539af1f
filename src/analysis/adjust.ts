import { LayergradError } from "../errors.ts";
import type { Estimate } from "./bootstrap.ts";
import type { AdjustedRatio } from "./comparison.ts";
import { adjustedEffect } from "./regression.ts";
import type { RunTable } from "./table.ts";

/** Rows of one run that enter a regression. */
export interface AdjustedArm {
  readonly table: RunTable;
  /** Indices into the table's rows. */
  readonly rows: readonly number[];
  /** The outcome of each of them. */
  readonly values: readonly number[];
}

const covariates = { n_labels: "nLabels", loss: "loss" } as const;

/**
 * The ratio of two runs with the number of labels held fixed by regression, and with the loss held fixed as well:
 * log value ~ log n_labels [+ log loss] + condition, over the rows of both, and the exponential of the condition's coefficient.
 *
 * @param paired - Whether row i of a and row i of b belong together.
 * @throws {LayergradError} `data` if a run does not record its numbers of labels.
 */
export function adjustedRatios(a: AdjustedArm, b: AdjustedArm, paired: boolean): AdjustedRatio[] {
  return ([["n_labels"], ["n_labels", "loss"]] as const).map((names) => adjustedRatio(a, b, paired, names));
}

function adjustedRatio(a: AdjustedArm, b: AdjustedArm, paired: boolean, names: readonly (keyof typeof covariates)[]): AdjustedRatio {
  const all = [a, b].flatMap((arm, index) =>
    arm.rows.map((row, i) => ({
      condition: 1 - index,
      question: paired ? i : `${index}:${i}`,
      logs: [arm.values[i]!, ...names.map((name) => covariate(arm.table, row, name))].map(Math.log),
    })),
  );
  const rows = all.filter(({ logs }) => logs.every(Number.isFinite));
  const dropped = all.length - rows.length;
  const { effect, reason, slopes, support, commonSupport } = adjustedEffect({
    outcome: rows.map(({ logs }) => logs[0]!),
    condition: rows.map(({ condition }) => condition),
    covariates: names.map((_, k) => rows.map(({ logs }) => logs[k + 1]!)),
    question: rows.map(({ question }) => question),
  });
  return {
    covariates: names,
    ratio: effect && exponential(effect),
    reason,
    slopes,
    support,
    rows: { used: rows.length, leftOut: dropped > 0 ? { "no logarithm (a value, a loss or a number of labels of 0)": dropped } : {} },
    marks: [
      ...(commonSupport
        ? []
        : ["extrapolated: the runs' numbers of labels do not overlap, so the effect rests on the slope's being straight"]),
      ...(names.includes("loss") ? ["direct effect: the loss is a mediator"] : []),
    ],
  };
}

function covariate(table: RunTable, row: number, name: keyof typeof covariates): number {
  const value = table.rows[row]![covariates[name]];
  if (value === null)
    throw new LayergradError("data", `${table.name}: does not say how many labels a row has, so nothing can be adjusted for them.`);
  return value;
}

/** A log ratio as a ratio. */
const exponential = (log: Estimate): Estimate => ({
  ...log,
  value: Math.exp(log.value),
  interval: log.interval && { low: Math.exp(log.interval.low), high: Math.exp(log.interval.high) },
});
