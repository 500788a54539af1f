// Two conditions into files, as the command line does it, and back: a curve over layers for each, and its MAD.
//
//   node examples/curves-from-records.mjs [rows of each file, default 12]
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { meanAbsoluteDifference, meanCurve, readRecords, run, runFiles, segmentMads } from "layergrad";

const demo = fileURLToPath(new URL("../demo/", import.meta.url));
const limit = Number(process.argv[2] ?? 12);
const short = (x) => (x === null ? "none" : x.toPrecision(3));
const out = await mkdtemp(join(tmpdir(), "layergrad-"));

try {
  for (const condition of ["none", "detailed"]) {
    const folder = join(out, condition);
    const { recorded, skipped } = await run({
      model: join(demo, "base"),
      data: join(demo, "data", `sums_${condition}.json`),
      out: folder,
      limit,
    });

    const rows = [];
    for await (const record of readRecords(join(folder, runFiles.records))) {
      // A record's matrices come in the order of the layers.
      rows.push(record.matrices.filter((m) => m.module === "self_attn.v_proj").map((m) => m.statistics.S_sum));
    }
    const curve = meanCurve(rows);
    console.log(`${condition}: ${recorded} rows, ${skipped} skipped`);
    console.log(`  mean nuclear norm of V by layer: ${curve.map(short).join(" ")}`);
    console.log(`  MAD ${short(meanAbsoluteDifference(curve))}; shallow, middle, deep: ${segmentMads(curve).map(short).join(", ")}`);
  }
} finally {
  await rm(out, { recursive: true });
}
