import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixtures } from "../../test/fixtures.ts";
import { compareRuns, describeRun } from "../analysis/compare.ts";
import { type RunTable, type StatisticName, statistics } from "../analysis/table.ts";
import { effectiveRank, stableRank } from "../spectra/statistics.ts";
import { readTable } from "./table-reader.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-table-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
/** Writes lines as a file; a line that is no text becomes JSON, with bare NaN. */
function write(lines: readonly (string | object)[], name = `run-${++count}.jsonl`): string {
  const path = join(folder, name);
  writeFileSync(path, lines.map((line) => (typeof line === "string" ? line : `${toJson(line)}\n`)).join(""));
  return path;
}
const toJson = (value: object): string =>
  JSON.stringify(value, (_, v) => (typeof v === "number" && Number.isNaN(v) ? "@NaN" : v)).replaceAll('"@NaN"', "NaN");

const key = (layer: number, projection = "q"): string => `model.layers.${layer}.self_attn.${projection}_proj.weight`;
const matrix = (S_sum: number, more: object = {}) => ({
  M_mean: 0,
  M_max: 0,
  M_min: 0,
  frobenius_norm: 0.75 * S_sum,
  S_sum,
  S_max: 0.5 * S_sum,
  S_min: 0,
  ...more,
});
/** A record with the nuclear norms of its layers. */
const record = (norms: readonly number[], more: object = {}) => ({
  instruction: "question",
  output: "answer",
  loss: 2,
  ...Object.fromEntries(norms.map((norm, layer) => [key(layer), matrix(norm)])),
  ...more,
});
/** A run's mean curve of one module, and the rows on which it rests. */
function describeCurve(table: RunTable, statistic: StatisticName, module = "self_attn.q_proj") {
  const { rows, curve } = describeRun(table, { statistics: [statistic], modules: [module], resamples: 100 }).modules[0]!;
  return { values: curve.map(({ value }) => value), rows };
}
const curve = (table: RunTable, statistic: StatisticName, module?: string) => describeCurve(table, statistic, module).values;

