import type { Estimate } from "./bootstrap.ts";
import type { Segments } from "./curves.ts";
import type { LeftOut } from "./pairing.ts";
import type { PermutationTest, SwapTest } from "./permutation.ts";
import type { Adjusted } from "./regression.ts";
import type { StatisticName } from "./table.ts";

/** How many rows a number rests on, and how many it leaves out, by reason. */
export interface RowCount {
  readonly used: number;
  readonly leftOut: LeftOut;
}

/** One run's curve of one statistic of one module, and what is made of it. Intervals are over questions. */
export interface CurveDescription {
  readonly rows: RowCount;
  /** Mean over layers. */
  readonly mean: Estimate;
  /** One estimate a layer. */
  readonly curve: readonly Estimate[];
  /** Mean |c[i+1] − c[i]|; null for fewer than two layers. */
  readonly mad: Estimate | null;
  /** Of the shallow, middle and deep layers; null for a segment of fewer than two. */
  readonly segmentMads: readonly (Estimate | null)[];
  /** MAD / mean of the curve; null for fewer than two layers, or a curve whose mean is 0. */
  readonly relativeMad: Estimate | null;
}

/** One statistic of one module of a run. */
export interface ModuleDescription extends CurveDescription {
  readonly module: string;
  readonly statistic: StatisticName;
}

/** A run by itself. */
export interface RunDescription {
  readonly run: ComparedRun;
  readonly layers: number;
  readonly segments: Segments;
  readonly modules: readonly ModuleDescription[];
}

/** What is known of a run's rows beside their matrices. */
export interface ComparedRun {
  readonly name: string;
  readonly rows: RowCount;
  /** Means over the used rows that have the number; null where none has. */
  readonly loss: number | null;
  readonly nTokens: number | null;
  readonly nLabels: number | null;
}

/** The relative difference of two curves, |aᵢ − bᵢ| / |aᵢ|. */
export interface RelativeDifference extends Estimate {
  readonly byLayer: readonly number[];
  /** The five layers where it is largest, largest first. */
  readonly topLayers: readonly number[];
  /** Test of RD = 0 by swapping the two runs' rows within each question, in RD's unit (see rd-test.ts); null where no rows are paired. */
  readonly swap: SwapTest | null;
}

/** The ratio a / b with covariates held fixed by regression of the rows' logs, and what is to be said of it. */
export interface AdjustedRatio {
  readonly covariates: readonly ("n_labels" | "loss")[];
  /** exp of the condition's coefficient; null where {@link Adjusted.reason} says why. */
  readonly ratio: Estimate | null;
  readonly reason: string | null;
  /** Slope of the log statistic on each covariate's log; null where it cannot be told. */
  readonly slopes: Adjusted["slopes"];
  readonly support: number;
  /** Rows of the fit, both runs together, and those without a logarithm (a value of 0, or without label or loss). */
  readonly rows: RowCount;
  /** What keeps the number from being more than it is. */
  readonly marks: readonly string[];
}

/** Two runs compared in one statistic of one module. */
export interface ModuleComparison {
  readonly module: string;
  readonly statistic: StatisticName;
  readonly a: CurveDescription;
  readonly b: CurveDescription;
  /** Of the means over layers, a − b. */
  readonly difference: Estimate;
  /** Of the means over layers and rows, a / b: arithmetic means first, then the ratio. */
  readonly ratio: Estimate;
  /** a − b; null where a MAD is. */
  readonly madDifference: Estimate | null;
  readonly relativeMadDifference: Estimate | null;
  /** a is the correct condition, b the irrelevant one. */
  readonly relativeDifference: RelativeDifference;
  /** Test of whether the runs' labels could be exchanged, on the difference of means. */
  readonly exchangeability: PermutationTest;
  /** Of the rows' means over layers: mean/sd of the paired differences, or P(a > b) − P(a < b). null where it is not defined. */
  readonly effect: { readonly kind: "paired d" | "Cliff's delta"; readonly value: number | null };
  /** Where asked for: by n_labels, and by n_labels and loss. */
  readonly adjusted?: readonly AdjustedRatio[];
}

/** Two runs compared. A plain object: JSON holds all of it, with null for a number that is not finite. */
export interface Comparison {
  /**
   * `paired`: the same questions in both. `unpaired`: no question is in both. `matched`: pairs of rows of like size, whatever their questions;
   * pairs are then what is resampled.
   */
  readonly design: "paired" | "unpaired" | "matched";
  readonly a: ComparedRun;
  readonly b: ComparedRun;
  readonly layers: number;
  readonly segments: Segments;
  readonly modules: readonly ModuleComparison[];
  /** What a reader should know before believing the numbers, one sentence each. */
  readonly warnings: readonly string[];
}
