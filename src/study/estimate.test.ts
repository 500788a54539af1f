import { describe, expect, it } from "vitest";
import { demoData, demoModel } from "../../test/measure.ts";
import { readRows } from "../io/rows.ts";
import { measureRows } from "../run/measure-rows.ts";
import { openModel } from "../run/open-model.ts";
import { sweepSteps } from "../runtime/label-subsets.ts";
import { rowFlops } from "../runtime/work.ts";
import { serialise } from "../store/index.ts";
import { costOf, type RowShape, secondsOf } from "./estimate.ts";

const plain: RowShape = { labels: "all", draws: 8, matrices: "reference", spectrum: false, cosines: false };
const model = await openModel(demoModel("base"));
model.checkpoint.close();
const length = (tokens: number, labels: number) => ({ tokens, labels, textBytes: 100 });

describe("what a row is estimated to take", () => {
  it("is one forward and one backward pass where its labels are chosen once", () => {
    for (const labels of ["all", "last:8", "first:@aqua/none", "random:2"]) {
      const cost = costOf(model, { ...plain, labels })(length(100, 40));
      expect(cost.flops).toBe(rowFlops(model.spec, 100, 40));
      expect(cost.gradients).toBe(12 * 4);
    }
  });

  it.each([1, 2, 3, 4, 5, 64, 65, 900])("is a backward pass for each choice of a sweep over %i labels", (labels) => {
    const passes = sweepSteps(labels, { seed: 0, row: 0 }, 9).reduce((sum, step) => sum + step.subsets.length, 0);
    const cost = costOf(model, { ...plain, labels: "sweep", draws: 9 })(length(1000, labels));
    expect(cost.gradients).toBe(48 * passes);
    expect(cost.flops / rowFlops(model.spec, 1000, labels)).toBeCloseTo((1 + passes) / 2, 12);
  });

  it.each([
    ["plain", {}],
    ["with the MLP's matrices", { matrices: "all" }],
    ["with all singular values", { spectrum: true }],
    ["with cosines", { cosines: true }],
    ["with a sweep", { labels: "sweep" }],
  ] as const)("is, %s, as many bytes as its record has, within a tenth", async (_, options) => {
    const { rows } = await readRows(demoData("sums_simplified"));
    const shape: RowShape = { ...plain, ...options };
    const cost = costOf(model, shape);
    for await (const record of measureRows(demoModel("base"), rows.slice(0, 1), shape)) {
      if ("reason" in record) throw new Error(record.reason);
      const textBytes = Buffer.byteLength(JSON.stringify([record.instruction, record.output]));
      const { bytes } = cost({ tokens: record.n_tokens, labels: record.n_labels, textBytes });
      expect(Math.abs(bytes / Buffer.byteLength(serialise(record)) - 1)).toBeLessThan(0.1);
    }
  });

  it("takes time for each of its parts", () => {
    const none = { flops: 0, gradients: 0 };
    const start = secondsOf(none, 0, 1e11);
    expect(start).toBeGreaterThan(0);
    expect(secondsOf(none, 1e9, 1e11)).toBeGreaterThan(start);
    expect(secondsOf({ ...none, gradients: 1000 }, 0, 1e11)).toBeGreaterThan(start);
    const computing = (flops: number, rate: number) => secondsOf({ ...none, flops }, 0, rate) - start;
    // No machine computes faster than its matrix products; twice the rate takes half the time.
    expect(computing(1e12, 1e11)).toBeGreaterThan(10);
    expect(computing(1e12, 2e11)).toBeCloseTo(computing(1e12, 1e11) / 2, 9);
  });
});
