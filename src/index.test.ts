import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { expectedPath, fixtureModel, fixtures, readExpected } from "../test/fixtures.ts";
import * as layergrad from "./index.ts";
import { Engine, type GradientRecord, type MeasuredRow, matrixKey, measureRows, openModel, readRows, SpectrumPool } from "./index.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const demo = join(root, "demo", "base");

async function collect(results: AsyncIterable<MeasuredRow>): Promise<MeasuredRow[]> {
  const all: MeasuredRow[] = [];
  for await (const result of results) all.push(result);
  return all;
}

const records = (results: readonly MeasuredRow[]): GradientRecord[] => results.filter((r): r is GradientRecord => !("reason" in r));

const question = "Sam has 14 seeds. Sam gives 3 seeds to Leo. How many seeds are left?";

describe("the library's surface", () => {
  it("is these names: whoever takes one away breaks someone's program", () => {
    expect(Object.keys(layergrad).toSorted()).toEqual([
      "Engine",
      "LayergradError",
      "SCHEMA_VERSION",
      "SpectrumPool",
      "adjustedEffect",
      "benjaminiHochberg",
      "catalogue",
      "checkDevice",
      "cliffsDelta",
      "compareRuns",
      "createWasmKernel",
      "describeRun",
      "devices",
      "differenceEstimates",
      "differentiate",
      "dim",
      "effectiveRank",
      "emitOnnx",
      "exchangeabilityTest",
      "exitStatus",
      "fcrLevel",
      "findCatalogueFile",
      "findings",
      "frobeniusNorm",
      "functionalEstimates",
      "graph",
      "indices",
      "interpret",
      "interpreterBackend",
      "kernelFile",
      "markCollisions",
      "matchNearest",
      "matrixChoices",
      "matrixKey",
      "mean",
      "meanAbsoluteDifference",
      "meanCurve",
      "meanEstimates",
      "measureRows",
      "nuclearNorm",
      "numericalRank",
      "onnxRuntime",
      "openModel",
      "openRows",
      "packRows",
      "pairedD",
      "parseMatrixKey",
      "parseStudy",
      "planRun",
      "printGraph",
      "pullFile",
      "pullHub",
      "ratioEstimates",
      "readManifest",
      "readRecords",
      "readRows",
      "readStudy",
      "readStudyIndex",
      "readTable",
      "regress",
      "relativeDifference",
      "relativeMad",
      "run",
      "runFiles",
      "runStudy",
      "segmentMads",
      "segments",
      "selftest",
      "shuffleResponses",
      "sigmaMax",
      "sigmaMin",
      "sigmaOneRatio",
      "spectrumFloor",
      "stableRank",
      "statisticNames",
      "supportedModelTypes",
      "swapTest",
      "tensor",
      "topLayers",
      "typescriptKernel",
      "withSaved",
    ]);
  });

  it("gives the kernel's file, which createWasmKernel takes: σ of diag(9, 4) as a Gram matrix are 3 and 2", async () => {
    const kernel = await layergrad.createWasmKernel(readFileSync(layergrad.kernelFile));
    const sigma = kernel.singularValuesFromGram(Float64Array.of(9, 0, 0, 4), 2);
    expect(sigma[0]).toBeCloseTo(3, 14);
    expect(sigma[1]).toBeCloseTo(2, 14);
  });

  it("builds graphs whose misuse names types: the graph object's functions are those of the expression language", () => {
    const { graph, dim } = layergrad;
    const x = graph.input("x", [dim("T"), 8]);
    expect(() => graph.matmul(x, graph.input("w", [6, 4]))).toThrow("matmul: inner dimensions differ, float32[T,8] (x) · float32[6,4] (w)");
  });
});

