import * as Plot from "@observablehq/plot";
import type { StatisticName } from "../analysis/table.ts";
import { type Axis, clamp, type Point, valueAxis } from "./axis.ts";
import { describedIn, levelOf, type NamedRun, pointOf, rowsOf } from "./described-runs.ts";
import { type About, compose, type FigureOptions, nothingToDraw, plotAt, type Surface, surfaceOf, TICK } from "./figure.ts";
import { barItem, conditionItems, dotItem, dotStyle } from "./legend.ts";
import { BELOW, gridOf, panelTitle, scaleTitle, verticalAxis } from "./panels.ts";
import { axisTitle, capital, intervalNote, rowsText, statisticTexts } from "./statistics.ts";
import { formatPoint, list } from "./text.ts";
import { type ConditionStyle, conditionStyles, moduleLabel, moduleTitle } from "./theme.ts";

/** Parts of a model over which a MAD is taken. */
export const madSegments = ["all", "shallow", "middle", "deep"] as const;
export type MadSegment = (typeof madSegments)[number];

export interface MadBar {
  readonly condition: string;
  readonly module: string;
  readonly segment: MadSegment;
  readonly point: Point;
}

export interface MadData extends About {
  readonly statistic: StatisticName;
  readonly level: number;
  /** First layer and last (exclusive) of the shallow, middle and deep segment. */
  readonly segments: readonly (readonly [number, number])[];
  readonly conditions: readonly { readonly name: string; readonly rows: number }[];
  readonly bars: readonly MadBar[];
}

/** The MADs of described runs, a condition each; those of segments with fewer than two layers have no value. */
export function madData(about: About, runs: readonly NamedRun[], statistic: StatisticName = "nuclearNorm"): MadData {
  const described = runs.map((run) => ({ name: run.name, modules: describedIn(run, statistic) }));
  return {
    ...about,
    statistic,
    level: levelOf(runs),
    segments: runs[0]?.description.segments ?? [],
    conditions: described.map(({ name, modules }) => ({ name, rows: rowsOf(modules) })),
    bars: described.flatMap(({ name, modules }) =>
      modules.flatMap(({ module, mad, segmentMads }) =>
        [mad, ...segmentMads].map((estimate, s) => ({ condition: name, module, segment: madSegments[s]!, point: pointOf(estimate) })),
      ),
    ),
  };
}

const HEIGHT = 200;

/**
 * MAD of each condition's curves over all layers and by segment, a panel a module; all panels share one scale. Bars from zero, or points on a
 * log scale where the values span more than a factor of 50.
 *
 * @throws {LayergradError} `data` if no bar has a value.
 */
export function madFigure(data: MadData, options: FigureOptions): SVGSVGElement {
  const surface = surfaceOf(options);
  if (data.bars.every(({ point }) => point.value === null)) throw nothingToDraw("MAD", "no curve has two layers");
  const names = data.conditions.map(({ name }) => name);
  const styles = conditionStyles(names, surface.palette);
  const axis = valueAxis(data.bars.map(({ point }) => point));
  const modules = [...new Set(data.bars.map(({ module }) => module))];
  const grid = gridOf(surface.width, modules.length, { right: 0, gap: 20, narrowest: 56 + 40 * names.length });
  const line = 26 + HEIGHT + BELOW - 6;
  const { elements: body, bottom } = scaleTitle(surface, capital(axisTitle(data.statistic, axis.type, "MAD")));
  modules.forEach((module, i) => {
    const [x, y] = [grid.x(i), bottom + 26 + grid.line(i) * line];
    body.push(panelTitle(surface, x, y - 8, grid.panelWidth, moduleTitle(module)));
    body.push(drawPanel(surface, { data, module, styles, axis, x, y, width: grid.panelWidth, labels: grid.isFirst(i) }));
  });
  const counts = data.conditions.map(({ rows }) => rows);
  return compose(surface, {
    title: `How much neighbouring layers differ: MAD of the ${statisticTexts[data.statistic].name}, by segment`,
    about: [data.model, data.data, rowsText(counts)].join(" · "),
    legend: conditionItems(surface, names, axis.type === "log" ? dotItem : barItem),
    body,
    height: bottom + grid.lines * line,
    notes: [
      `MAD: mean |c[i+1] − c[i]| of the curve of means; steps across a segment's border count in none. ${segmentsText(data.segments)}`,
      intervalNote("Whiskers", data.level, counts),
    ],
    alt: altText(data),
  });
}

