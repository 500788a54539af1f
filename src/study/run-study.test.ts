import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { recordsOf, skippedOf } from "../../test/cli.ts";
import { demoData } from "../../test/measure.ts";
import { readManifest } from "../store/index.ts";
import { estimateStudy } from "./dry-run.ts";
import { readStudyIndex } from "./index-file.ts";
import { runStudy, type StudyWatcher } from "./run-study.ts";
import { parseStudy, type StudySpec } from "./spec.ts";

let parent = "";
let folder = "";
let count = 0;
beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), "layergrad-study-"));
});
beforeEach(() => {
  folder = join(parent, String(count++));
});
afterAll(() => rmSync(parent, { recursive: true, force: true }));

const file = (name: string) =>
  `{ file: ${demoData(name)}, dataset: compare, condition: ${name.split("_")[1]}, name: ${name.split("_")[1]} }`;
const models = "models: [{ name: base, path: demo/base, kind: base }]";
const data = `data: [${file("compare_none")}, ${file("compare_simplified")}]`;
const spec = (more = "limit: 2", runs = `${models}\n${data}`): StudySpec =>
  parseStudy(`name: test\nout: out\n${runs}\noptions: { threads: 1 }\n${more}`, join(folder, "study.yaml"));
const out = (run: string) => join(folder, "out", run);
const rowsOf = (run: string) => recordsOf(out(run)).map((record) => record.row);
const ownRows = (name: string, outputs: readonly string[]): string => {
  const path = join(parent, `${count}-${name}`);
  writeFileSync(path, JSON.stringify(outputs.map((output, i) => ({ instruction: `What is ${i} + 1?`, output }))));
  return path;
};

/** Adds up what a study tells: rows and work to come, and what came. */
function ledger() {
  const events: string[] = [];
  const total = { rows: 0, done: 0, work: 0 };
  const seen = { rows: 0, work: 0 };
  const watch: StudyWatcher = {
    note: (message) => events.push(message),
    start: ({ rows, done, work }) => Object.assign(total, { rows, done, work }),
    run: ({ number, folder: run }) => events.push(`${number} ${run}`),
    step: ({ rows, skipped, work }) => {
      seen.rows += rows + skipped;
      seen.work += work;
    },
    correct: ({ rows, work }) => {
      total.done += rows;
      total.work -= work;
    },
  };
  return { events, total, seen, watch };
}

describe("a study", () => {
  it("runs each of its runs into a folder of its own, says in its index what they are, and keeps its totals right", async () => {
    const { events, total, seen, watch } = ledger();
    const study = spec("limit: 3\ncontrols: [{ data: simplified, labels: [last:@none], limit: 2 }]");
    const summary = await runStudy(study, { watch });
    expect(summary).toMatchObject({ name: "test", runs: 3, failed: [], interrupted: false });
    expect(summary.finished.map(({ recorded, skipped, computed }) => [recorded, skipped, computed])).toEqual([
      [3, 0, 3],
      [3, 0, 3],
      [2, 0, 2],
    ]);
    expect(rowsOf("base/base/none")).toEqual([0, 1, 2]);
    expect(rowsOf("base/base/simplified+last@none")).toEqual([0, 1]);
    const labels = (run: string) => recordsOf(out(run)).map((record) => record.n_labels);
    expect(labels("base/base/simplified+last@none")).toEqual(labels("base/base/none").slice(0, 2));
    const index = readStudyIndex(join(folder, "out"))!;
    expect(index.runs.map((run) => [run.folder, run.labels])).toEqual([
      ["base/base/none", "all"],
      ["base/base/simplified", "all"],
      ["base/base/simplified+last@none", "last:@none"],
    ]);
    expect(events.filter((event) => /^\d/.test(event))).toEqual([
      "1 base/base/none",
      "2 base/base/simplified",
      "3 base/base/simplified+last@none",
    ]);
    expect(total).toMatchObject({ rows: 8, done: 0 });
    expect(seen.rows).toBe(8);
    expect(seen.work / total.work).toBeCloseTo(1, 9);
  });

  it("goes on where it stopped: with what is done counted as done, and more rows or runs as still to do", async () => {
    await runStudy(spec("limit: 2"));
    const first = recordsOf(out("base/base/none"));
    const { total, seen, watch } = ledger();
    const { left, runs } = await estimateStudy(spec("limit: 3"));
    expect(runs.map((run) => [run.rows, run.done])).toEqual([
      [3, 2],
      [3, 2],
    ]);
    expect(left.rows).toBeCloseTo(2, 9);
    const summary = await runStudy(spec("limit: 3"), { watch });
    expect(summary.finished.map((run) => [run.recorded, run.computed])).toEqual([
      [3, 1],
      [3, 1],
    ]);
    expect(total).toMatchObject({ rows: 6, done: 4 });
    expect(seen.rows).toBe(2);
    expect(recordsOf(out("base/base/none")).slice(0, 2)).toEqual(first);
  });

  it("passes over a run that fails for its data, records it, and forgets it once it is mended", async () => {
    const empty = ownRows("empty.json", ["", ""]);
    const withEmpty = `${models}\ndata: [{ file: ${empty}, name: empty }, ${file("compare_none")}]`;
    const { total, seen, watch, events } = ledger();
    const summary = await runStudy(spec("limit: 2", withEmpty), { watch });
    expect(summary.failed).toMatchObject([{ folder: out("base/base/empty"), kind: "data" }]);
    expect(summary.failed[0]!.message).toContain("none of the chosen rows could be measured");
    expect(summary.finished.map((run) => run.folder)).toEqual([out("base/base/none")]);
    expect(events.filter((event) => event.includes("failed"))).toEqual([`base/base/empty failed: ${summary.failed[0]!.message}`]);
    expect(JSON.parse(readFileSync(join(folder, "out", "failures.json"), "utf8"))).toEqual(summary.failed);
    expect(skippedOf(out("base/base/empty")).length).toBe(2);
    expect([total.done, seen.rows]).toEqual([2, 2]);
    await runStudy(spec("limit: 2"));
    expect(existsSync(join(folder, "out", "failures.json"))).toBe(false);
  });

  it("ends cleanly where it is interrupted, and the same call completes it", async () => {
    const controller = new AbortController();
    const { watch, total } = ledger();
    const stopping: StudyWatcher = { ...watch, step: () => controller.abort() };
    const study = spec("limit: 2");
    const packed = { ...study, options: { ...study.options, batchTokens: 1 } };
    const summary = await runStudy(packed, { watch: stopping, signal: controller.signal });
    expect(summary).toMatchObject({ interrupted: true, failed: [], finished: [] });
    expect(total.rows).toBe(4);
    expect(rowsOf("base/base/none")).toEqual([0]);
    expect(readManifest(out("base/base/none"))!.times.sessions.map((session) => session.status)).toEqual(["interrupted"]);
    expect(existsSync(out("base/base/simplified"))).toBe(false);
    const resumed = await runStudy(packed);
    expect(resumed.finished.map((run) => [run.recorded, run.computed])).toEqual([
      [2, 1],
      [2, 2],
    ]);
  });

  it("runs a part of itself, and its index still names all", async () => {
    const summary = await runStudy(spec(), { only: "base/*/simp*" });
    expect(summary).toMatchObject({ runs: 1, finished: [{ folder: out("base/base/simplified") }] });
    expect(readStudyIndex(join(folder, "out"))!.runs.length).toBe(2);
    await expect(runStudy(spec(), { only: "other" })).rejects.toThrow(
      "--only other: no run of the study has such a folder; --dry-run lists them, base/base/none is one.",
    );
  });

  it("shows one date in all runs: that of its first start", async () => {
    await runStudy(spec("limit: 1"), { only: "base/base/none" });
    const index = join(folder, "out", "study.json");
    const { date } = readStudyIndex(join(folder, "out"))!;
    expect(readManifest(out("base/base/none"))!.identity.date).toBe(date);
    // As if it had been started on another day.
    writeFileSync(index, readFileSync(index, "utf8").replace(date!, "2024-02-29"));
    await runStudy(spec("limit: 1"));
    expect(readManifest(out("base/base/simplified"))!.identity.date).toBe("2024-02-29");
    // A run's own date stays, or its folder would be refused.
    expect(readManifest(out("base/base/none"))!.identity.date).toBe(date);
  });
});

