import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Model, openModel, rowEncoder } from "../../src/run/open-model.ts";
import { packRows } from "../../src/runtime/packing.ts";
import { SpectrumPool } from "../../src/runtime/spectrum-pool.ts";
import type { Row } from "../../src/text/row.ts";
import { beyond, compare, declareSizes, median, medianExcess, noErrors, ours, realTolerances, theirs } from "../agreement.ts";
import { readExpected, shared } from "../fixtures.ts";
import { measure, sizesOf } from "../measure.ts";

const folder = join(tmpdir(), "layergrad-smollm2");
const source = shared && join(shared, "models", "smollm2-135m-instruct");

/** Writes the model's folder, which takes 269 MB and three seconds; does nothing where it is complete. */
async function unpacked(): Promise<Model> {
  const { status, stderr } = spawnSync(process.execPath, [join(shared!, "models", "unpack.mjs"), folder], { encoding: "utf8" });
  if (status !== 0) throw new Error(`unpack.mjs: ${stderr}`);
  return openModel(folder);
}

describe.skipIf(!source)(
  `SmolLM2-135M-Instruct agrees with PyTorch${source ? "" : " (set LAYERGRAD_SHARED to a folder with models/)"}`,
  () => {
    const mine = noErrors();
    const reference = noErrors();

    for (const mode of ["base", "instruct"] as const) {
      it(`${mode}: tokens equal, every statistic, singular value and cosine within the real model's tolerances`, async () => {
        const expected = readExpected(join(source!, "expected", `${mode}.json.gz`));
        const data = JSON.parse(readFileSync(join(source!, "rows.json"), "utf8")) as Row[];
        const model = await unpacked();
        const encode = rowEncoder(model, { mode, maxLength: 1024, singleBos: false, date: "2025-01-31" });
        const rows = data.map((row, i) => encode({ ...row, input: row.input ?? "" }, i));
        expect(rows.map((r) => [Array.from(r.inputIds), r.labelStart, r.nLabels])).toEqual(
          expected.map((e) => [e.input_ids, e.label_start, e.n_label_tokens]),
        );

        const solver = new SpectrumPool(2);
        const results = await measure(model, packRows(rows, 1024), { solver });
        await solver.close();
        const here = noErrors();
        for (const [i, { row, f32, f64 }] of expected.entries()) {
          declareSizes(f64, sizesOf(model, Object.keys(f64.params)));
          expect(results[i]!.row).toBe(row);
          compare(here, `${mode} row ${row}`, ours(results[i]!), f64);
          compare(mine, `${mode} row ${row}`, ours(results[i]!), f64);
          compare(reference, `${mode} row ${row}`, theirs(f32), f64);
        }
        model.checkpoint.close();
        expect(here.S_sum.length).toBe(expected.length * 30 * 4);
        expect(here.S_list.length).toBeGreaterThan(2 * 30 * 4 * 192);
        expect(here.cosine.length).toBe(expected.length * (30 * 2 + 29 * 4));
        expect(beyond(here, realTolerances)).toEqual([]);
      });
    }

    it("median errors are at most twice those of PyTorch's own float32, statistic by statistic", () => {
      expect(mine.loss.length).toBe(12);
      expect(medianExcess(mine, reference)).toEqual([]);
    });

    it("the loss errs a fifth as much as PyTorch's at most, whose log-softmax rounds over 49,152 logits", () => {
      const [worst, theirMedian] = [Math.max(...mine.loss.map((e) => e.error)), median(reference.loss.map((e) => e.error))];
      expect(worst).toBeLessThan(theirMedian / 5);
    });
  },
);
