// Makes the gallery's data: what the figures draw, from runs of SmolLM2-135M, four digits a number.
//
//   node test/figures/make-data.mjs <runs> <spectra> <findings.json> [<sweeps>]
//
// <runs>: folders aqua-none, aqua-detailed, aqua-detailed-irrelevant, … of 10 rows each, base mode; <spectra>: folders none, simplified, detailed
// of AQuA's first rows, run with --spectrum; <findings.json>: of any study; <sweeps>: folders <set>-<condition>+sweep, run with --labels sweep.
// Rows' texts are left out: they are not ours.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { compareRuns, describeRun } from "../../dist/analysis/compare.js";
import {
  curvesData,
  forestData,
  heatmapData,
  madData,
  relativeDifferenceData,
  rowsData,
  trajectoryData,
} from "../../dist/figures/index.js";
import { readSweeps } from "../../dist/store/sweep-reader.js";
import { readTable } from "../../dist/store/table-reader.js";

const [runs, spectra, findings, sweeps] = process.argv.slice(2);
const about = { model: "SmolLM2-135M, base mode", data: "AQuA" };
const conditions = ["none", "simplified", "detailed"];
const sets = ["aqua", "creak", "ecqa", "gsm8k", "sensemaking", "strategyqa"];
const resampling = { seed: "gallery" };

const table = (name) => readTable(join(runs, name), { name });
const rounded = (_, value) => (typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value);
const write = (name, data) =>
  writeFileSync(fileURLToPath(new URL(`data/${name}.json`, import.meta.url)), `${JSON.stringify(data, rounded)}\n`);

const tables = Object.fromEntries(
  await Promise.all(conditions.flatMap((name) => [name, `${name}-irrelevant`]).map(async (name) => [name, await table(`aqua-${name}`)])),
);
const statistics = ["nuclearNorm", "sigmaOneRatio", "lossScaledNorm"];
const described = conditions.map((name) => ({ name, description: describeRun(tables[name], { statistics, ...resampling }) }));
const compared = (a, b) => compareRuns(tables[a], tables[b], resampling);

write("curves", curvesData(about, described));
write("mad", madData(about, described));
write(
  "relative-difference",
  relativeDifferenceData(
    about,
    ["none", "detailed"].map((name) => ({ name, comparison: compared(name, `${name}-irrelevant`) })),
  ),
);
write(
  "heatmap",
  heatmapData(about, [
    { name: "none / detailed", comparison: compared("none", "detailed") },
    { name: "detailed / detailed, irrelevant", comparison: compared("detailed", "detailed-irrelevant") },
  ]),
);
write("forest", forestData(JSON.parse(readFileSync(findings, "utf8"))));

const named = await Promise.all(
  conditions.flatMap((name) =>
    sets.map(async (set) => ({ set, name, table: await table(`${set}-${name}`), sweep: await sweepOf(set, name) })),
  ),
);
const rows = rowsData({ ...about, data: "six sets of questions" }, named);
const places = named.flatMap(({ set, table: { rows: all } }) => all.map(({ row }) => `${set}, row ${row}`));
const swept = named.flatMap(({ set, sweep = [] }) => sweep.flatMap(({ row }) => [`${set}, row ${row}`, `${set}, row ${row}`]));
write("rows", {
  ...rows,
  rows: rows.rows.map((row, i) => ({ ...row, text: places[i] })),
  sweeps: rows.sweeps.map((line, i) => ({ ...line, text: swept[i] })),
});

async function sweepOf(set, name) {
  const folder = `${set}-${name}+sweep`;
  return sweeps !== undefined && readdirSync(sweeps).includes(folder) ? readSweeps(join(sweeps, folder, "records.jsonl")) : undefined;
}

const layer = 12;
const series = conditions.flatMap((condition) =>
  readFileSync(join(spectra, condition, "records.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
    .flatMap((record) =>
      ["q", "k", "v", "o"].map((projection) => ({
        condition,
        module: `self_attn.${projection}_proj`,
        row: record.row,
        text: `aqua, row ${record.row}`,
        values: record[`model.layers.${layer}.self_attn.${projection}_proj.weight`].S_list,
      })),
    ),
);
write("spectrum", { ...about, layer, series });

// There are no checkpoints of SmolLM2 at hand: the measured means, scaled by made-up factors.
const scale = (estimate, factor) => ({
  ...estimate,
  value: estimate.value * factor,
  interval: { low: estimate.interval.low * factor, high: estimate.interval.high * factor },
});
const checkpoints = [1000, 2000, 4000, 8000, 16000].flatMap((step, s) =>
  described.map(({ name, description }, c) => {
    const factor = [1.7, 1.5, 1.35, 1.1, 1][s] * [1, 0.9 + 0.05 * s, 0.8 + 0.05 * s][c];
    const modules = description.modules.map((module) => ({ ...module, mean: scale(module.mean, factor) }));
    return { name, step, description: { ...description, modules } };
  }),
);
write("trajectory", trajectoryData({ ...about, model: "Made-up checkpoints" }, checkpoints));