describe("before the first run a study refuses", () => {
  const refused = async (study: StudySpec) => {
    const error = await runStudy(study).catch((e: unknown) => e);
    expect(existsSync(join(folder, "out", "study.json"))).toBe(false);
    return error as Error & { kind?: string };
  };

  it("data that cannot be read, wherever they stand", async () => {
    const broken = join(parent, "broken.json");
    writeFileSync(broken, "[{");
    const error = await refused(spec("limit: 2", `${models}\ndata: [${file("compare_none")}, { file: ${broken} }]`));
    expect(error).toMatchObject({ kind: "data" });
    expect(error.message).toContain("broken.json, line 1: invalid JSON");
  });

  it("rows that a file does not have", async () => {
    const error = await refused(spec('rows: "64:"'));
    expect(error).toMatchObject({ kind: "usage", message: expect.stringMatching(/^none: --rows 64: holds no row of a file of 64 rows/) });
  });

  it("a mode that a model has no template for", async () => {
    const error = await refused(spec("limit: 2", `models: [{ name: base, path: demo/base, modes: [base, instruct] }]\n${data}`));
    expect(error).toMatchObject({ kind: "model", message: expect.stringContaining("has no chat template") });
  });

  it("a folder that is no model", async () => {
    const error = await refused(spec("limit: 2", `models: [{ name: base, path: demo/base }, { name: x, path: ${parent} }]\n${data}`));
    expect(error).toMatchObject({ kind: "model" });
  });

  it("memory that is not enough", async () => {
    const study = spec();
    const error = await refused({ ...study, options: { memory: 1e6 } });
    expect(error).toMatchObject({ kind: "resource" });
  });

  it("files of the catalogue that are not here, all at once, with the command that fetches them", async () => {
    const before = process.env.LAYERGRAD_DATA;
    process.env.LAYERGRAD_DATA = join(parent, "nothing");
    try {
      const error = await refused(spec("limit: 2", `${models}\ndata: [aqua, math, demo/sums]`));
      expect(error).toMatchObject({ kind: "data" });
      expect(error.message).toBe(
        '18 of the study\'s data files are not here yet, aqua/none among them; run "layergrad data pull aqua math", which fetches them.',
      );
    } finally {
      if (before === undefined) delete process.env.LAYERGRAD_DATA;
      else process.env.LAYERGRAD_DATA = before;
    }
  });

  it("a folder that holds another study", async () => {
    await runStudy(spec("limit: 1"), { only: "base/base/none" });
    await expect(runStudy({ ...spec("limit: 1"), name: "other" })).rejects.toThrow(
      /out holds the study "test", not "other"; choose another "out", or give this study that name\.$/,
    );
  });
});
