import { Command, InvalidArgumentError, Option } from "commander";
import { type StatisticName, statistics } from "../analysis/table.ts";
import { type ReportOptions, type ReportSummary, writeReport } from "../report/write-report.ts";
import { count, shared } from "./options.ts";

interface Flags extends Omit<ReportOptions, "statistics" | "progress"> {
  readonly statistic: readonly StatisticName[];
  readonly quiet?: boolean;
  readonly json?: boolean;
}

export const reportCommand = (): Command =>
  new Command("report")
    .description("write a report of studies and runs: one page with findings and figures to explore, every figure and table as files")
    .argument("<folders...>", "folders that layergrad study wrote, runs' folders, or files of records")
    .option("--out <folder>", "where report.html, figures/ and tables/ go", "report")
    .addOption(
      new Option("--statistic <names>", `curves, with commas between, the first in the figures' files: ${statistics.map(kebab).join(", ")}`)
        .argParser(statisticsOf)
        .default(
          ["nuclearNorm", "sigmaOneRatio", "lossScaledNorm", "effectiveRank"],
          "nuclear-norm,sigma-one-ratio,loss-scaled-norm,effective-rank",
        ),
    )
    .option("--model <name>", "only this model's runs")
    .addOption(new Option("--mode <mode>", "only the runs of this mode").choices(["base", "instruct"]))
    .option("--dataset <name>", "only this data set's runs, such as aqua")
    .option("--seed <text>", "of resampling; one seed gives the same numbers again", "0")
    .addOption(
      new Option("--resamples <N>", "resamples an interval (default: 2000, and 500 for runs of 100 rows and more)").argParser(count),
    )
    .option("--paper-style", "draw the curves' files as the paper does: its colours and limits, the two ratios below the nuclear norm")
    .option("--no-png", "figures as SVG only, which is faster")
    .addOption(shared.quiet())
    .addOption(shared.json())
    .action(async (folders: readonly string[], { statistic, quiet, json, ...options }: Flags) => {
      const line = quiet ? undefined : progressLine();
      const summary = await writeReport(folders, { ...options, statistics: statistic, ...(line && { progress: line.show }) });
      line?.end();
      process.stdout.write(json ? `${JSON.stringify(summary)}\n` : `${describe(summary)}\n`);
    });

/** One line on standard error where that is a terminal, drawn over at each step; elsewhere nothing, as a report takes seconds. */
function progressLine(): { readonly show: NonNullable<ReportOptions["progress"]>; end(): void } | undefined {
  if (!process.stderr.isTTY) return undefined;
  return {
    show: (what, done, total) => process.stderr.write(`\r\x1b[K${done} of ${total} ${what}`),
    end: () => process.stderr.write("\r\x1b[K"),
  };
}

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

const statisticsOf = (text: string): StatisticName[] =>
  text.split(",").map((name) => {
    const found = statistics.find((statistic) => kebab(statistic) === name.trim());
    if (!found) throw new InvalidArgumentError(`There are ${statistics.map(kebab).join(", ")}.`);
    return found;
  });

function describe({ page, bytes, runs, rows, figures, tables, absent }: ReportSummary): string {
  const without = absent.length === 0 ? "" : ` ${absent.length} runs have no numbers yet and are left out.`;
  return `${page}: ${runs} runs, ${rows} rows, ${(bytes / 1e6).toFixed(1)} MB; ${figures} figures and ${tables} tables beside it.${without}`;
}
