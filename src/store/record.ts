import { createHash } from "node:crypto";
import type { MatrixStatistics } from "../spectra/matrix-statistics.ts";

/** The version of what a record means. It is part of a run's identity: a folder never mixes two. */
export const SCHEMA_VERSION = 1;

/** The attention projections whose gradients are recorded. */
export type Projection = "q" | "k" | "v" | "o";

/** A record's key of one matrix: the same whatever the checkpoint calls its tensors. */
export type MatrixKey = `model.layers.${number}.${string}.weight`;

/** A record's key of one attention projection. */
export function matrixKey(layer: number, projection: Projection): MatrixKey {
  return `model.layers.${layer}.self_attn.${projection}_proj.weight`;
}

/** Layer and module (`self_attn.q_proj`) of a {@link MatrixKey}; undefined for any other key. */
export function parseMatrixKey(key: string): { layer: number; module: string } | undefined {
  const match = /^model\.layers\.(0|[1-9]\d{0,5})\.(.+)\.weight$/.exec(key);
  return match ? { layer: Number(match[1]), module: match[2]! } : undefined;
}

/** Cosine similarities of gradients within a layer and between neighbours: dot / (norm·norm + 1e-9), null where undefined. */
export interface CosineStatistics {
  /** By layer: `{"0": {"q_proj_x_o_proj": …, "k_proj_x_v_proj": …}}`, flattened row by row. */
  cosine_sim_qkvo?: Readonly<Record<string, Readonly<Record<string, number | null>>>> | null;
  /** By projection: `{"q_proj": [layer 0 with 1, 1 with 2, …]}`. */
  cosine_adjacent?: Readonly<Record<string, readonly (number | null)[]>> | null;
}

/** Which of a row's labels its loss is the mean over. */
export interface LabelSubset {
  rule: "first" | "last" | "random";
  /** Labels counted. */
  k: number;
  /** Labels that the row has. */
  of: number;
}

/** One step of a row's sweep: the gradients of the mean loss over k of its labels, by module one value a layer, averaged over draws. */
export interface SweepEntry {
  /** The row's first k labels, or k random ones. */
  labels: "first" | "random";
  k: number;
  /** Choices of labels that the numbers are averages over. */
  draws: number;
  /** Mean cross-entropy over the k labels, nats. */
  loss: number;
  nuclear_norm: Readonly<Record<string, readonly number[]>>;
  frobenius_norm: Readonly<Record<string, readonly number[]>>;
  sigma_max: Readonly<Record<string, readonly number[]>>;
  /** Null where Σσ < 1e-12 in one of the draws. */
  effective_rank: Readonly<Record<string, readonly (number | null)[]>>;
}

/**
 * One line of records.jsonl: the reference's own fields, and beside them ours. Keys `model.layers.<i>.self_attn.<p>_proj.weight`
 * hold {@link MatrixStatistics}.
 */
export interface GradientRecord extends CosineStatistics {
  /** The row's instruction, plus a newline and its input where that is not empty. */
  instruction: string;
  output: string;
  /** Mean cross-entropy over the row's own labels, nats. */
  loss: number;
  /** Position of the row in the data, from zero. */
  row: number;
  /** Tokens after the cut to max-length. */
  n_tokens: number;
  /** Tokens of the prompt's own, uncut encoding: the first label is the token at this position. */
  label_start: number;
  /** Tokens that enter the loss. */
  n_labels: number;
  /** Which labels they are; absent where all of the row's. */
  labels?: LabelSubset;
  /** The same row with ever more of its labels, from one on; the last step is the record itself. */
  sweep?: readonly SweepEntry[];
  [matrix: MatrixKey]: MatrixStatistics;
}

/** One line of skipped.jsonl: a row that has no record, and why. */
export interface SkippedRow {
  row: number;
  instruction: string;
  output: string;
  /** One clause, lower case, no full stop: `no label is left after the cut to 1024 tokens`. */
  reason: string;
  n_tokens?: number;
  label_start?: number;
}

/**
 * What a row is known by, beside its position: SHA-256 (hexadecimal) over its instruction and output as a record holds them.
 * Over their JSON, which keeps the two apart and tells lone surrogates from each other.
 */
export function contentHash(content: { readonly instruction: string; readonly output: string }): string {
  return createHash("sha256")
    .update(JSON.stringify([content.instruction, content.output]))
    .digest("hex");
}

/**
 * One record or skipped row as a line of JSONL, newline included, numbers with all their digits.
 *
 * @throws {RangeError} If a number is NaN or infinite: JSON would make it null in silence, and a row without a finite loss
 * belongs among the skipped. The message names row and field.
 */
export function serialise(record: GradientRecord | SkippedRow): string {
  assertFinite(record, [], record.row);
  return `${JSON.stringify(record)}\n`;
}

/** Recursion is fine here: these are our own records, three levels deep. */
function assertFinite(value: unknown, path: readonly (string | number)[], row: number): void {
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new RangeError(`record of row ${row}: ${path.join(".")} is ${value}, expected a finite number`);
  } else if (Array.isArray(value) || ArrayBuffer.isView(value)) {
    if (!Array.isArray(value))
      throw new RangeError(`record of row ${row}: ${path.join(".")} is a typed array, which JSON writes as an object`);
    for (let i = 0; i < value.length; i++) assertFinite(value[i], [...path, i], row);
  } else if (typeof value === "object" && value !== null) {
    for (const [key, entry] of Object.entries(value)) assertFinite(entry, [...path, key], row);
  }
}
