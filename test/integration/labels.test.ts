import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type MeasuredRow, measureRows } from "../../src/run/measure-rows.ts";
import { openModel, rowEncoder } from "../../src/run/open-model.ts";
import { run } from "../../src/run/run.ts";
import { Engine } from "../../src/runtime/engine.ts";
import { randomLabels } from "../../src/runtime/label-subsets.ts";
import type { RowStatistics } from "../../src/runtime/row-statistics.ts";
import { type GradientRecord, type MatrixStatistics, parseMatrixKey, readManifest } from "../../src/store/index.ts";
import type { Row } from "../../src/text/row.ts";
import { beyond, compare, declareSizes, medianExcess, noErrors, theirs, tinyTolerances } from "../agreement.ts";
import { type ExpectedRow, fixtureModel, fixtures, readExpected } from "../fixtures.ts";
import { allStatistics, demoData, demoModel, sizesOf } from "../measure.ts";

const basic: readonly Row[] = JSON.parse(readFileSync(join(fixtures, "data", "basic.json"), "utf8"));
const folder = mkdtempSync(join(tmpdir(), "layergrad-labels-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function measured(...parameters: Parameters<typeof measureRows>): Promise<GradientRecord[]> {
  const all: MeasuredRow[] = [];
  for await (const row of measureRows(...parameters)) all.push(row);
  return all.filter((row): row is GradientRecord => !("reason" in row));
}

const matricesOf = (record: GradientRecord): Record<string, MatrixStatistics> =>
  Object.fromEntries(Object.entries(record).filter(([key]) => parseMatrixKey(key)));

const demoRows = (name: string, limit: number): Row[] => (JSON.parse(readFileSync(demoData(name), "utf8")) as Row[]).slice(0, limit);

describe("--labels against PyTorch", () => {
  const mine = noErrors();
  const reference = noErrors();
  for (const name of ["llama", "qwen2", "gemma2", "mistral"]) {
    it(`${name}: the first, the last and random five labels of a row, within the fixtures' tolerances`, async () => {
      const expected = readExpected(join(fixtures, "labels", `${name}.base.json`)) as (ExpectedRow & { labels: string })[];
      const model = await openModel(fixtureModel(name));
      const records = {
        first: await measured(model, basic, { labels: "first:5" }),
        last: await measured(model, basic, { labels: "last:5" }),
        random: await measured(model, basic, { labels: "random:5", labelSeed: 0 }),
      };
      const here = noErrors();
      for (const { row, labels, n_label_tokens, f32, f64 } of expected) {
        const rule = labels.startsWith("at:") ? "random" : (labels.split(":")[0] as "first" | "last");
        const record = records[rule].find((r) => r.row === row)!;
        expect(record.n_labels).toBe(n_label_tokens);
        if (rule === "random") {
          const chosen = randomLabels(record.labels!.of, 5, { seed: 0, row, draw: 0 });
          expect(labels).toBe(`at:${Array.from(chosen).join(",")}`);
        }
        declareSizes(f64, sizesOf(model, Object.keys(f64.params)));
        const ours = { loss: record.loss, matrices: matricesOf(record) };
        for (const errors of [here, mine]) compare(errors, `${name} row ${row} ${labels}`, ours, f64);
        compare(reference, `${name} row ${row} ${labels}`, theirs(f32), f64);
      }
      model.checkpoint.close();
      expect(here.loss.length).toBe(6);
      expect(beyond(here, tinyTolerances)).toEqual([]);
    });
  }

  it("median errors, pooled, are at most twice those of PyTorch's own float32", () => {
    expect(mine.S_sum.length).toBeGreaterThan(150);
    expect(medianExcess(mine, reference)).toEqual([]);
  });
});

describe("a sweep", () => {
  const rows = demoRows("sums_simplified", 2);

  it("ends in the plain run, to the last digit", async () => {
    const plain = await measured(demoModel("base"), rows);
    const swept = await measured(demoModel("base"), rows, { labels: "sweep" });
    expect(swept.map(({ sweep: _, ...record }) => record)).toEqual(plain);
    for (const [i, { sweep, n_labels }] of swept.entries()) {
      const { k, loss, nuclear_norm } = sweep!.at(-1)!;
      expect({ k, loss }).toEqual({ k: n_labels, loss: plain[i]!.loss });
      expect(nuclear_norm["self_attn.v_proj"]![3]).toBe(plain[i]!["model.layers.3.self_attn.v_proj.weight"]!.S_sum);
    }
  });

  it("holds at each k what a run of that k gives", async () => {
    const [swept] = await measured(demoModel("base"), rows.slice(0, 1), { labels: "sweep" });
    expect(swept!.sweep!.map((s) => `${s.labels} ${s.k} ${s.draws}`).slice(0, 4)).toEqual([
      "first 1 1",
      "random 1 8",
      "first 2 1",
      "random 2 8",
    ]);
    const [first] = await measured(demoModel("base"), rows.slice(0, 1), { labels: "first:4" });
    const step = swept!.sweep!.find((s) => s.labels === "first" && s.k === 4)!;
    expect(step.loss).toBe(first!.loss);
    const key = "model.layers.5.self_attn.q_proj.weight";
    expect(step.nuclear_norm["self_attn.q_proj"]![5]).toBe(first![key]!.S_sum);
    expect(step.effective_rank["self_attn.q_proj"]![5]).toBe(first![key]!.effective_rank);
    expect(step.sigma_max["self_attn.q_proj"]![5]).toBe(first![key]!.S_max);
    expect(step.frobenius_norm["self_attn.q_proj"]![5]).toBe(first![key]!.frobenius_norm);
  });

  it("averages its random draws, each as measured by itself", async () => {
    const [swept] = await measured(demoModel("base"), rows.slice(0, 1), { labels: "sweep", labelSeed: 5 });
    const model = await openModel(demoModel("base"));
    const encoded = rowEncoder(model, { mode: "base", maxLength: 1024, singleBos: false, date: "2025-01-31" })(
      { ...rows[0]!, input: rows[0]!.input ?? "" },
      0,
    );
    const draws = Array.from({ length: 8 }, (_, draw) => randomLabels(encoded.nLabels, 2, { seed: 5, row: 0, draw }));
    const engine = await Engine.open(model.checkpoint, { ...allStatistics, spectrum: false, cosines: false });
    const [results] = await engine.measureSubsets([{ ...encoded, subsets: draws }]);
    await engine.close();
    model.checkpoint.close();
    const average = (of: (r: RowStatistics) => number) => results!.reduce((sum, r) => sum + of(r), 0) / 8;
    const step = swept!.sweep!.find((s) => s.labels === "random" && s.k === 2)!;
    // Two orders of adding, and the release kernel in a worker thread or here: rounding of float64, and nothing else.
    expect(step.loss).toBeCloseTo(
      average((r) => r.loss),
      12,
    );
    const norm = average((r) => r.matrices["model.layers.5.self_attn.q_proj.weight"]!.S_sum);
    expect(Math.abs(step.nuclear_norm["self_attn.q_proj"]![5]! / norm - 1)).toBeLessThan(1e-6);
    expect(new Set(results!.map((r) => r.loss)).size).toBeGreaterThan(4);
  });

  it("is the same for a row alone and for one in a pack, but for rounding", async () => {
    const together = await measured(demoModel("base"), rows, { labels: "sweep", batchTokens: 4096 });
    const apart = await measured(demoModel("base"), rows, { labels: "sweep", batchTokens: 1 });
    for (const [i, { sweep }] of together.entries()) {
      for (const [j, step] of sweep!.entries()) {
        const other = apart[i]!.sweep![j]!;
        // The fixtures' tolerance for S_sum: packing changes how float32 products are blocked.
        for (const [module, norms] of Object.entries(step.nuclear_norm))
          for (const [layer, norm] of norms.entries()) expect(Math.abs(norm / other.nuclear_norm[module]![layer]! - 1)).toBeLessThan(3e-5);
      }
    }
    expect(together.length).toBe(2);
  });
});

describe("as many labels as the twin has", () => {
  const none = demoData("sums_none");
  const runIn = (name: string, labels: string, extra: object = {}) =>
    run({ model: demoModel("base"), data: demoData("sums_detailed"), out: join(folder, name), limit: 4, labels, ...extra });
  const recordsOf = (name: string): GradientRecord[] =>
    readFileSync(join(folder, name, "records.jsonl"), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as GradientRecord);

  it("counts the smaller of the two, row by row", async () => {
    await run({ model: demoModel("base"), data: none, out: join(folder, "none"), limit: 4 });
    await runIn("last", `last:@${none}`);
    const twins = new Map(recordsOf("none").map((r) => [r.row, r.n_labels]));
    const records = recordsOf("last");
    expect(records.map((r) => r.n_labels)).toEqual(records.map((r) => twins.get(r.row)));
    expect(records.map((r) => r.labels!.rule)).toEqual(["last", "last", "last", "last"]);
    for (const r of records) expect(r.labels!.of).toBeGreaterThan(r.n_labels);
    // The other way round the bare answers have fewer than their twins, and keep them all.
    await run({ model: demoModel("base"), data: none, out: join(folder, "back"), limit: 4, labels: `last:@${demoData("sums_detailed")}` });
    expect(recordsOf("back").map((r) => r.n_labels)).toEqual(recordsOf("none").map((r) => r.n_labels));
  });

  it("keeps choice, twins, seed and draws in the folder's identity", async () => {
    await runIn("identity", "random:2", { labelSeed: 3 });
    expect(readManifest(join(folder, "identity"))!.identity.labels).toEqual({ rule: "random", count: 2, seed: 3 });
    await expect(runIn("identity", "random:2", { labelSeed: 4 })).rejects.toThrow(/labels \(recorded .*"seed":3.*now .*"seed":4/);
    await expect(runIn("identity", "all")).rejects.toThrow(/labels \(recorded .*, now nothing\)/);
    const copy = join(folder, "other-none.json");
    writeFileSync(copy, `${readFileSync(none, "utf8")}\n`);
    await expect(runIn("last", `last:@${copy}`)).rejects.toThrow(/another|labels/);
  });

  it("skips a row whose twin asks something else, and refuses data without any twin", async () => {
    const rows = demoRows("sums_none", 4).map((row, i) => (i === 2 ? { ...row, instruction: "Something else?" } : row));
    const file = join(folder, "one-other.json");
    writeFileSync(file, JSON.stringify(rows));
    const summary = await runIn("skips", `first:@${file}`);
    expect(summary).toMatchObject({ recorded: 3, skipped: 1, reasons: { "no twin with its instruction": 1 } });
    await expect(runIn("refused", `first:@${demoData("compare_none")}`)).rejects.toThrow(
      /no row of .*compare_none.json has the instruction of the chosen row at its position/,
    );
  });

  it("is refused in one sentence where the choice is none", async () => {
    for (const bad of ["last", "last:0", "last:-1", "last:@", "sweep:3", "middle:3", "", "first:1.5"])
      await expect(runIn("bad", bad)).rejects.toThrow(/^--labels must be all, first:K/);
    await expect(runIn("bad", "sweep", { draws: 3 })).rejects.toThrow("--draws must be a whole number of at least 8, found 3.");
  });
});

describe("random labels", () => {
  it("are nested over k, differ between rows and draws, and choose each label equally often", () => {
    const at = (k: number, row = 0, draw = 0) => Array.from(randomLabels(40, k, { seed: 1, row, draw }));
    expect(new Set([...at(8), ...at(16)]).size).toBe(16);
    expect(at(8)).toEqual(at(8).toSorted((a, b) => a - b));
    expect(at(8, 1)).not.toEqual(at(8));
    expect(at(8, 0, 1)).not.toEqual(at(8));
    const counts = new Array<number>(40).fill(0);
    const draws = 4000;
    for (let draw = 0; draw < draws; draw++) for (const i of at(10, 0, draw)) counts[i]!++;
    // Binomial with p = 1/4: five standard deviations.
    const spread = 5 * Math.sqrt(draws * 0.25 * 0.75);
    for (const count of counts) expect(Math.abs(count - draws / 4)).toBeLessThan(spread);
  });
});
