import * as Plot from "@observablehq/plot";
import { isComplete, layersOf, mean } from "../analysis/curves.ts";
import { type SweepLabels, type SweepRow, slope } from "../analysis/sweep.ts";
import type { RunTable, StatisticName } from "../analysis/table.ts";
import { type Axis, logAxis } from "./axis.ts";
import { type About, compose, type FigureOptions, nothingToDraw, plotAt, type Surface, surfaceOf } from "./figure.ts";
import { conditionItems, dotItem, dotStyle, lineItem } from "./legend.ts";
import { axisName, BELOW, emptyPanel, gridOf, horizontalAxis, panelTitle, scaleTitle, verticalAxis } from "./panels.ts";
import { axisTitle, capital } from "./statistics.ts";
import { excerpt, formatNumber, list } from "./text.ts";
import { type ConditionStyle, conditionStyles, moduleLabel, moduleTitle } from "./theme.ts";

/** A row as the scatter plots draw it. */
export interface RowDot {
  readonly condition: string;
  /** The first 160 characters of its instruction and response. */
  readonly text: string;
  /** Mean cross-entropy, nats. */
  readonly loss: number | null;
  readonly nTokens: number | null;
  readonly nLabels: number | null;
  /** By module: mean over layers of the nuclear norm, nats per unit of weight. */
  readonly norms: Readonly<Record<string, number | null>>;
  /** By module: mean over layers of the effective rank. */
  readonly ranks: Readonly<Record<string, number | null>>;
}

/** One row measured with ever fewer of its labels. */
export interface SweepLine {
  readonly condition: string;
  readonly text: string;
  readonly labels: SweepLabels;
  /** By number of labels k, ascending. */
  readonly steps: readonly { readonly k: number; readonly loss: number; readonly norms: Readonly<Record<string, number>> }[];
}

export interface RowsData extends About {
  readonly rows: readonly RowDot[];
  readonly sweeps: readonly SweepLine[];
}

/** A run's rows, the condition that they are of, and its sweep where there is one. */
export interface NamedTable {
  readonly name: string;
  readonly table: RunTable;
  readonly sweep?: readonly SweepRow[];
}

export interface RowsOptions extends FigureOptions {
  /** A panel each; default V, or the first that there is. */
  readonly modules?: readonly string[];
}

export interface LabelsOptions extends RowsOptions {
  /** Which lines are drawn; default `random`, where the sweeps have it: norms averaged over draws, so that only the number changes. */
  readonly sweeps?: SweepLabels;
}

/** The rows of runs, a condition each; runs of one name are drawn alike. */
export const rowsData = (about: About, runs: readonly NamedTable[]): RowsData => ({
  ...about,
  rows: runs.flatMap(({ name, table }) =>
    table.rows.map((row, i) => ({
      condition: name,
      text: excerpt(`${row.instruction} → ${row.output}`),
      loss: Number.isFinite(row.loss) ? row.loss : null,
      nTokens: row.nTokens,
      nLabels: row.nLabels,
      norms: layerMeans(table, "nuclearNorm", i),
      ranks: layerMeans(table, "effectiveRank", i),
    })),
  ),
  sweeps: runs.flatMap(({ name, sweep = [] }) => sweep.flatMap((row) => sweepLines(name, row))),
});

function layerMeans(table: RunTable, statistic: StatisticName, row: number): Record<string, number | null> {
  if (table.values[statistic] === undefined) return {};
  return Object.fromEntries(
    table.modules.map((module) => {
      const layers = layersOf(table, statistic, module, row);
      return [module, isComplete(layers) ? mean(layers) : null];
    }),
  );
}

/** The row's lines, `first` and `random`, each to the step that counts all labels. */
function sweepLines(condition: string, { instruction, output, nLabels, steps }: SweepRow): SweepLine[] {
  return (["first", "random"] as const).flatMap((labels) => {
    const own = steps.filter((step) => step.labels === labels || step.k === nLabels).toSorted((a, b) => a.k - b.k);
    if (own.length < 2) return [];
    const drawn = own.map(({ k, loss, nuclearNorm }) => ({
      k,
      loss,
      norms: Object.fromEntries(Object.entries(nuclearNorm).map(([module, layers]) => [module, mean(layers)!])),
    }));
    return [{ condition, text: excerpt(`${instruction} → ${output}`), labels, steps: drawn }];
  });
}

/** One of the two numbers of a dot; dots where it is not positive are left out, as there is no room for them on a log scale. */
interface Coordinate {
  of(row: RowDot, module: string): number | null | undefined;
  readonly name: string;
  readonly short: string;
}

const normOf: Coordinate = { of: ({ norms }, module) => norms[module], name: capital(axisTitle("nuclearNorm", "log")), short: "norm" };

/**
 * Number of labels against nuclear norm, log–log, a dot a row; with sweeps, the line of each swept row, whose norm changes by the number of
 * labels alone.
 *
 * @throws {LayergradError} `data` if no row has both numbers.
 */
