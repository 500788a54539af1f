import type { StatisticName } from "../analysis/table.ts";
import { layerTicks, linearTicks } from "./axis.ts";
import { type About, compose, element, type FigureOptions, group, label, nothingToDraw, type Surface, surfaceOf, TICK } from "./figure.ts";
import { comparedIn, type NamedComparison } from "./relative-difference-figure.ts";
import { capital, rowsText, statisticTexts } from "./statistics.ts";
import { formatNumber, list, textWidth } from "./text.ts";
import { moduleLabel } from "./theme.ts";

/** The curves of two conditions, a against b, of one module. */
export interface HeatmapCurves {
  readonly module: string;
  /** One a layer. */
  readonly a: readonly (number | null)[];
  readonly b: readonly (number | null)[];
}

export interface HeatmapData extends About {
  readonly statistic: StatisticName;
  /** A block of cells each, `none / detailed`. */
  readonly pairs: readonly { readonly name: string; readonly rows: number; readonly modules: readonly HeatmapCurves[] }[];
}

export interface HeatmapOptions extends FigureOptions {
  /** Colours are log ratios a / b (default), or differences a − b. */
  readonly scale?: "ratio" | "difference";
}

/** The curves of means of compared runs. */
export const heatmapData = (about: About, pairs: readonly NamedComparison[], statistic: StatisticName = "nuclearNorm"): HeatmapData => ({
  ...about,
  statistic,
  pairs: pairs.map((pair) => {
    const modules = comparedIn(pair, statistic);
    return {
      name: pair.name,
      rows: Math.min(...modules.map(({ difference }) => difference.n)),
      modules: modules.map(({ module, a, b }) => ({ module, a: a.curve.map(({ value }) => value), b: b.curve.map(({ value }) => value) })),
    };
  }),
});

/** Ratio or difference of one layer; null where it is not finite. */
function contrast(a: number | null | undefined, b: number | null | undefined, scale: "ratio" | "difference"): number | null {
  const value = a == null || b == null ? Number.NaN : scale === "ratio" ? Math.log2(a / b) : a - b;
  return Number.isFinite(value) ? value : null;
}

const LEFT = 30;
const CELL = 24;
/** Narrower cells hold no number. */
const NARROWEST_NUMBER = 23;

/**
 * Layer × projection: how two conditions differ, on a diverging scale whose middle is no difference. Numbers stand in the cells where they fit,
 * so that the sides can be told apart without colour; in narrower cells those below the middle bear a dot.
 *
 * @throws {LayergradError} `data` if no layer has both values.
 */
export function heatmapFigure(data: HeatmapData, { scale = "ratio", ...options }: HeatmapOptions): SVGSVGElement {
  const surface = surfaceOf(options);
  const pairs = data.pairs.map(({ name, modules }) => ({
    name,
    modules: modules.map(({ module, a, b }) => ({ module, values: a.map((value, layer) => contrast(value, b[layer], scale)) })),
  }));
  const values = pairs.flatMap(({ modules }) => modules.flatMap(({ values: row }) => row.flatMap((value) => value ?? [])));
  if (values.length === 0) throw nothingToDraw("heat map", "no layer has a value in both conditions");
  const limit = Math.max(...values.map(Math.abs)) || 1;
  const colour = (value: number): string => mix(surface, value / limit);
  const body: SVGElement[] = [];
  let y = 18;
  for (const { name, modules } of pairs) {
    body.push(label(surface, name, LEFT, y, { bold: true }));
    y += 10;
    body.push(group(surface, LEFT, y, cells(surface, modules, { scale, colour })));
    y += modules.length * CELL + 44;
  }
  const { name, unit } = statisticTexts[data.statistic];
  const what = scale === "ratio" ? "ratio" : "difference";
  return compose(surface, {
    title: `${capital(name)} of two conditions: ${what} by layer and projection`,
    about: [
      data.model,
      data.data,
      rowsText(
        data.pairs.map(({ rows }) => rows),
        "a condition",
      ),
    ].join(" · "),
    body: [group(surface, LEFT, 18, ramp(surface, limit, scale, unit)), group(surface, 0, 56, body)],
    height: y + 38,
    notes: [
      `Each cell: ${scale === "ratio" ? "the ratio a / b" : "the difference a − b"} of the two conditions' means over rows, a named first.`,
    ],
    alt: altText(pairs, scale, name),
  });
}

interface CellStyle {
  readonly scale: "ratio" | "difference";
  readonly colour: (value: number) => string;
}

interface CellRow {
  readonly module: string;
  readonly values: readonly (number | null)[];
}

