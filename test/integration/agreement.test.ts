import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openModel, rowEncoder } from "../../src/run/open-model.ts";
import type { Row } from "../../src/text/row.ts";
import { beyond, compare, declareSizes, medianExcess, noErrors, ours, theirs, tinyTolerances } from "../agreement.ts";
import { expectedPath, fixtureModel, fixtures, readExpected } from "../fixtures.ts";
import { measure, sizesOf } from "../measure.ts";
import { storedOnly } from "../stored-only.ts";

const models = ["llama", "llama31", "llama2", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "olmo2"];
/** OLMo 2's fixture has no chat template. */
const modesOf = (model: string) => (model === "olmo2" ? (["base"] as const) : (["base", "instruct"] as const));
const sets = ["basic", "edge"] as const;

const mine = noErrors();
const reference = noErrors();

const dataRows = (set: string): Row[] =>
  (JSON.parse(readFileSync(join(fixtures, "data", `${set}.json`), "utf8")) as Row[]).map((row) => ({ ...row, input: row.input ?? "" }));

describe("agreement with PyTorch on the tiny models, from text to statistics", () => {
  for (const name of models) {
    for (const mode of modesOf(name)) {
      for (const set of sets) {
        it(`${name}, ${mode}, ${set}: our tokens are PyTorch's, and every number lies within the fixtures' tolerances`, async () => {
          const expected = readExpected(expectedPath(name, mode, set));
          const model = await openModel(fixtureModel(name));
          // The fixtures were made on a day that no tiny template shows; the cut is the set's.
          const encode = rowEncoder(model, { mode, maxLength: expected[0]!.max_length, singleBos: false, date: "2025-01-31" });
          const rows = dataRows(set).map(encode);
          expect(rows.map((r) => ({ row: r.row, ids: Array.from(r.inputIds), labelStart: r.labelStart, labels: r.nLabels }))).toEqual(
            expected.map((e) => ({ row: e.row, ids: e.input_ids, labelStart: e.label_start, labels: e.n_label_tokens })),
          );
          // The reference writes NaN for exactly the rows that we leave out with a reason.
          const skipped = rows.filter((r) => r.skip);
          expect(skipped.map((r) => r.row)).toEqual(expected.filter((e) => e.status === "nan").map((e) => e.row));
          if (set === "edge") {
            // The prompt fills the whole row, and there is no response, for any tokenizer.
            expect(skipped).toContainEqual(expect.objectContaining({ row: 5, skip: "response truncated away" }));
            expect(skipped).toContainEqual(expect.objectContaining({ row: 6, skip: "empty response" }));
          }

          const measured = rows.filter((r) => !r.skip);
          const results = await measure(model, [measured]);
          const here = noErrors();
          for (const result of results) {
            const { f32, f64 } = expected[result.row]!;
            const where = `${name} ${mode} ${set} row ${result.row}`;
            declareSizes(f64, sizesOf(model, Object.keys(f64.params)));
            const numbers = storedOnly(model, ours(result));
            compare(here, where, numbers, f64);
            compare(mine, where, numbers, f64);
            compare(reference, where, theirs(f32), f64);
          }
          model.checkpoint.close();
          expect(results.length).toBe(measured.length);
          expect(beyond(here, tinyTolerances)).toEqual([]);
        });
      }
    }
  }
  it("median errors, pooled, are at most twice those of PyTorch's own float32", () => {
    expect(mine.loss.length).toBeGreaterThan(50);
    expect(mine.S_list.length).toBeGreaterThan(10_000);
    expect(mine.cosine.length).toBeGreaterThan(500);
    expect(medianExcess(mine, reference)).toEqual([]);
  });
});
