import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Comparison } from "../../src/analysis/comparison.ts";
import { MANIFEST_VERSION } from "../../src/store/index.ts";
import { type Ended, readLines, refused, succeeds } from "../cli.ts";
import { fixtures } from "../fixtures.ts";

const analysis = (name: string): string => join(fixtures, "analysis", `${name}.jsonl`);
const comparisonsOf = ({ stdout }: Ended): Comparison[] => (JSON.parse(stdout) as { comparisons: Comparison[] }).comparisons;
/** Few resamples: what is tested here is not the intervals. */
const quick = ["--resamples", "200"];

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-compare-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A run's folder as `run` leaves it: the made-up records of five layers, with rows and labels, and a manifest of what decides names. */
function runFolder({ data, model, mode, labels }: { data: string; model: string; mode: string; labels: number }): string {
  const out = mkdtempSync(join(folder, "run-"));
  const records = readLines<Record<string, unknown>>(analysis("5-a"));
  const lines = records.map((record, row) =>
    JSON.stringify({ ...record, output: `${data} ${row}`, row, n_tokens: 9 + labels, n_labels: labels }),
  );
  writeFileSync(join(out, "records.jsonl"), `${lines.join("\n")}\n`);
  const manifest = {
    tool: "layergrad",
    manifestVersion: MANIFEST_VERSION,
    identity: {
      weights: (mode === "base" ? "a" : "b").repeat(64),
      tokenizer: "t",
      mode,
      maxLength: 1024,
      singleBos: false,
      date: "2026-01-01",
    },
    model: { folder: model, files: {} },
    data: { path: data, sha256: data, rows: 3 },
    options: {},
    versions: {},
    times: { firstStarted: "", sessions: [] },
  };
  writeFileSync(join(out, "manifest.json"), JSON.stringify(manifest));
  return out;
}

