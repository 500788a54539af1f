// Layergrad against the published method in plain PyTorch, on the same rows, in turn:
//
//   node bench/peer.mjs --model FOLDER --data ROWS.json [--data …] [--rows 24] [--peer-rows 3] [--once] [--python python3]
//
// Ours is the wall time of `run` from the first pack to the last record, first touches of memory included; the peer's excludes its
// first row, and is taken before and after ours, or with --once before. Loading the model counts on neither side.
import "./keep-memory.mjs";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { run } from "../dist/run/run.js";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string" },
    data: { type: "string", multiple: true },
    rows: { type: "string", default: "24" },
    "peer-rows": { type: "string", default: "3" },
    once: { type: "boolean", default: false },
    python: { type: "string", default: "python3" },
  },
});
if (!flags.model || !flags.data) {
  console.error("usage: node bench/peer.mjs --model FOLDER --data ROWS.json [--data …]");
  process.exit(2);
}
if (spawnSync(flags.python, ["-c", "import torch, transformers"]).status !== 0) {
  console.log(`skipped: ${flags.python} has no torch and transformers`);
  process.exit(0);
}

async function ours(data) {
  const out = mkdtempSync(join(tmpdir(), "layergrad-peer-"));
  let began;
  const { computed } = await run({
    model: flags.model,
    data,
    out,
    limit: Number(flags.rows),
    watch: { start: () => (began = performance.now()) },
  });
  const seconds = (performance.now() - began) / 1000 / computed.rows;
  rmSync(out, { recursive: true });
  return { seconds, tokens: computed.tokens / computed.rows };
}

function theirs(data) {
  const script = fileURLToPath(new URL("peer.py", import.meta.url));
  const { stdout, stderr, status } = spawnSync(flags.python, [script, flags.model, data, "--limit", flags["peer-rows"]], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout.trim().split("\n").at(-1)).seconds_per_row;
}

console.log("| rows | tokens a row | PyTorch, s/row | Layergrad, s/row | times as fast |\n| --- | --- | --- | --- | --- |");
for (const data of flags.data) {
  const before = theirs(data);
  const own = await ours(data);
  const peer = flags.once ? before : (before + theirs(data)) / 2;
  console.log(
    `| ${basename(data, ".json")} | ${own.tokens.toFixed(0)} | ${peer.toFixed(2)} | ${own.seconds.toFixed(2)} | ${(peer / own.seconds).toFixed(1)} |`,
  );
}
