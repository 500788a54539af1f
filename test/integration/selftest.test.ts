import { describe, expect, it } from "vitest";
import type { SelftestReport } from "../../src/run/selftest.ts";
import { checkDevice } from "../../src/runtime/device.ts";
import { start } from "../cli.ts";

const cli = (...args: string[]) => start(["selftest", ...args]).ended;

describe("layergrad selftest", () => {
  it("passes on the CPU and shows the largest differences from float64", async () => {
    const { status, stdout, stderr } = await cli("--threads", "1");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const lines = stdout.trimEnd().split("\n");
    expect(lines[0]).toMatch(/^against float64 +numbers +largest difference +bound +relative to$/);
    expect(lines.find((line) => line.startsWith("S_sum"))).toMatch(/^S_sum +126 +\d\.\de-\d+ +1\.5e-5 +itself$/);
    expect(lines.at(-1)).toMatch(/^selftest passed on cpu in \d+\.\d s$/);
  });

  it("gives the report as JSON", async () => {
    const { status, stdout } = await cli("--json");
    const report = JSON.parse(stdout) as SelftestReport;
    expect(status).toBe(0);
    expect(report.passed).toBe(true);
    expect(report.checks.length).toBe(9);
    for (const { error, bound } of report.checks) expect(error).toBeLessThan(bound);
  });

  it.each(["webgpu", "cuda"] as const)("on %s passes, or ends with status 6 and one sentence where that is missing", async (device) => {
    const missing = await checkDevice(device).then(
      () => undefined,
      (error: Error) => error.message,
    );
    const { status, stdout, stderr } = await cli("--device", device);
    if (missing === undefined) expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    else expect({ status, stdout, stderr }).toEqual({ status: 6, stdout: "", stderr: `layergrad: ${missing}\n` });
  });

  it("refuses a device that is none with the choice", async () => {
    const { status, stderr } = await cli("--device", "gpu");
    expect(status).toBe(2);
    expect(stderr).toContain("Allowed choices are cpu, webgpu, cuda.");
  });
});
