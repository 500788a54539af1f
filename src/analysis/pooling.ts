import { LayergradError } from "../errors.ts";
import type { Block } from "./blocks.ts";
import { isComplete, layersOf, mean } from "./curves.ts";
import { matchNearest } from "./matching.ts";
import { groupByQuestions, isCollision, type LeftOut, noPartner, type RowGroup } from "./pairing.ts";
import type { RunTable, StatisticName } from "./table.ts";

/** What rows may be matched by, under the records' names. */
export const matchChoices = ["n_tokens", "n_labels", "loss"] as const;
export type MatchChoice = (typeof matchChoices)[number];

/** Widest difference of two matched rows, relative to the larger value. */
const CALIPER = 0.1;

/** Which numbers of a run go into a block. */
export interface BlockRequest {
  readonly statistic: StatisticName;
  /** `self_attn.q_proj`, … */
  readonly module: string;
  /** `layers`: a column a layer. `mean`: one column, the row's mean over layers. `layers and mean`: both, the mean last. */
  readonly columns: "layers" | "mean" | "layers and mean";
}

/** Which rows of a data set's runs are compared. */
export interface SelectionOptions {
  /** Conditions and their twins, as positions among the runs: a question to which both have the same response is left out of its whole group. */
  readonly collisions?: readonly (readonly [number, number])[];
  /**
   * Compares rows of like size instead of like questions: of two runs, pairs of rows one to one, nearest first, at most 10 % apart. Pairs are
   * resampled together, as questions are. So intervals rest on the pairs as they came out: that other rows would have matched otherwise, and
   * that a question may stand in two pairs, once from each run, is not in them.
   */
  readonly match?: MatchChoice;
}

/** Which rows are compared, and which are not. */
export interface Selection {
  readonly groups: readonly RowGroup[];
  /** For each run its rows that are in no group, by reason. */
  readonly leftOut: readonly LeftOut[];
}

/** Blocks, and the rows behind them. */
export interface BuiltBlocks {
  readonly blocks: readonly Block[];
  /** For each block its rows: its runs in the order of the block's arms, questions in the order of their values. */
  readonly rows: readonly (RowGroup & { readonly stratum: number })[];
  /** Rows of each run that are in no block, by reason: `[strata][tables]`. */
  readonly leftOut: readonly (readonly LeftOut[])[];
}

/** How one data set enters a pooled analysis. */
export interface BlockOptions extends SelectionOptions {
  /** Arm of each run; 0, 1, 2, … by default. */
  readonly arms?: readonly number[];
  /** Weight of this data set in each arm's mean, default 1. */
  readonly weight?: number;
}

/**
 * Chooses the rows of runs of one data set that are compared. Runs that share questions make one group, over the questions that all of
 * them have; a run that shares none is a group of its own: see {@link groupByQuestions}. Matched runs make one group of matched pairs.
 *
 * @throws {LayergradError} `usage` if other than two runs are to be matched; `data` if a row has not the number by which to match, or
 * as {@link groupByQuestions}.
 */
export function selectRows(tables: readonly RunTable[], { collisions = [], match }: SelectionOptions = {}): Selection {
  const groups = groupByQuestions(tables);
  const kept = groups.map((group) => keepQuestions(group, (question) => !collides(tables, group, question, collisions)));
  const leftOut = tables.map((): Record<string, number> => ({}));
  const drop = (reason: string, table: number, rows: number): void => {
    if (rows > 0) leftOut[table]![reason] = rows;
  };
  groups.forEach((group, g) => {
    for (const table of group.tables) {
      drop("its twin has the same response", table, group.indices[0]!.length - kept[g]!.indices[0]!.length);
      if (match === undefined) drop(noPartner, table, tables[table]!.rows.length - group.indices[0]!.length);
    }
  });
  if (match === undefined) return { groups: kept, leftOut };

  if (tables.length !== 2) throw new LayergradError("usage", `Rows are matched between two runs, not among ${tables.length}.`);
  // All rows but collisions: a matched row needs no partner of its own question.
  const candidates = tables.map((table, t) => {
    const colliding = new Set(groups.flatMap((group, g) => without(rowsOf(group, t), new Set(rowsOf(kept[g]!, t)))));
    return without([...table.rows.keys()], colliding);
  });
  const pairs = matchRows(tables, candidates, match);
  candidates.forEach((rows, t) => {
    drop(`no row of the other run within ${100 * CALIPER} % of its ${match}`, t, rows.length - pairs.indices[t]!.length);
  });
  return { groups: [pairs], leftOut };
}

/** Pairs of the candidates of two runs. */
function matchRows(tables: readonly RunTable[], candidates: readonly (readonly number[])[], match: MatchChoice): RowGroup {
  const [a, b] = tables.map((table, t) => candidates[t]!.map((row) => matchedValue(table, row, match)));
  const pairs = matchNearest(a!, b!, { caliper: CALIPER });
  return { tables: [0, 1], indices: [0, 1].map((t) => pairs.map((pair) => candidates[t]![pair[t]!]!)) };
}

