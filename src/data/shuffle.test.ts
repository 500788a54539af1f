import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { shared } from "../../test/fixtures.ts";
import { readRows } from "../io/rows.ts";
import type { Row } from "../text/row.ts";
import { findCatalogueFile } from "./catalogue.ts";
import { markCollisions, shuffleResponses } from "./shuffle.ts";

const rowsOf = (outputs: readonly string[]): Row[] => outputs.map((output, i) => ({ instruction: `question ${i}`, input: `${i}`, output }));
const outputsOf = (rows: readonly Row[]): string[] => rows.map((row) => row.output);
const count = (marks: readonly boolean[]): number => marks.filter(Boolean).length;

function permutations<T>(items: readonly T[]): T[][] {
  return items.length < 2 ? [[...items]] : items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map((rest) => [item, ...rest]));
}

/** Every way in which n answers can be equal to each other, as texts: a, ab, aa, … */
function patterns(n: number): string[] {
  if (n === 0) return [""];
  return patterns(n - 1).flatMap((head) => {
    const kinds = new Set(head).size;
    return Array.from({ length: kinds + 1 }, (_, kind) => head + String.fromCharCode(97 + kind));
  });
}

describe("shuffleResponses", () => {
  it("leaves the fewest equal answers that any permutation leaves: all patterns of up to 6 answers, against every permutation", () => {
    for (const pattern of [1, 2, 3, 4, 5, 6].flatMap(patterns)) {
      const own = [...pattern];
      const least = Math.min(...permutations(own).map((given) => count(given.map((answer, i) => answer === own[i]))));
      const most = Math.max(...own.map((answer) => own.filter((other) => other === answer).length));
      expect(least, pattern).toBe(Math.max(0, 2 * most - own.length));
      for (let seed = 0; seed < 5; seed++) {
        const marked = shuffleResponses(rowsOf(own), seed).filter((row) => row.collision).length;
        expect(marked, `${pattern}, seed ${seed}`).toBe(least);
      }
    }
  });

  it.each([
    ["two answers, half each", 250, 250],
    ["two answers, one of them in 300 of 500 rows", 300, 200],
    ["one answer alone", 500, 0],
  ])("%s", (_, yes, no) => {
    const rows = rowsOf([...Array<string>(yes).fill("yes"), ...Array<string>(no).fill("no")]);
    const shuffled = shuffleResponses(rows, 1);
    expect(shuffled.filter((row) => row.collision).length).toBe(yes - no);
  });

  it("keeps instructions, inputs and, as a whole, the answers; marks just the rows that got their own answer", () => {
    const rows = rowsOf([..."aaaaabbcd"]);
    const shuffled = shuffleResponses(rows, 7);
    expect(shuffled.map(({ instruction, input }) => [instruction, input])).toEqual(
      rows.map(({ instruction, input }) => [instruction, input]),
    );
    expect(outputsOf(shuffled).toSorted()).toEqual(outputsOf(rows).toSorted());
    expect(shuffled.map((row) => row.collision ?? false)).toEqual(markCollisions(rows, shuffled));
  });

  it("repeats with the seed, and differs with another", () => {
    const rows = rowsOf(Array.from({ length: 50 }, (_, i) => `${i}`));
    expect(shuffleResponses(rows, 3)).toEqual(shuffleResponses(rows, 3));
    expect(outputsOf(shuffleResponses(rows, 3))).not.toEqual(outputsOf(shuffleResponses(rows, 4)));
  });

  it("gives each row every other row's answer equally often", () => {
    const n = 6;
    const rows = rowsOf([..."abcdef"]);
    const draws = 6000;
    const times = new Map<string, number>();
    for (let seed = 0; seed < draws; seed++)
      for (const [i, { output }] of shuffleResponses(rows, seed).entries()) {
        const key = `${i}${output}`;
        times.set(key, (times.get(key) ?? 0) + 1);
      }
    expect(times.size).toBe(n * (n - 1));
    // Four and a half standard deviations of a binomial of 6000 draws at 1/5, 31 of 1200.
    for (const [key, k] of times) expect(Math.abs(k / (draws / (n - 1)) - 1), key).toBeLessThan(0.116);
  });

  it("shuffles 50,000 rows of two answers in a moment", () => {
    const rows = rowsOf(Array.from({ length: 50_000 }, (_, i) => (i % 5 < 3 ? "yes" : "no")));
    const began = performance.now();
    expect(shuffleResponses(rows, 1).filter((row) => row.collision).length).toBe(10_000);
    expect(performance.now() - began).toBeLessThan(5000);
  });

  it("has nothing to do with no row, and collides with a single one", () => {
    expect(shuffleResponses([], 1)).toEqual([]);
    expect(shuffleResponses(rowsOf(["a"]), 1)).toEqual([{ instruction: "question 0", input: "0", output: "a", collision: true }]);
  });
});

describe("markCollisions", () => {
  it("refuses files that do not belong together", () => {
    expect(() => markCollisions(rowsOf(["a", "b"]), rowsOf(["a"]))).toThrow("found 2 and 1");
    expect(() => markCollisions(rowsOf(["a", "b"]), rowsOf(["a", "b"]).toReversed())).toThrow("row 0 differs");
  });

  it.skipIf(!shared).each([
    ["strategyqa/none", 250],
    ["creak/none", 249],
    ["sensemaking/none", 241],
    ["aqua/none", 64],
    ["gsm8k/none", 4],
    ["ecqa/none", 0],
  ])(
    `%s of the paper still has %i right answers in its irrelevant file${shared ? "" : " (set LAYERGRAD_SHARED to a folder with data/)"}`,
    async (name, expected) => {
      const [correct, irrelevant] = await Promise.all(
        [name, `${name}/irrelevant`].map((n) => readRows(join(shared!, "data", "layer-gradient", findCatalogueFile(n)!.path))),
      );
      expect(count(markCollisions(correct!.rows, irrelevant!.rows))).toBe(expected);
    },
  );
});
