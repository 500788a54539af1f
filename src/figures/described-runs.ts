import type { Estimate } from "../analysis/bootstrap.ts";
import type { ModuleDescription, RunDescription } from "../analysis/comparison.ts";
import type { StatisticName } from "../analysis/table.ts";
import { LayergradError } from "../errors.ts";
import type { Point } from "./axis.ts";

/** A described run, and the condition that it is of. */
export interface NamedRun {
  /** `none`, `detailed`, `detailed, irrelevant`, … */
  readonly name: string;
  readonly description: RunDescription;
}

const finite = (value: number | null | undefined): number | null =>
  value !== undefined && value !== null && Number.isFinite(value) ? value : null;

/** An estimate as a figure draws it; without one, a point without value. */
export const pointOf = (estimate: Estimate | null | undefined): Point => ({
  value: finite(estimate?.value),
  low: finite(estimate?.interval?.low),
  high: finite(estimate?.interval?.high),
});

/** Level of a run's intervals. */
export const levelOf = (runs: readonly NamedRun[]): number => runs[0]?.description.modules[0]?.mean.level ?? 0.95;

/** Rows that a description's numbers rest on; of its curves the one with the fewest. */
export const rowsOf = (modules: readonly ModuleDescription[]): number => Math.min(...modules.map(({ rows }) => rows.used));

/**
 * The modules of a run described in one statistic.
 *
 * @throws {LayergradError} `usage` if it is described in others only.
 */
export function describedIn({ name, description }: NamedRun, statistic: StatisticName): readonly ModuleDescription[] {
  const modules = description.modules.filter((module) => module.statistic === statistic);
  if (modules.length === 0) throw new LayergradError("usage", `${name}: is not described in ${statistic}; ask describeRun for it.`);
  return modules;
}
