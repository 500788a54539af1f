import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readRows } from "../../src/io/rows.ts";
import { openModel, rowEncoder } from "../../src/run/open-model.ts";
import { packRows } from "../../src/runtime/packing.ts";
import { matrixOf, recordsOf, succeeds } from "../cli.ts";
import { demoData, demoModel, measure } from "../measure.ts";

/**
 * Plain PyTorch 2.13 on the miniature, first 16 rows of each file, float64 throughout, V projection: the mean loss, the mean over
 * layers of the mean over rows of the nuclear norm, and the MAD of that curve. Made with the fixtures' reference script,
 *
 *     python oracle.py demo/<mode> demo/data/<file>.json out.json --mode <mode> --rows 0:16
 *
 * and averaged over rows and layers.
 */
const pytorch = {
  base: {
    sums_none: { loss: 2.2512536, norm: 3.4307687, mad: 1.4669335 },
    sums_none_irrelevant: { loss: 6.0839746, norm: 8.8460104, mad: 3.9001235 },
    sums_simplified: { loss: 0.059017257, norm: 0.20393213, mad: 0.094750097 },
    sums_simplified_irrelevant: { loss: 1.6190166, norm: 2.2448913, mad: 1.0492624 },
    sums_detailed: { loss: 0.049187655, norm: 0.04819617, mad: 0.022360645 },
    sums_detailed_irrelevant: { loss: 0.63316387, norm: 0.79437712, mad: 0.36141432 },
    wiki_unpopular: { loss: 2.4241367, norm: 1.4290938, mad: 0.73941853 },
  },
  instruct: {
    sums_none: { loss: 2.2794991, norm: 3.9194939, mad: 1.6555037 },
    sums_none_irrelevant: { loss: 4.9702595, norm: 7.2156729, mad: 3.1066598 },
    sums_simplified: { loss: 0.055079734, norm: 0.2033548, mad: 0.088842169 },
    sums_simplified_irrelevant: { loss: 1.3000868, norm: 2.016646, mad: 0.93574183 },
    sums_detailed: { loss: 0.04820812, norm: 0.034969872, mad: 0.016056429 },
    sums_detailed_irrelevant: { loss: 0.64028673, norm: 0.60220223, mad: 0.25509589 },
    wiki_unpopular: { loss: 2.4162085, norm: 1.4711563, mad: 0.77482376 },
  },
} as const;
type File = keyof (typeof pytorch)["base"];
const files = Object.keys(pytorch.base) as File[];

/** Float32 may be 1e-6 off where a loss is small, as it is a difference of two numbers near 10; the means are then 1e-6 off. */
const TOLERANCE = 1e-5;

const LAYERS = 12;
const mean = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;

/** From the definitions, not from our analysis: rows of nuclear norms, layer by layer, to norm and MAD. */
function summarise(rows: readonly (readonly number[])[]): { norm: number; mad: number } {
  const curve = Array.from({ length: LAYERS }, (_, layer) => mean(rows.map((r) => r[layer]!)));
  return { norm: mean(curve), mad: mean(curve.slice(1).map((c, i) => Math.abs(c - curve[i]!))) };
}

function agrees(
  where: string,
  actual: { loss: number; norm: number; mad: number },
  expected: { loss: number; norm: number; mad: number },
): void {
  for (const key of ["loss", "norm", "mad"] as const)
    expect(Math.abs(actual[key] / expected[key] - 1), `${where} ${key}`).toBeLessThan(TOLERANCE);
}

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-demo-test-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the miniature study", () => {
  it("by `layergrad demo`: agrees with plain PyTorch on the first 16 rows, and prints the means of all 64", async () => {
    const { stdout, stderr } = await succeeds("demo", "--out", folder, "--quiet", "--json");
    expect(stderr).toBe("");
    const printed = JSON.parse(stdout) as {
      condition: string;
      rows: number;
      loss: number;
      nuclearNorm: { v: number };
      mad: { v: number };
    }[];
    expect(printed.map((row) => row.condition)).toEqual([
      "none",
      "none_irrelevant",
      "simplified",
      "simplified_irrelevant",
      "detailed",
      "detailed_irrelevant",
    ]);
    for (const { condition, rows, loss, nuclearNorm, mad } of printed) {
      const records = recordsOf(join(folder, "base", condition));
      const norms = records.map((r) => Array.from({ length: LAYERS }, (_, layer) => matrixOf(r, layer, "self_attn.v_proj").S_sum));
      agrees(
        condition,
        { loss: mean(records.slice(0, 16).map((r) => r.loss)), ...summarise(norms.slice(0, 16)) },
        pytorch.base[`sums_${condition}` as File],
      );
      const all = summarise(norms);
      expect(rows).toBe(64);
      expect(loss).toBeCloseTo(mean(records.map((r) => r.loss)), 12);
      expect(nuclearNorm.v).toBeCloseTo(all.norm, 12);
      expect(mad.v).toBeCloseTo(all.mad, 12);
    }
  });

  for (const [mode, names] of [
    ["base", ["wiki_unpopular"]],
    ["instruct", files],
  ] as const) {
    it(`by the engine, ${mode} model: agrees with plain PyTorch on ${names.length === 1 ? names[0] : "every file"}`, async () => {
      const model = await openModel(demoModel(mode));
      const encode = rowEncoder(model, { mode, maxLength: 1024, singleBos: false, date: "2025-01-31" });
      const rows = [];
      for (const name of names) rows.push(...(await readRows(demoData(name))).rows.slice(0, 16));
      const results = await measure(model, packRows(rows.map(encode), 1024), { cosines: false, spectrum: false });
      model.checkpoint.close();
      for (const [i, name] of names.entries()) {
        const ofFile = results.slice(16 * i, 16 * (i + 1));
        const norms = ofFile.map((r) =>
          Array.from({ length: LAYERS }, (_, layer) => r.matrices[`model.layers.${layer}.self_attn.v_proj.weight`]!.S_sum),
        );
        agrees(`${mode} ${name}`, { loss: mean(ofFile.map((r) => r.loss)), ...summarise(norms) }, pytorch[mode][name]);
      }
    });
  }
});
