// npm run bench: seconds a row by phase, and the engine's share of the machine's own matrix product rate.
//
//   npm run bench -- [--shape SmolLM2-135M] [--tokens 85] [--layers N] [--weights fed|streamed|packed] [--memory GB] [--batch-tokens N] [--repeats N] [--json file]
//
// Every figure of one line comes from one process; compare lines by their shares, not by their seconds.
import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values: flags } = parseArgs({
  options: {
    shape: { type: "string", multiple: true },
    tokens: { type: "string", multiple: true },
    layers: { type: "string" },
    weights: { type: "string", default: "fed" },
    memory: { type: "string" },
    "batch-tokens": { type: "string" },
    repeats: { type: "string", default: "2" },
    json: { type: "string" },
  },
});

/** Mean row lengths and the labels that go with them: about the paper's none, simplified and detailed chains of thought. */
const lengths = { 85: 3, 140: 60, 760: 660 };

const results = [];
for (const shape of flags.shape ?? ["SmolLM2-135M", "Qwen2-1.5B"]) {
  for (const tokens of flags.tokens ?? Object.keys(lengths)) {
    const options = { ...flags, shape, tokens: Number(tokens), labels: lengths[tokens] ?? Math.round(tokens / 2) };
    // A process of its own for each line, so that its peak memory is its own.
    const child = spawnSync(process.execPath, [fileURLToPath(new URL("measure.mjs", import.meta.url)), JSON.stringify(options)], {
      encoding: "utf8",
      maxBuffer: 1e8,
    });
    if (child.status !== 0) {
      console.error(child.stderr);
      process.exit(1);
    }
    results.push(JSON.parse(child.stdout.trim().split("\n").at(-1)));
  }
}

const commit = (() => {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
})();
const machine = `${cpus()[0]?.model ?? "unknown"}, ${availableParallelism()} cores, Node ${process.version}`;
const date = new Date().toISOString().slice(0, 10);

const number = (x) => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toPrecision(2));
const columns = [
  ["shape", (r) => r.shape],
  ["T", (r) => r.tokens],
  ["labels", (r) => r.labels],
  ["rows a pack", (r) => number(r.rowsPerPack)],
  ["s/row", (r) => number(r.secondsPerRow)],
  ["weights", (r) => number(r.phases.weights)],
  ["embedding", (r) => number(r.phases.embedding)],
  ["forward", (r) => number(r.phases.forward)],
  ["head", (r) => number(r.phases.head)],
  ["backward", (r) => number(r.phases.backward)],
  ["ΔᵀX", (r) => number(r.phases.products)],
  ["Grams", (r) => number(r.phases.grams)],
  ["eigenvalues", (r) => number(r.phases.eigenvalues)],
  ["writing", (r) => number(r.phases.writing)],
  ["lanes", (r) => r.lanes],
  ["GEMM GFLOP/s (best)", (r) => `${number(r.gemmFlops / 1e9)} (${number(r.bestGemmFlops / 1e9)})`],
  ["a call's (best)", (r) => `${number(r.callFlops / 1e9)} (${number(r.bestCallFlops / 1e9)})`],
  ["engine share", (r) => r.engineShare.toFixed(2)],
  ["of calls", (r) => r.engineShareOfCalls.toFixed(2)],
  ["statistics", (r) => `${(100 * r.statisticsShare).toFixed(0)} %`],
  ["peak GB", (r) => number(r.peakMemory / 1e9)],
  ["planned GB", (r) => number(r.plannedMemory / 1e9)],
];
const lines = [columns.map(([name]) => name), columns.map(() => "---"), ...results.map((r) => columns.map(([, cell]) => String(cell(r))))];
console.log(`Layergrad bench, ${date}, commit ${commit}, ${machine}. Phases in milliseconds a row.\n`);
console.log(lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n"));
if (flags.json) writeFileSync(flags.json, `${JSON.stringify({ date, commit, machine, results }, null, 2)}\n`);
