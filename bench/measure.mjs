// One line of the bench, in a process of its own: prints a JSON object.
import "./keep-memory.mjs";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { openModelFiles } from "../dist/io/open-weights.js";
import { WeightReader } from "../dist/io/weight-reader.js";
import { buildBlock } from "../dist/models/block.js";
import { readModel } from "../dist/models/registry.js";
import { Engine } from "../dist/runtime/engine.js";
import { EngineLanes } from "../dist/runtime/engine-lanes.js";
import { GemmProbe, gemmRateOf } from "../dist/runtime/gemm-rate.js";
import { onnxRuntime } from "../dist/runtime/onnx-runtime.js";
import { packRows, wavesOf } from "../dist/runtime/packing.js";
import { planRun } from "../dist/runtime/planner.js";
import { SpectrumPool } from "../dist/runtime/spectrum-pool.js";
import { rowFlops } from "../dist/runtime/work.js";
import { LineFile } from "../dist/store/files.js";
import { serialise } from "../dist/store/record.js";
import { randomModel, randomRows, shallower, shapes, weightShapes } from "./shapes.mjs";

const options = JSON.parse(process.argv[2]);
// A folder of bench/random-model.mjs, for weights that are really read; or weights made up in memory.
const checkpoint = options.folder && (await openModelFiles(options.folder));
const config = checkpoint?.config ?? shallower(options.config ?? shapes[options.shape], Number(options.layers ?? 1000));
const { family, spec } = readModel(config);
const threads = Number(options.threads ?? availableParallelism());

const spread = options.spread ?? 0.2;
const plan = planRun({
  family,
  spec,
  matrices: "reference",
  cosines: false,
  lengths: randomRows(options.rows ?? 1000, options.tokens, options.labels, spec.vocabulary, spread).map(({ inputIds }) => inputIds.length),
  memory: options.memory ? Number(options.memory) * 1e9 : Number.POSITIVE_INFINITY,
  weights: options.weights,
  batchTokens: options["batch-tokens"] ? Number(options["batch-tokens"]) : undefined,
  threads: Number(options.lanes ?? 0) === 1 ? 1 : threads,
});
// So many packs that each lane has one or, where they are quick, two; rows longer than a pack are packs of their own.
const quick = rowFlops(spec, plan.batchTokens, 0) < 2e12;
const wanted = Math.max(plan.lanes * (quick ? 2 : 1), Math.floor(plan.waveTokens / plan.batchTokens));
const count = options.rows ?? Math.ceil(((wanted + 1) * plan.batchTokens) / options.tokens) + wanted;
const many = randomRows(count, options.tokens, options.labels, spec.vocabulary, spread);
const rows = packRows(many, plan.batchTokens)
  .slice(0, options.rows ?? wanted)
  .flat()
  .map((row) => ({ ...row, subsets: [Array.from({ length: row.inputIds.length - row.labelStart }, (_, i) => i)] }));
const packs = packRows(rows, plan.batchTokens);

const backend = onnxRuntime({ threads });
// Streamed weights of files come by a thread of their own, as in a run; of models that the page cache has room for.
const reader = checkpoint && plan.weights === "streamed" && new WeightReader(checkpoint, { direct: false });
const source = reader ? reader.sourceOf(checkpoint) : (checkpoint ?? randomModel(config, weightShapes(spec, buildBlock(family, spec))));
const settings = { ...plan, matrices: "reference", spectrum: false, cosines: false, maxLength: 1024, threads };
const started = performance.now();
const solver = new SpectrumPool(plan.lanes > 1 ? 0 : threads);
const engine = plan.lanes > 1 ? await EngineLanes.open(source, settings) : await Engine.open(source, { ...settings, backend, solver });
const secondsToOpen = (performance.now() - started) / 1000;

const folder = mkdtempSync(join(tmpdir(), "layergrad-bench-"));
const records = new LineFile(join(folder, "records.jsonl"), 0);
const pass = async () => {
  engine.phases.takeOut();
  const start = performance.now();
  for (const measuring of wavesOf(packs, plan.waveTokens).map((wave) => engine.measureWave(wave))) {
    const results = (await measuring).flat(2);
    await engine.phases.time("writing", async () =>
      records.append(results.map(({ row, loss, matrices }) => serialise({ instruction: "", output: "", loss, row, ...matrices })).join("")),
    );
  }
  return { wall: performance.now() - start, phases: engine.phases.takeOut() };
};
await pass(); // arenas grow and pages are touched the first time
// The product rate is measured in the same process, for a moment before and after each pass: it changes within seconds on a shared machine.
// The passes' memory is their own: the probe is opened after the first of them.
const peakMemory = process.resourceUsage().maxRSS * 1024;
const probe = await GemmProbe.open(backend, spec.hidden, spec.intermediate);
const calls = await GemmProbe.openCalls(backend, spec.hidden, spec.intermediate);
const sample = async () => ({ packed: await probe.sample(600), calls: await calls.sample(400) });
await sample();
const samples = [await sample()];
let best;
for (let i = 0; i < Number(options.repeats ?? 2); i++) {
  const one = await pass();
  samples.push(await sample());
  const beside = (kind) => gemmRateOf(samples.slice(-2).flatMap((s) => s[kind])).median;
  if (!best || one.wall * beside("packed") < best.wall * best.gemm) best = { ...one, gemm: beside("packed"), calls: beside("calls") };
}
await probe.close();
await calls.close();
await engine.close();
if (reader) await reader.close();
checkpoint?.close();
await solver.close();
records.close();
rmSync(folder, { recursive: true });

const gemmFlops = best.gemm;
const bestGemmFlops = gemmRateOf(samples.flatMap((s) => s.packed)).best;
const bestCallFlops = gemmRateOf(samples.flatMap((s) => s.calls)).best;
const flops = rows.reduce((sum, r) => sum + rowFlops(spec, r.inputIds.length, r.inputIds.length - r.labelStart), 0);
// Phases are times of all lanes together. Whatever is not statistics or writing is the engine's, waiting and idle lanes included.
const { products, grams, eigenvalues, writing } = best.phases;
const statisticsMs = (products + grams + eigenvalues) / plan.lanes;
const engineMs = best.wall - statisticsMs - writing;
const { shape, tokens, labels } = options;
console.log(
  JSON.stringify({
    shape,
    layers: spec.layers,
    hidden: spec.hidden,
    intermediate: spec.intermediate,
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
    unavoidableSecondsPerRow: flops / gemmFlops / rows.length,
    lanes: plan.lanes,
    threads,
    batchTokens: plan.batchTokens,
    phases: Object.fromEntries(Object.entries(best.phases).map(([k, v]) => [k, v / (k === "writing" ? 1 : plan.lanes) / rows.length])),
    gemmFlops,
    bestGemmFlops,
    callFlops: best.calls,
    bestCallFlops,
    engineShare: flops / gemmFlops / (engineMs / 1000),
    engineShareOfCalls: flops / best.calls / (engineMs / 1000),
    statisticsShare: statisticsMs / best.wall,
    peakMemory,
    plannedMemory: plan.memory,
  }),
);
