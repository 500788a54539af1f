import type { Random } from "./random.ts";

/** Rows and how often each was drawn; the first `length` entries count. */
export interface Draw {
  readonly rows: Int32Array;
  readonly weights: Float64Array;
  length: number;
}

/** Room for a draw of `n` rows. */
export const newDraw = (n: number): Draw => ({ rows: new Int32Array(n), weights: new Float64Array(n), length: 0 });

/** Draws n of n rows with replacement: each row that was drawn, once, in order, with its count. */
export function drawWithReplacement(random: Random, counts: Float64Array, draw: Draw): void {
  const n = counts.length;
  counts.fill(0);
  for (let i = 0; i < n; i++) counts[random.below(n)]!++;
  draw.length = 0;
  for (let row = 0; row < n; row++) {
    if (counts[row] === 0) continue;
    draw.rows[draw.length] = row;
    draw.weights[draw.length++] = counts[row]!;
  }
}

/**
 * Weighted sum of rows, out[c] = Σ_k weights[k] · values[rows[k], c]. Nearly all time of all resampling goes here: eight rows at a time, so that
 * each sum is read and written once for eight products.
 *
 * @param values - Shape `[n, columns]`, row by row.
 * @param out - Shape `[columns]`, overwritten.
 */
export function weightedSum(draw: Draw, values: Float64Array, out: Float64Array): void {
  const columns = out.length;
  const { rows, weights, length } = draw;
  out.fill(0);
  let k = 0;
  for (; k + 8 <= length; k += 8) {
    const [w0, w1, w2, w3] = [weights[k]!, weights[k + 1]!, weights[k + 2]!, weights[k + 3]!];
    const [w4, w5, w6, w7] = [weights[k + 4]!, weights[k + 5]!, weights[k + 6]!, weights[k + 7]!];
    let i0 = rows[k]! * columns;
    let i1 = rows[k + 1]! * columns;
    let i2 = rows[k + 2]! * columns;
    let i3 = rows[k + 3]! * columns;
    let i4 = rows[k + 4]! * columns;
    let i5 = rows[k + 5]! * columns;
    let i6 = rows[k + 6]! * columns;
    let i7 = rows[k + 7]! * columns;
    for (let c = 0; c < columns; c++)
      out[c]! +=
        w0 * values[i0++]! +
        w1 * values[i1++]! +
        w2 * values[i2++]! +
        w3 * values[i3++]! +
        (w4 * values[i4++]! + w5 * values[i5++]! + w6 * values[i6++]! + w7 * values[i7++]!);
  }
  for (; k < length; k++) {
    const weight = weights[k]!;
    const start = rows[k]! * columns;
    for (let c = 0; c < columns; c++) out[c]! += weight * values[start + c]!;
  }
}
