// Works on a run's folder until all rows are there, as a run does, and is killed at any moment by store-kill.test.ts.
// Arguments: folder, rows. Row 7, 17, … are skipped; row 3, 13, … are skipped by the call that meets them first and recorded by the next.
import { RunFolder } from "../../dist/store/index.js";

const [folder, rows] = process.argv.slice(2);
const hash = "0".repeat(64);
const identity = {
  schemaVersion: 1,
  weights: hash,
  tokenizer: hash,
  data: hash,
  mode: "base",
  maxLength: 1024,
  singleBos: false,
  matrices: ["q"],
  spectrum: false,
  cosines: false,
};
const run = await RunFolder.open(folder, {
  identity,
  model: { folder: "m", files: {} },
  data: { path: "d", sha256: hash, rows: Number(rows) },
  options: {},
  versions: {},
});
process.stdout.write("open\n");

const content = (row) => ({ row, instruction: `instruction ${row}`, output: `output ${row} `.repeat(200 * (row % 30)) });
const record = (row) => ({ ...content(row), loss: row / 3, n_tokens: 1, label_start: 0, n_labels: 1 });
const skip = (row) => ({ ...content(row), reason: "no label is left" });
const again = new Set([...run.skipped.keys()].filter((row) => row % 10 === 3));

let batch = [];
let skipped = [];
for (let row = 0; row < Number(rows); row++) {
  if (run.done.has(row) || (run.has(row, content(row)) && !again.has(row))) continue;
  if (row % 10 === 7 || (row % 10 === 3 && !again.has(row))) skipped.push(skip(row));
  else batch.push(record(row));
  if (batch.length >= 1 + (row % 3)) {
    run.appendRecords(batch);
    run.appendSkipped(skipped);
    if (row % 5 === 0) run.updateManifest({ options: { row } });
    batch = [];
    skipped = [];
  }
}
run.appendRecords(batch);
run.appendSkipped(skipped);
run.close("done");
process.stdout.write("done\n");
