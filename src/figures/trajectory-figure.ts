import * as Plot from "@observablehq/plot";
import type { StatisticName } from "../analysis/table.ts";
import { type Axis, clamp, linearTicks, logAxis, type Point, valueAxis } from "./axis.ts";
import { describedIn, levelOf, type NamedRun, pointOf, rowsOf } from "./described-runs.ts";
import { type About, compose, type FigureOptions, nothingToDraw, plotAt, type Surface, surfaceOf } from "./figure.ts";
import { conditionItems, dotItem, dotStyle } from "./legend.ts";
import { axisName, BELOW, emptyPanel, gridOf, horizontalAxis, panelTitle, scaleTitle, verticalAxis } from "./panels.ts";
import { axisTitle, capital, intervalNote, rowsText, statisticTexts } from "./statistics.ts";
import { formatNumber, formatPoint, list } from "./text.ts";
import { type ConditionStyle, conditionStyles, moduleLabel, moduleTitle } from "./theme.ts";

/** A condition's mean over layers and rows at one checkpoint. */
export interface TrajectoryPoint {
  readonly condition: string;
  readonly module: string;
  /** Training step of the checkpoint. */
  readonly step: number;
  readonly rows: number;
  readonly point: Point;
}

export interface TrajectoryData extends About {
  readonly statistic: StatisticName;
  readonly level: number;
  readonly points: readonly TrajectoryPoint[];
}

/** The means of described runs of several checkpoints. */
export const trajectoryData = (
  about: About,
  runs: readonly (NamedRun & { readonly step: number })[],
  statistic: StatisticName = "nuclearNorm",
): TrajectoryData => ({
  ...about,
  statistic,
  level: levelOf(runs),
  points: runs.flatMap((run) => {
    const modules = describedIn(run, statistic);
    return modules.map(({ module, mean }) => ({
      condition: run.name,
      module,
      step: run.step,
      rows: rowsOf(modules),
      point: pointOf(mean),
    }));
  }),
});

/** Steps that span more than this factor are drawn on a log scale. */
const LOG_STEPS = 50;

/**
 * A statistic's mean over layers at the checkpoints of one training run, a line a condition, a panel a module. All panels share one scale.
 *
 * @throws {LayergradError} `data` if no checkpoint has a value.
 */
export function trajectoryFigure(data: TrajectoryData, options: FigureOptions): SVGSVGElement {
  const surface = surfaceOf(options);
  if (data.points.every(({ point }) => point.value === null)) throw nothingToDraw("trajectory", "no checkpoint has a value");
  const names = [...new Set(data.points.map(({ condition }) => condition))];
  const modules = [...new Set(data.points.map(({ module }) => module))];
  const styles = conditionStyles(names, surface.palette);
  const grid = gridOf(surface.width, modules.length, { left: 50, right: 10, narrowest: 190 });
  const axes = {
    x: stepAxis(
      data.points.map(({ step }) => step),
      grid.panelWidth,
    ),
    y: valueAxis(data.points.map(({ point }) => point)),
  };
  const height = 230;
  const line = 26 + height + BELOW;
  const { elements: body, bottom } = scaleTitle(surface, capital(axisTitle(data.statistic, axes.y.type)));
  modules.forEach((module, i) => {
    const [x, y, width] = [grid.x(i), bottom + 26 + grid.line(i) * line, grid.panelWidth];
    const points = data.points.filter((each) => each.module === module && each.point.value !== null);
    body.push(panelTitle(surface, x, y - 8, width, moduleTitle(module)));
    body.push(axisName(surface, `training step${axes.x.type === "log" ? " (log scale)" : ""}`, x, y + height, width));
    if (points.length === 0) body.push(...emptyPanel(surface, x, y, width, height, "no values"));
    else body.push(drawPanel(surface, { points, styles, axes, x, y, width, height, labels: grid.isFirst(i) }));
  });
  const counts = data.points.map(({ rows }) => rows);
  return compose(surface, {
    title: `${capital(statisticTexts[data.statistic].name)} over training`,
    about: [data.model, data.data, rowsText(counts)].join(" · "),
    legend: conditionItems(surface, names, dotItem),
    body,
    height: bottom + grid.lines * line,
    notes: [`Points: means over layers and rows. ${intervalNote("Bands", data.level, counts)}`],
    alt: altText(data, names, modules),
  });
}

function stepAxis(steps: readonly number[], width: number): Axis {
  const [first, last] = [Math.min(...steps), Math.max(...steps)];
  if (first > 0 && last / first > LOG_STEPS) return logAxis(steps, 0.02);
  const domain = first === last ? ([first - 1, last + 1] as const) : ([first, last] as const);
  return { type: "linear", domain, ticks: linearTicks(domain, Math.max(2, Math.floor(width / 60))) };
}

interface PanelBox {
  readonly points: readonly TrajectoryPoint[];
  readonly styles: ReadonlyMap<string, ConditionStyle>;
  readonly axes: { readonly x: Axis; readonly y: Axis };
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly labels: boolean;
}

function drawPanel(surface: Surface, { points, styles, axes, x, y, width, height, labels }: PanelBox): SVGElement {
  const marks = Array.from(styles).flatMap(([condition, style]): Plot.Markish[] => {
    const own = points.filter((each) => each.condition === condition).toSorted((a, b) => a.step - b.step);
    const ends = {
      y1: ({ point }: TrajectoryPoint) => clamp(axes.y, point.low),
      y2: ({ point }: TrajectoryPoint) => clamp(axes.y, point.high),
    };
    const place = { x: "step", y: ({ point }: TrajectoryPoint) => point.value };
    const dash = style.dash ?? (style.hollow ? "5 3" : undefined);
    return [
      Plot.areaY(own, { x: "step", ...ends, fill: style.colour, fillOpacity: 0.16 }),
      Plot.lineY(own, { ...place, stroke: style.colour, strokeWidth: 1.7, ...(dash && { strokeDasharray: dash }) }),
      Plot.dot(own, {
        ...place,
        r: 3.6,
        title: (each: TrajectoryPoint) => `${condition}, step ${each.step}, ${moduleLabel(each.module)}: ${formatPoint(each.point)}`,
        ...dotStyle(style),
      }),
    ];
  });
  return plotAt(surface, x, y, {
    width,
    height,
    x: { type: axes.x.type, domain: [...axes.x.domain], range: [0, width] },
    y: { type: axes.y.type, domain: [...axes.y.domain], range: [height, 0] },
    marks: [...verticalAxis(surface, axes.y, { labels }), horizontalAxis(surface, axes.x.ticks), ...marks],
  });
}

function altText({ points, statistic }: TrajectoryData, names: readonly string[], modules: readonly string[]): string {
  const { name, unit } = statisticTexts[statistic];
  const texts = names.map((condition) => {
    const each = modules.flatMap((module) => {
      const own = points
        .filter((each) => each.condition === condition && each.module === module && each.point.value !== null)
        .toSorted((a, b) => a.step - b.step);
      if (own.length === 0) return [];
      const [first, last] = [own[0]!, own.at(-1)!];
      return `${moduleLabel(module)} ${formatNumber(first.point.value!)} at step ${first.step}, ${formatNumber(last.point.value!)} at step ${last.step}`;
    });
    return `${condition}: ${list(each) || "no values"}`;
  });
  return `Line charts over training steps, a panel a projection. Mean over layers of the ${name}${unit === null ? "" : ` in ${unit}`}. ${texts.join("; ")}.`;
}