export function labelsFigure(data: RowsData, { sweeps = anyKind(data), ...options }: LabelsOptions): SVGSVGElement {
  return scatterFigure(data, options, {
    title: "Number of labels against nuclear norm, a dot a row",
    x: { of: ({ nLabels }) => nLabels, name: "Labels in the loss (tokens, log scale)", short: "labels" },
    y: normOf,
    lines: data.sweeps.filter(({ labels }) => labels === sweeps),
    notes: ["Norms are means over layers. The loss is a mean over labels, so a gradient shrinks as labels grow, whatever they say."],
  });
}

const anyKind = ({ sweeps }: RowsData): SweepLabels => (sweeps.some(({ labels }) => labels === "random") ? "random" : "first");

/** Loss against nuclear norm, log–log, a dot a row. Throws as {@link labelsFigure}. */
export const lossFigure = (data: RowsData, options: RowsOptions): SVGSVGElement =>
  scatterFigure(data, options, {
    title: "Loss against nuclear norm, a dot a row",
    x: { of: ({ loss }) => loss, name: "Loss (nats a label, log scale)", short: "loss" },
    y: normOf,
    lines: [],
    notes: ["Norms are means over layers."],
  });

/** Length against effective rank, log–log, a dot a row. Throws as {@link labelsFigure}. */
export const effectiveRankFigure = (data: RowsData, options: RowsOptions): SVGSVGElement =>
  scatterFigure(data, options, {
    title: "Length against effective rank, a dot a row",
    x: { of: ({ nTokens }) => nTokens, name: "Length (tokens, log scale)", short: "tokens" },
    y: { of: ({ ranks }, module) => ranks[module], name: capital(axisTitle("effectiveRank", "log")), short: "rank" },
    lines: [],
    notes: ["Effective ranks are means over layers. A gradient's rank is at most the number of tokens, so length and rank go together."],
  });

interface Scatter {
  readonly title: string;
  readonly x: Coordinate;
  readonly y: Coordinate;
  readonly lines: readonly SweepLine[];
  readonly notes: readonly string[];
}

/** A dot with both its numbers. */
interface Placed {
  readonly row: RowDot;
  readonly module: string;
  readonly x: number;
  readonly y: number;
}

/** More dots are no clearer, and a megabyte heavier. */
const MOST_DOTS = 1500;

function scatterFigure(data: RowsData, { modules, ...options }: RowsOptions, scatter: Scatter): SVGSVGElement {
  const surface = surfaceOf(options);
  const chosen = modules ?? defaultModule(data);
  const rows = thinned(data.rows, MOST_DOTS);
  const placed = chosen.flatMap((module) => placedDots(rows, module, scatter));
  if (placed.length === 0) throw nothingToDraw(scatter.title.toLowerCase(), `no row has a ${scatter.x.short} and a ${scatter.y.short}`);
  const conditions = [...new Set(data.rows.map(({ condition }) => condition))];
  const onLines = scatter.lines.flatMap(({ steps }) => steps);
  const axes = {
    x: logAxis([...placed.map(({ x }) => x), ...onLines.map(({ k }) => k)]),
    y: logAxis([...placed.map(({ y }) => y), ...onLines.flatMap(({ norms }) => chosen.flatMap((module) => norms[module] || []))]),
  };
  const grid = gridOf(surface.width, chosen.length, { left: 54, right: 8, narrowest: 330 });
  const height = chosen.length === 1 ? 400 : 240;
  const line = 26 + height + BELOW;
  const styles = conditionStyles(conditions, surface.palette);
  const { elements: body, bottom } = scaleTitle(surface, scatter.y.name);
  chosen.forEach((module, i) => {
    const [x, y, width] = [grid.x(i), bottom + 26 + grid.line(i) * line, grid.panelWidth];
    const dots = placed.filter((dot) => dot.module === module);
    body.push(panelTitle(surface, x, y - 8, width, moduleTitle(module)), axisName(surface, scatter.x.name, x, y + height, width));
    if (dots.length === 0) body.push(...emptyPanel(surface, x, y, width, height, "no values"));
    else body.push(drawPanel(surface, { dots, scatter, module, styles, axes, x, y, width, height, labels: grid.isFirst(i) }));
  });
  return compose(surface, {
    title: scatter.title,
    about: [data.model, data.data, rowCounts(data, conditions)].join(" · "),
    legend: [
      ...conditionItems(surface, conditions, dotItem),
      ...(scatter.lines.length > 0
        ? [lineItem(surface, "one row, fewer of its labels", { colour: surface.palette.muted, dash: undefined })]
        : []),
    ],
    body,
    height: bottom + grid.lines * line,
    notes: [
      ...scatter.notes,
      ...sweepNotes(scatter.lines, chosen),
      ...(rows.length < data.rows.length ? [`${rows.length} of ${data.rows.length} rows are drawn, evenly chosen.`] : []),
    ],
    alt: altText(data, conditions, chosen, scatter),
  });
}

const VALUE = "self_attn.v_proj";

function defaultModule({ rows }: RowsData): string[] {
  const there = Object.keys(rows[0]?.norms ?? {});
  return there.includes(VALUE) ? [VALUE] : there.slice(0, 1);
}

