// Cost curves: seconds a row against tokens, depth, width and budget; memory against tokens and budget. Drawn by bench/draw-curves.mjs.
//
//   npm run build && node bench/curves.mjs --json FILE [--quick]
//
// Each point is measured by bench/measure.mjs in a process of its own, so that its peak memory is its own. The whole grid takes a quarter of an hour on
// two cores; --quick measures a few points of small models, to try the drawing.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { readModel } from "../dist/models/registry.js";
import { leastMemory, planRun } from "../dist/runtime/planner.js";
import { writeRandomModel } from "./random-model.mjs";
import { shallower, shapes } from "./shapes.mjs";

const { values: flags } = parseArgs({ options: { json: { type: "string" }, quick: { type: "boolean", default: false } } });

const whole = {
  tokens: { values: [32, 64, 128, 256, 512, 1024], layers: 30 },
  depth: { values: [2, 4, 8, 16, 30], tokens: 140 },
  width: { values: [256, 512, 1024, 2048], layers: 4, tokens: 140 },
  budget: { count: 6, shape: "Qwen2-1.5B", layers: 8, tokens: 140, rows: 16, repeats: 1 },
};
const quick = {
  tokens: { values: [32, 128, 512], layers: 2 },
  depth: { values: [1, 2, 4], tokens: 140 },
  width: { values: [256, 512], layers: 2, tokens: 140 },
  budget: { count: 3, shape: "Qwen2-1.5B", layers: 2, tokens: 140, rows: 8, repeats: 1 },
};
const grid = flags.quick ? quick : whole;

/** One point: rows of one length, half of their tokens labels. */
function measure(options) {
  const child = spawnSync(
    process.execPath,
    [fileURLToPath(new URL("measure.mjs", import.meta.url)), JSON.stringify({ ...options, labels: options.tokens / 2, spread: 0 })],
    { encoding: "utf8", maxBuffer: 1e8 },
  );
  if (child.status !== 0) {
    console.error(child.stderr);
    process.exit(1);
  }
  return JSON.parse(child.stdout.trim().split("\n").at(-1));
}

/** The largest divisor of `count` that is at most a third of it. */
const third = (count) => Array.from({ length: Math.floor(count / 3) }, (_, i) => i + 1).findLast((divisor) => count % divisor === 0);

/** SmolLM2-135M's proportions at another width: heads of 64, at least three queries to a key and value head, an MLP of 8/3. */
function widened(hidden) {
  const heads = hidden / 64;
  return {
    ...shapes["SmolLM2-135M"],
    hidden_size: hidden,
    intermediate_size: Math.round((hidden * 8) / 3 / 64) * 64,
    num_attention_heads: heads,
    num_key_value_heads: third(heads),
  };
}

/** Budgets in GB from the least that the planner accepts to what the fastest plan takes, by equal factors. */
function budgets({ count, shape, layers, tokens, rows }) {
  const { family, spec } = readModel(shallower(shapes[shape], layers));
  const request = {
    family,
    spec,
    matrices: "reference",
    cosines: false,
    lengths: new Array(rows).fill(tokens),
    threads: availableParallelism(),
  };
  const least = leastMemory(request) / 1e9;
  const most = planRun({ ...request, memory: Number.POSITIVE_INFINITY }).memory / 1e9;
  return Array.from({ length: count }, (_, i) => Math.ceil(10 * least * (most / least) ** (i / (count - 1))) / 10);
}

const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
const machine = `${cpus()[0]?.model ?? "unknown"}, ${availableParallelism()} cores, Node ${process.version}`;
const date = new Date().toISOString().slice(0, 10);

const { tokens, depth, width, budget } = grid;
// What is streamed must come from files: making up random weights takes longer than reading them.
const folder = mkdtempSync(join(tmpdir(), "layergrad-bench-curves-"));
process.on("exit", () => rmSync(folder, { recursive: true }));
writeRandomModel(folder, shallower(shapes[budget.shape], budget.layers), fileURLToPath(new URL("../demo/base", import.meta.url)));

const points = [
  ...tokens.values.map((at) => ({ sweep: "tokens", at, options: { shape: "SmolLM2-135M", layers: tokens.layers, tokens: at } })),
  ...depth.values.map((at) => ({ sweep: "depth", at, options: { shape: "SmolLM2-135M", layers: at, tokens: depth.tokens } })),
  ...width.values.map((at) => ({ sweep: "width", at, options: { config: widened(at), layers: width.layers, tokens: width.tokens } })),
  ...budgets(budget).map((at) => ({ sweep: "budget", at, options: { ...budget, folder, memory: at } })),
];
const sweeps = { tokens: [], depth: [], width: [], budget: [] };
for (const { sweep, at, options } of points) {
  const result = measure(options);
  sweeps[sweep].push({ at, ...result });
  console.log(
    `${sweep} ${at}: ${result.secondsPerRow.toPrecision(3)} s a row, engine share ${result.engineShare.toFixed(2)}, ${(result.peakMemory / 1e9).toFixed(1)} of ${(result.plannedMemory / 1e9).toFixed(1)} GB planned`,
  );
}

if (flags.json) writeFileSync(flags.json, `${JSON.stringify({ date, commit, machine, quick: flags.quick, sweeps }, null, 2)}\n`);