describe("a run's table", () => {
  it("holds each row's numbers and ratios: σ₁/Σσ, Σσ/loss, (‖G‖_F/σ₁)²", async () => {
    const table = await readTable(write([record([4, 8]), record([16, 2], { loss: 0.5 })]), { name: "mine" });
    expect(table).toMatchObject({ name: "mine", layers: 2, modules: ["self_attn.q_proj"], leftOut: {} });
    expect(table.rows[0]).toEqual({
      row: null,
      instruction: "question",
      occurrence: 0,
      output: "answer",
      loss: 2,
      nTokens: null,
      nLabels: null,
    });
    expect(table.rows[1]!.occurrence).toBe(1);
    expect(table.values).toEqual({
      nuclearNorm: Float64Array.of(4, 8, 16, 2),
      sigmaMax: Float64Array.of(2, 4, 8, 1),
      frobeniusNorm: Float64Array.of(3, 6, 12, 1.5),
      sigmaOneRatio: Float64Array.of(0.5, 0.5, 0.5, 0.5),
      stableRank: Float64Array.of(2.25, 2.25, 2.25, 2.25),
      lossScaledNorm: Float64Array.of(2, 4, 32, 4),
    });
  });

  it("takes the attention's projections by default, in the order of the records, and others on request", async () => {
    const more = { [key(0, "o")]: matrix(1), "model.layers.0.mlp.up_proj.weight": matrix(3) };
    const path = write([record([4], more)]);
    expect((await readTable(path)).modules).toEqual(["self_attn.q_proj", "self_attn.o_proj"]);
    const mlp = await readTable(path, { modules: ["mlp.up_proj"] });
    expect([mlp.modules, curve(mlp, "nuclearNorm", "mlp.up_proj")]).toEqual([["mlp.up_proj"], [3]]);
    await expect(readTable(path, { modules: ["mlp.gate_proj"] })).rejects.toThrow(
      `${path}:1: holds no matrix mlp.gate_proj; its modules are self_attn.q_proj, self_attn.o_proj, mlp.up_proj.`,
    );
  });

  it("has the effective and stable rank of the field, else of the spectrum, else (‖G‖_F/σ₁)² and no effective rank at all", async () => {
    const sigma = [4, 2, 1, 1];
    const of = async (...lines: object[]) => readTable(write(lines.map((line) => record([], { [key(0)]: matrix(8, line) }))));
    const field = await of({ effective_rank: 3, stable_rank: 2, S_list: sigma });
    expect([curve(field, "effectiveRank"), curve(field, "stableRank")]).toEqual([[3], [2]]);
    const spectrum = await of({ S_list: sigma, frobenius_norm: Math.sqrt(22), S_max: 4 });
    expect(curve(spectrum, "effectiveRank")).toEqual([effectiveRank(sigma)]);
    // √22² is 22 but for rounding.
    expect(curve(spectrum, "stableRank")[0]).toBeCloseTo(stableRank(sigma)!, 14);
    expect((await of({ S_list: sigma }, {})).values.effectiveRank).toBeUndefined();
    const undefinedRank = await of(
      { effective_rank: null, stable_rank: null, S_sum: 0, S_max: 0, frobenius_norm: 0 },
      { effective_rank: 2 },
    );
    expect(undefinedRank.values.effectiveRank).toEqual(Float64Array.of(Number.NaN, 2));
    expect(undefinedRank.values.stableRank).toEqual(Float64Array.of(Number.NaN, 2.25));
  });

  it("does not depend on the order of lines where rows are known, and keeps that of the authors' files", async () => {
    const line = (row: number, more: object = { row }) => record([row + 1, 7], { instruction: `question ${row}`, ...more });
    const order = [3, 0, 2, 1];
    const sorted = await readTable(write([0, 1, 2, 3].map((row) => line(row))), { name: "run" });
    expect(await readTable(write(order.map((row) => line(row))), { name: "run" })).toEqual(sorted);
    const theirs = await readTable(write(order.map((row) => line(row, {}))));
    expect(theirs.rows.map(({ instruction }) => instruction)).toEqual(order.map((row) => `question ${row}`));
  });

  it("leaves rows without a finite loss out, and a last line that is still being written, and counts both", async () => {
    const path = write([record([1, 2]), record([0, 0], { loss: Number.NaN }), record([3, 4]), toJson(record([5, 6])).slice(0, 90)]);
    expect(await readTable(path)).toMatchObject({ rows: [{}, {}], leftOut: { "loss not finite": 1, "last line cut off": 1 } });
  });

  it("is refused, by file and line, where a matrix is missing, a layer is too many, a row is there twice or a spectrum is none", async () => {
    const rejects = async (lines: readonly (string | object)[], message: string): Promise<void> => {
      const path = write(lines);
      await expect(readTable(path)).rejects.toThrow(path + message);
    };
    await rejects([record([1, 2]), record([1])], ":2: lacks model.layers.1.self_attn.q_proj.weight, which the other records have.");
    await rejects([record([1, 2], { [key(0, "k")]: matrix(1) })], ":1: lacks model.layers.1.self_attn.k_proj.weight");
    await rejects([record([1]), record([1, 2])], ":2: has a layer 1, the first record has 1 layers");
    await rejects([record([1], { row: 4 }), record([2], { row: 4 })], ":2: row 4 is there twice, first in line 1");
    await rejects([record([1], { [key(0)]: matrix(1, { S_list: [1, -1] }) })], ":1: has an S_list that is no spectrum: sigma[1] is -1");
    await rejects([record([1]), "{]\n"], ":2: is not valid JSON");
    await rejects([record([0], { loss: Number.NaN })], ": holds no row with a finite loss");
    await rejects([], ": holds no row with a finite loss");
  });

  it("is refused for a folder without records and a file that is not there", async () => {
    await expect(readTable(folder)).rejects.toThrow(`${folder}: holds no records.jsonl`);
    await expect(readTable(join(folder, "none.jsonl"))).rejects.toThrow("none.jsonl: cannot be opened");
  });
});

