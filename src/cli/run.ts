import { Command } from "commander";
import type { ColumnOptions } from "../io/columns.ts";
import type { MatrixChoice } from "../models/block.ts";
import { type RunSummary, run } from "../run/run.ts";
import type { Device } from "../runtime/device.ts";
import { gigabytes } from "../runtime/planner.ts";
import type { PromptMode } from "../text/prompt.ts";
import { interruptible } from "./interrupt.ts";
import { shared, withColumns } from "./options.ts";
import { duration } from "./progress.ts";
import { watchRun } from "./watch.ts";

interface RunFlags extends ColumnOptions {
  readonly model: string;
  readonly revision?: string;
  readonly adapter?: string;
  readonly data: string;
  readonly out: string;
  readonly mode: PromptMode;
  readonly maxLength: number;
  readonly rows?: string;
  readonly limit?: number;
  readonly matrices: MatrixChoice;
  readonly spectrum?: boolean;
  readonly cosines?: boolean;
  readonly labels: string;
  readonly labelSeed: number;
  readonly draws?: number;
  readonly singleBos?: boolean;
  readonly date?: string;
  readonly batchTokens?: number;
  readonly threads?: number;
  readonly device: Device;
  readonly memory?: number;
  readonly overwrite?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

export const runCommand = (): Command =>
  withColumns(new Command("run"))
    .description("measure the layer-wise gradients of every row of a data file; the same call again goes on where it stopped")
    .addOption(shared.model())
    .addOption(shared.revision())
    .addOption(shared.adapter())
    .addOption(shared.data())
    .requiredOption("--out <folder>", "output folder: records.jsonl, skipped.jsonl, manifest.json")
    .addOption(shared.mode())
    .addOption(shared.maxLength())
    .addOption(shared.rows())
    .addOption(shared.limit())
    .addOption(shared.matrices())
    .option("--spectrum", "record every singular value (S_list)")
    .option("--cosines", "record cosine similarities of gradients within and between layers")
    .addOption(shared.labels())
    .addOption(shared.labelSeed())
    .addOption(shared.draws())
    .addOption(shared.singleBos())
    .addOption(shared.date())
    .addOption(shared.batchTokens())
    .addOption(shared.threads())
    .addOption(shared.device())
    .addOption(shared.memory())
    .addOption(shared.overwrite())
    .addOption(shared.quiet())
    .addOption(shared.json())
    .action(async (flags: RunFlags) => {
      const watcher = watchRun({ quiet: flags.quiet ?? false });
      const { quiet: _, json, ...options } = flags;
      const summary = await interruptible((signal) => run({ ...options, signal, watch: watcher }), watcher.note).finally(watcher.finish);
      process.stdout.write(json ? `${JSON.stringify(summary)}\n` : `${describe(summary)}\n`);
      if (summary.interrupted) process.exitCode = 130;
    });

/** A run's end in a few lines. */
function describe({ folder, requested, recorded, skipped, reasons, computed, seconds, interrupted, plan }: RunSummary): string {
  const lines = [`${recorded} of ${requested} rows recorded in ${folder}/records.jsonl`];
  if (skipped > 0) {
    const why = Object.entries(reasons).map(([reason, n]) => `${n} ${reason}`);
    lines.push(`${skipped} skipped, see skipped.jsonl: ${why.join(", ")}`);
  }
  if (computed.rows > 0)
    lines.push(
      `${computed.rows} rows and ${computed.tokens} tokens in this call, ${duration(seconds)}${plan ? `, at most ${gigabytes(plan.memory)} planned` : ""}`,
    );
  if (interrupted) lines.push("interrupted: the same call goes on from here");
  else if (computed.rows === 0 && recorded > 0) lines.push("nothing was left to do");
  return lines.join("\n");
}
