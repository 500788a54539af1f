import * as Plot from "@observablehq/plot";
import type { Comparison, ModuleComparison } from "../analysis/comparison.ts";
import type { StatisticName } from "../analysis/table.ts";
import { LayergradError } from "../errors.ts";
import { type Axis, linearAxis, type Point } from "./axis.ts";
import { pointOf } from "./described-runs.ts";
import {
  type About,
  compose,
  type FigureOptions,
  label,
  type LegendItem,
  nothingToDraw,
  plotAt,
  type Surface,
  surfaceOf,
  TICK,
} from "./figure.ts";
import { barItem, lineItem } from "./legend.ts";
import { axisName, BELOW, gridOf, layerAxis, panelTitle, verticalAxis } from "./panels.ts";
import { intervalNote, rowsText, statisticTexts } from "./statistics.ts";
import { formatNumber, formatPoint, list } from "./text.ts";
import { moduleLabel } from "./theme.ts";

/** RD of one module between a condition and its twin. */
export interface ModuleRelativeDifference {
  readonly module: string;
  /** |aᵢ − bᵢ| / |aᵢ|, one a layer. */
  readonly byLayer: readonly number[];
  /** The five layers where it is largest, largest first. */
  readonly topLayers: readonly number[];
  /** RD: their mean. */
  readonly mean: Point;
  /** What chance gives, in RD's unit: in 95 of 100 cases correct and irrelevant swapped at random lie less far apart. Null where no rows are paired. */
  readonly chance: number | null;
}

export interface RelativeDifferenceData extends About {
  readonly statistic: StatisticName;
  readonly level: number;
  /** A row of panels each. */
  readonly pairs: readonly { readonly name: string; readonly rows: number; readonly modules: readonly ModuleRelativeDifference[] }[];
}

/** A comparison, and what it is called in figures. */
export interface NamedComparison {
  readonly name: string;
  readonly comparison: Comparison;
}

/**
 * The modules of a comparison in one statistic.
 *
 * @throws {LayergradError} `usage` if it compares others only.
 */
export function comparedIn({ name, comparison }: NamedComparison, statistic: StatisticName): readonly ModuleComparison[] {
  const modules = comparison.modules.filter((module) => module.statistic === statistic);
  if (modules.length === 0) throw new LayergradError("usage", `${name}: is not compared in ${statistic}; ask compareRuns for it.`);
  return modules;
}

/** RDs of comparisons of a condition (a) with its irrelevant twin (b), which bear the condition's name. */
export function relativeDifferenceData(
  about: About,
  pairs: readonly NamedComparison[],
  statistic: StatisticName = "nuclearNorm",
): RelativeDifferenceData {
  const compared = pairs.map((pair) => ({ name: pair.name, modules: comparedIn(pair, statistic) }));
  return {
    ...about,
    statistic,
    level: compared[0]?.modules[0]?.relativeDifference.level ?? 0.95,
    pairs: compared.map(({ name, modules }) => ({
      name,
      rows: Math.min(...modules.map(({ relativeDifference }) => relativeDifference.n)),
      modules: modules.map(({ module, relativeDifference }) => ({
        module,
        byLayer: relativeDifference.byLayer,
        topLayers: relativeDifference.topLayers,
        mean: pointOf(relativeDifference),
        chance: relativeDifference.swap?.nullQuantile95 ?? null,
      })),
    })),
  };
}

const HEIGHT = 130;

/**
 * RD by layer between conditions and their irrelevant twins, a panel a module, a row of panels a condition; the five layers where it is
 * largest are marked, and what swapping the twins at random gives is drawn as a line. All panels share one scale.
 *
 * @throws {LayergradError} `data` if there is no pair.
 */
