import type { RunTable, StatisticName, TableRow } from "../src/analysis/table.ts";

/** A run's table as tests write it down: for each statistic and row the layers of each module. */
export interface TableSketch {
  readonly name?: string;
  readonly modules?: readonly string[];
  readonly values: Readonly<Partial<Record<StatisticName, readonly Readonly<Record<string, readonly number[]>>[]>>>;
  /** What the rows are; by default row i asks `question i`, and every run answers differently. Occurrences are counted. */
  readonly rows?: readonly Partial<TableRow>[];
  readonly leftOut?: Readonly<Record<string, number>>;
}

let runs = 0;

export function runTable({ name, modules = ["q"], values, rows = [], leftOut = {} }: TableSketch): RunTable {
  const run = ++runs;
  const sketches = Object.values(values)[0]!;
  const asked = sketches.map((_, row) => rows[row]?.instruction ?? `question ${row}`);
  return {
    name: name ?? `run ${run}`,
    modules,
    layers: sketches[0]![modules[0]!]!.length,
    rows: sketches.map((_, row) => ({
      row,
      instruction: asked[row]!,
      occurrence: asked.slice(0, row).filter((instruction) => instruction === asked[row]).length,
      output: `answer ${row} of run ${run}`,
      loss: 1,
      nTokens: 10,
      nLabels: 5,
      ...rows[row],
    })),
    values: Object.fromEntries(
      Object.entries(values).map(([statistic, all]) => [
        statistic,
        Float64Array.from(all.flatMap((row) => modules.flatMap((module) => row[module]!))),
      ]),
    ),
    leftOut,
  };
}
