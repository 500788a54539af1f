import { Command } from "commander";
import { LayergradError } from "../errors.ts";
import { type SelftestReport, type SelftestStatistic, selftest } from "../run/selftest.ts";
import type { Device } from "../runtime/device.ts";
import { shared } from "./options.ts";
import { table } from "./table.ts";

interface SelftestFlags {
  readonly device: Device;
  readonly threads?: number;
  readonly json?: boolean;
}

export const selftestCommand = (): Command =>
  new Command("selftest")
    .description("whether a device computes right here: tiny models, against the same in float64 by plain definitions; takes seconds")
    .addOption(shared.device())
    .addOption(shared.threads())
    .addOption(shared.json())
    .action(async (flags: SelftestFlags) => {
      const report = await selftest(flags);
      process.stdout.write(flags.json ? `${JSON.stringify(report)}\n` : `${describeSelftest(report)}\n`);
      if (!report.passed) throw new LayergradError("resource", verdict(report));
    });

/** What an error is relative to. */
const scales: Readonly<Record<SelftestStatistic, string>> = {
  loss: "itself",
  M_mean: "RMS entry",
  M_max: "largest entry",
  M_min: "largest entry",
  frobenius_norm: "itself",
  S_sum: "itself",
  sigma1_ratio: "itself",
  effective_rank: "itself",
  S_list: "σ₁",
};

/** The largest differences as a table; below it the verdict, where it is good. */
export function describeSelftest(report: SelftestReport): string {
  const rows = report.checks.map(({ statistic, compared, error, bound, passed }) => [
    statistic,
    `${compared}`,
    error.toExponential(1),
    bound.toExponential(1),
    scales[statistic],
    passed ? "" : "off",
  ]);
  const lines = [table(["against float64", "numbers", "largest difference", "bound", "relative to", ""], rows).replace(/ +$/gm, "")];
  return [...lines, ...(report.passed ? ["", verdict(report)] : [])].join("\n");
}

/** In one sentence. */
export function verdict({ device, passed, seconds, checks }: SelftestReport): string {
  if (passed) return `selftest passed on ${device} in ${seconds.toFixed(1)} s`;
  const off = checks.filter((c) => !c.passed);
  const worst = off.reduce((a, b) => (b.error / b.bound > a.error / a.bound ? b : a));
  return (
    `The selftest failed on ${device}: ${off.length} of ${checks.length} statistics are off, ${worst.statistic} the most ` +
    `(${worst.error.toExponential(1)}, bound ${worst.bound.toExponential(1)}, ${worst.where}); ` +
    `${device === "cpu" ? "report this with the table above, and use no number of this machine" : "use --device cpu, and report this with the table above"}.`
  );
}
