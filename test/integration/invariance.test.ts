import { describe, expect, it } from "vitest";
import { readRows } from "../../src/io/rows.ts";
import { type Model, openModel, rowEncoder } from "../../src/run/open-model.ts";
import { type Backend, interpreterBackend } from "../../src/runtime/backend.ts";
import { Engine, type EngineOptions, type TokenRow } from "../../src/runtime/engine.ts";
import { onnxRuntime } from "../../src/runtime/onnx-runtime.ts";
import { packRows } from "../../src/runtime/packing.ts";
import type { RowStatistics } from "../../src/runtime/row-statistics.ts";
import { SpectrumPool } from "../../src/runtime/spectrum-pool.ts";
import { beyond, compare, declareSizes, noErrors, ours, type Tolerances, tinyTolerances } from "../agreement.ts";
import { expectedPath, fixtureModel, readExpected } from "../fixtures.ts";
import { allStatistics, demoData, demoModel, deviations, measure, sizesOf } from "../measure.ts";
import { storedOnly } from "../stored-only.ts";

/**
 * Two float32 computations that sum in another order may differ by what each may be off the truth:
 * the tolerances are those of the agreement with PyTorch, which were made for such models.
 */
const rounding = tinyTolerances;

/** A trained model's small loss is the difference of a log-sum-exp and a logit near 10, each rounded to 1e-6 at worst. */
const trainedRounding: Tolerances = { ...tinyTolerances, loss: 1e-5 };

async function fixture(name: string): Promise<{ model: Model; rows: TokenRow[] }> {
  const expected = ["basic", "edge"].flatMap((set) => readExpected(expectedPath(name, "base", set))).filter((e) => e.status === "ok");
  return {
    model: await openModel(fixtureModel(name)),
    rows: expected.map((e, row) => ({ row, inputIds: e.input_ids, labelStart: e.label_start })),
  };
}

/** Short and long rows of the miniature, whose trained weights have outliers that random ones lack. */
async function miniature(): Promise<{ model: Model; rows: TokenRow[] }> {
  const model = await openModel(demoModel("base"));
  const encode = rowEncoder(model, { mode: "base", maxLength: 1024, singleBos: false, date: "2025-01-31" });
  const rows: TokenRow[] = [];
  for (const file of ["sums_none", "compare_simplified_irrelevant", "wiki_popular_1000_irrelevant"]) {
    const data = await readRows(demoData(file));
    rows.push(...data.rows.slice(0, 3).map((row, i) => ({ ...encode(row, i), row: rows.length + i })));
  }
  return { model, rows };
}

const alone = (rows: readonly TokenRow[]) => rows.map((row) => [row]);

for (const [title, open, tolerances] of [
  ["a tiny random model with grouped-query attention", () => fixture("llama"), rounding],
  ["a tiny random model with biases and tied embeddings", () => fixture("qwen2"), rounding],
  ["a tiny random model with windows and soft caps", () => fixture("gemma2"), rounding],
  ["the trained miniature", miniature, trainedRounding],
] as const) {
  describe(`the statistics of ${title} do not depend on`, () => {
    const opened = open();
    // Each row in a pack of its own: what all else is held against.
    const reference: Promise<RowStatistics[]> = opened.then(({ model, rows }) => measure(model, alone(rows)));

    const same = async (packs: (rows: TokenRow[]) => TokenRow[][], options: Partial<EngineOptions> = {}): Promise<void> => {
      const { model, rows } = await opened;
      const results = await measure(model, packs(rows), options);
      expect(deviations(model, results, await reference, tolerances)).toEqual([]);
    };
    const together = (rows: TokenRow[]) => [rows];

    it("what a row is packed with: all together, or by budgets of 64, 256 and 512 tokens", async () => {
      await same(together);
      for (const budget of [64, 256, 512]) await same((rows) => packRows(rows, budget));
    });
    it("the rows' order", async () => {
      await same((rows) => [rows.toReversed()]);
      await same((rows) => packRows([...rows.filter((_, i) => i % 2), ...rows.filter((_, i) => i % 2 === 0)], 300));
    });
    it("the number of threads, of the runtime and of the spectrum pool", async () => {
      for (const threads of [1, 2, 3]) {
        const solver = new SpectrumPool(threads);
        await same(together, { backend: onnxRuntime({ threads }), solver });
        await solver.close();
      }
    });
    it("whether weights are fed or packed into each layer's programs", async () => {
      await same(together, { weights: "packed" });
      await same(alone, { weights: "packed" });
    });
    it("whether the backward pass finds all products or only each layer's input", async () => {
      await same(together, { retention: "inputs" });
    });
    it("which forward values the backward graphs read rather than compute again", async () => {
      await same(together, { saved: "nothing" });
      await same(together, { saved: "narrow" });
      await same(together, { saved: "nothing", retention: "inputs", weights: "packed" });
    });
    it("how many label positions the head takes at a time, and how much of the vocabulary", async () => {
      for (const labels of [1, 7, 10_000]) await same(together, { logits: { labels, vocabulary: 10_000 } });
      for (const vocabulary of [10, 100, 513]) await same(together, { logits: { labels: 100, vocabulary } });
    });
    it("whether spectra and cosines are recorded, nor on which other matrices are", async () => {
      const { model, rows } = await opened;
      const bare = await measure(model, [rows], { spectrum: false, cosines: false, matrices: "all" });
      const full = await reference;
      for (const [i, r] of full.entries()) {
        const known = Object.keys(r.matrices);
        expect(Object.keys(bare[i]!.matrices).filter((name) => known.includes(name))).toEqual(known);
        expect(Object.keys(bare[i]!.matrices).length).toBe((known.length / 4) * 7);
        expect(Object.values(bare[i]!.matrices).every((m) => m.S_list === undefined) && bare[i]!.cosines === undefined).toBe(true);
      }
      const kept = bare.map((b, i): RowStatistics => {
        const { matrices, cosines } = full[i]!;
        const chosen = Object.keys(matrices).map((name) => [name, { ...b.matrices[name]!, S_list: matrices[name]!.S_list! }]);
        return { row: b.row, loss: b.loss, matrices: Object.fromEntries(chosen), ...(cosines ? { cosines } : {}) };
      });
      expect(deviations(model, kept, full, tolerances)).toEqual([]);
    });
  });
}

