import { LayergradError } from "../errors.ts";
import type { RunTable, StatisticName } from "./table.ts";

/** First and last layer (exclusive) of the three segments of a model, in layers. */
export type Segments = readonly [readonly [number, number], readonly [number, number], readonly [number, number]];

/** Borders the paper uses for its own models' depths. */
const published: Readonly<Record<number, readonly [number, number]>> = { 26: [7, 20], 28: [7, 21], 32: [10, 20], 42: [12, 30] };

/** What takes the place of a layer's 0 below the fraction line of RD, as in the published scripts. */
const RD_FLOOR = 1e-10;

/**
 * Shallow, middle and deep layers. Depths of the paper's models are cut where it cuts them, any other at ⌊N/4 + ½⌋ and ⌊3N/4 + ½⌋.
 */
export function segments(layers: number): Segments {
  const [a, b] = published[layers] ?? [Math.floor(layers / 4 + 0.5), Math.floor((3 * layers) / 4 + 0.5)];
  return [
    [0, a],
    [a, b],
    [b, layers],
  ];
}

/** Arithmetic mean; null of nothing. */
export function mean(values: ArrayLike<number>): number | null {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return values.length === 0 ? null : sum / values.length;
}

/**
 * Mean absolute difference of a curve's neighbours, mean |c[i+1] − c[i]|: large where layers differ much.
 *
 * @param curve - One value a layer, in order.
 * @returns In the curve's unit; null for fewer than two layers. Source: arXiv 2410.23743, section 3.
 */
export const meanAbsoluteDifference = (curve: ArrayLike<number>): number | null => meanStep(curve, 0, curve.length);

/** MAD of each segment; the steps across a segment's border count in none. */
export const segmentMads = (curve: ArrayLike<number>): (number | null)[] =>
  segments(curve.length).map(([from, to]) => meanStep(curve, from, to));

/** Mean |c[i+1] − c[i]| within the layers `[from, to)`; null for fewer than two. */
function meanStep(curve: ArrayLike<number>, from: number, to: number): number | null {
  let sum = 0;
  for (let i = from + 1; i < to; i++) sum += Math.abs(curve[i]! - curve[i - 1]!);
  return to - from < 2 ? null : sum / (to - from - 1);
}

/**
 * MAD over the mean of the curve: how uneven the layers are, whatever the gradients' size.
 *
 * @returns Unitless; null for fewer than two layers, or where the curve's mean is 0.
 */
export function relativeMad(curve: ArrayLike<number>): number | null {
  const mad = meanAbsoluteDifference(curve);
  const level = mean(curve);
  return mad === null || level === null || level === 0 ? null : mad / level;
}

/**
 * |aᵢ − bᵢ| / |aᵢ|, layer by layer; an aᵢ of 0 is replaced by 1e-10 first, as in the published scripts.
 *
 * @param a - The curve of the correct condition, `[layers]`.
 * @param b - That of its irrelevant twin, `[layers]`.
 * @returns Unitless, 0 or above.
 * @throws {LayergradError} `data` if the curves differ in length or have no layer.
 */
export function relativeDifferences(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  checkDepths(a, b);
  return Float64Array.from({ length: a.length }, (_, layer) => relativeAt(a, b, layer));
}

/** RD: the mean of {@link relativeDifferences} over layers; throws as that does. Source: arXiv 2410.23743, section 3. */
export function relativeDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  checkDepths(a, b);
  let sum = 0;
  for (let layer = 0; layer < a.length; layer++) sum += relativeAt(a, b, layer);
  return sum / a.length;
}

/**
 * Mean over layers of |aᵢ − bᵢ| / ((|aᵢ| + |bᵢ|)/2); 0 in layers where both are 0. The same whichever curve comes first, and at most 2: what a test of
 * RD = 0 swaps, since RD itself grows when the larger curve becomes the one that is divided.
 */
export function symmetricDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  checkDepths(a, b);
  let sum = 0;
  for (let layer = 0; layer < a.length; layer++) {
    const [x, y] = [a[layer]!, b[layer]!];
    if (x !== y) sum += (2 * Math.abs(x - y)) / (Math.abs(x) + Math.abs(y));
  }
  return sum / a.length;
}

function relativeAt(a: ArrayLike<number>, b: ArrayLike<number>, layer: number): number {
  const base = a[layer] === 0 ? RD_FLOOR : a[layer]!;
  return Math.abs(base - b[layer]!) / Math.abs(base);
}

function checkDepths(a: ArrayLike<number>, b: ArrayLike<number>): void {
  if (a.length !== b.length || a.length === 0)
    throw new LayergradError("data", `a relative difference needs two curves of one depth; these have ${a.length} and ${b.length} layers.`);
}

/** The layers of the largest values, largest first; of equal ones the deeper layer first, as in the published scripts. */
export const topLayers = (values: ArrayLike<number>, count = 5): number[] =>
  Array.from(values, (_, layer) => layer)
    .sort((i, j) => values[j]! - values[i]! || j - i)
    .slice(0, count);

/**
 * The mean of each layer over rows: a condition's curve.
 *
 * @param rows - One array of layers a row.
 * @throws {LayergradError} `data` if the rows differ in length.
 */
export function meanCurve(rows: readonly ArrayLike<number>[]): number[] {
  const layers = rows[0]?.length;
  const other = rows.findIndex((r) => r.length !== layers);
  if (other > 0)
    throw new LayergradError(
      "data",
      `rows[${other}] has ${rows[other]!.length} layers, rows[0] has ${layers}: they are of different models.`,
    );
  return Array.from({ length: layers ?? 0 }, (_, layer) => mean(rows.map((r) => r[layer]!))!);
}

/**
 * One row's values of a statistic of a module, `[layers]`: a view into the table.
 *
 * @throws {LayergradError} `data` if the run has not this statistic or module.
 */
export function layersOf(table: RunTable, statistic: StatisticName, module: string, row: number): Float64Array {
  const position = table.modules.indexOf(module);
  if (position < 0)
    throw new LayergradError("data", `${table.name}: has no module ${module}; measured are ${table.modules.join(", ") || "none"}.`);
  const values = table.values[statistic];
  if (!values)
    throw new LayergradError(
      "data",
      `${table.name}: its records hold no ${statistic}, nor what it could be computed from; choose another statistic.`,
    );
  const start = (row * table.modules.length + position) * table.layers;
  return values.subarray(start, start + table.layers);
}

/** Whether a row has a value in every layer. */
export function isComplete(layers: ArrayLike<number>): boolean {
  for (let i = 0; i < layers.length; i++) if (Number.isNaN(layers[i])) return false;
  return true;
}
