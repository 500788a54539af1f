// Three rows in memory through the bundled model: what would training on each do to the values of every layer?
//
//   node examples/measure-rows.mjs [model folder]
import { fileURLToPath } from "node:url";
import { matrixKey, measureRows, openModel } from "layergrad";

const folder = process.argv[2] ?? fileURLToPath(new URL("../demo/base/", import.meta.url));
const rows = [
  { instruction: "Sam has 14 seeds. Sam gives 3 seeds to Leo. How many seeds are left?", output: "11" },
  {
    instruction: "Sam has 14 seeds. Sam gives 3 seeds to Leo. How many seeds are left?",
    output: "Sam gives away 3 of 14 seeds. 14 - 3 = 11\n\nThe final answer is 11",
  },
  { instruction: "Sam has 14 seeds. Sam gives 3 seeds to Leo. How many seeds are left?", output: "" },
];

const model = await openModel(folder);
const layers = Array.from({ length: model.spec.layers }, (_, layer) => layer);
for await (const result of measureRows(model, rows)) {
  if ("reason" in result) {
    console.log(`row ${result.row}: skipped, ${result.reason}`);
    continue;
  }
  const norms = layers.map((layer) => result[matrixKey(layer, "v")].S_sum.toPrecision(3));
  console.log(
    `row ${result.row}: ${result.n_labels} labels, loss ${result.loss.toFixed(3)}, nuclear norms of V by layer: ${norms.join(" ")}`,
  );
}
model.checkpoint.close();