describe("what an engine gives up", () => {
  const ort = onnxRuntime();
  let discarded = 0;
  const poisoning: Backend = {
    ...ort,
    discard: (tensors) => {
      for (const { data } of tensors) {
        discarded += data.length;
        (data as Float32Array).fill(Number.NaN);
      }
    },
  };

  it.each([
    ["every product kept", {}],
    ["only inputs kept", { retention: "inputs" }],
    ["no products saved", { saved: "nothing" }],
    ["gradients kept for cosines", { cosines: true }],
    ["all matrices measured", { matrices: "all" }],
  ] as const)("is never read again: %s", async (_, changes) => {
    const { model, rows } = await fixture("llama");
    const measured = async (backend: Backend) => {
      const engine = await Engine.open(model.checkpoint, { ...allStatistics, cosines: false, ...changes, backend });
      const packs = packRows(rows, 100).map((pack) =>
        pack.map(({ row, inputIds, labelStart }) => {
          const labels = Array.from({ length: inputIds.length - Math.max(1, labelStart) }, (_, i) => i);
          return { row, inputIds, labelStart, subsets: [labels, labels.slice(0, 1)] };
        }),
      );
      try {
        return [await engine.measureWave(packs), await engine.measureWave(packs.slice(0, 1))];
      } finally {
        await engine.close();
      }
    };
    discarded = 0;
    expect(await measured(poisoning)).toEqual(await measured({ ...ort, discard: () => {} }));
    expect(discarded).toBeGreaterThan(
      rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0) * model.spec.layers * model.spec.hidden * 10,
    );
  });
});

describe("a backend that pays no heed to places for results", () => {
  it("gives every digit of one that does", async () => {
    const { model, rows } = await fixture("llama");
    const backend = onnxRuntime();
    const heedless: Backend = {
      ...backend,
      compile: async (graph, constants) => {
        const program = await backend.compile(graph, constants);
        return { run: (feeds) => program.run(feeds), release: () => program.release() };
      },
    };
    for (const retention of ["products", "inputs"] as const) {
      const of = (backend: Backend) => measure(model, packRows(rows, 256), { backend, retention });
      expect(await of(heedless)).toEqual(await of(backend));
    }
  });
});

describe("the same call twice", () => {
  it("gives identical digits, which a resumed run builds on", async () => {
    const { model, rows } = await fixture("llama31");
    const [first, second] = [await measure(model, packRows(rows, 256)), await measure(model, packRows(rows, 256))];
    expect(second).toEqual(first);
  });
});

/**
 * The fixtures' truth has ten digits, so that it may be off by 5e-10. Singular values come from float64 Gram matrices, which lose
 * what is below √(2⁻⁵²) = 1.5e-8 of ‖X‖‖Δ‖; a few dozen of those make the errors of their sum and of the effective rank.
 */
const doublePrecision: Tolerances = {
  loss: 1e-9,
  M_mean: 1e-9,
  M_max: 1e-9,
  M_min: 1e-9,
  frobenius_norm: 1e-9,
  S_max: 1e-9,
  cosine: 1e-9,
  S_list: 5e-8,
  S_min: 5e-8,
  S_sum: 3e-7,
  effective_rank: 5e-6,
};

describe("the float64 interpreter in place of ONNX Runtime", () => {
  for (const name of ["llama", "llama31", "llama2", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "olmo2"]) {
    it(`${name}: gives PyTorch's float64 numbers to nine digits, so that nothing but float32 rounding separates us from them`, async () => {
      const model = await openModel(fixtureModel(name));
      const all = ["basic", "edge"].flatMap((set) => readExpected(expectedPath(name, "base", set)));
      // The interpreter is slow.
      const expected = all.filter((e) => e.status === "ok" && e.input_ids.length < 100);
      const rows = expected.map((e, row) => ({ row, inputIds: e.input_ids, labelStart: e.label_start }));
      const results = await measure(model, packRows(rows, 200), { backend: interpreterBackend });
      const errors = noErrors();
      for (const [i, { f64 }] of expected.entries()) {
        declareSizes(f64, sizesOf(model, Object.keys(f64.params)));
        compare(errors, `row ${i}`, storedOnly(model, ours(results[i]!)), f64);
      }
      expect(beyond(errors, doublePrecision)).toEqual([]);
    });
  }

  // The windows are 24 and 16 tokens: a strip of 128 queries then has keys that none of them sees.
  for (const name of ["llama", "mistral", "gemma3_text"]) {
    it(`${name}: agrees with ONNX Runtime on a row of 400 tokens, whose attention takes three strips`, async () => {
      const { model, rows } = await fixture(name);
      const inputIds = rows.flatMap((r) => Array.from(r.inputIds)).slice(0, 400);
      const row = { row: 0, inputIds, labelStart: 390 };
      const exact = await measure(model, [[row]], { backend: interpreterBackend });
      expect(deviations(model, await measure(model, [[row]]), exact, tinyTolerances)).toEqual([]);
      // And beside a short row, which takes one.
      const beside = await measure(model, [[{ ...rows[0]!, row: 1 }, row]]);
      expect(deviations(model, beside.slice(1), exact, tinyTolerances)).toEqual([]);
    });
  }
});