describe("measureRows", () => {
  // The tolerances of the fixtures: 3.5 to 8 times the worst error of PyTorch's own float32.
  const tolerances = { frobenius_norm: 1e-5, S_sum: 3e-5, S_max: 1e-5, effective_rank: 5e-4 } as const;

  for (const [model, mode, set] of [
    ["llama", "base", "edge"],
    ["qwen2", "instruct", "basic"],
  ] as const) {
    it(`agrees with PyTorch in float64: ${model}, ${mode}, ${set}`, async () => {
      const expected = readExpected(expectedPath(model, mode, set));
      const { rows } = await readRows(join(fixtures, "data", `${set}.json`));
      const results = await collect(measureRows(fixtureModel(model), rows, { mode, maxLength: expected[0]!.max_length }));
      expect(results.map((r) => ("reason" in r ? "nan" : "ok"))).toEqual(expected.map((e) => e.status));
      expect(results.map((r) => r.row)).toEqual(rows.map((_, i) => i));
      for (const record of records(results)) {
        const { f64, label_start, n_label_tokens } = expected[record.row]!;
        expect([record.label_start, record.n_labels]).toEqual([label_start, n_label_tokens]);
        expect(Math.abs(record.loss / f64.loss - 1)).toBeLessThan(1e-6);
        for (const [name, truth] of Object.entries(f64.params)) {
          const statistics = record[name as layergrad.MatrixKey]!;
          for (const [key, tolerance] of Object.entries(tolerances) as [keyof typeof tolerances, number][]) {
            expect(Math.abs(statistics[key]! / truth[key]! - 1), `row ${record.row} ${name} ${key}`).toBeLessThan(tolerance);
          }
        }
      }
    });
  }

  it("yields what run() writes for the same rows, line for line", async () => {
    const folder = mkdtempSync(join(tmpdir(), "layergrad-index-"));
    try {
      const data = join(folder, "rows.json");
      const rows = [
        { instruction: question, output: "11" },
        { instruction: "What is 2 + 2?", output: "" },
        { instruction: "Name a colour.", input: "of the sky", output: "blue" },
      ];
      writeFileSync(data, JSON.stringify(rows));
      const options = { spectrum: true, cosines: true, batchTokens: 30, threads: 1 };
      const summary = await layergrad.run({ model: demo, data, out: join(folder, "run"), ...options });
      expect(summary).toMatchObject({ requested: 3, recorded: 2, skipped: 1, reasons: { "empty response": 1 }, interrupted: false });
      const lines = (name: string) =>
        readFileSync(join(folder, "run", name), "utf8")
          .trimEnd()
          .split("\n")
          .map((line) => JSON.parse(line));
      const results = await collect(measureRows(demo, rows, options));
      expect(results.filter((r) => !("reason" in r))).toEqual(lines("records.jsonl"));
      expect(results.filter((r) => "reason" in r)).toEqual(lines("skipped.jsonl"));
      expect(layergrad.readManifest(join(folder, "run"))?.identity).toMatchObject({ mode: "base", spectrum: true, cosines: true });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("yields rows without labels in their place, and opens no engine where there are only such", async () => {
    const open = vi.spyOn(Engine, "open");
    const empty = { instruction: question, output: "" };
    const results = await collect(measureRows(demo, [empty, empty]));
    expect(results.map((r) => [r.row, "reason" in r && r.reason])).toEqual([
      [0, "empty response"],
      [1, "empty response"],
    ]);
    expect(await collect(measureRows(demo, []))).toEqual([]);
    expect(open).not.toHaveBeenCalled();
    open.mockRestore();
    const mixed = await collect(measureRows(demo, [empty, { instruction: question, output: "11" }, empty, empty]));
    expect(mixed.map((r) => [r.row, "reason" in r])).toEqual([
      [0, true],
      [1, false],
      [2, true],
      [3, true],
    ]);
  });

  describe("frees what it opened", () => {
    const rows = Array.from({ length: 3 }, () => ({ instruction: question, output: "11" }));
    const closed = { engine: 0, pool: 0 };
    beforeAll(() => {
      const [engine, pool] = [Engine.prototype.close, SpectrumPool.prototype.close];
      vi.spyOn(Engine.prototype, "close").mockImplementation(function (this: Engine) {
        closed.engine++;
        return engine.call(this);
      });
      vi.spyOn(SpectrumPool.prototype, "close").mockImplementation(function (this: SpectrumPool) {
        closed.pool++;
        return pool.call(this);
      });
    });
    afterAll(() => void vi.restoreAllMocks());

    it("when the loop is left early, and a model that it was given stays open", async () => {
      const model = await openModel(demo);
      for await (const result of measureRows(model, rows, { batchTokens: 1 })) {
        expect(result.row).toBe(0);
        break;
      }
      expect(closed).toEqual({ engine: 1, pool: 1 });
      expect(await model.checkpoint.read("model.norm.weight")).toHaveLength(128);
      model.checkpoint.close();
    });

    it("when the loop's body throws", async () => {
      const failing = async () => {
        for await (const _ of measureRows(demo, rows)) throw new Error("enough");
      };
      await expect(failing()).rejects.toThrow("enough");
      expect(closed).toEqual({ engine: 2, pool: 2 });
    });

    it("when the signal is aborted, which throws the signal's reason", async () => {
      const controller = new AbortController();
      const seen: number[] = [];
      const aborted = async () => {
        for await (const { row } of measureRows(demo, rows, { batchTokens: 1, signal: controller.signal })) {
          seen.push(row);
          controller.abort(new Error("changed my mind"));
        }
      };
      await expect(aborted()).rejects.toThrow("changed my mind");
      expect(seen).toEqual([0]);
      expect(closed).toEqual({ engine: 3, pool: 3 });
    });
  });

  it("names what is wrong with its arguments, for callers without a compiler", async () => {
    const good = { instruction: question, output: "11" };
    const fails = (rows: unknown[], options: layergrad.MeasureOptions, model = demo) =>
      collect(measureRows(model, rows as layergrad.RowInput[], options));
    await expect(fails([good, { instruction: question }], {})).rejects.toMatchObject({
      kind: "data",
      message: "rows[1].output must be a text, found undefined.",
    });
    await expect(fails([{ ...good, input: 3 }], {})).rejects.toMatchObject({
      kind: "data",
      message: "rows[0].input must be a text, found number.",
    });
    await expect(fails([good], { threads: 0 })).rejects.toMatchObject({
      kind: "usage",
      message: "threads must be a whole number above 0, found 0.",
    });
    await expect(fails([good], { date: "yesterday", mode: "instruct" }, join(root, "demo", "instruct"))).rejects.toMatchObject({
      kind: "usage",
    });
    await expect(fails([good], { mode: "instruct" })).rejects.toMatchObject({
      kind: "model",
      message: expect.stringContaining("no chat template"),
    });
    await expect(fails([good], { memory: 1e6 })).rejects.toMatchObject({ kind: "resource" });
    await expect(fails([good], {}, join(root, "nowhere"))).rejects.toMatchObject({ kind: "model" });
  });
});

/** What an example prints, run by plain Node on the built package. */
function example(name: string, ...args: string[]): string {
  if (!existsSync(join(root, "dist", "index.js")))
    throw new Error('dist/index.js is missing: examples import the built package; run "npm run build" first.');
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, "examples", name), ...args], {
    encoding: "utf8",
    timeout: 100_000,
  });
  if (status !== 0) throw new Error(`examples/${name} ended with status ${status}:\n${stderr}`);
  return stdout;
}