export function relativeDifferenceFigure(data: RelativeDifferenceData, options: FigureOptions): SVGSVGElement {
  const surface = surfaceOf(options);
  const modules = [...new Set(data.pairs.flatMap((pair) => pair.modules.map(({ module }) => module)))];
  if (modules.length === 0) throw nothingToDraw("relative difference", "no condition is compared with its irrelevant twin");
  const all = data.pairs.flatMap((pair) => pair.modules);
  const axis = linearAxis(
    all.flatMap(({ byLayer, chance, mean }) => [...byLayer, chance ?? 0, mean.value ?? 0]),
    4,
  );
  const grid = gridOf(surface.width, modules.length, { right: 2, gap: 22, narrowest: 170 });
  const line = 60 + HEIGHT + BELOW;
  const body: SVGElement[] = [];
  data.pairs.forEach((pair, p) =>
    modules.forEach((module, i) => {
      const [x, y] = [grid.x(i), 58 + (p * grid.lines + grid.line(i)) * line];
      const found = pair.modules.find((each) => each.module === module);
      if (found === undefined) return;
      body.push(panelTitle(surface, x, y - 39, grid.panelWidth, `${pair.name}, ${moduleLabel(module)}`));
      body.push(label(surface, `RD ${formatPoint(found.mean)}`, x, y - 24, { size: TICK, fill: surface.palette.muted }));
      body.push(label(surface, `layers ${found.topLayers.join(", ")}`, x, y - 9, { size: TICK, fill: strong(surface) }));
      body.push(drawPanel(surface, found, { axis, x, y, width: grid.panelWidth, labels: grid.isFirst(i) }));
      body.push(axisName(surface, "layer", x, y + HEIGHT, grid.panelWidth));
    }),
  );
  const counts = data.pairs.map(({ rows }) => rows);
  const withChance = all.some(({ chance }) => chance !== null);
  return compose(surface, {
    title: `Relative difference between correct and irrelevant responses, layer by layer`,
    about: [data.model, data.data, statisticTexts[data.statistic].name, rowsText(counts, "a condition")].join(" · "),
    legend: legend(surface, withChance),
    body,
    height: data.pairs.length * grid.lines * line + 6,
    notes: [
      `Bars: |a − b| / |a| of the curves of means, a correct and b irrelevant (no unit). RD is their mean over layers.${withChance ? " In 95 of 100 cases, correct and irrelevant swapped at random lie less far apart than the dashed line." : ""}`,
      intervalNote("In brackets", data.level, counts),
    ],
    alt: altText(data),
  });
}

const strong = ({ palette }: Surface): string => palette.modules[0]!;
const faint = ({ palette }: Surface): string => palette.faint;
const CHANCE_DASH = "4 3";

interface PanelBox {
  readonly axis: Axis;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly labels: boolean;
}

function drawPanel(surface: Surface, { byLayer, topLayers, mean, chance, module }: ModuleRelativeDifference, box: PanelBox): SVGElement {
  const { axis, x, y, width, labels } = box;
  const { palette } = surface;
  const step = width / byLayer.length;
  const bars = byLayer.map((value, layer) => ({ value, layer, top: topLayers.includes(layer) }));
  type Bar = (typeof bars)[number];
  const marks: Plot.Markish[] = [
    Plot.rect(bars, {
      x1: ({ layer }: Bar) => layer - 0.5 + 0.6 / step,
      x2: ({ layer }: Bar) => layer + 0.5 - 0.6 / step,
      y1: 0,
      y2: "value",
      fill: ({ top }: Bar) => (top ? strong(surface) : faint(surface)),
      title: ({ layer, value }: Bar) => `layer ${layer}, ${moduleLabel(module)}: ${formatNumber(value)}`,
    }),
    Plot.ruleY([0], { stroke: palette.muted }),
    Plot.ruleY(mean.value === null ? [] : [mean.value], { stroke: palette.text, strokeWidth: 1.4 }),
    Plot.ruleY(chance === null ? [] : [chance], { stroke: palette.text, strokeWidth: 1.2, strokeDasharray: CHANCE_DASH }),
  ];
  return plotAt(surface, x, y, {
    width,
    height: HEIGHT,
    x: { type: "linear", domain: [-0.5, byLayer.length - 0.5], range: [0, width] },
    y: { domain: [...axis.domain], range: [HEIGHT, 0] },
    color: { type: "identity" },
    marks: [...verticalAxis(surface, axis, { labels }), layerAxis(surface, byLayer.length, width), ...marks],
  });
}

function legend(surface: Surface, withChance: boolean): LegendItem[] {
  const { palette } = surface;
  const items = [
    barItem(surface, "the five largest, largest first", { colour: strong(surface), hollow: false }),
    barItem(surface, "other layers", { colour: faint(surface), hollow: false }),
    lineItem(surface, "RD, the mean over layers", { colour: palette.text, dash: undefined }),
  ];
  if (withChance) items.push(lineItem(surface, "what RD stays below by chance", { colour: palette.text, dash: CHANCE_DASH }));
  return items;
}

function altText({ pairs }: RelativeDifferenceData): string {
  const texts = pairs.map(({ name, rows, modules }) => {
    const each = modules.map(({ module, mean, topLayers, chance }) => {
      const beside = chance === null ? "" : `, by chance below ${formatNumber(chance)}`;
      return `${moduleLabel(module)} ${formatPoint(mean)}${beside}, largest in layers ${list(topLayers.map(String))}`;
    });
    return `${name}, ${rows} rows: ${each.join("; ")}`;
  });
  return `Bar charts by layer, a row of panels a condition. RD: ${texts.join(". ")}.`;
}