describe("a question that is asked twice", () => {
  const twice = (losses: readonly [number, number]) =>
    losses.map((loss, i) => record([3 + i, 5 + i], { instruction: "again", output: `answer ${i}`, loss }));
  const other = record([7, 2], { instruction: "once" });

  it("is counted over the rows that are left out too, so that files without positions pair its right occurrences", async () => {
    const [whole, gap] = [await readTable(write([...twice([2, 2]), other])), await readTable(write([...twice([Number.NaN, 2]), other]))];
    expect(gap.rows.map(({ output, occurrence }) => [output, occurrence])).toEqual([
      ["answer 1", 1],
      ["answer", 0],
    ]);
    const { a, b, modules } = compareRuns(whole, gap, { resamples: 200 });
    expect(modules[0]!.ratio.value).toBe(1);
    expect([a.rows.used, b.rows.used]).toEqual([2, 2]);
  });

  it("is counted by position in a run of ours, over skipped rows as well, whatever the order of lines", async () => {
    const run = join(folder, `ours-${++count}`);
    mkdirSync(run);
    const lines = [3, 1].map((row) => record([row, 1], { row, instruction: "again" }));
    writeFileSync(join(run, "records.jsonl"), lines.map((line) => `${toJson(line)}\n`).join(""));
    writeFileSync(
      join(run, "skipped.jsonl"),
      `${JSON.stringify({ row: 0, instruction: "again", output: "", reason: "empty response" })}\n`,
    );
    const { rows } = await readTable(run);
    expect(rows.map(({ row, occurrence }) => [row, occurrence])).toEqual([
      [1, 1],
      [3, 2],
    ]);
  });
});

describe("a run of ours with skipped rows", () => {
  const skipped = [
    { row: 1, instruction: "long", output: "cut away", reason: "response truncated away", n_tokens: 1024, label_start: 1030 },
    { row: 3, instruction: "hot", output: "overflow", reason: "non-finite loss", n_tokens: 9, label_start: 5 },
    // Recorded by a later call that was killed before it took this line away.
    { row: 0, instruction: "question", output: "answer", reason: "non-finite loss" },
  ];
  const ours = (): string => {
    const run = join(folder, `ours-${++count}`);
    mkdirSync(run);
    const records = [record([3, 5], { row: 0, n_tokens: 20, n_labels: 4 }), record([9, 7], { row: 2, n_tokens: 30, n_labels: 6 })];
    writeFileSync(join(run, "records.jsonl"), records.map((line) => `${toJson(line)}\n`).join(""));
    writeFileSync(join(run, "skipped.jsonl"), `${skipped.map((row) => JSON.stringify(row)).join("\n")}\n{"row":9,`);
    return run;
  };
  it("leaves them out and counts them by reason", async () => {
    const table = await readTable(ours());
    expect(table.rows).toMatchObject([
      { row: 0, nTokens: 20, nLabels: 4 },
      { row: 2, nTokens: 30, nLabels: 6 },
    ]);
    expect(table.leftOut).toEqual({ "response truncated away": 1, "non-finite loss": 1 });
  });
  it("as published counts those without a label as the authors' own file of the same rows would", async () => {
    const table = await readTable(ours(), { asPublished: true });
    expect(table.rows.map(({ row, loss, nLabels }) => [row, loss, nLabels])).toEqual([
      [0, 2, 4],
      [1, Number.NaN, 0],
      [2, 2, 6],
    ]);
    expect(table.leftOut).toEqual({ "non-finite loss": 1 });
    const theirs = await readTable(write([record([3, 5]), record([0, 0], { loss: Number.NaN }), record([9, 7])]), { asPublished: true });
    expect(table.values).toEqual(theirs.values);
    expect(curve(table, "nuclearNorm")).toEqual([4, 4]);
    expect(curve(table, "sigmaOneRatio")).toEqual([1 / 3, 1 / 3]);
    expect(describeCurve(table, "lossScaledNorm")).toEqual({
      values: [3, 3],
      rows: { used: 2, leftOut: { "non-finite loss": 1, "0/0 in a layer": 1 } },
    });
  });
});

