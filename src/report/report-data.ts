import type { Findings } from "../analysis/findings.ts";
import type { RunAttributes } from "../analysis/study-index.ts";
import type { StatisticName } from "../analysis/table.ts";
import type { CommandOptions } from "./commands.ts";

/**
 * A number with its interval, rounded to five digits. The value is null where it is not finite, the ends where the data give no interval.
 */
export type Value = readonly [value: number | null, low: number | null, high: number | null];

/** What the page, its figures and its tables are made of: one JSON object, embedded in report.html. Numbers have five significant digits. */
export interface ReportData {
  /** Of the page: the study's name, or what was compared. */
  readonly title: string;
  /** ISO 8601, UTC. */
  readonly made: string;
  /** Of Layergrad. */
  readonly version: string;
  /** The folders and files that it is about, and the options it was made with, but for `--out`: what makes it again. */
  readonly paths: readonly string[];
  readonly options: CommandOptions;
  readonly seed: string;
  /** In words. */
  readonly resamples: string;
  /** What curves there are of. */
  readonly statistics: readonly StatisticName[];
  readonly runs: readonly ReportRun[];
  readonly comparisons: readonly ReportComparison[];
  /** Beginnings of instructions and responses; rows refer to them by index, as runs share questions. */
  readonly texts: readonly string[];
  readonly findings: readonly Findings[];
  /** Studies' runs without numbers, and why. */
  readonly absent: readonly { readonly name: string; readonly reason: string }[];
}

/** A run: what it is of, its curves, its rows, and where it comes from. */
export interface ReportRun {
  /** Tells it from every other run of the report. */
  readonly name: string;
  /** As `layergrad compare` takes it. */
  readonly path: string;
  readonly attributes: Omit<RunAttributes, "folder">;
  readonly rows: { readonly used: number; readonly leftOut: Readonly<Record<string, number>> };
  /** Means over rows; null where no row has the number. */
  readonly loss: number | null;
  readonly nTokens: number | null;
  readonly nLabels: number | null;
  readonly layers: number;
  /** `self_attn.q_proj`, … */
  readonly modules: readonly string[];
  readonly curves: readonly ReportCurve[];
  readonly points: ReportPoints;
  /** Of a run with `--labels sweep`. */
  readonly sweep: readonly ReportSweepRow[];
  /** Singular values of the first rows, of a run with `--spectrum`. */
  readonly spectra: readonly ReportSpectrum[];
  /** null for a file of records without one. */
  readonly provenance: Provenance | null;
}

/** One statistic of one module over a run's layers. */
export interface ReportCurve {
  readonly statistic: StatisticName;
  readonly module: string;
  /** Rows of the mean, and rows without a value in some layer. */
  readonly n: number;
  readonly leftOut: number;
  readonly layers: readonly Value[];
  /** Over layers. */
  readonly mean: Value;
  readonly mad: Value | null;
  /** Of the shallow, middle and deep layers. */
  readonly segmentMads: readonly (Value | null)[];
  readonly relativeMad: Value | null;
}

/** A run's rows, a column a number: entry i of each is of row i. */
export interface ReportPoints {
  /** Position in the data file, from zero. */
  readonly row: readonly (number | null)[];
  /** Indices into {@link ReportData.texts}. */
  readonly instruction: readonly number[];
  readonly response: readonly number[];
  readonly nTokens: readonly (number | null)[];
  readonly nLabels: readonly (number | null)[];
  readonly loss: readonly (number | null)[];
  /** Mean over layers, `[modules][rows]`; absent where the records do not hold the statistic. */
  readonly nuclearNorm?: readonly (readonly (number | null)[])[];
  readonly effectiveRank?: readonly (readonly (number | null)[])[];
}

/** One row with ever more of its labels in the loss. */
export interface ReportSweepRow {
  readonly row: number | null;
  readonly instruction: number;
  readonly response: number;
  /** Of the whole response: the last step of both kinds. */
  readonly nLabels: number;
  readonly steps: readonly {
    readonly labels: "first" | "random";
    readonly k: number;
    readonly loss: number | null;
    /** Mean over layers, `[modules]`, of the mean loss; that of the summed loss is k times as large. */
    readonly nuclearNorm: readonly (number | null)[];
  }[];
}

/** Singular values of one row's gradient in one layer, largest first. */
export interface ReportSpectrum {
  readonly row: number | null;
  readonly instruction: number;
  readonly response: number;
  readonly layer: number;
  readonly module: string;
  readonly sigma: readonly number[];
}

/** Two runs of one data set in one model and mode: two conditions, or a correct condition `a` and its irrelevant twin `b`. */
export interface ReportComparison {
  /** Indices into {@link ReportData.runs}. */
  readonly a: number;
  readonly b: number;
  readonly kind: "conditions" | "irrelevant";
  readonly design: "paired" | "unpaired";
  /** Questions in the smaller run. */
  readonly questions: number;
  /** Of the nuclear norm, by module. */
  readonly modules: readonly ReportModuleComparison[];
  readonly warnings: readonly string[];
}

export interface ReportModuleComparison {
  readonly module: string;
  /** Of the means over layers: a / b. */
  readonly ratio: Value;
  /** MAD of a less that of b. */
  readonly madDifference: Value | null;
  readonly relativeDifference: Value;
  readonly relativeDifferenceByLayer: readonly (number | null)[];
  readonly topLayers: readonly number[];
  /** Of RD = 0, and what chance stays below in 95 of 100 cases; null where no rows are paired. */
  readonly chance: { readonly p: number; readonly quantile95: number } | null;
}

/** What it takes to make a run again, without the machine's paths. */
export interface Provenance {
  readonly model: string;
  readonly revision: string | null;
  readonly type: string | null;
  /** SHA-256 by name: `weights`, `tokenizer`, `data`, and the model's files. */
  readonly hashes: Readonly<Record<string, string>>;
  readonly data: { readonly file: string; readonly rows: number };
  readonly options: Readonly<Record<string, string>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly started: string;
  readonly ended: string | null;
}
