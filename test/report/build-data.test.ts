import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RunAttributes } from "../../src/analysis/study-index.ts";
import { buildRunsData, pairsOf, type RunsData } from "../../src/report/build-data.ts";
import { ALL, type Choice, conditionsOf, firstConditions } from "../../src/report/choice.ts";
import { commandsFor, figuresOf } from "../../src/report/figures.ts";
import type { ReportData } from "../../src/report/report-data.ts";
import { findSources } from "../../src/report/sources.ts";
import { tablesOf } from "../../src/report/tables.ts";

const LAYERS = 4;
const ROWS = 5;

/** Norms that a reader can compute in his head: row + layer, times a scale; in rows of one question the same text. */
function record(row: number, scale: number, output: string, more: object = {}): string {
  const matrices = Array.from({ length: LAYERS }, (_, layer) => [
    `model.layers.${layer}.self_attn.v_proj.weight`,
    {
      M_mean: 0,
      M_max: 0,
      M_min: 0,
      frobenius_norm: scale * (row + layer + 1),
      S_sum: scale * (row + layer + 1) + 1e-9,
      S_max: scale * (row + layer + 1),
      S_min: 0,
      effective_rank: 1,
    },
  ]);
  const rest = { instruction: `question ${row}`, output, loss: 1 / 3, row, n_tokens: 10, label_start: 8, n_labels: 2 };
  return JSON.stringify({ ...rest, ...Object.fromEntries(matrices), ...more });
}

/** Norms 8 and 4 with one and with both labels, in every layer. */
const sweep = {
  sweep: [
    { labels: "first", k: 1, loss: 2, nuclear_norm: { "self_attn.v_proj": [8, 8, 8, 8] } },
    { labels: "first", k: 2, loss: 1, nuclear_norm: { "self_attn.v_proj": [3, 4, 4, 5] } },
  ],
};

type Of = Partial<RunAttributes["data"]> & { readonly folder: string; readonly labels?: string; readonly step?: number };

const attributes = ({ folder, labels = "all", step, ...data }: Of): RunAttributes => ({
  folder,
  model: { name: step === undefined ? "tiny" : `step-${step}`, kind: null, family: "tinies", ...(step !== undefined && { step }) },
  mode: "base",
  data: { name: folder, task: "cot", dataset: "aqua", condition: "none", irrelevant: false, ...data },
  labels,
});

let folder = "";
let data: ReportData;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-report-data-"));
  const runs: Of[] = [
    { folder: "none" },
    { folder: "detailed", condition: "detailed" },
    { folder: "twin", condition: "detailed", irrelevant: true },
    { folder: "early", step: 100 },
    { folder: "late", step: 200 },
    { folder: "swept", condition: "detailed", labels: "sweep" },
    { folder: "broken", dataset: "ecqa" },
    { folder: "missing", dataset: "gsm8k" },
  ];
  for (const [i, { folder: name }] of runs.slice(0, -1).entries()) {
    mkdirSync(join(folder, name));
    const lines = Array.from({ length: ROWS }, (_, row) => record(row, i + 1, `answer ${row} of ${name}`, name === "swept" ? sweep : {}));
    const text = name === "broken" ? "{}\n" : `${lines.join("\n")}\n`;
    writeFileSync(join(folder, name, "records.jsonl"), text);
  }
  writeFileSync(join(folder, "study.json"), JSON.stringify({ name: "tiny study", runs: runs.map(attributes) }));
  const built: RunsData = await buildRunsData(findSources([folder]).runs, {
    statistics: ["nuclearNorm", "sigmaOneRatio"],
    seed: "0",
    resamples: 200,
  });
  data = {
    title: "",
    made: "",
    version: "",
    paths: ["my study"],
    options: { seed: "3", statistic: "nuclear-norm", model: undefined },
    seed: "0",
    resamples: "",
    statistics: ["nuclearNorm", "sigmaOneRatio"],
    findings: [],
    ...built,
  };
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the report's data", () => {
  it("hold the means of the records to five digits, layer by layer", () => {
    const [none] = data.runs;
    const curve = none!.curves.find(({ statistic }) => statistic === "nuclearNorm")!;
    // Rows 0 to 4 at layer l: mean of row + l + 1.
    expect(curve.layers.map(([value]) => value)).toEqual([3, 4, 5, 6]);
    expect(curve.mad?.[0]).toBe(1);
    expect(curve.n).toBe(ROWS);
    expect(none!.loss).toBe(0.33333);
  });

  it("hold a row's mean over layers, and its texts once for all runs", () => {
    const [none, detailed] = data.runs;
    expect(none!.points.nuclearNorm).toEqual([[2.5, 3.5, 4.5, 5.5, 6.5]]);
    expect(detailed!.points.nuclearNorm).toEqual([[5, 7, 9, 11, 13]]);
    expect(none!.points.instruction).toEqual(detailed!.points.instruction);
    expect(new Set(data.texts).size).toBe(data.texts.length);
    expect(data.texts[none!.points.response[3]!]).toBe("answer 3 of none");
  });

  it("hold a sweep's steps, means over layers", () => {
    const swept = data.runs.find(({ attributes: of }) => of.labels === "sweep")!;
    expect(swept.sweep).toHaveLength(ROWS);
    expect(swept.sweep[0]!.nLabels).toBe(2);
    expect(swept.sweep[0]!.steps.map(({ k, loss, nuclearNorm }) => [k, loss, nuclearNorm])).toEqual([
      [1, 2, [8]],
      [2, 1, [4]],
    ]);
  });

  it("compare the conditions of one data set and a condition with its twin, of one model alone", () => {
    const found = data.comparisons.map(({ a, b, kind, questions }) => [data.runs[a]!.name, data.runs[b]!.name, kind, questions]);
    expect(found).toEqual([
      ["tiny, base mode, none", "tiny, base mode, detailed", "conditions", ROWS],
      ["tiny, base mode, detailed", "tiny, base mode, twin", "irrelevant", ROWS],
    ]);
    const { ratio, relativeDifference, relativeDifferenceByLayer } = data.comparisons[1]!.modules[0]!;
    // The twin's norms are 3/2 of the detailed ones.
    expect(ratio[0]).toBe(0.66667);
    expect(relativeDifference[0]).toBe(0.5);
    expect(relativeDifferenceByLayer).toEqual([0.5, 0.5, 0.5, 0.5]);
  });

  it("name the runs of a study that have no numbers, without the machine's path", () => {
    expect(data.absent.map(({ name }) => name)).toEqual(["tiny, base mode, broken", "tiny, base mode, missing"]);
    expect(data.absent[1]!.reason).toBe("it has not been run");
    expect(JSON.stringify(data.absent)).not.toContain(folder);
  });

  it("give every table as many cells a row as it has columns", () => {
    const tables = tablesOf(data);
    expect(tables.map(({ name }) => name)).toEqual(["runs", "norms", "comparisons"]);
    for (const { columns, rows } of tables) for (const row of rows) expect(row).toHaveLength(columns.length);
  });
});

