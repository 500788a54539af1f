import { describe, expect, it } from "vitest";
import { fixtureModel } from "../../test/fixtures.ts";
import { allStatistics } from "../../test/measure.ts";
import { type Model, openModel } from "../run/open-model.ts";
import { Engine, type EngineOptions, type ModelSource, type SubsetRow } from "./engine.ts";
import type { RowStatistics } from "./row-statistics.ts";

/** Packs of rows of random tokens, several subsets of labels each. */
const packs = (vocabulary: number): SubsetRow[][] =>
  [[9, 14], [23], [5, 6, 7]].map((lengths, p) =>
    lengths.map((length, r) => ({
      row: 10 * p + r,
      inputIds: Int32Array.from({ length }, (_, i) => (7 * i + 31 * r + 131 * p) % vocabulary),
      labelStart: 2,
      subsets: [[0], [1, 2], Array.from({ length: length - 2 }, (_, i) => i)],
    })),
  );

/** A model's tensors, counted as they are read. */
function counted({ checkpoint }: Model): ModelSource & { readonly reads: Map<string, number> } {
  const reads = new Map<string, number>();
  return {
    reads,
    config: checkpoint.config,
    tensors: checkpoint.tensors,
    readRows: (name, rows) => checkpoint.readRows(name, rows),
    read: (name, target) => {
      reads.set(name, (reads.get(name) ?? 0) + 1);
      return checkpoint.read(name, target);
    },
  };
}

async function inWaves(
  source: ModelSource,
  waves: readonly (readonly (readonly SubsetRow[])[])[],
  options: Partial<EngineOptions>,
): Promise<RowStatistics[][][]> {
  const engine = await Engine.open(source, { ...allStatistics, ...options });
  try {
    const results: RowStatistics[][][] = [];
    for (const wave of waves) results.push(...(await engine.measureWave(wave)));
    return results;
  } finally {
    await engine.close();
  }
}

const apart = <T>(list: readonly T[]): T[][] => list.map((one) => [one]);

describe.each(["llama31", "qwen2"])("streamed weights of a tiny %s", (name) => {
  const opened = openModel(fixtureModel(name));
  const resident = async (options: Partial<EngineOptions>) => {
    const { checkpoint, spec } = await opened;
    return inWaves(checkpoint, apart(packs(spec.vocabulary)), options);
  };

  it.each([
    ["products kept", { retention: "products", saved: "linears", cosines: false }],
    ["cosines", { retention: "products", saved: "narrow", cosines: true }],
    ["inputs kept", { retention: "inputs", saved: "linears", cosines: false }],
  ] as const)("give every digit of held ones, whatever goes in one wave: %s", async (_, options) => {
    const { checkpoint, spec } = await opened;
    const all = packs(spec.vocabulary);
    const expected = await resident(options);
    for (const [streamHead, waves] of [
      [false, apart(all)],
      [true, [all]],
      [true, [all.slice(0, 1), all.slice(1)]],
    ] as const) {
      expect(await inWaves(checkpoint, waves, { ...options, weights: "streamed", streamHead })).toEqual(expected);
    }
    expect(await inWaves(checkpoint, [all], { ...options, weights: "fed" })).toEqual(expected);
  });

  it("serve calls at the same time one after the other", async () => {
    const { checkpoint, spec } = await opened;
    const all = packs(spec.vocabulary);
    const engine = await Engine.open(checkpoint, { ...allStatistics, weights: "streamed" });
    try {
      const together = await Promise.all(all.map((rows) => engine.measureSubsets(rows)));
      expect(together).toEqual(await resident({}));
    } finally {
      await engine.close();
    }
  });

  it("are read twice for a wave, where the passes turn once", async () => {
    const model = await opened;
    const all = packs(model.spec.vocabulary);
    const source = counted(model);
    await inWaves(source, [all], { weights: "streamed", streamHead: true, cosines: false });
    const { layers } = model.spec;
    for (const [tensor, times] of source.reads) {
      const layer = Number(/layers\.(\d+)\./.exec(tensor)?.[1] ?? layers);
      expect([tensor, times]).toEqual([tensor, layer >= layers - 1 ? 1 : 2]);
    }
  });
});
