import * as Plot from "@observablehq/plot";
import type { StatisticName } from "../analysis/table.ts";
import { type Axis, clamp, linearTicks, type Point, valueAxis } from "./axis.ts";
import { levelOf, type NamedRun, pointOf, rowsOf } from "./described-runs.ts";
import { type About, compose, type FigureOptions, hoverStrips, nothingToDraw, plotAt, type Surface, surfaceOf, TICK } from "./figure.ts";
import { lineItem } from "./legend.ts";
import { axisName, BELOW, emptyPanel, endLabels, gridOf, heightOf, layerAxis, panelTitle, scaleTitle, verticalAxis } from "./panels.ts";
import { axisTitle, capital, intervalNote, rowsText, statisticTexts } from "./statistics.ts";
import { formatNumber, formatPoint, list, textWidth } from "./text.ts";
import { type LineStyle, moduleLabel, moduleStyles } from "./theme.ts";

/** One module's curve of one statistic: a point a layer. */
export interface CurvePoints {
  readonly module: string;
  readonly statistic: StatisticName;
  readonly points: readonly Point[];
}

export interface ConditionCurves {
  readonly name: string;
  /** Rows that the curves rest on. */
  readonly rows: number;
  readonly curves: readonly CurvePoints[];
}

export interface CurvesData extends About {
  /** Of the intervals. */
  readonly level: number;
  readonly conditions: readonly ConditionCurves[];
}

export interface CurvesOptions extends FigureOptions {
  /** A row of panels each; default the nuclear norm. */
  readonly statistics?: readonly StatisticName[];
  /** Draws the curves as the paper does: its colours and limits, without intervals, on white in every theme. */
  readonly paperStyle?: boolean;
}

/** The curves of described runs, a condition each. */
export const curvesData = (about: About, runs: readonly NamedRun[]): CurvesData => ({
  ...about,
  level: levelOf(runs),
  conditions: runs.map(({ name, description }) => ({
    name,
    rows: rowsOf(description.modules),
    curves: description.modules.map(({ module, statistic, curve }) => ({ module, statistic, points: curve.map(pointOf) })),
  })),
});

/** A row of panels: some modules' curves of one statistic, condition by condition. */
interface Row {
  readonly statistic: StatisticName;
  readonly modules: readonly string[];
  readonly heading: string;
  /** One a condition. */
  readonly axes: readonly Axis[];
  /** Whether panels have scales of their own, so that each needs its tick labels. */
  readonly ownScales: boolean;
}

/**
 * Conditions side by side, the curves of Q, K, V and O over layers: the papers' figure. All panels of a row share one scale, and bands are
 * the intervals of the means.
 *
 * @throws {LayergradError} `data` if no condition has a curve of the statistics.
 */
export function curvesFigure(
  data: CurvesData,
  { statistics = ["nuclearNorm"], paperStyle = false, ...options }: CurvesOptions,
): SVGSVGElement {
  const surface = surfaceOf({ ...options, ...(paperStyle && { theme: "light" }) });
  const rows = statistics.flatMap((statistic) => (paperStyle ? rowsAsPublished(data, statistic) : [rowOnOneScale(data, statistic)]));
  const modules = [...new Set(rows.flatMap((row) => row.modules))];
  if (modules.length === 0) throw nothingToDraw("curves", `no condition has a curve of ${list(statistics)}`);
  const styles = paperStyle ? publishedStyles(modules) : moduleStyles(modules, surface.palette);
  const drawn = stack(
    rows.map((row) => (offset: number) => drawRow(surface, data, row, { styles, paperStyle, offset, tall: rows.length === 1 })),
  );
  return compose(surface, {
    title: `${capital(list(statistics.map((statistic) => statisticTexts[statistic].name)))} of the gradient, layer by layer`,
    about: [data.model, data.data, rowsText(data.conditions.map(({ rows: n }) => n))].join(" · "),
    legend: modules.map((module) => lineItem(surface, styles.get(module)!.label, styles.get(module)!)),
    ...drawn,
    notes: paperStyle
      ? [publishedNote(rows)]
      : [
          `Lines: means over rows. ${intervalNote(
            "Bands",
            data.level,
            data.conditions.map(({ rows: n }) => n),
          )}`,
        ],
    alt: altText(data, statistics[0]!, styles),
  });
}

/** Draws one below the other. */
function stack(draw: readonly ((offset: number) => { readonly elements: readonly SVGElement[]; readonly height: number })[]) {
  const body: SVGElement[] = [];
  let height = 0;
  for (const next of draw) {
    const { elements, height: own } = next(height);
    body.push(...elements);
    height += own;
  }
  return { body, height };
}

const curvesOf = (condition: ConditionCurves, statistic: StatisticName, modules?: readonly string[]): CurvePoints[] =>
  condition.curves.filter((curve) => curve.statistic === statistic && (modules?.includes(curve.module) ?? true));

