// One line of the bench, in a process of its own: prints a JSON object.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildBlock } from "../dist/models/block.js";
import { readModel } from "../dist/models/registry.js";
import { Engine } from "../dist/runtime/engine.js";
import { gemmRate } from "../dist/runtime/gemm-rate.js";
import { onnxRuntime } from "../dist/runtime/onnx-runtime.js";
import { packRows, wavesOf } from "../dist/runtime/packing.js";
import { phaseNames } from "../dist/runtime/phases.js";
import { planRun } from "../dist/runtime/planner.js";
import { SpectrumPool } from "../dist/runtime/spectrum-pool.js";
import { rowFlops } from "../dist/runtime/work.js";
import { LineFile } from "../dist/store/files.js";
import { serialise } from "../dist/store/record.js";
import { randomModel, randomRows, shallower, shapes, weightShapes } from "./shapes.mjs";

const options = JSON.parse(process.argv[2]);
const config = shallower(shapes[options.shape], Number(options.layers ?? 1000));
const { family, spec } = readModel(config);

// As many rows as fill one pack of the plan's size; one row where rows are longer than that.
const plan = planRun({
  family,
  spec,
  matrices: "reference",
  cosines: false,
  longestRow: Math.ceil(options.tokens * 1.2),
  tokens: 100 * options.tokens,
  rows: 100,
  memory: options.memory ? Number(options.memory) * 1e9 : Number.POSITIVE_INFINITY,
  weights: options.weights,
  batchTokens: options["batch-tokens"] ? Number(options["batch-tokens"]) : undefined,
});
const many = randomRows(Math.ceil((2 * plan.batchTokens) / options.tokens) + 1, options.tokens, options.labels, spec.vocabulary);
const rows = packRows(many, plan.batchTokens)[0].map((row) => ({
  ...row,
  subsets: [Array.from({ length: row.inputIds.length - row.labelStart }, (_, i) => i)],
}));
const packs = packRows(rows, plan.batchTokens);

const backend = onnxRuntime();
const solver = new SpectrumPool(2);
const started = performance.now();
const engine = await Engine.open(randomModel(config, weightShapes(spec, buildBlock(family, spec))), {
  ...plan,
  backend,
  solver,
  matrices: "reference",
  spectrum: false,
  cosines: false,
  maxLength: 1024,
});
const secondsToOpen = (performance.now() - started) / 1000;

const folder = mkdtempSync(join(tmpdir(), "layergrad-bench-"));
const records = new LineFile(join(folder, "records.jsonl"), 0);
const pass = async () => {
  for (const phase of phaseNames) engine.phases.milliseconds[phase] = 0;
  const start = performance.now();
  for (const wave of wavesOf(packs, plan.waveTokens)) {
    const results = (await engine.measureWave(wave)).flat(2);
    await engine.phases.time("writing", async () =>
      records.append(results.map(({ row, loss, matrices }) => serialise({ instruction: "", output: "", loss, row, ...matrices })).join("")),
    );
  }
  return { wall: performance.now() - start, phases: { ...engine.phases.milliseconds } };
};
// The product rate is measured before and after, in the same process; the higher one counts.
const rateBefore = await gemmRate(backend, spec.hidden, spec.intermediate, { repeats: 40 });
await pass(); // arenas grow and pages are touched the first time
let best;
for (let i = 0; i < Number(options.repeats ?? 2); i++) {
  const one = await pass();
  if (!best || one.wall < best.wall) best = one;
}
const rateAfter = await gemmRate(backend, spec.hidden, spec.intermediate, { repeats: 40 });
const peakMemory = process.resourceUsage().maxRSS * 1024;
await engine.close();
await solver.close();
records.close();
rmSync(folder, { recursive: true });

const gemmFlops = Math.max(rateBefore, rateAfter);
const flops = rows.reduce((sum, r) => sum + rowFlops(spec, r.inputIds.length, r.inputIds.length - r.labelStart), 0);
const { weights, embedding, forward, head, backward, writing } = best.phases;
const engineMs = weights + embedding + forward + head + backward;
const { shape, tokens, labels } = options;
console.log(
  JSON.stringify({
    shape,
    layers: spec.layers,
    tokens,
    labels,
    weights: plan.weights,
    waveTokens: plan.waveTokens,
    retention: plan.retention,
    saved: plan.saved,
    rows: rows.length,
    rowsPerPack: rows.length / packs.length,
    secondsToOpen,
    secondsPerRow: best.wall / 1000 / rows.length,
    phases: Object.fromEntries(Object.entries(best.phases).map(([k, v]) => [k, v / rows.length])),
    gemmFlops,
    engineShare: flops / gemmFlops / (engineMs / 1000),
    statisticsShare: 1 - (engineMs + writing) / best.wall,
    peakMemory,
    plannedMemory: plan.memory,
  }),
);
