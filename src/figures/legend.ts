import * as Plot from "@observablehq/plot";
import { element, type LegendItem, plotAt, SAMPLE, stroke, type Surface } from "./figure.ts";
import { type ConditionStyle, conditionStyles, type LineStyle } from "./theme.ts";

/** A line, as a module's or a condition's is drawn. */
export const lineItem = (surface: Surface, label: string, { colour, dash }: Pick<LineStyle, "colour" | "dash">): LegendItem => ({
  label,
  sample: [stroke(surface, [0, 0, SAMPLE, 0], { colour, dash, width: 1.8 })],
  width: SAMPLE,
});

/** A filled bar, or the outline of one. */
export const barItem = (surface: Surface, label: string, { colour, hollow }: Pick<ConditionStyle, "colour" | "hollow">): LegendItem => ({
  label,
  sample: [
    element(surface, "rect", { x: 1, y: -6, width: 12, height: 12, fill: hollow ? "none" : colour, stroke: colour, "stroke-width": 1.4 }),
  ],
  width: 14,
});

/** A dot, as a condition's rows are drawn. */
export const dotItem = (surface: Surface, label: string, style: ConditionStyle): LegendItem => ({
  label,
  sample: [
    plotAt(surface, 6, 0, {
      width: 0,
      height: 0,
      x: { type: "identity" },
      y: { type: "identity" },
      marks: [Plot.dot([0], { x: () => 0, y: () => 0, r: 4.5, ...dotStyle(style) })],
    }),
  ],
  width: 12,
});

/** Plot's options for a condition's dots. */
export const dotStyle = ({ colour, symbol, hollow }: ConditionStyle) => ({
  symbol,
  stroke: colour,
  strokeWidth: 1.4,
  fill: hollow ? "none" : colour,
  fillOpacity: 0.55,
});

/** Items for conditions in their order, each once. */
export const conditionItems = (
  surface: Surface,
  names: readonly string[],
  item: (surface: Surface, label: string, style: ConditionStyle) => LegendItem,
): LegendItem[] => Array.from(conditionStyles([...new Set(names)], surface.palette), ([name, style]) => item(surface, name, style));