const modulesOf = ({ conditions }: CurvesData, statistic: StatisticName): string[] => [
  ...new Set(conditions.flatMap((condition) => curvesOf(condition, statistic).map(({ module }) => module))),
];

function rowOnOneScale(data: CurvesData, statistic: StatisticName): Row {
  const axis = valueAxis(data.conditions.flatMap((condition) => curvesOf(condition, statistic).flatMap(({ points }) => points)));
  return {
    statistic,
    modules: modulesOf(data, statistic),
    heading: capital(axisTitle(statistic, axis.type)),
    axes: data.conditions.map(() => axis),
    ownScales: false,
  };
}

interface RowStyle {
  readonly styles: ReadonlyMap<string, LineStyle>;
  readonly paperStyle: boolean;
  readonly offset: number;
  /** Whether the row has the figure to itself. */
  readonly tall: boolean;
}

function drawRow(surface: Surface, data: CurvesData, row: Row, { styles, paperStyle, offset, tall }: RowStyle) {
  // Room for the names at the lines' ends, and before the next panel for its own tick labels.
  const right = 8 + Math.max(12, ...row.modules.map((module) => textWidth(styles.get(module)!.label, TICK)));
  const grid = gridOf(surface.width, data.conditions.length, { right, gap: right + (row.ownScales ? 30 : 6) });
  const height = tall ? 250 : 170;
  const { elements, bottom: top } = scaleTitle(surface, row.heading, offset);
  const line = 26 + height + BELOW;
  data.conditions.forEach((condition, i) => {
    const [x, y] = [grid.x(i), top + 26 + grid.line(i) * line];
    const panel = { x, y, width: grid.panelWidth, height, axis: row.axes[i]!, labels: row.ownScales || grid.isFirst(i), paperStyle };
    elements.push(panelTitle(surface, x, y - 8, grid.panelWidth, condition.name, rowsBeside(data.conditions, condition)));
    elements.push(...drawPanel(surface, curvesOf(condition, row.statistic, row.modules), { styles, ...panel }));
  });
  return { elements, height: top - offset + 26 + grid.lines * line - 14 };
}

/** A condition's rows, where conditions differ in them. */
const rowsBeside = (conditions: readonly ConditionCurves[], { rows }: ConditionCurves): string =>
  conditions.every((other) => other.rows === rows) ? "" : rowsText([rows]);

interface PanelBox {
  readonly styles: ReadonlyMap<string, LineStyle>;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly axis: Axis;
  readonly labels: boolean;
  readonly paperStyle: boolean;
}

function drawPanel(
  surface: Surface,
  curves: readonly CurvePoints[],
  { styles, x, y, width, height, axis, labels, paperStyle }: PanelBox,
): SVGElement[] {
  const drawable = curves.filter(({ points }) => points.some(({ value }) => value !== null));
  if (drawable.length === 0) return emptyPanel(surface, x, y, width, height, "no values");
  const layers = Math.max(...drawable.map(({ points }) => points.length));
  const marks = drawable.flatMap(({ module, points }) => curveMarks(points, styles.get(module)!, axis, !paperStyle));
  const plot = plotAt(surface, x, y, {
    width,
    height,
    x: { domain: [0, Math.max(1, layers - 1)], range: [0, width] },
    y: { type: axis.type, domain: [...axis.domain], range: [height, 0] },
    marks: [...verticalAxis(surface, axis, { labels }), layerAxis(surface, layers, width), ...marks],
  });
  const step = width / Math.max(1, layers - 1);
  const strips = hoverStrips(
    surface,
    Array.from({ length: layers }, (_, layer) => layer * step),
    Array.from({ length: layers }, (_, layer) => hoverText(drawable, styles, layer)),
    height,
  );
  plot.append(...strips);
  const ends = drawable.flatMap(({ module, points }) => {
    const last = points.findLast(({ value }) => value !== null);
    return last === undefined ? [] : { style: styles.get(module)!, y: heightOf(axis, last.value!, height) };
  });
  return [plot, axisName(surface, "layer", x, y + height, width), ...endLabels(surface, x + width, y, height, ends)];
}

/** The line of the means and, below it, the band of their intervals. */
function curveMarks(points: readonly Point[], { colour, dash }: LineStyle, axis: Axis, band: boolean): Plot.Markish[] {
  const indexed = points.map((point, layer) => ({ ...point, layer }));
  const line = Plot.lineY(indexed, { x: "layer", y: "value", stroke: colour, strokeWidth: 1.7, ...(dash && { strokeDasharray: dash }) });
  if (!band) return [line];
  const ends = { y1: ({ low }: Point) => clamp(axis, low), y2: ({ high }: Point) => clamp(axis, high) };
  return [Plot.areaY(indexed, { x: "layer", ...ends, fill: colour, fillOpacity: 0.16 }), line];
}

