import * as Plot from "@observablehq/plot";
import { logAxis } from "./axis.ts";
import { type About, compose, type FigureOptions, nothingToDraw, plotAt, surfaceOf } from "./figure.ts";
import { conditionItems, lineItem } from "./legend.ts";
import { axisName, BELOW, gridOf, horizontalAxis, panelTitle, scaleTitle, verticalAxis } from "./panels.ts";
import { excerpt, formatNumber, list } from "./text.ts";
import { conditionStyles, moduleLabel, moduleTitle } from "./theme.ts";

/** Singular values of one row's gradient in one module. */
export interface Spectrum {
  readonly condition: string;
  readonly module: string;
  /** Position in the data file; null where unknown. */
  readonly row: number | null;
  readonly text: string;
  /** σ₁ ≥ σ₂ ≥ …, nats per unit of weight. */
  readonly values: readonly number[];
}

export interface SpectrumData extends About {
  readonly layer: number;
  readonly series: readonly Spectrum[];
}

/** Of σ₁. What lies further below is rounding: float64 factors hold some eight digits of it (docs/numerics.md). */
const FLOOR = 1e-8;
const HEIGHT = 240;

/**
 * Singular values of chosen rows' gradients in one layer, largest first, on log scales; a panel a module.
 *
 * @throws {LayergradError} `data` if no row has a singular value above 0.
 */
export function spectrumFigure(data: SpectrumData, options: FigureOptions): SVGSVGElement {
  const surface = surfaceOf(options);
  const series = data.series
    .map((each) => ({ ...each, values: each.values.filter((value) => value > FLOOR * each.values[0]!) }))
    .filter(({ values }) => values.length > 0);
  if (series.length === 0) throw nothingToDraw("spectrum", "no row has a singular value above 0 (records hold them with --spectrum)");
  const names = data.series.map(({ condition }) => condition);
  const styles = conditionStyles(names, surface.palette);
  const modules = [...new Set(series.map(({ module }) => module))];
  const y = logAxis(series.flatMap(({ values }) => values));
  const ranks = logAxis([1, ...series.map(({ values }) => values.length)], 0);
  const grid = gridOf(surface.width, modules.length, { left: 54, right: 6, narrowest: 190 });
  const line = 26 + HEIGHT + BELOW;
  const { elements: body, bottom } = scaleTitle(surface, "Singular value σᵢ (nats per unit of weight, log scale)");
  modules.forEach((module, i) => {
    const [x, top, width] = [grid.x(i), bottom + 26 + grid.line(i) * line, grid.panelWidth];
    const lines = series
      .filter((each) => each.module === module)
      .map(({ condition, values, row, text }) => {
        const { colour, dash } = styles.get(condition)!;
        const title = `${condition}${row === null ? "" : `, row ${row}`}: ${excerpt(text)}`;
        return Plot.lineY(values, {
          x: (_: number, k: number) => k + 1,
          y: (value: number) => value,
          stroke: colour,
          strokeWidth: 1.5,
          strokeOpacity: 0.85,
          title: () => title,
          ...(dash && { strokeDasharray: dash }),
        });
      });
    body.push(
      panelTitle(surface, x, top - 8, width, moduleTitle(module)),
      plotAt(surface, x, top, {
        width,
        height: HEIGHT,
        x: { type: "log", domain: [...ranks.domain], range: [0, width] },
        y: { type: "log", domain: [...y.domain], range: [HEIGHT, 0] },
        marks: [...verticalAxis(surface, y, { labels: grid.isFirst(i) }), horizontalAxis(surface, ranks.ticks), ...lines],
      }),
      axisName(surface, "i, largest first (log scale)", x, top + HEIGHT, width),
    );
  });
  return compose(surface, {
    title: `Singular values of single rows' gradients, layer ${data.layer}`,
    about: [data.model, data.data, rowCounts(data)].join(" · "),
    legend: conditionItems(surface, names, lineItem),
    body,
    height: bottom + grid.lines * line,
    notes: [`A line a row. Values below ${formatNumber(FLOOR)} σ₁ are rounding and left out.`],
    alt: altText(data.layer, series),
  });
}

function rowCounts({ series }: SpectrumData): string {
  const conditions = [...new Set(series.map(({ condition }) => condition))];
  const modules = new Set(series.map(({ module }) => module)).size;
  return list(
    conditions.map((name) => {
      const rows = Math.round(series.filter(({ condition }) => condition === name).length / modules);
      return `${rows} ${rows === 1 ? "row" : "rows"} of ${name}`;
    }),
  );
}

function altText(layer: number, series: readonly Spectrum[]): string {
  const keys = [...new Set(series.map(({ module, condition }) => `${moduleLabel(module)}, ${condition}`))];
  const texts = keys.map((key) => {
    const own = series.filter(({ module, condition }) => `${moduleLabel(module)}, ${condition}` === key);
    const [largest, counts] = [own.map(({ values }) => values[0]!), own.map(({ values }) => values.length)];
    return `${key}: σ₁ from ${formatNumber(Math.min(...largest))} to ${formatNumber(Math.max(...largest))}, ${Math.min(...counts)} to ${Math.max(...counts)} values`;
  });
  return `Line charts of singular values of layer ${layer}, a panel a projection, a line a row. ${texts.join("; ")}.`;
}