const numbers = (text: string): number[] => text.trim().split(/\s+/).map(Number);

/** Whether a number printed with three digits stands for this one. */
const printed = (text: number, value: number): boolean => Math.abs(text / value - 1) < 0.0051;

describe("examples", () => {
  it("measure-rows.mjs prints the nuclear norms that the float64 interpreter and the TypeScript kernel give", async () => {
    const lines = example("measure-rows.mjs").trimEnd().split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[2]).toBe("row 2: skipped, empty response");
    const [, labels, loss, norms] = /^row 0: (\d+) labels, loss ([\d.]+), nuclear norms of V by layer: (.*)$/.exec(lines[0]!)!;
    const model = await openModel(demo);
    const inputIds = model.tokenizer.encode(`${question}\n11`);
    const labelStart = model.tokenizer.encode(`${question}\n`).length;
    expect(Number(labels)).toBe(inputIds.length - labelStart);
    const { typescriptKernel: kernel } = layergrad;
    const engine = await Engine.open(model.checkpoint, {
      backend: layergrad.interpreterBackend,
      solver: {
        fromGram: async (g, r) => kernel.singularValuesFromGram(g, r),
        fromGrams: async (x, d, n) => kernel.singularValuesFromGrams(x, d, n),
      },
      matrices: "attention",
      spectrum: false,
      cosines: false,
      maxLength: inputIds.length,
      weights: "fed",
      retention: "products",
      saved: "nothing",
    });
    const [truth] = await engine.measure([{ row: 0, inputIds, labelStart }]);
    await engine.close();
    model.checkpoint.close();
    expect(Number(loss)).toBeCloseTo(truth!.loss, 3);
    const found = numbers(norms!);
    expect(found).toHaveLength(12);
    for (const [layer, norm] of found.entries())
      expect(printed(norm, truth!.matrices[matrixKey(layer, "v")]!.S_sum), `layer ${layer}`).toBe(true);
  });

  it("curves-from-records.mjs prints the mean over rows measured in memory, and the MAD of that curve by hand", async () => {
    const output = example("curves-from-records.mjs", "3");
    const { rows } = await readRows(join(root, "demo", "data", "sums_none.json"));
    const results = records(await collect(measureRows(demo, rows.slice(0, 3))));
    const [, curve] = /^none: 3 rows, 0 skipped\n {2}mean nuclear norm of V by layer: (.*)$/m.exec(output)!;
    const found = numbers(curve!);
    expect(found).toHaveLength(12);
    const means = found.map((_, layer) => results.reduce((sum, r) => sum + r[matrixKey(layer, "v")]!.S_sum, 0) / 3);
    for (const [layer, value] of found.entries()) expect(printed(value, means[layer]!), `layer ${layer}`).toBe(true);
    let steps = 0;
    for (let i = 0; i < 11; i++) steps += Math.abs(means[i + 1]! - means[i]!);
    const [, mad] = /MAD ([\d.]+);/.exec(output)!;
    expect(printed(Number(mad), steps / 11)).toBe(true);
    expect(output).toMatch(/^detailed: 3 rows, 0 skipped$/m);
  });

  it("own-graph.mjs: the derivatives are the slopes of the same function written by hand", () => {
    const output = example("own-graph.mjs");
    expect(output).toMatch(/^gated\.vjp\(x: float32\[T,8\]/);
    const wave = (n: number, step: number) => Array.from({ length: n }, (_, i) => Math.fround(Math.sin(step * (i + 1))));
    const [x, norm, wGate, wUp, ct] = [wave(40, 0.7), wave(8, 0.3), wave(128, 1.1), wave(128, 0.9), wave(80, 0.5)] as const;
    /** Σ ct∘y, whose slopes the cotangents are. */
    const value = (): number => {
      let total = 0;
      for (let t = 0; t < 5; t++) {
        const row = x.slice(8 * t, 8 * t + 8);
        const rms = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / 8 + 1e-6);
        const h = row.map((v, i) => (v / rms) * norm[i]!);
        for (let o = 0; o < 16; o++) {
          const gate = h.reduce((sum, v, i) => sum + v * wGate[8 * o + i]!, 0);
          const up = h.reduce((sum, v, i) => sum + v * wUp[8 * o + i]!, 0);
          total += (ct[16 * t + o]! * gate * up) / (1 + Math.exp(-gate));
        }
      }
      return total;
    };
    const slope = (array: number[]): number => {
      const [at, step] = [array[0]!, 1e-5];
      array[0] = at + step;
      const above = value();
      array[0] = at - step;
      const below = value();
      array[0] = at;
      return (above - below) / (2 * step);
    };
    for (const [name, array] of [
      ["ct.x", x],
      ["ct.w_gate", wGate],
    ] as const) {
      const line = new RegExp(`^${name} \\[[\\d,]+\\]: first entry (\\S+), ONNX Runtime within (\\S+) of`, "m").exec(output)!;
      expect(Number(line[1])).toBeCloseTo(slope(array), 5);
      // A few dozen float32 roundings.
      expect(Number(line[2])).toBeLessThan(32 * 2 ** -23);
    }
  });
});
