// A long run in one process: rows of the bundled data over and over through the bundled model, and the process's memory as it goes on.
//
//   npm run build && node bench/long.mjs [--rows 2000] [--weights fed|streamed] [--json FILE]
//
// Exits with 1 if the resident set after the last row is more than a tenth above that after the first hundred.
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { measureRows, openModel } from "../dist/index.js";
import { readRows } from "../dist/io/rows.js";

const { values: flags } = parseArgs({
  options: { rows: { type: "string", default: "2000" }, weights: { type: "string" }, json: { type: "string" } },
});

/** Growth that is allowed after the first hundred rows: garbage that has not been collected yet. */
const TOLERANCE = 1.1;
const EVERY = 100;

const demo = fileURLToPath(new URL("../demo/", import.meta.url));
const sets = readdirSync(join(demo, "data")).filter((file) => file.endsWith(".json"));
const bundled = (await Promise.all(sets.map((file) => readRows(join(demo, "data", file))))).flatMap(({ rows }) => rows);
const rows = Array.from({ length: Number(flags.rows) }, (_, i) => bundled[(i * 131) % bundled.length]);

const model = await openModel(join(demo, "base"));
const series = [];
let done = 0;
for await (const _ of measureRows(model, rows, { weights: flags.weights })) {
  done++;
  if (done % EVERY !== 0) continue;
  const { rss, heapUsed, external } = process.memoryUsage();
  series.push({ rows: done, rss, heapUsed, external });
  console.log(
    `${done} rows: resident ${(rss / 1e6).toFixed(0)} MB, heap ${(heapUsed / 1e6).toFixed(0)} MB, external ${(external / 1e6).toFixed(0)} MB`,
  );
}
model.checkpoint.close();
const growth = series.at(-1).rss / series[0].rss;
console.log(`${done} rows; resident set after the last ${growth.toFixed(2)} times that after the first ${EVERY}`);
if (flags.json) writeFileSync(flags.json, JSON.stringify(series));
process.exitCode = growth > TOLERANCE ? 1 : 0;