/** At most `most` of the rows, evenly spaced. */
const thinned = <T>(rows: readonly T[], most: number): readonly T[] =>
  rows.length <= most ? rows : Array.from({ length: most }, (_, i) => rows[Math.floor((i * rows.length) / most)]!);

const placedDots = (rows: readonly RowDot[], module: string, { x, y }: Scatter): Placed[] =>
  rows.flatMap((row) => {
    const [left, up] = [x.of(row, module) ?? Number.NaN, y.of(row, module) ?? Number.NaN];
    return left > 0 && up > 0 && Number.isFinite(left) && Number.isFinite(up) ? [{ row, module, x: left, y: up }] : [];
  });

interface PanelBox {
  readonly dots: readonly Placed[];
  readonly scatter: Scatter;
  readonly module: string;
  readonly styles: ReadonlyMap<string, ConditionStyle>;
  readonly axes: { readonly x: Axis; readonly y: Axis };
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly labels: boolean;
}

function drawPanel(surface: Surface, { dots, scatter, module, styles, axes, x, y, width, height, labels }: PanelBox): SVGElement {
  const lines = scatter.lines.map(({ condition, text, steps }) =>
    Plot.lineY(steps, {
      x: "k",
      y: ({ norms }: SweepLine["steps"][number]) => norms[module],
      stroke: styles.get(condition)?.colour ?? surface.palette.muted,
      strokeWidth: 1.4,
      strokeOpacity: 0.8,
      title: () => `${condition}: ${text}`,
    }),
  );
  const marks = Array.from(styles, ([condition, style]) =>
    Plot.dot(
      dots.filter(({ row }) => row.condition === condition),
      {
        x: "x",
        y: "y",
        r: dots.length > 400 ? 2.4 : 3.6,
        title: (dot: Placed) =>
          `${condition}, ${scatter.x.short} ${formatNumber(dot.x)}, ${moduleLabel(module)} ${scatter.y.short} ${formatNumber(dot.y)}: ${dot.row.text}`,
        ...dotStyle(style),
      },
    ),
  );
  return plotAt(surface, x, y, {
    width,
    height,
    x: { type: axes.x.type, domain: [...axes.x.domain], range: [0, width] },
    y: { type: axes.y.type, domain: [...axes.y.domain], range: [height, 0] },
    marks: [
      ...verticalAxis(surface, axes.y, { labels }),
      Plot.ruleY([axes.y.domain[0]], { stroke: surface.palette.muted }),
      horizontalAxis(surface, axes.x.ticks),
      ...lines,
      ...marks,
    ],
  });
}

function rowCounts({ rows }: RowsData, conditions: readonly string[]): string {
  const counts = conditions.map((name) => rows.filter(({ condition }) => condition === name).length);
  return counts.every((count) => count === counts[0])
    ? `${counts[0]} ${counts[0] === 1 ? "row" : "rows"}${counts.length > 1 ? " a condition" : ""}`
    : list(conditions.map((name, i) => `${counts[i]} of ${name}`)).concat(" rows");
}

/** What the lines are, and how steep on average. */
function sweepNotes(lines: readonly SweepLine[], modules: readonly string[]): string[] {
  if (lines.length === 0) return [];
  const slopes = modules.flatMap((module) => {
    const each = lines.flatMap(({ steps }) => {
      const value = slope(
        steps.map(({ k }) => Math.log(k)),
        steps.map(({ norms }) => Math.log(norms[module]!)),
      );
      return value !== null && Number.isFinite(value) ? [value] : [];
    });
    return each.length === 0 ? [] : [`${moduleLabel(module)}\u00a0${formatNumber(mean(each)!, 2)}`];
  });
  const how = lines[0]!.labels === "first" ? "the first k of its labels" : "k of its labels, drawn at random and averaged over draws";
  return [
    `Lines: ${lines.length} ${lines.length === 1 ? "row" : "rows"}, the loss counting ${how}: text and model stay the same. Mean slope of log norm per log k: ${list(slopes) || "none"}.`,
  ];
}

const median = (values: readonly number[]): number | null => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length === 0 ? null : sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

function altText(data: RowsData, conditions: readonly string[], modules: readonly string[], scatter: Scatter): string {
  const texts = conditions.map((name) => {
    const rows = data.rows.filter(({ condition }) => condition === name);
    const placed = modules.map((module) => ({ module, dots: placedDots(rows, module, scatter) }));
    const x = median(placed[0]!.dots.map((dot) => dot.x));
    const y = placed.flatMap(({ module, dots }) => {
      const value = median(dots.map((dot) => dot.y));
      return value === null ? [] : `${moduleLabel(module)} ${formatNumber(value)}`;
    });
    return x === null
      ? `${name}: no values`
      : `${name}, ${rows.length} rows: ${scatter.x.short} ${formatNumber(x)}, ${scatter.y.short} ${list(y)}`;
  });
  return `Scatter plot. Medians: ${texts.join("; ")}.`;
}