interface PanelBox {
  readonly data: MadData;
  readonly module: string;
  readonly styles: ReadonlyMap<string, ConditionStyle>;
  readonly axis: Axis;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly labels: boolean;
}

/** Bars beside each other by segment, in pixels. */
function drawPanel(surface: Surface, { data, module, styles, axis, x, y, width, labels }: PanelBox): SVGElement {
  const names = data.conditions.map(({ name }) => name);
  const slot = width / madSegments.length;
  const bar = Math.min(22, (slot - 10) / names.length);
  const centre = ({ condition, segment }: MadBar): number =>
    (madSegments.indexOf(segment) + 0.5) * slot + (names.indexOf(condition) - (names.length - 1) / 2) * bar;
  const shown = data.bars.filter((each) => each.module === module && each.point.value !== null);
  const marks = names.flatMap((name): Plot.Markish[] => {
    const bars = shown.filter(({ condition }) => condition === name);
    const style = styles.get(name)!;
    const title = (each: MadBar): string => `${name}, ${moduleLabel(module)}, ${segmentName(each.segment)}: MAD ${formatPoint(each.point)}`;
    const whiskers = Plot.ruleX(
      bars.filter(({ point }) => point.low !== null && point.high !== null),
      {
        x: centre,
        y1: ({ point }: MadBar) => clamp(axis, point.low),
        y2: ({ point }: MadBar) => clamp(axis, point.high),
        stroke: surface.palette.text,
        strokeWidth: 1.2,
      },
    );
    if (axis.type === "log")
      return [whiskers, Plot.dot(bars, { x: centre, y: ({ point }: MadBar) => point.value, r: 4, title, ...dotStyle(style) })];
    const sides = { x1: (each: MadBar) => centre(each) - bar / 2 + 1, x2: (each: MadBar) => centre(each) + bar / 2 - 1 };
    const look = { fill: style.colour, fillOpacity: style.hollow ? 0 : 0.85, stroke: style.colour, strokeWidth: 1.4 };
    return [Plot.rect(bars, { ...sides, y1: 0, y2: ({ point }: MadBar) => point.value, title, ...look }), whiskers];
  });
  const segments = Plot.text(madSegments, {
    x: (_: unknown, s: number) => (s + 0.5) * slot,
    frameAnchor: "bottom",
    dy: 15,
    text: (segment: MadSegment) => segment,
    fill: surface.palette.muted,
    fontSize: TICK,
  });
  return plotAt(surface, x, y, {
    width,
    height: HEIGHT,
    x: { type: "linear", domain: [0, width], range: [0, width] },
    y: { type: axis.type, domain: [...axis.domain], range: [HEIGHT, 0] },
    marks: [
      ...verticalAxis(surface, axis, { labels }),
      Plot.ruleY([axis.domain[0]], { stroke: surface.palette.muted }),
      ...marks,
      segments,
    ],
  });
}

const segmentName = (segment: MadSegment): string => (segment === "all" ? "all layers" : `${segment} layers`);

const segmentsText = (segments: MadData["segments"]): string =>
  segments.length === 0 ? "" : `${capital(list(segments.map(([from, to], s) => `${madSegments[s + 1]}: layers ${from}–${to - 1}`)))}.`;

function altText({ conditions, bars, statistic }: MadData): string {
  const texts = conditions.map(({ name, rows }) => {
    const all = bars.filter(({ condition, segment, point }) => condition === name && segment === "all" && point.value !== null);
    return `${name}, ${rows} rows: ${list(all.map(({ module, point }) => `${moduleLabel(module)} ${formatPoint(point)}`))}`;
  });
  const unit = statisticTexts[statistic].unit;
  return `Bar charts, a panel a projection. MAD over all layers${unit === null ? "" : ` in ${unit}`}: ${texts.join("; ")}.`;
}