function cells(surface: Surface, rows: readonly CellRow[], { scale, colour }: CellStyle): SVGElement[] {
  const { palette } = surface;
  const layers = Math.max(...rows.map(({ values }) => values.length));
  const width = Math.min(46, (surface.width - LEFT) / layers);
  const texts = rows.map(({ values }) => values.map((value) => (value === null ? "" : cellText(value, scale))));
  const size = [9.5, 9, 8.5].find((candidate) => texts.flat().every((text) => textWidth(text, candidate) <= width - 1.5));
  const withNumbers = width >= NARROWEST_NUMBER && size !== undefined;
  const elements = rows.flatMap(({ module, values }, row) => [
    label(surface, moduleLabel(module), -8, row * CELL + CELL / 2 + 4, { size: TICK, anchor: "end", bold: true }),
    ...values.flatMap((value, layer) => {
      const [x, y] = [layer * width, row * CELL];
      const title = `layer ${layer}, ${moduleLabel(module)}: ${value === null ? "no value" : hoverText(value, scale)}`;
      const fill = value === null ? "none" : colour(value);
      const cell = element(surface, "rect", { x, y, width: width - 0.8, height: CELL - 0.8, fill, "pointer-events": "all" }, [
        element(surface, "title", {}, [title]),
      ]);
      if (value === null) return [cell];
      const ink = { fill: readableOn(fill), anchor: "middle" };
      if (withNumbers) return [cell, label(surface, texts[row]![layer]!, x + width / 2 - 0.4, y + CELL / 2 + 3, { size, ...ink })];
      return value < 0 ? [cell, element(surface, "circle", { cx: x + width / 2 - 0.4, cy: y + CELL / 2, r: 1.2, fill: ink.fill })] : [cell];
    }),
  ]);
  const below = rows.length * CELL;
  const ticks = layerTicks(layers, layers * width).map((layer) =>
    label(surface, String(layer), (layer + 0.5) * width, below + 14, { size: TICK, fill: palette.muted, anchor: "middle" }),
  );
  const name = label(surface, "layer", (layers * width) / 2, below + 28, { size: TICK, fill: palette.muted, anchor: "middle" });
  return [...elements, ...ticks, name];
}

/** Two digits, as short as they get: `12`, `1.3`, `.75`. */
function cellText(value: number, scale: "ratio" | "difference"): string {
  const shown = scale === "ratio" ? 2 ** value : value;
  const size = Math.abs(shown);
  const digits =
    size >= 1000 ? formatNumber(size, 2) : size >= 9.95 ? size.toFixed(0) : size.toFixed(size >= 0.995 ? 1 : 2).replace(/^0/, "");
  return `${shown < 0 ? "−" : ""}${digits}`;
}

const hoverText = (value: number, scale: "ratio" | "difference"): string =>
  scale === "ratio" ? `ratio ${formatNumber(2 ** value)}` : `difference ${formatNumber(value)}`;

const channels = (hex: string): number[] => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));

/** Colour at a share in [−1, 1] of the diverging scale. */
function mix({ palette }: Surface, share: number): string {
  const [below, middle, above] = palette.diverging.map(channels) as [number[], number[], number[]];
  const end = share < 0 ? below : above;
  const mixed = middle.map((from, i) => Math.round(from + (end[i]! - from) * Math.abs(share)));
  return `#${mixed.map((channel) => channel.toString(16).padStart(2, "0")).join("")}`;
}

/** Black or white, whichever stands out more. Relative luminance as WCAG has it. */
function readableOn(hex: string): string {
  const [r, g, b] = channels(hex).map((channel) => ((channel / 255 + 0.055) / 1.055) ** 2.4) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000000" : "#ffffff";
}

/** Length of the colour scale, px; what it shows stands above it. */
const RAMP = 230;

/** A ratio whose binary logarithm is whole: `1/4`, `4`. */
const ratioText = (log2: number): string =>
  log2 < 0 && Number.isInteger(log2) ? `1/${formatNumber(2 ** -log2)}` : formatNumber(2 ** log2);

/** The colour scale with its ticks, and what its sides mean. */
function ramp(surface: Surface, limit: number, scale: "ratio" | "difference", unit: string | null): SVGElement[] {
  const steps = 52;
  const swatches = Array.from({ length: steps }, (_, i) =>
    element(surface, "rect", {
      x: (i * RAMP) / steps,
      y: 0,
      width: RAMP / steps + 0.3,
      height: 10,
      fill: mix(surface, (2 * (i + 0.5)) / steps - 1),
    }),
  );
  const ticks = scale === "ratio" ? ratioTicks(limit) : linearTicks([-limit, limit], 4);
  const labels = ticks.map((tick) =>
    label(surface, scale === "ratio" ? ratioText(tick) : formatNumber(tick), ((tick / limit + 1) / 2) * RAMP, 23, {
      size: TICK,
      fill: surface.palette.muted,
      anchor: "middle",
    }),
  );
  const words = scale === "ratio" ? "ratio a / b, log scale" : `difference a − b${unit === null ? "" : `, ${unit}`}`;
  return [label(surface, words, 0, -6, { size: TICK, fill: surface.palette.muted }), ...swatches, ...labels];
}

/** Whole powers of 2 (or of 4, 8, …) on both sides of 0; the ends where none is within them. */
function ratioTicks(limit: number): number[] {
  if (limit < 1) return [-limit, 0, limit];
  const step = Math.ceil(Math.floor(limit) / 3);
  const sides = Array.from({ length: Math.floor(limit / step) }, (_, i) => (i + 1) * step);
  return [...sides.map((tick) => -tick).reverse(), 0, ...sides];
}

function altText(
  pairs: readonly { readonly name: string; readonly modules: readonly CellRow[] }[],
  scale: "ratio" | "difference",
  name: string,
): string {
  const texts = pairs.map(({ name: pair, modules }) => {
    const each = modules.flatMap(({ module, values }) => {
      const known = values.flatMap((value, layer) => (value === null ? [] : { value, layer }));
      if (known.length === 0) return [];
      const [low, high] = [known.reduce((a, b) => (b.value < a.value ? b : a)), known.reduce((a, b) => (b.value > a.value ? b : a))];
      return `${moduleLabel(module)} from ${hoverText(low.value, scale)} in layer ${low.layer} to ${hoverText(high.value, scale)} in layer ${high.layer}`;
    });
    return `${pair}: ${list(each)}`;
  });
  return `Heat map of the ${name}, layer by projection. ${texts.join(". ")}.`;
}
