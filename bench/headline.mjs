// A model larger than the machine's memory, from files to records: 100 rows through the shape of Llama-2-7B, weights streamed from the disk.
//
//   npm run build && node bench/headline.mjs --tokenizer FOLDER --data ROWS.json [--folder /tmp/layergrad-7b] [--shape Llama-2-7B] [--layers N]
//        [--rows 100] [--memory 20GB] [--json FILE]
//
// Weights are random (bench/random-model.mjs; 13.5 GB for this shape, kept for the next call). Rows have the lengths that the given tokenizer
// makes of the data; its ids are taken modulo the shape's vocabulary. Speed depends on neither.
import "./keep-memory.mjs";
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { readRows } from "../dist/io/rows.js";
import { measureLabelled } from "../dist/run/labels.js";
import { gradientRecord, openMeasuring, plansFor } from "../dist/run/measuring.js";
import { openModel, rowEncoder } from "../dist/run/open-model.js";
import { GemmProbe, gemmRateOf } from "../dist/runtime/gemm-rate.js";
import { onnxRuntime } from "../dist/runtime/onnx-runtime.js";
import { wavesOf } from "../dist/runtime/packing.js";
import { parseSize } from "../dist/runtime/size.js";
import { rowFlops } from "../dist/runtime/work.js";
import { serialise } from "../dist/store/record.js";
import { LineFile } from "../dist/store/files.js";
import { writeRandomModel } from "./random-model.mjs";
import { shallower, shapes } from "./shapes.mjs";

const { values: flags } = parseArgs({
  options: {
    folder: { type: "string", default: "/tmp/layergrad-7b" },
    shape: { type: "string", default: "Llama-2-7B" },
    layers: { type: "string" },
    tokenizer: { type: "string" },
    data: { type: "string" },
    rows: { type: "string", default: "100" },
    memory: { type: "string" },
    json: { type: "string" },
  },
});

const config = flags.layers ? shallower(shapes[flags.shape], Number(flags.layers)) : shapes[flags.shape];
const folder = join(flags.folder, `${flags.shape}-${config.num_hidden_layers}`);
writeRandomModel(folder, config, flags.tokenizer);
const { spec } = await (async () => {
  const model = await openModel(folder);
  model.checkpoint.close();
  return model;
})();

const backend = onnxRuntime();
// The product rate is measured before, between waves and after: it changes within seconds on a shared machine.
const probe = await GemmProbe.open(backend, spec.hidden, spec.intermediate);
const calls = await GemmProbe.openCalls(backend, spec.hidden, spec.intermediate);
await probe.sample(0);
await calls.sample(0);
const rates = await probe.sample(1000);
const callRates = await calls.sample(500);
const before = process.cpuUsage();
const clock = performance.now();
const seconds = () => (performance.now() - clock) / 1000;
const model = await openModel(folder);
const data = (await readRows(flags.data)).rows.slice(0, Number(flags.rows));
// The encoder refuses ids beyond the vocabulary, which are folded into it here instead.
const encode = rowEncoder(
  { ...model, spec: { ...spec, vocabulary: Number.POSITIVE_INFINITY } },
  { mode: "base", maxLength: 1024, singleBos: false, date: "2026-01-01" },
);
const rows = data.map(encode).map((row) => ({ ...row, inputIds: row.inputIds.map((id) => id % spec.vocabulary) }));
const tokens = rows.reduce((sum, r) => sum + r.inputIds.length, 0);
const options = { memory: parseSize(flags.memory ?? `${0.8 * totalmem()}`) };
const { plan } = plansFor(model, rows, options);
console.log(
  `${rows.length} rows, ${tokens} tokens, product rate ${(gemmRateOf(rates).median / 1e9).toFixed(0)} GFLOP/s; plan ${JSON.stringify(plan)}`,
);

mkdirSync(folder, { recursive: true });
const records = new LineFile(join(folder, "records.jsonl"), 0);
const { engine, packs, close } = await openMeasuring(model, rows, plan, options);
let done = 0;
let sampling = 0;
for await (const { rows: inWave, results } of measureLabelled(engine, wavesOf(packs, plan.waveTokens), {
  rule: "all",
  seed: 0,
  draws: 8,
})) {
  await engine.phases.time("writing", async () =>
    records.append(results.map((result, i) => serialise(gradientRecord(data[result.row], inWave[i], result))).join("")),
  );
  done += inWave.reduce((sum, r) => sum + r.inputIds.length, 0);
  const sampled = performance.now();
  rates.push(...(await probe.sample(500)));
  callRates.push(...(await calls.sample(300)));
  sampling += (performance.now() - sampled) / 1000;
  const left = (seconds() / done) * (tokens - done);
  console.log(
    `${done} of ${tokens} tokens, ${seconds().toFixed(0)} s, ${left.toFixed(0)} s left, peak ${(process.resourceUsage().maxRSS / 1e6).toFixed(1)} GB`,
  );
}
const took = seconds() - sampling;
const { user, system } = process.cpuUsage(before);
const phases = engine.phases.milliseconds;
await close();
records.close();
model.checkpoint.close();
await probe.close();
await calls.close();
const { median: rate, best: bestRate } = gemmRateOf(rates);
const { median: callRate, best: bestCallRate } = gemmRateOf(callRates);

const flops = rows.reduce((sum, r) => sum + rowFlops(spec, r.inputIds.length, r.nLabels), 0);
const engineMs = phases.weights + phases.embedding + phases.forward + phases.head + phases.backward;
const statistics = phases.products + phases.grams + phases.eigenvalues;
const summary = {
  shape: flags.shape,
  layers: spec.layers,
  machine: `${cpus()[0]?.model}, ${availableParallelism()} cores, ${(totalmem() / 1e9).toFixed(1)} GB, Node ${process.version}`,
  rows: rows.length,
  tokens,
  labels: rows.reduce((sum, r) => sum + r.nLabels, 0),
  seconds: took,
  secondsPerRow: took / rows.length,
  processorSeconds: { user: user / 1e6, system: system / 1e6 },
  gemmFlops: rate,
  bestGemmFlops: bestRate,
  callFlops: callRate,
  bestCallFlops: bestCallRate,
  engineShare: flops / rate / (engineMs / 1000),
  engineShareOfCalls: flops / callRate / (engineMs / 1000),
  statisticsShare: statistics / 1000 / took,
  phases,
  plan,
  peakMemory: process.resourceUsage().maxRSS * 1024,
};
console.log(JSON.stringify(summary, null, 2));
if (flags.json) writeFileSync(flags.json, JSON.stringify(summary, null, 2));