interface ExpectedCurve {
  readonly n: number;
  readonly leftOut: number;
  readonly curve: readonly number[];
  readonly mad: number;
  readonly segments: readonly (number | null)[];
  readonly relativeMad: number;
}
interface ExpectedCase {
  readonly depth: number;
  readonly published: boolean;
  readonly module: string;
  readonly statistic: StatisticName;
  readonly a: ExpectedCurve;
  readonly b: ExpectedCurve;
  readonly rd: number;
  readonly byLayer: readonly number[];
  readonly top: readonly number[];
}

/** Both sides compute in float64, sums in another order: 1e-12 is hundreds of roundings. */
function agree(actual: number | null, expected: number | null): void {
  if (expected === null || expected === 0 || actual === null) expect(actual).toBe(expected);
  else expect(Math.abs(actual / expected - 1)).toBeLessThan(1e-12);
}

/** Both runs in the cases' statistics and modules; what is tested here is not the intervals. */
const few = { resamples: 100 };

describe("curves of files in the authors' style", () => {
  const expected = JSON.parse(readFileSync(join(fixtures, "analysis", "expected.json"), "utf8")) as readonly ExpectedCase[];
  const title = ({ depth, published }: ExpectedCase): string => `${depth} layers${published ? ", as published" : ""}`;

  it.each([...new Set(expected.map(title))])(
    "agree with NumPy in means, MAD, segments, relative MAD, RD and its top layers: %s",
    async (name) => {
      const cases = expected.filter((c) => title(c) === name);
      const { depth, published } = cases[0]!;
      const [a, b] = await Promise.all(
        ["a", "b"].map((side) => readTable(join(fixtures, "analysis", `${depth}-${side}.jsonl`), { asPublished: published })),
      );
      const options = { statistics: [...new Set(cases.map((c) => c.statistic))], ...few };
      const compared = compareRuns(a!, b!, options).modules;
      const sides = { a: describeRun(a!, options).modules, b: describeRun(b!, options).modules };
      for (const { module, statistic, rd, byLayer, top, ...expectedOf } of cases) {
        const isIt = (one: { module: string; statistic: string }) => one.module === module && one.statistic === statistic;
        const { a: ofA, b: ofB, relativeDifference } = compared.find(isIt)!;
        for (const [side, inPair] of [
          ["a", ofA],
          ["b", ofB],
        ] as const) {
          const alone = sides[side].find(isIt)!;
          const expectedCurve = expectedOf[side];
          for (const found of [alone, inPair]) {
            expect(found.rows.used).toBe(expectedCurve.n);
            expect(found.rows.leftOut["0/0 in a layer"] ?? 0).toBe(expectedCurve.leftOut);
            expect(found.curve.length).toBe(depth);
            found.curve.forEach(({ value }, layer) => agree(value, expectedCurve.curve[layer]!));
            agree(found.mad!.value, expectedCurve.mad);
            found.segmentMads.forEach((mad, k) => agree(mad?.value ?? null, expectedCurve.segments[k]!));
            agree(found.relativeMad!.value, expectedCurve.relativeMad);
          }
        }
        relativeDifference.byLayer.forEach((value, layer) => agree(value, byLayer[layer]!));
        agree(relativeDifference.value, rd);
        expect(relativeDifference.topLayers).toEqual(top);
      }
    },
  );

  it("cover every statistic, the paper's own depths and others, and rows without a loss", () => {
    expect(new Set(expected.map(({ statistic }) => statistic))).toEqual(new Set(statistics));
    expect(new Set(expected.map(({ depth }) => depth))).toEqual(new Set([26, 28, 32, 42, 12, 30, 18, 5]));
    const of = (published: boolean, statistic: StatisticName) =>
      expected.find((c) => c.depth === 12 && c.published === published && c.statistic === statistic)!.a;
    expect([of(false, "nuclearNorm").n, of(true, "nuclearNorm").n, of(true, "lossScaledNorm").n]).toEqual([3, 4, 3]);
    expect([of(false, "sigmaOneRatio").n, of(true, "sigmaOneRatio").n]).toEqual([2, 4]);
  });
});
