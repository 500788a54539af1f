import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { demoData, demoModel } from "../../test/measure.ts";
import { catalogue } from "../data/catalogue.ts";
import { readRows } from "../io/rows.ts";
import { openModel, rowEncoder } from "../run/open-model.ts";
import { estimateStudy } from "./dry-run.ts";
import { planStudy } from "./plan.ts";
import { parseStudy, type StudySpec } from "./spec.ts";
import { studyTemplate, type TemplateName, templateNames } from "./templates.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-templates-"));
  for (const file of ["good.jsonl", "bad.jsonl"])
    writeFileSync(join(folder, file), '{"instruction": "2 + 2 =", "output": "4"}\n'.repeat(3));
  for (const step of [1000, 2000, 4000]) mkdirSync(join(folder, "checkpoints", `step-${step}`), { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const parse = (name: TemplateName, files: readonly string[] = []): StudySpec =>
  parseStudy(studyTemplate(name, files), join(folder, "study.yaml"));
const named = (collection: string) => catalogue.filter((file) => file.collection.name === collection).map((file) => file.name);
const dataOf = (spec: StudySpec, part = 0) => spec.parts[part]!.items.map((item) => item.data.name);

describe("the templates", () => {
  it.each(templateNames)("%s is a valid study, short and with comments, and says how to go on", (name) => {
    const spec = parse(name);
    expect(spec.name).toBe(name);
    expect(planStudy(spec).length).toBeGreaterThan(0);
    const lines = studyTemplate(name).split("\n");
    expect(lines.length).toBeLessThan(40);
    expect(lines[0]).toMatch(/^# /);
    expect(studyTemplate(name)).toContain("layergrad study --dry-run");
    for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(140);
  });

  it("miniature: the bundled pair, each in its own mode, on the 20 bundled files, whole", () => {
    const runs = planStudy(parse("miniature"));
    expect(runs.map((run) => [run.attributes.model.kind, run.mode, run.data.name])).toEqual(
      ["base", "instruct"].flatMap((mode) => named("demo").map((name) => [mode, mode, name])),
    );
    expect(runs.every((run) => run.range.rows === undefined && run.range.limit === undefined)).toBe(true);
  });

  it("paper: the first paper's 56 files", () => {
    expect(dataOf(parse("paper")).toSorted()).toEqual(named("layer-gradient").toSorted());
  });

  it("trajectory: one model a checkpoint, with its step", () => {
    expect(parse("trajectory").models.map((model) => [model.name, model.step, model.family])).toEqual(
      [1000, 2000, 4000].map((step) => [`step-${step}`, step, "my-run"]),
    );
  });

  it("controls: detailed and simplified chains of the six sets, correct and irrelevant, at the bare answer's labels; sweeps of two rows, bare answers too", () => {
    const spec = parse("controls");
    const sets = ["aqua", "gsm8k", "strategyqa", "ecqa", "creak", "sensemaking"];
    expect(spec.parts[0]!.items.length).toBe(36);
    const expected = sets.flatMap((set) =>
      ["detailed", "simplified"].flatMap((chain) =>
        ["", "/irrelevant"].flatMap((twin) =>
          ["last", "first", "random"].map((rule) => `${set}/${chain}${twin} ${rule}:@${set}/none${twin}`),
        ),
      ),
    );
    const labelled = (part: number) => spec.parts[part]!.items.map(({ data, labels }) => `${data.name} ${labels.name}`);
    expect(labelled(1).toSorted()).toEqual(expected.toSorted());
    expect(labelled(2).toSorted()).toEqual(sets.flatMap((set) => [`${set}/detailed sweep`, `${set}/none sweep`]).toSorted());
    expect(spec.parts.map(({ rows, limit }) => [rows, limit])).toEqual([
      ["0:10", undefined],
      ["0:10", undefined],
      ["0:10", 2],
    ]);
  });

  it("controls of own data: every file but the first at the first's labels, sweeps of all, under the conditions that claims judge", () => {
    const spec = parse("controls", ["good.jsonl", "bad.jsonl"]);
    expect(dataOf(spec)).toEqual(["good", "bad"]);
    expect(spec.parts.slice(1).map((part) => part.items.map(({ data, labels }) => [data.name, labels.name]))).toEqual([
      [
        ["bad", "last:@good"],
        ["bad", "first:@good"],
        ["bad", "random:@good"],
      ],
      [
        ["good", "sweep"],
        ["bad", "sweep"],
      ],
    ]);
    const conditions = (...files: string[]) => parse("controls", files).parts[0]!.items.map(({ data }) => data.condition);
    expect(conditions("good.jsonl", "bad.jsonl")).toEqual(["none", "detailed"]);
    expect(conditions("good.jsonl", "bad.jsonl", "good.jsonl", "bad.jsonl")).toEqual(["none", "simplified", "detailed", "bad-2"]);
  });

  it("own: files with any name get one that a folder can have", () => {
    writeFileSync(join(folder, "my rows (2).jsonl"), "");
    expect(dataOf(parse("own", ["my rows (2).jsonl", "bad.jsonl"]))).toEqual(["my-rows-2", "bad"]);
    // Names that come out alike, also on disks that do not tell upper from lower case.
    for (const file of ["my-rows-2.csv", "MY rows 2.csv"]) writeFileSync(join(folder, file), "");
    for (const template of ["own", "controls"] as const)
      expect(dataOf(parse(template, ["my rows (2).jsonl", "my-rows-2.csv", "MY rows 2.csv"]))).toEqual([
        "my-rows-2",
        "my-rows-2-2",
        "MY-rows-2-3",
      ]);
  });

  it("take no own data where they have no use for them, and for controls two files at least", () => {
    expect(() => studyTemplate("paper", ["a.json"])).toThrow("--data is for the templates own and controls; paper has data of its own.");
    expect(() => studyTemplate("controls", ["a.json"])).toThrow("--data needs two files at least");
  });
});

describe("a dry run of a template", () => {
  it("of the miniature counts its 2,560 rows and their tokens, and writes nothing", async () => {
    const { runs, left, freeDisk } = await estimateStudy(parse("miniature"));
    expect(runs.length).toBe(40);
    expect(left).toMatchObject({ rows: 2560 });
    const model = await openModel(demoModel("base"));
    model.checkpoint.close();
    const { rows } = await readRows(demoData("wiki_unpopular"));
    const encode = rowEncoder(model, { mode: "base", maxLength: 1024, singleBos: false, date: "2026-01-01" });
    const tokens = rows.map((row, i) => encode(row, i).inputIds.length).reduce((a, b) => a + b, 0);
    // 64 rows are all tokenised, so nothing of the count is estimated.
    expect(runs.find((run) => run.folder === "base/base/demo-wiki-unpopular")!.tokens).toBe(tokens);
    expect(left.seconds).toBeGreaterThan(10);
    expect(freeDisk).toBeGreaterThan(0);
    expect(() => rmSync(join(folder, "layergrad-miniature"))).toThrow("ENOENT");
  });

  it("of own data takes the files as they are", async () => {
    const { runs } = await estimateStudy(parse("own"));
    expect(runs.map(({ folder: run, rows, done }) => [run, rows, done])).toEqual(
      ["base/base", "instruct/instruct"].flatMap((model) => ["good", "bad"].map((name) => [`${model}/${name}`, 3, 0])),
    );
  });
});
