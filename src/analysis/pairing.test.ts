import { describe, expect, it } from "vitest";
import { runTable } from "../../test/run-table.ts";
import { groupByQuestions, isCollision, noPartner, pairRows } from "./pairing.ts";
import type { RunTable, TableRow } from "./table.ts";

const run = (rows: readonly Partial<TableRow>[], name = "a run"): RunTable =>
  runTable({ name, rows, values: { nuclearNorm: rows.map(() => ({ q: [1, 2] })) } });

/** Rows of our own files, at positions `rows`, asking as their letters say. */
const ours = (questions: string, positions = [...questions].map((_, i) => i)): RunTable =>
  run([...questions].map((instruction, i) => ({ instruction, row: positions[i]! })));
const authors = (questions: string): RunTable => run([...questions].map((instruction) => ({ instruction, row: null })));

describe("pairing the rows of two runs", () => {
  it("pairs where position and instruction both agree, and counts the rest", () => {
    expect(pairRows(ours("abcd"), ours("abxd"))).toEqual({
      paired: true,
      pairs: [
        [0, 0],
        [1, 1],
        [3, 3],
      ],
      by: "row and instruction",
      leftOut: { a: { [noPartner]: 1 }, b: { [noPartner]: 1 } },
    });
  });
  it("goes by the position in the data, not in the file: another limit, or rows that were skipped, change nothing", () => {
    expect(pairRows(ours("bd", [1, 3]), ours("abcd")).pairs).toEqual([
      [0, 1],
      [1, 3],
    ]);
  });
  it("does not pair one instruction at two positions: those are rows of different data", () => {
    expect(pairRows(ours("ab"), ours("ba"))).toMatchObject({ paired: false, pairs: [], leftOut: { a: {}, b: {} } });
  });
  it("of the authors' files pairs by instruction and its occurrence, whatever the order", () => {
    expect(pairRows(authors("abca"), authors("caxa"))).toMatchObject({
      pairs: [
        [0, 1],
        [2, 0],
        [3, 3],
      ],
      by: "instruction and occurrence",
    });
    expect(pairRows(authors("aa"), authors("a")).leftOut).toEqual({ a: { [noPartner]: 1 }, b: {} });
  });
  it("of a file of ours and one of theirs does so too", () => {
    expect(pairRows(ours("abc"), authors("cab")).pairs).toEqual([
      [0, 1],
      [1, 2],
      [2, 0],
    ]);
  });
  it("makes a comparison without any pair an unpaired one, in which no row is left out", () => {
    expect(pairRows(authors("ab"), authors("xyz"))).toMatchObject({ paired: false, leftOut: { a: {}, b: {} } });
  });
  it("tells instructions apart that begin with a number", () => {
    expect(pairRows(run([{ row: 1, instruction: "1 a" }]), run([{ row: 11, instruction: "a" }])).paired).toBe(false);
  });
});

describe("runs that share questions", () => {
  it("are one group over the questions that all of them have; a run that shares none is by itself, whole", () => {
    expect(groupByQuestions([ours("abcd"), ours("xyw"), ours("abzd"), ours("obcd")])).toEqual([
      {
        tables: [0, 2, 3],
        indices: [
          [1, 3],
          [1, 3],
          [1, 3],
        ],
      },
      { tables: [1], indices: [[0, 1, 2]] },
    ]);
  });
  it("hang together through a third one, but cannot be compared all at once without a common question", () => {
    expect(() => groupByQuestions([run([{ instruction: "a" }, { instruction: "b" }], "one"), ours("xb"), ours("xc")])).toThrow(
      "share questions two by two, but none is in all of them",
    );
  });
});

describe("a collision", () => {
  it("is an equal response, to the letter", () => {
    const row = run([{ output: "(D)" }]).rows[0]!;
    expect(isCollision(row, { ...row, instruction: "another", loss: 2 })).toBe(true);
    expect(isCollision(row, { ...row, output: "(D) " })).toBe(false);
  });
});
