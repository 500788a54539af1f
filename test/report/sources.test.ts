import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { StudyIndex } from "../../src/analysis/study-index.ts";
import { catalogue } from "../../src/data/catalogue.ts";
import { findSources } from "../../src/report/sources.ts";

let parent = "";
beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), "layergrad-report-sources-"));
});
afterAll(() => rmSync(parent, { recursive: true, force: true }));

/** A folder with what {@link findSources} looks at: records that are not read, and a manifest where there is one. */
function folder(name: string, files: Readonly<Record<string, unknown>>): string {
  const path = join(parent, name);
  mkdirSync(path, { recursive: true });
  for (const [file, content] of Object.entries(files)) writeFileSync(join(path, file), JSON.stringify(content));
  return path;
}

const manifest = (data: string, labels?: object) => ({
  tool: "layergrad",
  manifestVersion: 1,
  identity: { mode: "instruct", data, date: "2026-01-01", ...(labels && { labels }) },
  model: { folder: "/models/tiny", files: {} },
  data: { path: "/data/mine.jsonl" },
  options: {},
  versions: {},
  times: { sessions: [] },
});

const study = (name: string): string =>
  folder(name, {
    "study.json": {
      name,
      runs: [
        {
          folder: "a",
          model: { name: "tiny", kind: null, family: null },
          mode: "base",
          data: { name: "x/none", task: "cot", dataset: "x", condition: "none", irrelevant: false },
          labels: "all",
        },
      ],
    },
  });

describe("what a run is of", () => {
  it("is known by its data's hash, and by which labels the loss counts", () => {
    const { sha256, attributes } = catalogue[0]!;
    const twins = catalogue.find(({ name }) => name === "aqua/none")!.sha256;
    const path = folder("known", { "records.jsonl": {}, "manifest.json": manifest(sha256, { rule: "last", count: { twins } }) });
    const [run] = findSources([path]).runs;
    expect(run!.attributes).toEqual({
      model: { name: "tiny", kind: null, family: null },
      mode: "instruct",
      data: attributes,
      labels: "last:@aqua/none",
    });
  });

  it("is else a condition named by the data file, or by the records' own where nothing is stated", () => {
    const own = folder("own", { "records.jsonl": {}, "manifest.json": manifest("0".repeat(64)) });
    const theirs = folder("theirs", { "theirs.jsonl": {} });
    const { runs } = findSources([own, join(theirs, "theirs.jsonl")]);
    expect(runs.map(({ attributes: { model, data } }) => [model.name, data.dataset, data.condition])).toEqual([
      ["tiny", "own data", "mine"],
      ["model not stated", "own data", "theirs"],
    ]);
  });
});

describe("runs that are of the very same", () => {
  it("of two studies are told apart by the study, behind the model's name", () => {
    const { runs, title } = findSources([study("first"), study("second")]);
    expect(runs.map(({ attributes }) => attributes.model.name)).toEqual(["tiny (first)", "tiny (second)"]);
    expect(title).toBe("first, second");
    expect(new Set(runs.map(({ name }) => name)).size).toBe(2);
  });

  it("by themselves are told apart by their place, behind the condition", () => {
    const paths = ["one", "two"].map((name) => folder(name, { "records.jsonl": {}, "manifest.json": manifest("0".repeat(64)) }));
    expect(findSources(paths).runs.map(({ attributes }) => attributes.data.condition)).toEqual(["mine (one)", "mine (two)"]);
  });

  it("of one study are told apart by their data, behind the condition", () => {
    const path = study("fifth");
    const index = JSON.parse(readFileSync(join(path, "study.json"), "utf8")) as StudyIndex;
    const [run] = index.runs;
    const again = { ...run!, folder: "b", data: { ...run!.data, name: "y/none" } };
    writeFileSync(join(path, "study.json"), JSON.stringify({ ...index, runs: [run, again] }));
    const { runs } = findSources([path]);
    expect(runs.map(({ attributes: { model, data } }) => [model.name, data.condition])).toEqual([
      ["tiny", "none (x/none)"],
      ["tiny", "none (y/none)"],
    ]);
  });

  it("given twice are one", () => {
    const path = study("third");
    expect(findSources([path, path]).runs).toHaveLength(1);
  });
});

describe("findSources", () => {
  it("says which models, modes and data sets there are where none is of the wanted", () => {
    expect(() => findSources([study("fourth")], { dataset: "y" })).toThrow("the models tiny, the modes base and the data sets x.");
  });
});