describe("layergrad compare", () => {
  it("reads the authors' files: curves agree with NumPy, rows without a loss are left out or count as published", async () => {
    interface Case {
      readonly depth: number;
      readonly published: boolean;
      readonly module: string;
      readonly statistic: string;
      readonly a: { readonly curve: readonly number[]; readonly mad: number };
    }
    const expected = (JSON.parse(readFileSync(join(fixtures, "analysis", "expected.json"), "utf8")) as readonly Case[]).filter(
      ({ depth }) => depth === 28,
    );
    for (const published of [false, true]) {
      const args = ["compare", analysis("28-a"), analysis("28-b"), "--statistic", "nuclear-norm,loss-scaled-norm", "--json", ...quick];
      const [comparison] = comparisonsOf(await succeeds(...args, ...(published ? ["--as-published"] : [])));
      expect(comparison!.a.name).toBe("28-a.jsonl");
      expect(comparison!.a.rows).toEqual(published ? { used: 4, leftOut: {} } : { used: 3, leftOut: { "loss not finite": 1 } });
      for (const { module, statistic, a } of comparison!.modules) {
        const { curve, mad } = expected.find((c) => c.published === published && c.module === module && c.statistic === statistic)!.a;
        a.curve.forEach(({ value }, layer) => expect(Math.abs(value / curve[layer]! - 1)).toBeLessThan(1e-12));
        expect(Math.abs(a.mad!.value / mad - 1)).toBeLessThan(1e-12);
      }
    }
  });

  it("prints tables for people, tells on how many rows they rest, and repeats with a seed", async () => {
    const args = ["compare", analysis("12-a"), analysis("12-b"), "--statistic", "sigma-one-ratio", "--module", "v", ...quick];
    const { stdout, stderr } = await succeeds(...args);
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^A {2}12-a\.jsonl: loss [\d.]+ a row\nB {2}12-b\.jsonl: loss [\d.]+ a row\n/);
    expect(stdout).toMatch(
      /\nsigma one ratio +mean of A \[approximate\] +mean of B \[approximate\] +A \/ B \[approximate\] +paired d +p of exchangeability\n/,
    );
    expect(stdout).toMatch(/\nself_attn\.v_proj +0\.\d+ \[([\d.]+, [\d.]+|no interval)\]/);
    expect(stdout).toMatch(/largest in layers +p of RD = 0\n/);
    expect(stdout).toMatch(/\nMAD of A, B by segment +layers 0 to 2 +layers 3 to 8 +layers 9 to 11\n/);
    expect(stdout).toContain("\n3 questions, each in both runs; intervals of 95 % over questions.\n");
    expect(stdout).toContain("\nA: 3 rows, 1 left out (loss not finite).\n");
    expect(stdout).toContain(
      "\nA, sigma one ratio of self_attn.v_proj: 2 rows, 1 left out (loss not finite), 1 left out (0/0 in a layer).\n",
    );
    expect(stdout).toContain("\nOnly 2 rows: intervals are approximate.\n");
  });

  it("writes the curves of --curves as they stand in --json, a line a layer", async () => {
    const file = join(folder, "curves.csv");
    const args = ["compare", analysis("12-a"), analysis("12-b"), "--module", "q,v", "--curves", file, "--json", ...quick];
    const [comparison] = comparisonsOf(await succeeds(...args));
    const [header, ...lines] = readFileSync(file, "utf8").trimEnd().split("\n");
    expect(header).toBe("run,compared_with,statistic,module,layer,mean,low,high,rows");
    expect(lines.length).toBe(2 * 2 * 12);
    const { curve, rows } = comparison!.modules[1]!.b;
    // Three rows have no interval.
    expect(lines).toContain(`12-b.jsonl,12-a.jsonl,nuclearNorm,self_attn.v_proj,7,${curve[7]!.value},,,${rows.used}`);
    const sentence = await refused(5, ...args.map((arg) => (arg === file ? join(file, "below.csv") : arg)));
    expect(sentence).toContain(`${join(file, "below.csv")}`);
  });

  it("compares the first run with each of the others, and names runs by what tells them apart", async () => {
    const paths = [
      runFolder({ data: "none.json", model: "models/tiny", mode: "base", labels: 2 }),
      runFolder({ data: "none.json", model: "models/tiny-instruct", mode: "instruct", labels: 2 }),
      runFolder({ data: "detailed.json", model: "models/tiny", mode: "base", labels: 31 }),
    ];
    const comparisons = comparisonsOf(await succeeds("compare", ...paths, "--json", "--adjust", "n_labels", ...quick));
    expect(comparisons.map(({ a, b }) => [a.name, b.name])).toEqual([
      ["none, tiny, base", "none, tiny-instruct, instruct"],
      ["none, tiny, base", "detailed, tiny, base"],
    ]);
    expect(comparisons.map(({ design, a }) => [design, a.nLabels])).toEqual([
      ["paired", 2],
      ["paired", 2],
    ]);
    expect(comparisons[0]!.warnings).toEqual([
      "The runs have different models: tiny (aaaaaaaa) and tiny-instruct (bbbbbbbb).",
      "The runs have different modes: base and instruct.",
      "Only 3 rows: intervals are approximate.",
    ]);
    expect(comparisons[1]!.warnings[0]).toMatch(/^detailed, tiny, base has 16 times as many labels a row as none, tiny, base: /);
    const { stdout } = await succeeds("compare", paths[0]!, paths[2]!, "--adjust", "n_labels", ...quick);
    expect(stdout).toMatch(/\nby regression +A \/ B \[approximate\] +n_labels held fixed/);
    expect(stdout).toContain("A / B with n_labels held fixed: extrapolated: ");
    expect(stdout).toContain("A / B with n_labels and loss held fixed: direct effect: the loss is a mediator.");
  });

  it("names a run by the last parts of its path where its data file is called as another's", async () => {
    const copies = ["x", "y"].map((name) => join(folder, name, "run"));
    for (const copy of copies) {
      mkdirSync(copy, { recursive: true });
      cpSync(analysis("5-a"), join(copy, "records.jsonl"));
    }
    const [byFile] = comparisonsOf(await succeeds("compare", ...copies.map((copy) => join(copy, "records.jsonl")), "--json", ...quick));
    expect([byFile!.a.name, byFile!.b.name]).toEqual(["x/run", "y/run"]);
    // A run compared with itself: no difference, no collision.
    expect(byFile!.modules[0]!.ratio.value).toBe(1);
    expect(byFile!.warnings).toEqual(["Only 3 rows: intervals are approximate."]);
  });

  it("refuses in one sentence what it cannot compare", async () => {
    const [a, b] = [analysis("12-a"), analysis("12-b")];
    expect(await refused(4, "compare", a, analysis("18-a"), "--module", "v")).toContain(
      "12-a.jsonl has 12 layers, 18-a.jsonl has 18 layers",
    );
    expect(await refused(4, "compare", a, b, "--statistic", "effective-rank")).toContain("its records hold no effectiveRank");
    expect(await refused(2, "compare", a)).toContain("missing required argument 'B'");
    expect(await refused(2, "compare", a, b, "--statistic", "norm")).toContain("There are nuclear-norm, sigma-max");
  });
});