const hoverText = (curves: readonly CurvePoints[], styles: ReadonlyMap<string, LineStyle>, layer: number): string =>
  [
    `layer ${layer}`,
    ...curves.map(
      ({ module, points }) => `${styles.get(module)!.label} ${formatPoint(points[layer] ?? { value: null, low: null, high: null })}`,
    ),
  ].join("\n");

const meanOf = (points: readonly Point[]): number | null => {
  const values = points.flatMap(({ value }) => value ?? []);
  return values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length;
};

function altText({ conditions }: CurvesData, statistic: StatisticName, styles: ReadonlyMap<string, LineStyle>): string {
  const { name, unit } = statisticTexts[statistic];
  const means = conditions.map((condition) => {
    const each = curvesOf(condition, statistic).flatMap(({ module, points }) => {
      const mean = meanOf(points);
      return mean === null ? [] : `${styles.get(module)?.label ?? module} ${formatNumber(mean)}`;
    });
    return `${condition.name}, ${condition.rows} rows: ${list(each) || "no values"}`;
  });
  return `Line charts, a panel a condition. Mean over layers of the ${name}${unit === null ? "" : ` in ${unit}`}: ${means.join("; ")}.`;
}

/** Red, green, blue and grey, all solid. */
function publishedStyles(modules: readonly string[]): ReadonlyMap<string, LineStyle> {
  const colours: Readonly<Record<string, string>> = { Q: "#ff0000", K: "#008000", V: "#0000ff", O: "#808080" };
  return new Map(
    modules.map((module) => {
      const name = moduleLabel(module);
      return [module, { label: name, colour: colours[name] ?? "#000000", dash: undefined }];
    }),
  );
}

const QUERY_AND_KEY = ["self_attn.q_proj", "self_attn.k_proj"];

/**
 * The paper's rows: nuclear norms, bare answers (the first of the conditions called `none`) to 100 and others to 30; σ₁ ratios to 0.6, those
 * of Q and K above those of V and O. Where curves reach higher, or not a quarter so high, the limit follows them.
 */
function rowsAsPublished(data: CurvesData, statistic: StatisticName): Row[] {
  const all = modulesOf(data, statistic);
  const { name } = statisticTexts[statistic];
  const row = (modules: readonly string[], heading: string, limits: readonly (number | null)[]): Row => {
    const highest = (chosen: (i: number) => boolean): number =>
      Math.max(
        ...data.conditions.flatMap((condition, i) =>
          chosen(i) ? curvesOf(condition, statistic, modules).flatMap(({ points }) => points.flatMap(({ value }) => value ?? [])) : [],
        ),
      );
    const axes = limits.map((limit) =>
      axisTo(
        limitFor(
          highest((i) => limits[i] === limit),
          limit,
        ),
      ),
    );
    return { statistic, modules, heading, axes, ownScales: true };
  };
  if (statistic === "nuclearNorm")
    return [
      row(
        all,
        capital(axisTitle(statistic, "linear")),
        data.conditions.map((condition) => (/^none\b/i.test(condition.name) ? 100 : 30)),
      ),
    ];
  if (statistic !== "sigmaOneRatio")
    return [
      row(
        all,
        capital(axisTitle(statistic, "linear")),
        data.conditions.map(() => null),
      ),
    ];
  const [first, second] = [all.filter((module) => QUERY_AND_KEY.includes(module)), all.filter((module) => !QUERY_AND_KEY.includes(module))];
  return [
    row(
      first,
      `${name} (Q, K)`,
      data.conditions.map(() => 0.6),
    ),
    row(
      second,
      `${name} (V, O)`,
      data.conditions.map(() => 0.6),
    ),
  ].filter(({ modules }) => modules.length > 0);
}

/** The published limit where it shows the curves, else the next of 1, 2, 3, 4, 5, 6 or 8 times a power of ten. */
function limitFor(highest: number, published: number | null): number {
  if (published !== null && highest <= published && highest > published / 4) return published;
  const power = 10 ** Math.floor(Math.log10(highest > 0 ? highest : 1));
  return power * ([1, 2, 3, 4, 5, 6, 8].find((factor) => factor * power >= highest) ?? 10);
}

const axisTo = (limit: number): Axis => ({ type: "linear", domain: [0, limit], ticks: linearTicks([0, limit], 5) });

function publishedNote(rows: readonly Row[]): string {
  const limits = [...new Set(rows.flatMap(({ axes }) => axes.map(({ domain }) => domain[1])))];
  return `Drawn as published: means without intervals, and panels with limits of their own (here ${list(limits.map((limit) => formatNumber(limit)))}), so that heights compare within a panel only.`;
}
