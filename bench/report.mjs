/**
 * Times the report of a large study: makes a study of 20 runs of 500 rows and 32 layers (four projections, seeded) in a temporary folder, judges
 * it, writes its report, and opens that in Chromium where there is one. Prints seconds and peak memory of the report, the page's size, and the
 * time until it is drawn and until it has answered a selection.
 *
 *     npm run build && node bench/report.mjs [--rows 500] [--layers 32] [--keep <folder>]
 *
 * `--keep` makes the study in that folder and leaves it there, or uses it if it is there already. Chromium is LAYERGRAD_CHROMIUM, or at one of
 * the usual places.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { seeded } from "../dist/analysis/random.js";

const { values: options } = parseArgs({
  options: { rows: { type: "string", default: "500" }, layers: { type: "string", default: "32" }, keep: { type: "string" } },
});
const [rows, layers] = [Number(options.rows), Number(options.layers)];
const projections = ["q", "k", "v", "o"];
const words = "the of a gradient and layer to answer in is step model from so each token norm we have two three larger than".split(" ");

/** 18 runs of chains of thought with their twins, and two of knowledge. */
const plans = [
  ...["aqua", "gsm8k", "ecqa"].flatMap((dataset) =>
    ["none", "simplified", "detailed"].flatMap((condition) =>
      [false, true].map((irrelevant) => ({ task: "cot", dataset, condition, irrelevant })),
    ),
  ),
  ...["popular-100", "unpopular"].map((condition) => ({ task: "wiki", dataset: "wiki", condition, irrelevant: false })),
];
const nameOf = ({ dataset, condition, irrelevant }) => `${dataset}/${condition}${irrelevant ? "/irrelevant" : ""}`;
const labelsOf = { none: 3, simplified: 40, detailed: 300, "popular-100": 120, unpopular: 110 };

/** One run's records: question effects shared within a data set, a level by the number of labels, a curve of the condition's own. */
function writeRun(folder, plan) {
  const own = seeded(nameOf(plan));
  const curves = projections.map(() => Array.from({ length: layers }, () => Math.exp(0.5 * own.normal())));
  mkdirSync(folder, { recursive: true });
  const file = openSync(join(folder, "records.jsonl"), "w");
  for (let row = 0; row < rows; row++) {
    const of = seeded(`${plan.dataset} ${row}`);
    const text = (n) => Array.from({ length: n }, () => words[of.below(words.length)]).join(" ");
    const question = of.normal();
    const n_labels = Math.max(1, Math.round(labelsOf[plan.condition] * Math.exp(0.4 * own.normal())));
    const size = (30 / Math.sqrt(n_labels)) * Math.exp(0.3 * question + 0.2 * own.normal());
    const record = {
      instruction: `${row}: ${text(40)}`,
      output: `${plan.condition} ${own.below(1e9)}: ${text(Math.min(n_labels, 60))}`,
      loss: 0.4 + 0.1 * size,
      row,
      n_tokens: 60 + n_labels,
      label_start: 60,
      n_labels,
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
          effective_rank: 1 + 2 * Math.sqrt(n_labels) * (0.8 + 0.4 * own.next()),
          stable_rank: (frobenius_norm / S_max) ** 2,
          rank: 20 + own.below(30),
        };
      });
    writeSync(file, `${JSON.stringify(record)}\n`);
  }
  closeSync(file);
}

const folder = options.keep ?? mkdtempSync(join(tmpdir(), "layergrad-bench-report-"));
const runs = plans.map((data) => ({
  folder: nameOf(data).replaceAll("/", "-"),
  model: { name: "bench", kind: "base", family: null },
  mode: "base",
  data: { name: nameOf(data), ...data },
  labels: "all",
}));
for (const run of runs) if (!existsSync(join(folder, run.folder))) writeRun(join(folder, run.folder), run.data);
const bytes = runs.reduce((sum, run) => sum + statSync(join(folder, run.folder, "records.jsonl")).size, 0);
writeFileSync(join(folder, "study.json"), JSON.stringify({ name: "bench", runs }));

const main = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
const tell = 'process.on("exit", () => { const u = process.resourceUsage(); process.stderr.write(JSON.stringify(u)); });';

/** The command line as users run it, in a process of its own, which tells at its end what it took. */
function layergrad(...args) {
  const started = performance.now();
  const child = spawnSync(process.execPath, ["--import", `data:text/javascript,${encodeURIComponent(tell)}`, main, ...args], {
    encoding: "utf8",
    maxBuffer: 1e9,
  });
  if (child.status !== 0) {
    console.error(child.stderr);
    process.exit(1);
  }
  const { userCPUTime, systemCPUTime, maxRSS } = JSON.parse(child.stderr.trim().split("\n").at(-1));
  return { stdout: child.stdout, seconds: (performance.now() - started) / 1000, processor: (userCPUTime + systemCPUTime) / 1e6, maxRSS };
}

const say = ({ seconds, processor, maxRSS }) =>
  `${seconds.toFixed(1)} s, ${processor.toFixed(1)} s of processor time, at most ${(maxRSS / 1e3).toFixed(0)} MB`;

console.log(`${runs.length} runs, ${rows} rows, ${layers} layers: ${(bytes / 1e6).toFixed(0)} MB of records`);
console.log(`findings: ${say(layergrad("findings", folder))}`);
const out = join(folder, "report");
const report = layergrad("report", folder, "--out", out, "--json");
const summary = JSON.parse(report.stdout);
console.log(`report: ${say(report)} (to be below 20 s and 1,000 MB)`);
console.log(
  `page: ${(summary.bytes / 1e6).toFixed(1)} MB (to be below 15 MB), ${summary.figures} figures and ${summary.tables} tables beside it`,
);
let fast = report.seconds < 20 && report.maxRSS < 1e6 && summary.bytes < 15e6;

const executablePath = [process.env.LAYERGRAD_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  (path) => path && existsSync(path),
);
if (executablePath) {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  const drawn = () => page.waitForSelector("#gallery[data-drawn]", { timeout: 60_000 });
  const opened = performance.now();
  await page.goto(pathToFileURL(join(out, "report.html")).href);
  await page.waitForSelector("#gallery .plot svg");
  const first = performance.now() - opened;
  await drawn();
  const all = performance.now() - opened;
  const asked = performance.now();
  await page.selectOption("#dataset", { index: 1 });
  await page.waitForFunction(() => document.querySelector("#gallery .plot svg title")?.textContent.includes("gsm8k"));
  const answered = performance.now() - asked;
  await drawn();
  const redrawn = performance.now() - asked;
  const together = performance.now();
  await page.selectOption("#dataset", "all");
  await drawn();
  const dots = performance.now() - together;
  await browser.close();
  console.log(
    `Chromium: first figure after ${first.toFixed(0)} ms, all after ${all.toFixed(0)} ms; another data set: ${answered.toFixed(0)} ms, all figures ${redrawn.toFixed(0)} ms; all rows as dots: ${dots.toFixed(0)} ms (to be below 2,000 ms)`,
  );
  fast &&= first < 2000 && redrawn < 2000 && dots < 2000;
} else console.log("Chromium: none found, set LAYERGRAD_CHROMIUM");

if (!options.keep) rmSync(folder, { recursive: true });
const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
console.log(
  `${new Date().toISOString().slice(0, 10)}, ${commit}, ${cpus()[0]?.model ?? "unknown"}, ${availableParallelism()} cores, load ${loadavg()[0].toFixed(1)}, Node ${process.version}`,
);
process.exit(fast ? 0 : 1);
