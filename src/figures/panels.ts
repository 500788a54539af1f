import * as Plot from "@observablehq/plot";
import { type Axis, layerTicks, position } from "./axis.ts";
import { element, label, LABEL, type Surface, TICK } from "./figure.ts";
import { formatNumber, shorten, textWidth, wrapText } from "./text.ts";
import type { LineStyle } from "./theme.ts";

/** Room around the panels of a grid, px. */
export interface GridOptions {
  /** For the tick labels of the first column, default 46. */
  readonly left?: number;
  /** Between columns, default 26. */
  readonly gap?: number;
  /** After the last column, default 20. */
  readonly right?: number;
  /** Panels are at least so wide, or fewer stand side by side; default 150. */
  readonly narrowest?: number;
}

/** Panels side by side, wrapped evenly where they do not fit. */
export interface Grid {
  readonly columns: number;
  readonly lines: number;
  readonly panelWidth: number;
  /** Left edge of panel i. */
  x(panel: number): number;
  /** Line of panel i, from zero. */
  line(panel: number): number;
  /** Whether panel i is the first of its line, where tick labels stand. */
  isFirst(panel: number): boolean;
}

export function gridOf(width: number, count: number, { left = 46, gap = 26, right = 20, narrowest = 150 }: GridOptions = {}): Grid {
  const fit = Math.max(1, Math.min(count, Math.floor((width - left - right + gap) / (narrowest + gap))));
  const lines = Math.ceil(count / fit);
  const columns = Math.ceil(count / lines);
  const panelWidth = (width - left - right - gap * (columns - 1)) / columns;
  return {
    columns,
    lines,
    panelWidth,
    x: (panel) => left + (panel % columns) * (panelWidth + gap),
    line: (panel) => Math.floor(panel / columns),
    isFirst: (panel) => panel % columns === 0,
  };
}

/** Not as a tick format: on log scales Plot leaves some of those out. */
const tickText = (tick: number): string => formatNumber(tick);

/** Grid lines and tick labels of a vertical scale. */
export function verticalAxis({ palette }: Surface, { ticks }: Axis, { labels }: { readonly labels: boolean }): Plot.Markish[] {
  const marks: Plot.Markish[] = [Plot.gridY(ticks, { stroke: palette.grid, strokeOpacity: 1 })];
  if (labels)
    marks.push(
      Plot.axisY(ticks, {
        tickSize: 0,
        tickPadding: 7,
        text: tickText,
        fill: palette.muted,
        fontSize: TICK,
        label: null,
      }),
    );
  return marks;
}

/** Ticks and labels of a horizontal scale. */
export function horizontalAxis({ palette }: Surface, ticks: readonly number[]): Plot.Markish {
  return Plot.axisX([...ticks], {
    tickSize: 4,
    tickPadding: 4,
    text: tickText,
    stroke: palette.muted,
    fill: palette.muted,
    fontSize: TICK,
    label: null,
  });
}

/** The horizontal axis over layers. */
export const layerAxis = (surface: Surface, layers: number, width: number): Plot.Markish =>
  horizontalAxis(surface, layerTicks(layers, width));

/** The name and unit of what a figure's vertical scales show, at its top left; panels begin below it. */
export function scaleTitle(surface: Surface, text: string, y = 0): { readonly elements: SVGElement[]; readonly bottom: number } {
  const size = 11.5;
  const lines = wrapText(text, size, surface.width);
  return {
    elements: lines.map((line, i) => label(surface, line, 0, y + 16 + i * 15, { size, fill: surface.palette.muted })),
    bottom: y + 16 + (lines.length - 1) * 15,
  };
}

/** Room below a panel for tick labels and the axis's name. */
export const BELOW = 40;

/** The name of a horizontal axis, below its ticks. */
export const axisName = (surface: Surface, text: string, x: number, y: number, width: number): SVGElement =>
  label(surface, text, x + width / 2, y + 32, { size: TICK, fill: surface.palette.muted, anchor: "middle" });

/** A panel's name above it, cut short where it does not fit, and in grey what else there is to say. */
export function panelTitle(surface: Surface, x: number, y: number, width: number, name: string, beside = ""): SVGElement {
  const room = beside === "" ? 0 : 7 + textWidth(beside, TICK);
  const title = label(surface, shorten(name, LABEL, width - room), x, y, { bold: true });
  // Within the same text, so that it follows the name in whatever face that is set.
  if (beside !== "")
    title.append(element(surface, "tspan", { dx: 7, "font-size": TICK, "font-weight": 400, fill: surface.palette.muted }, [beside]));
  return title;
}

/**
 * Names at the right ends of lines, moved apart where they would overlap.
 *
 * @param x - Right edge of the panel, whose top is at y.
 * @param ends - Style of each line, and how far below the panel's top it ends.
 */
export function endLabels(
  surface: Surface,
  x: number,
  y: number,
  height: number,
  ends: readonly { readonly style: LineStyle; readonly y: number }[],
): SVGElement[] {
  const places = spread(
    ends.map((end) => end.y),
    TICK + 1,
    height,
  );
  return ends.map(({ style }, i) => label(surface, style.label, x + 5, y + places[i]! + 4, { size: TICK, fill: style.colour, bold: true }));
}

/** Heights moved as little as it takes (least squares) to lie `gap` apart, in their order, within `[0, height]`. */
export function spread(heights: readonly number[], gap: number, height: number): number[] {
  const order = [...heights.keys()].sort((i, j) => heights[i]! - heights[j]!);
  // Less their places in the stack, heights may be equal but must not fall: neighbours that would are drawn to their mean.
  const clusters: { sum: number; count: number }[] = [];
  const mean = ({ sum, count }: { sum: number; count: number }): number => sum / count;
  order.forEach((i, place) => {
    clusters.push({ sum: heights[i]! - place * gap, count: 1 });
    while (clusters.length > 1 && mean(clusters.at(-2)!) > mean(clusters.at(-1)!)) {
      const last = clusters.pop()!;
      clusters.at(-1)!.sum += last.sum;
      clusters.at(-1)!.count += last.count;
    }
  });
  const highest = Math.max(0, height - (heights.length - 1) * gap);
  const moved = [...heights];
  let place = 0;
  for (const cluster of clusters)
    for (let k = 0; k < cluster.count; k++) {
      moved[order[place]!] = Math.min(highest, Math.max(0, mean(cluster))) + place * gap;
      place++;
    }
  return moved;
}

/** Height in px from the top of a panel. */
export const heightOf = (axis: Axis, value: number, height: number): number => (1 - position(axis, value)) * height;

/** A panel that has nothing to show says so. */
export const emptyPanel = (surface: Surface, x: number, y: number, width: number, height: number, why: string): SVGElement[] => [
  element(surface, "rect", { x, y, width, height, fill: "none", stroke: surface.palette.grid }),
  label(surface, shorten(why, TICK, width - 8), x + width / 2, y + height / 2, {
    size: TICK,
    fill: surface.palette.muted,
    anchor: "middle",
  }),
];
