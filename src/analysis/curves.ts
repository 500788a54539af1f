import { LayergradError } from "../errors.ts";

/** First and last layer (exclusive) of the three segments of a model, in layers. */
export type Segments = readonly [readonly [number, number], readonly [number, number], readonly [number, number]];

/** Borders the paper uses for its own models' depths. */
const published: Readonly<Record<number, readonly [number, number]>> = { 26: [7, 20], 28: [7, 21], 32: [10, 20], 42: [12, 30] };

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
export const mean = (values: readonly number[]): number | null =>
  values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length;

/**
 * Mean absolute difference of a curve's neighbours, mean |c[i+1] − c[i]|: large where layers differ much.
 *
 * @param curve - One value a layer, in order.
 * @returns In the curve's unit; null for fewer than two layers. Source: arXiv 2410.23743, section 3.
 */
export function meanAbsoluteDifference(curve: readonly number[]): number | null {
  return mean(curve.slice(1).map((value, i) => Math.abs(value - curve[i]!)));
}

/** MAD of each segment; the steps across a segment's border count in none. */
export const segmentMads = (curve: readonly number[]): (number | null)[] =>
  segments(curve.length).map(([from, to]) => meanAbsoluteDifference(curve.slice(from, to)));

/**
 * The mean of each layer over rows: a condition's curve.
 *
 * @param rows - One array of layers a row.
 * @throws {LayergradError} `data` if the rows differ in length.
 */
export function meanCurve(rows: readonly (readonly number[])[]): number[] {
  const layers = rows[0]?.length;
  const other = rows.findIndex((r) => r.length !== layers);
  if (other > 0)
    throw new LayergradError(
      "data",
      `rows[${other}] has ${rows[other]!.length} layers, rows[0] has ${layers}: they are of different models.`,
    );
  return (rows[0] ?? []).map((_, layer) => mean(rows.map((r) => r[layer]!))!);
}
