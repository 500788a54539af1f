/**
 * Statistics that curves are made of, one value a row, layer and module:
 * `nuclearNorm` Σσ, `sigmaMax` σ₁, `frobeniusNorm` √Σσ² (gradient units); `sigmaOneRatio` σ₁/Σσ, `effectiveRank`, `stableRank` (unitless);
 * `lossScaledNorm` Σσ/loss (gradient units a nat).
 */
export const statistics = [
  "nuclearNorm",
  "sigmaMax",
  "frobeniusNorm",
  "sigmaOneRatio",
  "effectiveRank",
  "stableRank",
  "lossScaledNorm",
] as const;
export type StatisticName = (typeof statistics)[number];

/** What is known of a row beside its matrices. */
export interface TableRow {
  /** Position in the data file, from zero; null where the file does not say (the authors' files). */
  readonly row: number | null;
  readonly instruction: string;
  /** Rows of the run with the same instruction that come before this one, those that are left out included; none where it is not said. */
  readonly occurrence?: number;
  readonly output: string;
  /** Mean cross-entropy over the row's labels, nats. */
  readonly loss: number;
  /** Tokens and labels; null where the file does not say. */
  readonly nTokens: number | null;
  readonly nLabels: number | null;
}

/** The numbers of one run, as comparisons need them. */
export interface RunTable {
  /** What the run is called in tables and messages. */
  readonly name: string;
  readonly layers: number;
  /** Measured modules in the order of the records: `self_attn.q_proj`, … */
  readonly modules: readonly string[];
  readonly rows: readonly TableRow[];
  /**
   * Shape `[rows, modules, layers]`, flat. NaN where a row has no such value (a ratio 0/0). A statistic that the file does not hold and that
   * cannot be computed from what it holds is absent.
   */
  readonly values: Readonly<Partial<Record<StatisticName, Float64Array>>>;
  /** Rows of the run that are not in `rows`, by reason. */
  readonly leftOut: Readonly<Record<string, number>>;
}
