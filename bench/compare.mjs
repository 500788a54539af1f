/**
 * Times the comparison of many runs: makes 20 runs of 500 rows and 32 layers (four projections, lines of some 45 KB, seeded) in a temporary
 * folder, compares the first with each of the others, and prints seconds, processor seconds and peak memory.
 *
 *     npm run build && node bench/compare.mjs [--runs 20] [--rows 500] [--layers 32] [--keep <folder>]
 *
 * `--keep` makes the runs in that folder and leaves them there, or uses them if they are there already.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { seeded } from "../dist/analysis/random.js";

const { values: options } = parseArgs({
  options: {
    runs: { type: "string", default: "20" },
    rows: { type: "string", default: "500" },
    layers: { type: "string", default: "32" },
    keep: { type: "string" },
  },
});
const [runs, rows, layers] = [Number(options.runs), Number(options.rows), Number(options.layers)];
const projections = ["q", "k", "v", "o"];

/** One run's records: row effects shared by all runs, since they answer the same questions; a level and a curve of each run's own. */
function writeRun(path, run) {
  const own = seeded(`run ${run}`);
  const level = Math.exp(0.3 * own.normal());
  const curves = projections.map(() => Array.from({ length: layers }, () => level * Math.exp(0.5 * own.normal())));
  const file = openSync(path, "w");
  for (let row = 0; row < rows; row++) {
    const question = seeded(`row ${row}`).normal();
    const size = Math.exp(0.4 * question + 0.3 * own.normal());
    const record = {
      instruction: `question ${row}`,
      output: `answer ${row} of run ${run}`,
      loss: size * (1 + own.next()),
      row,
      n_tokens: 60 + own.below(40),
      label_start: 50,
      n_labels: 10 + own.below(30),
    };
    for (let layer = 0; layer < layers; layer++)
      projections.forEach((p, module) => {
        const S_sum = size * curves[module][layer] * Math.exp(0.1 * own.normal());
        const S_max = S_sum * (0.2 + 0.3 * own.next());
        const frobenius_norm = S_max * (1 + own.next());
        record[`model.layers.${layer}.self_attn.${p}_proj.weight`] = {
          M_mean: 1e-7 * own.normal(),
          M_max: 1e-2 * own.next(),
          M_min: -1e-2 * own.next(),
          frobenius_norm,
          S_sum,
          S_max,
          S_min: 0,
          effective_rank: 5 + 10 * own.next(),
          stable_rank: (frobenius_norm / S_max) ** 2,
          rank: 20 + own.below(30),
        };
      });
    writeSync(file, `${JSON.stringify(record)}\n`);
  }
  closeSync(file);
}

const folder = options.keep ?? mkdtempSync(join(tmpdir(), "layergrad-bench-compare-"));
mkdirSync(folder, { recursive: true });
const paths = Array.from({ length: runs }, (_, run) => join(folder, `run-${run}.jsonl`));
for (const [run, path] of paths.entries()) if (!existsSync(path)) writeRun(path, run);
const bytes = paths.reduce((sum, path) => sum + statSync(path).size, 0);

// The command line as users run it, in a process of its own, which tells at its end what it took.
const started = performance.now();
const tell = 'process.on("exit", () => { const u = process.resourceUsage(); process.stderr.write(JSON.stringify(u)); });';
const child = spawnSync(
  process.execPath,
  [
    "--import",
    `data:text/javascript,${encodeURIComponent(tell)}`,
    fileURLToPath(new URL("../dist/cli/main.js", import.meta.url)),
    "compare",
    ...paths,
    "--json",
  ],
  { encoding: "utf8", maxBuffer: 1e9 },
);
const seconds = (performance.now() - started) / 1000;
if (!options.keep) rmSync(folder, { recursive: true });
if (child.status !== 0) {
  console.error(child.stderr);
  process.exit(1);
}
const { comparisons } = JSON.parse(child.stdout);
const { userCPUTime, systemCPUTime, maxRSS } = JSON.parse(child.stderr.trim().split("\n").at(-1));
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
console.log(`${runs} runs, ${rows} rows, ${layers} layers: ${(bytes / 1e6).toFixed(0)} MB of records, ${comparisons.length} comparisons`);
console.log(
  `${seconds.toFixed(1)} s, ${((userCPUTime + systemCPUTime) / 1e6).toFixed(1)} s of processor time, at most ${(maxRSS / 1e3).toFixed(0)} MB (to be below 20 s and 1,000 MB)`,
);
console.log(
  `${new Date().toISOString().slice(0, 10)}, ${commit}, ${cpus()[0]?.model ?? "unknown"}, ${availableParallelism()} cores, load ${loadavg()[0].toFixed(1)}, Node ${process.version}`,
);
process.exit(seconds < 20 && maxRSS < 1e6 ? 0 : 1);
