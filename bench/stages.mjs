// Processor time of each program on one thread, with the product rate that its matrix products reach: for machines that others use too,
// where wall times say little.
//
//   npm run build && node bench/stages.mjs [--shape Qwen2-1.5B] [--layers 4] [--tokens 140] [--labels 60] [--pack 840]
import "./keep-memory.mjs";
import { parseArgs } from "node:util";
import { buildBlock } from "../dist/models/block.js";
import { readModel } from "../dist/models/registry.js";
import { Engine } from "../dist/runtime/engine.js";
import { onnxRuntime } from "../dist/runtime/onnx-runtime.js";
import { packRows } from "../dist/runtime/packing.js";
import { SpectrumPool } from "../dist/runtime/spectrum-pool.js";
import { rowFlops } from "../dist/runtime/work.js";
import { input, linear } from "../dist/tensor/expr.js";
import { randomModel, randomRows, shallower, shapes, weightShapes } from "./shapes.mjs";

const { values: flags } = parseArgs({
  options: {
    shape: { type: "string", default: "Qwen2-1.5B" },
    layers: { type: "string", default: "4" },
    tokens: { type: "string", default: "140" },
    labels: { type: "string", default: "60" },
    pack: { type: "string", default: "840" },
  },
});

const processor = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** A backend that notes calls and processor seconds of each program by its graph's name. */
function timed(backend, times) {
  const compile = async (graph, constants) => {
    const program = await backend.compile(graph, constants);
    const run = async (feeds) => {
      const start = processor();
      const result = await program.run(feeds);
      times[graph.name] ??= { calls: 0, seconds: 0 };
      times[graph.name].calls++;
      times[graph.name].seconds += processor() - start;
      return result;
    };
    return { run, release: () => program.release() };
  };
  return { ...backend, compile };
}

/** Best product rate of [tokens, hidden]·[hidden, intermediate] with the weight fed, FLOP a processor second. */
async function productRate(backend, { hidden, intermediate }, tokens) {
  const program = await backend.compile({
    name: "rate",
    outputs: { y: linear("l", input("x", [tokens, hidden]), input("w", [intermediate, hidden])) },
  });
  const filled = (shape) => ({ shape, data: Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => Math.sin(i)) });
  const feeds = { x: filled([tokens, hidden]), w: filled([intermediate, hidden]) };
  let best = 0;
  for (let i = 0; i < 10; i++) {
    const start = processor();
    await program.run(feeds);
    best = Math.max(best, (2 * tokens * hidden * intermediate) / (processor() - start));
  }
  await program.release();
  return best;
}

const config = shallower(shapes[flags.shape], Number(flags.layers));
const { family, spec } = readModel(config);
const times = {};
const backend = onnxRuntime({ threads: 1 });
const rate = await productRate(backend, spec, Number(flags.pack));
const solver = new SpectrumPool(1);
const engine = await Engine.open(randomModel(config, weightShapes(spec, buildBlock(family, spec))), {
  backend: timed(backend, times),
  solver,
  matrices: "reference",
  spectrum: false,
  cosines: false,
  maxLength: 1024,
  weights: "fed",
  retention: "products",
  saved: "linears",
});
const [tokens, labels] = [Number(flags.tokens), Number(flags.labels)];
const rows = packRows(randomRows(Math.ceil(Number(flags.pack) / tokens) + 1, tokens, labels, spec.vocabulary), Number(flags.pack))[0];
await engine.measure(rows);
for (const name of Object.keys(times)) delete times[name];
const start = processor();
await engine.measure(rows);
const total = processor() - start;
await engine.close();
await solver.close();

const inPack = rows.reduce((sum, r) => sum + r.inputIds.length, 0);
const { hidden, headDim, heads, keyValueHeads, intermediate } = spec;
const project = 2 * inPack * hidden * headDim * (heads + 2 * keyValueHeads);
const mix = 2 * inPack * hidden * (headDim * heads + 3 * intermediate);
const flopsOf = { project, "project.vjp": project, mix, "mix.vjp": mix };
console.log(
  `${flags.shape}, ${spec.layers} layers, ${rows.length} rows of ${inPack} tokens; products at best ${(rate / 1e9).toFixed(0)} GFLOP a second of one thread`,
);
for (const [name, { calls, seconds }] of Object.entries(times).sort((a, b) => b[1].seconds - a[1].seconds)) {
  const reached = flopsOf[name] ? `${((flopsOf[name] * calls) / seconds / rate).toFixed(2)} of that rate` : "";
  console.log(`${name.padEnd(18)} ${`${calls}`.padStart(5)} calls ${(1000 * seconds).toFixed(0).padStart(7)} ms  ${reached}`);
}
const inPrograms = Object.values(times).reduce((sum, { seconds }) => sum + seconds, 0);
const statistics = (times.products?.seconds ?? 0) + (times.grams?.seconds ?? 0);
const flops = rows.reduce((sum, r) => sum + rowFlops(spec, r.inputIds.length, r.inputIds.length - r.labelStart), 0);
console.log(`elsewhere (spectra, copies, JavaScript) ${(1000 * (total - inPrograms)).toFixed(0)} ms of ${(1000 * total).toFixed(0)}`);
console.log(
  `engine share ${(flops / rate / (inPrograms - statistics)).toFixed(2)}; products and Grams ${((100 * statistics) / total).toFixed(0)} % of all`,
);
