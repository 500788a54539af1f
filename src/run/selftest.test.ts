import { describe, expect, it } from "vitest";
import type { Backend } from "../runtime/backend.ts";
import { onnxRuntime } from "../runtime/onnx-runtime.ts";
import type { FloatArray } from "../tensor/tensor.ts";
import { type SelftestReport, selftest } from "./selftest.ts";

const cpu = onnxRuntime({ threads: 1 });

/** The CPU's backend with every float result of chosen graphs changed in place. */
const spoilt = (change: (data: FloatArray, output: string) => void, chosen: (graph: string) => boolean = () => true): Backend => ({
  ...cpu,
  name: "spoilt",
  compile: async (graph, constants) => {
    const program = await cpu.compile(graph, constants);
    if (!chosen(graph.name)) return program;
    return {
      run: async (feeds, into) => {
        const results = await program.run(feeds, into);
        for (const [output, { data }] of Object.entries(results)) if (!(data instanceof BigInt64Array)) change(data, output);
        return results;
      },
      release: () => program.release(),
    };
  },
});

const scale =
  (factor: number) =>
  (data: FloatArray): void => {
    for (let i = 0; i < data.length; i++) data[i]! *= factor;
  };

/** To 10 bits of mantissa, as tensor cores take their inputs in TF32. */
function toTf32(data: FloatArray): void {
  if (!(data instanceof Float32Array)) return;
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length);
  for (let i = 0; i < bits.length; i++) bits[i] = (bits[i]! + 0x1000) & 0xffffe000;
}

const off = ({ checks }: SelftestReport): string[] => checks.filter((c) => !c.passed).map((c) => c.statistic);

describe("selftest", () => {
  it("passes on the CPU, with room for a device that rounds otherwise", async () => {
    const { device, passed, checks, seconds } = await selftest();
    expect({ device, passed }).toEqual({ device: "cpu", passed: true });
    expect(seconds).toBeGreaterThan(0);
    for (const { statistic, compared, error, bound } of checks) {
      expect(compared, statistic).toBeGreaterThan(0);
      expect(error, statistic).toBeLessThan(bound / 5);
      // Different arithmetic: a comparison of a thing with itself would give exact zeros.
      expect(error, statistic).toBeGreaterThan(0);
    }
    // 3 models × 3 rows, 2 layers × 7 matrices each.
    expect(checks.find((c) => c.statistic === "loss")!.compared).toBe(9);
    expect(checks.find((c) => c.statistic === "S_sum")!.compared).toBe(126);
  });

  it("finds every statistic off where results keep 10 bits of mantissa", async () => {
    const report = await selftest({ backend: spoilt(toTf32) });
    expect(report.passed).toBe(false);
    expect(report.device).toBe("spoilt");
    expect(off(report)).toEqual(report.checks.map((c) => c.statistic));
  });

  it("finds a thousandth in the products alone: the extremes, and spectra of rows longer than a matrix's side", async () => {
    const report = await selftest({ backend: spoilt(scale(1.001), (graph) => graph === "products") });
    expect(off(report)).toEqual(["M_max", "M_min", "frobenius_norm", "S_sum", "S_list"]);
    for (const c of report.checks.filter((c) => ["M_max", "M_min"].includes(c.statistic))) expect(c.error).toBeCloseTo(1e-3, 5);
  });

  it("finds a thousandth in the head's sum over the vocabulary: in the loss, and in what the gradients are made of", async () => {
    const others = (data: FloatArray, output: string): void => {
      if (output === "next.others") scale(1.001)(data);
    };
    const report = await selftest({ backend: spoilt(others, (graph) => graph.startsWith("head/")) });
    expect(off(report)).toEqual(expect.arrayContaining(["loss", "S_sum"]));
  });

  it("counts numbers that are not finite as infinitely far off", async () => {
    const report = await selftest({
      backend: spoilt(
        (data) => void data.fill(Number.NaN),
        (graph) => graph === "products",
      ),
    });
    expect(report.passed).toBe(false);
    expect(report.checks.find((c) => c.statistic === "S_sum")!.error).toBe(Number.POSITIVE_INFINITY);
  });

  it("hands on what a backend of one's own throws", async () => {
    const broken: Backend = { ...cpu, compile: () => Promise.reject(new Error("no such operator")) };
    await expect(selftest({ backend: broken })).rejects.toThrow("no such operator");
  });
});
