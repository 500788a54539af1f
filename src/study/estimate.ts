import { buildBlock, chooseLinears, type MatrixChoice } from "../models/block.ts";
import { parseLabels } from "../run/labels.ts";
import type { Model } from "../run/open-model.ts";
import { rowFlops } from "../runtime/work.ts";

/** Length of a row. */
export interface RowLength {
  readonly tokens: number;
  readonly labels: number;
  /** UTF-8 bytes of instruction and response in a record. */
  readonly textBytes: number;
}

/** What decides how much a row takes, beside its length. */
export interface RowShape {
  /** As `--labels` takes it. */
  readonly labels: string;
  /** Random choices of each size in a sweep. */
  readonly draws: number;
  readonly matrices: MatrixChoice;
  readonly spectrum: boolean;
  readonly cosines: boolean;
}

/** What rows take: computation and room. */
export interface Cost {
  /** Floating-point operations, those of the statistics left out. */
  readonly flops: number;
  /** Gradients whose statistics are taken. */
  readonly gradients: number;
  /** Of the records, bytes. */
  readonly bytes: number;
}

/**
 * Bytes in a record, measured on SmolLM2-135M and the miniature: a number of 64-bit precision with its comma, a matrix's ten statistics with
 * their names, a cosine's name, what a row has beside its matrices, and what a step of a sweep has beside its numbers.
 */
const NUMBER_BYTES = 22;
const MATRIX_BYTES = 335;
const COSINE_BYTES = 40;
const ROW_BYTES = 110;
const STEP_BYTES = 250;

/** Statistics that a step of a sweep has of each matrix. */
const STEP_STATISTICS = 4;

/**
 * About what one row takes: a forward pass, and for each choice of its labels a backward pass of as many operations, its statistics, and
 * their room in the records.
 */
export function costOf({ family, spec }: Model, shape: RowShape): (row: RowLength) => Cost {
  const linears = chooseLinears(buildBlock(family, spec), shape.matrices);
  const matrices = linears.length * spec.layers;
  const sweeps = parseLabels(shape.labels).rule === "sweep";
  const cosines = shape.cosines ? spec.layers * (2 * COSINE_BYTES + 4 * NUMBER_BYTES) : 0;
  return ({ tokens, labels, textBytes }) => {
    // k = 1, 2, 4 … below the number of labels, each as the first and as random ones; then all of them.
    const sizes = sweeps && labels > 1 ? Math.ceil(Math.log2(labels)) : 0;
    const backwards = sizes * (1 + shape.draws) + 1;
    const steps = sweeps ? 2 * sizes + 1 : 0;
    const ranks = shape.spectrum ? linears.reduce((sum, l) => sum + Math.min(tokens, l.inFeatures, l.outFeatures), 0) * spec.layers : 0;
    return {
      flops: (rowFlops(spec, tokens, labels) * (1 + backwards)) / 2,
      gradients: matrices * backwards,
      bytes:
        ROW_BYTES +
        textBytes +
        matrices * MATRIX_BYTES +
        ranks * NUMBER_BYTES +
        cosines +
        steps * (STEP_BYTES + STEP_STATISTICS * matrices * NUMBER_BYTES),
    };
  };
}

/** Share of the matrix product rate that the engine reaches, and of a row's time that goes into the statistics: docs/performance.md, between its two shapes. */
const ENGINE_SHARE = 0.65;
const STATISTICS_SHARE = 0.25;

/** What a gradient's statistics take however small it is, seconds; the miniature's take hardly more. */
const GRADIENT_SECONDS = 0.0007;

/** What a run's start takes, seconds, and how fast weights are read, bytes a second. */
const START_SECONDS = 0.5;
const LOAD_RATE = 0.4e9;

/**
 * About how long a run takes, seconds.
 *
 * @param weights - The model's bytes on the disk.
 * @param rate - The machine's matrix product rate at the model's width, FLOP/s.
 */
export const secondsOf = ({ flops, gradients }: Pick<Cost, "flops" | "gradients">, weights: number, rate: number): number =>
  START_SECONDS + weights / LOAD_RATE + flops / (rate * ENGINE_SHARE) / (1 - STATISTICS_SHARE) + gradients * GRADIENT_SECONDS;
