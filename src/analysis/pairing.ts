import { LayergradError } from "../errors.ts";
import type { RunTable, TableRow } from "./table.ts";

/** Rows of a run that a comparison leaves out, by reason, in words for people. */
export type LeftOut = Readonly<Record<string, number>>;

/** What makes two rows of different runs the same question. */
export type PairedBy = "row and instruction" | "instruction and occurrence";

/** Rows of two runs that answer the same questions. */
export interface Pairing {
  /** Whether there is any pair. Runs without one share no questions: their comparison is unpaired, and leaves no row out. */
  readonly paired: boolean;
  /** Indices into `a.rows` and `b.rows`, in the order of `a`. */
  readonly pairs: readonly (readonly [number, number])[];
  readonly by: PairedBy;
  /** Rows without a partner; empty where the comparison is unpaired. */
  readonly leftOut: { readonly a: LeftOut; readonly b: LeftOut };
}

/** Rows of one or several runs that go together: a question's, or a matched pair's. */
export interface RowGroup {
  /** Positions of the runs among those given, ascending. */
  readonly tables: readonly number[];
  /** For each of them its row of each question, indices into its `rows`: `[tables][questions]`. */
  readonly indices: readonly (readonly number[])[];
}

/**
 * Pairs the rows of two runs: rows agree where position in the data and instruction both agree, or, where a file does not say the position
 * (the authors' files), where the instruction and its occurrence number in the file do. A single pair makes the comparison a paired one, in
 * which rows without a partner are left out: two data sets agree in position and instruction only where they ask the same.
 */
export function pairRows(a: RunTable, b: RunTable): Pairing {
  const by = pairedBy([a, b]);
  const questions = commonQuestions([keysOf(a, by), keysOf(b, by)]);
  const [inA, inB] = questions as [number[], number[]];
  const rest = (table: RunTable): LeftOut =>
    inA.length === 0 || table.rows.length === inA.length ? {} : { [noPartner]: table.rows.length - inA.length };
  return { paired: inA.length > 0, pairs: inA.map((row, i) => [row, inB[i]!]), by, leftOut: { a: rest(a), b: rest(b) } };
}

/** Why a row of a paired comparison is left out. */
export const noPartner = "its question is missing in another run";

/**
 * Groups runs by the questions that they share: runs of which one shares a question with another are in one group, over the questions that
 * all of the group answer; a run that shares none is a group by itself, with all its rows.
 *
 * @throws {LayergradError} `data` if runs hang together but no question is in all of them.
 */
export function groupByQuestions(tables: readonly RunTable[]): RowGroup[] {
  const by = pairedBy(tables);
  const keys = tables.map((table) => keysOf(table, by));
  const groups: RowGroup[] = [];
  const free = new Set(tables.keys());
  for (const first of free) {
    const members = connected(first, free, keys);
    for (const member of members) free.delete(member);
    const indices = commonQuestions(members.map((member) => keys[member]!));
    if (indices[0]!.length === 0 && members.length > 1)
      throw new LayergradError(
        "data",
        `${members.map((member) => tables[member]!.name).join(", ")}: share questions two by two, but none is in all of them; compare fewer runs at once.`,
      );
    groups.push({ tables: members, indices });
  }
  return groups;
}

/** Whether two rows have equal responses: an "irrelevant" answer that happens to be right. */
export const isCollision = (a: TableRow, b: TableRow): boolean => a.output === b.output;

const pairedBy = (tables: readonly RunTable[]): PairedBy =>
  tables.every((table) => table.rows.every(({ row }) => row !== null)) ? "row and instruction" : "instruction and occurrence";

/** A key for each row, in order; equal keys in two runs are one question. */
function keysOf(table: RunTable, by: PairedBy): Map<string, number> {
  return new Map(
    table.rows.map(({ row, instruction, occurrence = 0 }, index) => [
      `${by === "row and instruction" ? row : occurrence} ${instruction}`,
      index,
    ]),
  );
}

/** For each map its indices of the keys that all of them have, in the order of the first. */
function commonQuestions(keys: readonly ReadonlyMap<string, number>[]): number[][] {
  const common = [...keys[0]!.keys()].filter((key) => keys.every((map) => map.has(key)));
  return keys.map((map) => common.map((key) => map.get(key)!));
}

/** `first` and all of `free` that hang together with it, ascending. */
function connected(first: number, free: ReadonlySet<number>, keys: readonly ReadonlyMap<string, number>[]): number[] {
  const members = [first];
  // The list grows while it is walked.
  for (const member of members)
    for (const other of free) {
      if (!members.includes(other) && commonQuestions([keys[member]!, keys[other]!])[0]!.length > 0) members.push(other);
    }
  return members.toSorted((a, b) => a - b);
}