describe("a choice", () => {
  const choice = (more: Partial<Choice>): Choice => ({
    subject: "tiny, base mode",
    dataset: "cot/aqua",
    conditions: ["none", "detailed"],
    statistic: "nuclearNorm",
    module: ALL,
    paperStyle: false,
    ...more,
  });
  const kinds = (more: Partial<Choice>): string[] => figuresOf(data, choice(more)).map(({ kind }) => kind);

  it("shows twins only if asked, and offers them", () => {
    expect(conditionsOf(data, "tiny, base mode", "cot/aqua")).toEqual(["none", "detailed", "detailed, irrelevant", "detailed, sweep"]);
    expect(firstConditions(data, "tiny, base mode", "cot/aqua")).toEqual(["none", "detailed"]);
  });

  it("has the figures that its data give: no twin, no RD; no second condition, no heat map; all data sets, dots alone", () => {
    expect(kinds({})).toEqual(["curves", "mad", "heat-map", "relative-difference", "labels", "loss", "effective-rank"]);
    expect(kinds({ conditions: ["none"] })).toEqual(["curves", "mad", "labels", "loss", "effective-rank"]);
    expect(kinds({ dataset: ALL })).toEqual(["labels", "loss", "effective-rank"]);
    expect(kinds({ conditions: [] })).toEqual([]);
  });

  it("follows a family's checkpoints in the order of their steps", () => {
    const figures = figuresOf(data, choice({ subject: "step-200, base mode", conditions: ["none"] }));
    const trajectory = figures.find(({ kind }) => kind === "trajectory")!;
    expect(trajectory.numbers().rows.map(([, , step, mean]) => [step, (mean as readonly number[])[0]])).toEqual([
      [100, 4.5 * 4],
      [200, 4.5 * 5],
    ]);
  });

  it("says the commands that make a figure and its comparisons again, as a shell takes them", () => {
    const chosen = choice({ statistic: "sigmaOneRatio" });
    const figure = figuresOf(data, chosen).find(({ kind }) => kind === "heat-map")!;
    const [report, ...comparisons] = commandsFor(data, chosen, figure.compared);
    expect(report).toBe(
      "layergrad report 'my study' --seed 3 --statistic sigma-one-ratio --model tiny --mode base --dataset aqua --out report",
    );
    expect(comparisons).toHaveLength(1);
    expect(comparisons[0]).toMatch(/^layergrad compare \S+\/none \S+\/detailed --statistic sigma-one-ratio$/);
  });

  it("computes RD of another statistic from the curves, without a test", () => {
    const figure = figuresOf(data, choice({ statistic: "sigmaOneRatio" })).find(({ kind }) => kind === "relative-difference")!;
    const [row] = figure.numbers().rows;
    expect(row!.at(-1)).toBeNull();
    expect(row![3]).toBeCloseTo(0, 4);
  });
});

describe("pairsOf", () => {
  const run = (condition: string, more: Partial<Of> = {}) => ({ attributes: attributes({ folder: condition, condition, ...more }) });
  it("compares a run held to another's labels with that one", () => {
    const runs = [run("none"), run("detailed"), run("detailed", { labels: "last:@none" })];
    expect(pairsOf(runs)).toEqual([
      { a: 0, b: 1, kind: "conditions" },
      { a: 0, b: 2, kind: "conditions" },
    ]);
  });
  it("compares many conditions with the first only", () => {
    const runs = Array.from({ length: 9 }, (_, i) => run(`c${i}`));
    expect(pairsOf(runs).map(({ a, b }) => [a, b])).toEqual(Array.from({ length: 8 }, (_, i) => [0, i + 1]));
  });
});
