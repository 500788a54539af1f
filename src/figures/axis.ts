/** A value and its interval; null where there is none. */
export interface Point {
  readonly value: number | null;
  readonly low: number | null;
  readonly high: number | null;
}

/** A position scale that several panels share. */
export interface Axis {
  readonly type: "linear" | "log";
  readonly domain: readonly [number, number];
  readonly ticks: readonly number[];
}

/** Positive values that lie further apart than this factor are drawn on a log scale. */
const LOG_SPAN = 50;

const isNumber = (value: number | null | undefined): value is number => value !== null && value !== undefined && Number.isFinite(value);

/**
 * The scale for values of one kind with their intervals: from zero, or logarithmic where the values are positive and span more than a
 * factor of 50. An interval that reaches down to 0 does not pull a log scale with it: its band ends at the frame.
 */
export function valueAxis(points: readonly Point[], { log }: { readonly log?: boolean } = {}): Axis {
  const values = points.map(({ value }) => value).filter(isNumber);
  const ends = points.flatMap(({ low, high }) => [low, high]).filter(isNumber);
  const smallest = Math.min(...values);
  const spans = smallest > 0 && Math.max(...values) / smallest > LOG_SPAN;
  return (log ?? spans)
    ? logAxis([...values.filter((v) => v > 0), ...ends.filter((end) => end > smallest / 4)])
    : linearAxis([...values, ...ends]);
}

/** A linear scale over all values and 0, a little room at the ends. */
export function linearAxis(values: readonly number[], count = 5): Axis {
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const span = high - low || 1;
  const domain = [low === 0 ? 0 : low - 0.04 * span, high === 0 && low < 0 ? 0 : high + 0.04 * span] as const;
  return { type: "linear", domain, ticks: linearTicks(domain, count) };
}

/** A logarithmic scale over positive values, a little room at the ends. */
export function logAxis(values: readonly number[], room = 0.04): Axis {
  const [low, high] = [Math.log10(Math.min(...values)), Math.log10(Math.max(...values))];
  const pad = Math.max(room * (high - low), 0.03);
  const domain = [10 ** (low - pad), 10 ** (high + pad)] as const;
  return { type: "log", domain, ticks: logTicks(domain) };
}

/** Multiples of 1, 2 or 5 times a power of ten within the domain, about `count`. */
export function linearTicks([low, high]: readonly [number, number], count: number): number[] {
  const step = niceStep((high - low) / count);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function niceStep(atLeast: number): number {
  const power = 10 ** Math.floor(Math.log10(atLeast));
  return power * ([1, 2, 5].find((factor) => factor * power >= atLeast * 0.999) ?? 10);
}

/** Powers of ten within the domain; with 2 and 5 times them, or 3 times, where they are few. */
export function logTicks([low, high]: readonly [number, number]): number[] {
  const decades = Math.log10(high / low);
  const factors = decades < 1.8 ? [1, 2, 5] : decades < 3.2 ? [1, 3] : [1];
  const every = Math.ceil(decades / 7);
  const ticks: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    if (power % every === 0) ticks.push(...factors.map((factor) => Number((factor * 10 ** power).toPrecision(12))));
  return ticks.filter((tick) => tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9));
}

/** Whole layers for an axis over `layers` layers, from zero, no more than fit `width` px. */
export function layerTicks(layers: number, width: number): number[] {
  const fits = Math.max(2, Math.floor(width / 34));
  const step = [1, 2, 5, 10, 20, 50].find((candidate) => (layers - 1) / candidate < fits) ?? 100;
  return Array.from({ length: Math.floor((layers - 1) / step) + 1 }, (_, i) => i * step);
}

/** Where a value lies on the axis, as a share of its length; clamped to it. */
export function position({ type, domain: [low, high] }: Axis, value: number): number {
  const share = type === "log" ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value - low) / (high - low);
  return Math.min(1, Math.max(0, share));
}

/** A value within the axis, so that a band ends at the frame; null stays null. */
export const clamp = ({ domain: [low, high] }: Axis, value: number | null): number | null =>
  value === null ? null : Math.min(high, Math.max(low, value));