/** Whether one of the twins among a group's runs has the same response as its condition. */
const collides = (tables: readonly RunTable[], group: RowGroup, question: number, twins: readonly (readonly [number, number])[]): boolean =>
  twins.some((pair) => {
    const [a, b] = pair.map((table) => tables[table]!.rows[rowsOf(group, table)[question] ?? -1]);
    return a !== undefined && b !== undefined && isCollision(a, b);
  });

/** A run's rows in a group; none where it is not in it. */
const rowsOf = ({ tables, indices }: RowGroup, table: number): readonly number[] => indices[tables.indexOf(table)] ?? [];

const without = (rows: readonly number[], taken: ReadonlySet<number>): number[] => rows.filter((row) => !taken.has(row));

/** A group without the questions that `keep` refuses. */
function keepQuestions(group: RowGroup, keep: (question: number) => boolean): RowGroup {
  const questions = [...group.indices[0]!.keys()].filter(keep);
  return { tables: group.tables, indices: group.indices.map((rows) => questions.map((question) => rows[question]!)) };
}

function matchedValue(table: RunTable, row: number, match: MatchChoice): number {
  const { loss, nTokens, nLabels } = table.rows[row]!;
  const value = { n_tokens: nTokens, n_labels: nLabels, loss }[match];
  if (value === null || Number.isNaN(value))
    throw new LayergradError(
      "data",
      `${table.name}: not every row has a number ${match}, so rows cannot be matched by it; choose another.`,
    );
  return value;
}

/**
 * One data set's blocks: a block for each group of {@link selectRows}, each of its runs an arm. A question without a value (0/0) in any layer of
 * any of the group's runs is left out of the whole group, and counted.
 *
 * @param tables - The run of each arm.
 * @throws {LayergradError} `data` if a run has not the statistic or module, depths differ, or no question is left of a group; otherwise
 * as {@link selectRows}.
 */
export function buildBlocks(tables: readonly RunTable[], request: BlockRequest, options: BlockOptions = {}): BuiltBlocks {
  return blocksOf(tables, selectRows(tables, options), request, options);
}

/**
 * Several data sets' blocks together: an arm's mean is the mean over data sets, each with weight 1 / number of sets, and questions are
 * resampled within their data set.
 *
 * @param strata - For each data set the run of each arm, `[strata][arms]`.
 * @throws {LayergradError} As {@link buildBlocks}.
 */
export function pooledBlocks(
  strata: readonly (readonly RunTable[])[],
  request: BlockRequest,
  options: Pick<SelectionOptions, "collisions"> = {},
): BuiltBlocks {
  const built = strata.map((tables) => buildBlocks(tables, request, { ...options, weight: 1 / strata.length }));
  return {
    blocks: built.flatMap(({ blocks }, s) => blocks.map((block) => ({ ...block, stratum: String(s) }))),
    rows: built.flatMap(({ rows }, s) => rows.map((group) => ({ ...group, stratum: s }))),
    leftOut: built.flatMap(({ leftOut }) => leftOut),
  };
}

/** {@link buildBlocks} of rows that are chosen already. */
export function blocksOf(
  tables: readonly RunTable[],
  { groups, leftOut }: Selection,
  request: BlockRequest,
  { arms, weight = 1 }: Pick<BlockOptions, "arms" | "weight"> = {},
): BuiltBlocks {
  const { statistic, module } = request;
  const depths = new Set(tables.map(({ layers }) => layers));
  if (depths.size > 1)
    throw new LayergradError(
      "data",
      `${tables.map(({ name, layers }) => `${name} has ${layers} layers`).join(", ")}: curves of different depth cannot be compared.`,
    );
  const withoutValue = leftOut.map((reasons) => ({ ...reasons }));
  const complete = groups.map((group) => {
    const kept = keepQuestions(group, (question) =>
      group.tables.every((table, t) => isComplete(layersOf(tables[table]!, statistic, module, group.indices[t]![question]!))),
    );
    const n = kept.indices[0]!.length;
    const names = group.tables.map((table) => tables[table]!.name).join(", ");
    if (n === 0) throw new LayergradError("data", `${names}: no row is left to compare in ${statistic} of ${module}.`);
    for (const table of group.tables) {
      const rows = group.indices[0]!.length - n;
      if (rows > 0) withoutValue[table]![noValue] = rows;
    }
    return kept;
  });
  return {
    blocks: complete.map((group) => ({
      n: group.indices[0]!.length,
      arms: group.tables.map((table, t) => ({
        arm: arms?.[table] ?? table,
        weight,
        values: valuesOf(tables[table]!, group.indices[t]!, request),
      })),
    })),
    rows: complete.map((group) => ({ ...group, stratum: 0 })),
    leftOut: [withoutValue],
  };
}

/** Why a row that was chosen has no place in one statistic of one module. */
const noValue = "0/0 in a layer";

/** Shape `[rows, columns]`, row by row. */
function valuesOf(table: RunTable, rows: readonly number[], { statistic, module, columns }: BlockRequest): Float64Array {
  const width = (columns === "mean" ? 0 : table.layers) + (columns === "layers" ? 0 : 1);
  const values = new Float64Array(rows.length * width);
  rows.forEach((row, i) => {
    const layers = layersOf(table, statistic, module, row);
    if (columns !== "mean") values.set(layers, i * width);
    if (columns !== "layers") values[(i + 1) * width - 1] = mean(layers)!;
  });
  return values;
}
