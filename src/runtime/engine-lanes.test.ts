import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { fixtureModel } from "../../test/fixtures.ts";
import { allStatistics } from "../../test/measure.ts";
import { openModel } from "../run/open-model.ts";
import { builtFile } from "./built-file.ts";
import { Engine, type SubsetRow } from "./engine.ts";
import { dealOut, EngineLanes, type LanesOptions } from "./engine-lanes.ts";
import { onnxRuntime } from "./onnx-runtime.ts";

const { backend: _, solver: __, ...statistics } = allStatistics;
const options: LanesOptions = { ...statistics, cosines: false, weights: "fed", lanes: 2, threads: 2 };

/** Packs of rows of random tokens, several subsets of labels each. */
const packs = (vocabulary: number): SubsetRow[][] =>
  [[9, 14], [23], [5, 6, 7], [40, 3], [11]].map((lengths, p) =>
    lengths.map((length, r) => ({
      row: 10 * p + r,
      inputIds: Int32Array.from({ length }, (_, i) => (7 * i + 31 * r + 131 * p) % vocabulary),
      labelStart: 2,
      subsets: [[0], Array.from({ length: length - 2 }, (_, i) => i)],
    })),
  );

const model = await openModel(fixtureModel("llama31"));
const all = packs(model.spec.vocabulary);

/** One engine, with as many threads as a lane has: of a model as narrow as this one the runtime's products depend on their number. */
async function alone(waves: readonly (readonly (readonly SubsetRow[])[])[], { cosines = false, threads = 1 } = {}) {
  const engine = await Engine.open(model.checkpoint, { ...allStatistics, backend: onnxRuntime({ threads }), cosines });
  try {
    const results = [];
    for (const wave of waves) results.push(await engine.measureWave(wave));
    return results;
  } finally {
    await engine.close();
  }
}

async function inLanes(waves: readonly (readonly (readonly SubsetRow[])[])[], changes: Partial<LanesOptions>) {
  const lanes = await EngineLanes.open(model.checkpoint, { ...options, ...changes });
  try {
    return { results: await Promise.all(waves.map((wave) => lanes.measureWave(wave))), milliseconds: lanes.phases.milliseconds };
  } finally {
    await lanes.close();
  }
}

describe("lanes", () => {
  it.each([
    ["held, a wave in each lane", { lanes: 2, threads: 2 }, all.map((pack) => [pack])],
    ["held, each lane with weights of its own", { lanes: 3, threads: 3, ownWeights: true }, all.map((pack) => [pack])],
    ["held, more lanes than waves, two threads each", { lanes: 3, threads: 6 }, [[all[0]!], [all[1]!]]],
    ["held, with cosines", { lanes: 2, threads: 2, cosines: true }, all.map((pack) => [pack])],
    [
      "streamed with the head, waves dealt out",
      { lanes: 2, threads: 2, weights: "streamed", streamHead: true },
      [all.slice(0, 3), all.slice(3)],
    ],
    ["streamed, three lanes, all at once", { lanes: 3, threads: 3, weights: "streamed" }, [all]],
    ["only inputs kept", { lanes: 2, threads: 2, weights: "streamed", retention: "inputs" }, [all]],
  ] as const)("give every digit of one engine: %s", async (_, changes, waves) => {
    const { results, milliseconds } = await inLanes(waves, changes);
    expect(results).toEqual(await alone(waves, { cosines: "cosines" in changes, threads: changes.threads / changes.lanes }));
    for (const phase of ["embedding", "forward", "head", "backward", "grams", "products"] as const)
      expect(milliseconds[phase]).toBeGreaterThan(0);
  });

  it("give all waves up with the signal's reason, and can be closed at once", async () => {
    const lanes = await EngineLanes.open(model.checkpoint, options);
    const controller = new AbortController();
    const waves = Array.from({ length: 6 }, () => lanes.measureWave(all, controller.signal));
    const reason = new Error("enough");
    setTimeout(() => controller.abort(reason), 5);
    const ends = await Promise.allSettled(waves);
    expect(ends.filter((end) => end.status === "rejected" && end.reason === reason).length).toBeGreaterThan(0);
    // They go on to work afterwards.
    expect(await lanes.measureWave([all[0]!])).toEqual((await alone([[all[0]!]]))[0]);
    await lanes.close();
  });

  it("end what they are at when they are closed", async () => {
    const lanes = await EngineLanes.open(model.checkpoint, options);
    const waves = Promise.allSettled(Array.from({ length: 8 }, () => lanes.measureWave(all)));
    await lanes.close();
    for (const end of await waves) if (end.status === "rejected") expect(String(end.reason)).toMatch(/abort|no longer lent|ended/);
  });

  it("tell what went wrong with reading the weights, in its own words", async () => {
    const source = { ...model.checkpoint, config: model.checkpoint.config, tensors: model.checkpoint.tensors };
    const failing = {
      ...source,
      readRows: (name: string, rows: ArrayLike<number>) => model.checkpoint.readRows(name, rows),
      read: (name: string, target?: Float32Array) =>
        name.includes("layers.1.") ? Promise.reject(new Error("the disk is gone")) : model.checkpoint.read(name, target),
    };
    await expect(EngineLanes.open(failing, options)).rejects.toThrow("the disk is gone");
    const lanes = await EngineLanes.open(failing, { ...options, weights: "streamed" });
    await expect(lanes.measureWave(all)).rejects.toThrow("the disk is gone");
    await lanes.close();
  });

  it.each(["process.exit(7)", "throw new Error('out')", "await new Promise(() => {})"])(
    "let the process end as it would without them: %s",
    (ending) => {
      const script = `
        const { openModel } = await import(${JSON.stringify(builtFile("run/open-model.js").href)});
        const { EngineLanes } = await import(${JSON.stringify(builtFile("runtime/engine-lanes.js").href)});
        const model = await openModel(${JSON.stringify(fixtureModel("llama31"))});
        const lanes = await EngineLanes.open(model.checkpoint, ${JSON.stringify(options)});
        const ids = Int32Array.from({ length: 600 }, (_, i) => i % 50);
        const wave = () => lanes.measureWave([[{ row: 0, inputIds: ids, labelStart: 1, subsets: [[0]] }]]);
        await wave();
        ${ending.includes("await") ? ending : ""}
        for (let i = 0; i < 50; i++) wave().catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 60));
        ${ending}`;
      const { status, signal } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
      // Node's own status where nothing is left to wait for is 13: idle lanes keep no process alive.
      expect({ status, signal }).toEqual({ status: ending.includes("7") ? 7 : ending.includes("throw") ? 1 : 13, signal: null });
    },
    30_000,
  );
});

describe("packs dealt out", () => {
  it("give every lane about the same, each pack once and in its order", () => {
    const weights = [500, 20, 480, 300, 310, 90, 100];
    const hands = dealOut(weights, 3);
    expect(hands.flat().toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    for (const hand of hands) expect(hand).toEqual(hand.toSorted((a, b) => a - b));
    const totals = hands.map((hand) => hand.reduce((sum, i) => sum + weights[i]!, 0));
    expect(Math.max(...totals) - Math.min(...totals)).toBeLessThanOrEqual(100);
    expect(dealOut([5], 2)).toEqual([[0], []]);
  });
});
