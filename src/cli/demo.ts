import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { mean, meanAbsoluteDifference, meanCurve } from "../analysis/curves.ts";
import { run } from "../run/run.ts";
import type { Device } from "../runtime/device.ts";
import { type Projection, readRecords, runFiles } from "../store/index.ts";
import { interruptible } from "./interrupt.ts";
import { shared } from "./options.ts";
import { duration } from "./progress.ts";
import { table } from "./table.ts";
import { watchRun } from "./watch.ts";

const bundled = fileURLToPath(new URL("../../demo/", import.meta.url));
const conditions = ["none", "simplified", "detailed"].flatMap((chain) => [chain, `${chain}_irrelevant`]);
const projections: readonly Projection[] = ["q", "k", "v", "o"];

interface DemoFlags {
  readonly out: string;
  readonly mode: "base" | "instruct";
  readonly threads?: number;
  readonly device: Device;
  readonly overwrite?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

/** What the demo prints for one condition. */
interface DemoRow {
  readonly condition: string;
  readonly rows: number;
  readonly loss: number;
  /** By projection: the mean over layers of the mean nuclear norm, and the MAD of the curve over layers. */
  readonly nuclearNorm: Readonly<Record<Projection, number>>;
  readonly mad: Readonly<Record<Projection, number>>;
}

export const demoCommand = (): Command =>
  new Command("demo")
    .description(
      "measure the bundled model on bundled rows: no, short and detailed chains of thought, with right and with irrelevant answers",
    )
    .option("--out <folder>", "output folder", "layergrad-demo")
    .addOption(shared.mode())
    .addOption(shared.threads())
    .addOption(shared.device())
    .addOption(shared.overwrite())
    .addOption(shared.quiet())
    .addOption(shared.json())
    .action(async (flags: DemoFlags) => {
      const { quiet: _, json: __, ...settings } = flags;
      const began = performance.now();
      const results: DemoRow[] = [];
      let interrupted = false;
      for (const condition of conditions) {
        const out = join(flags.out, flags.mode, condition);
        const watcher = watchRun({ quiet: flags.quiet ?? false, prefix: `${condition}: ` });
        const summary = await interruptible(
          (signal) =>
            run({
              ...settings,
              model: join(bundled, flags.mode),
              data: join(bundled, "data", `sums_${condition}.json`),
              out,
              signal,
              watch: watcher,
            }),
          watcher.note,
        ).finally(watcher.finish);
        interrupted = summary.interrupted;
        if (interrupted) break;
        results.push(await summarise(condition, join(out, runFiles.records)));
      }
      const seconds = (performance.now() - began) / 1000;
      process.stdout.write(flags.json ? `${JSON.stringify(results)}\n` : `${describe(results, flags.out, seconds)}\n`);
      if (interrupted) process.exitCode = 130;
    });

async function summarise(condition: string, path: string): Promise<DemoRow> {
  const losses: number[] = [];
  const norms: Record<Projection, number[][]> = { q: [], k: [], v: [], o: [] };
  for await (const record of readRecords(path)) {
    losses.push(record.loss);
    for (const p of projections) {
      const layers = record.matrices.filter((m) => m.module === `self_attn.${p}_proj`).toSorted((a, b) => a.layer - b.layer);
      norms[p].push(layers.map((m) => m.statistics.S_sum));
    }
  }
  const curves = projections.map((p) => meanCurve(norms[p]));
  const byProjection = (f: (curve: number[]) => number | null) =>
    Object.fromEntries(projections.map((p, i) => [p, f(curves[i]!)!])) as Record<Projection, number>;
  return {
    condition,
    rows: losses.length,
    loss: mean(losses)!,
    nuclearNorm: byProjection(mean),
    mad: byProjection(meanAbsoluteDifference),
  };
}

function describe(results: readonly DemoRow[], out: string, seconds: number): string {
  const digits = (x: number) => x.toPrecision(3);
  const header = [
    "chain of thought",
    "rows",
    "loss",
    ...projections.map((p) => `‖${p.toUpperCase()}‖*`),
    ...projections.map((p) => `MAD ${p.toUpperCase()}`),
  ];
  const rows = results.map((r) => [
    r.condition.replace("_", ", "),
    `${r.rows}`,
    digits(r.loss),
    ...projections.map((p) => digits(r.nuclearNorm[p])),
    ...projections.map((p) => digits(r.mad[p])),
  ]);
  return [
    table(header, rows),
    "",
    "‖·‖*: nuclear norm of the gradient of the row's loss, mean over rows and layers. MAD: mean absolute difference of neighbouring layers.",
    `Bundled 2.3M-parameter model, word problems; made for demonstration. Records in ${out}/, ${duration(seconds)}.`,
  ].join("\n");
}
