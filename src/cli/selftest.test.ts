import { describe, expect, it } from "vitest";
import type { SelftestReport } from "../run/selftest.ts";
import { describeSelftest, verdict } from "./selftest.ts";

const report = (device: string, ...errors: readonly [number, number]): SelftestReport => {
  const checks = [
    { statistic: "loss", compared: 9, error: errors[0], bound: 2e-6, passed: errors[0] <= 2e-6, where: "llama row 0" },
    { statistic: "S_sum", compared: 126, error: errors[1], bound: 1.5e-5, passed: errors[1] <= 1.5e-5, where: "qwen2 row 1 a.weight" },
  ] as const;
  return { device, passed: checks.every((c) => c.passed), seconds: 0.94, checks };
};

describe("what a selftest prints", () => {
  it("is a table and a verdict", () => {
    expect(describeSelftest(report("cpu", 1e-7, 2e-6))).toBe(
      [
        "against float64  numbers  largest difference   bound  relative to",
        "───────────────  ───────  ──────────────────  ──────  ───────────",
        "loss                   9              1.0e-7  2.0e-6       itself",
        "S_sum                126              2.0e-6  1.5e-5       itself",
        "",
        "selftest passed on cpu in 0.9 s",
      ].join("\n"),
    );
  });

  it("marks what is off, and says so in one sentence with what to do", () => {
    const failed = report("webgpu", 1e-7, 1e-3);
    expect(describeSelftest(failed)).toMatch(/^S_sum .* off$/m);
    expect(describeSelftest(failed)).not.toContain("selftest passed");
    expect(verdict(failed)).toBe(
      "The selftest failed on webgpu: 1 of 2 statistics are off, S_sum the most (1.0e-3, bound 1.5e-5, qwen2 row 1 a.weight); " +
        "use --device cpu, and report this with the table above.",
    );
    expect(verdict(report("cpu", Number.POSITIVE_INFINITY, 0))).toBe(
      "The selftest failed on cpu: 1 of 2 statistics are off, loss the most (Infinity, bound 2.0e-6, llama row 0); " +
        "report this with the table above, and use no number of this machine.",
    );
  });
});
