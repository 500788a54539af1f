import { statfsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { hubCache } from "../io/hub-settings.ts";
import { gemmRate } from "../runtime/gemm-rate.ts";
import { onnxRuntime } from "../runtime/onnx-runtime.ts";
import type { OpenModelOptions } from "../run/open-model.ts";
import type { CheckedRun } from "./check.ts";
import { secondsOf } from "./estimate.ts";
import { openStudy, type StudyChoice } from "./run-study.ts";
import type { StudySpec } from "./spec.ts";

/** About what a run takes, the rows that earlier calls have done included. */
export interface RunEstimate {
  readonly folder: string;
  readonly rows: number;
  readonly done: number;
  readonly tokens: number;
  readonly seconds: number;
  /** Peak of memory, bytes. */
  readonly memory: number;
  /** Of its records, bytes. */
  readonly disk: number;
}

/** About what a study takes on this machine. */
export interface StudyEstimate {
  readonly name: string;
  readonly folder: string;
  readonly runs: readonly RunEstimate[];
  /** Of all runs; time and disk without what is done. */
  readonly left: {
    readonly rows: number;
    readonly tokens: number;
    readonly seconds: number;
    readonly memory: number;
    readonly disk: number;
  };
  /** Of weights that are on the Hub and not here, bytes; null where that of one model could not be asked. */
  readonly download: number | null;
  /** Free on the disk of the Hub's cache, where they go, bytes. */
  readonly freeCache: number;
  /** Free on the disk of the study's folder, bytes. */
  readonly freeDisk: number;
}

/**
 * Checks a study as {@link runStudy} does and estimates what it takes; nothing is written but the small files of models of the Hub into its
 * cache, and of the models only the matrix product rate of their width is measured.
 */
export async function estimateStudy(spec: StudySpec, choice: StudyChoice & Pick<OpenModelOptions, "watch"> = {}): Promise<StudyEstimate> {
  const { runs } = await openStudy(spec, { ...choice, weights: false });
  const rates = new Map<string, number>();
  const estimates: RunEstimate[] = [];
  for (const checked of runs) {
    const { hidden, intermediate } = checked.spec;
    const width = `${hidden} ${intermediate}`;
    const rate = rates.get(width) ?? (await gemmRate(onnxRuntime({ threads: spec.options.threads }), hidden, intermediate)).median;
    rates.set(width, rate);
    estimates.push(estimateOf(checked, rate));
  }
  const left = (of: (run: RunEstimate) => number): number =>
    estimates.reduce((sum, run) => sum + (run.rows > 0 ? (of(run) * (run.rows - run.done)) / run.rows : 0), 0);
  return {
    name: spec.name,
    folder: spec.out,
    runs: estimates,
    left: {
      rows: left((run) => run.rows),
      tokens: left((run) => run.tokens),
      seconds: left((run) => run.seconds),
      memory: Math.max(...estimates.map((run) => run.memory)),
      disk: left((run) => run.disk),
    },
    download: downloadOf(runs),
    freeCache: freeBytes(hubCache()),
    freeDisk: freeBytes(spec.out),
  };
}

/** Each model counted once, however often the study names it. */
const downloadOf = (runs: readonly CheckedRun[]): number | null =>
  [...new Map(runs.map(({ model, weights }) => [JSON.stringify(model), weights.absent])).values()].reduce(
    (sum, absent) => (sum === null || absent === null ? null : sum + absent),
    0,
  );

function estimateOf({ run, rows, done, tokens, memory, weights, ...cost }: CheckedRun, rate: number): RunEstimate {
  return {
    folder: run.attributes.folder,
    rows,
    done,
    tokens,
    seconds: secondsOf(cost, weights.bytes ?? 0, rate),
    memory,
    disk: cost.bytes,
  };
}

/** Free bytes on the disk of a folder that may not be there yet. */
function freeBytes(folder: string): number {
  for (let path = resolve(folder); ; path = dirname(path)) {
    try {
      const { bavail, bsize } = statfsSync(path);
      return bavail * bsize;
    } catch (error) {
      if (dirname(path) === path) throw error;
    }
  }
}
