import { relativeDifference, relativeDifferences, segments, topLayers } from "../analysis/curves.ts";
import type { StatisticName } from "../analysis/table.ts";
import type { Point } from "../figures/axis.ts";
import { type CurvesData, curvesFigure } from "../figures/curves-figure.ts";
import type { FigureOptions } from "../figures/figure.ts";
import { type HeatmapData, heatmapFigure } from "../figures/heatmap-figure.ts";
import { type MadData, madFigure, madSegments } from "../figures/mad-figure.ts";
import {
  type ModuleRelativeDifference,
  type RelativeDifferenceData,
  relativeDifferenceFigure,
} from "../figures/relative-difference-figure.ts";
import {
  effectiveRankFigure,
  labelsFigure,
  lossFigure,
  type RowDot,
  type RowsData,
  type RowsOptions,
  type SweepLine,
} from "../figures/rows-figure.ts";
import { type SpectrumData, spectrumFigure } from "../figures/spectrum-figure.ts";
import { moduleLabel } from "../figures/theme.ts";
import { type TrajectoryData, trajectoryFigure } from "../figures/trajectory-figure.ts";
import { ALL, type Choice, runsOf } from "./choice.ts";
import { commandLine } from "./commands.ts";
import { kebab, rounded } from "./format.ts";
import type { ReportComparison, ReportCurve, ReportData, ReportRun, ReportSweepRow, Value } from "./report-data.ts";
import { conditionOf, datasetOf, subjectOf } from "./runs.ts";
import type { Cell, Column, ReportTable } from "./table.ts";
import { curvesTable, rowsTable } from "./tables.ts";

/** One figure of the report for one choice, drawn by the page and for the files alike. */
export interface ReportFigure {
  readonly kind: string;
  /** What it answers, as a heading. */
  readonly question: string;
  /** How to read it, in a sentence or two. */
  readonly about: string;
  /** Paths of the runs that it compares, for those who want the comparisons whole. */
  readonly compared?: readonly (readonly [string, string])[];
  /** Its numbers. */
  numbers(): Pick<ReportTable, "columns" | "rows">;
  draw(options: FigureOptions): SVGSVGElement;
}

/** What all figures of a choice share. */
interface Shown {
  readonly data: ReportData;
  readonly choice: Choice;
  /** In the order of the study. */
  readonly runs: readonly ReportRun[];
  readonly about: { readonly model: string; readonly data: string };
}

/** The figures that the data have for a choice, in the order of the page. */
export function figuresOf(data: ReportData, choice: Choice): ReportFigure[] {
  const runs = runsOf(data, choice.subject, choice.dataset)
    .map((index) => data.runs[index]!)
    .filter(({ attributes }) => choice.conditions.includes(conditionOf(attributes)));
  if (runs.length === 0) return [];
  const about = { model: choice.subject, data: choice.dataset === ALL ? "all data sets" : runs[0]!.attributes.data.dataset };
  const shown: Shown = { data, choice, runs, about };
  const ofDataset = [curves, mads, heatmap, relativeDifferencesOf, trajectory];
  const rows = rowsOfRuns(shown);
  const ofRows = [labels, loss, effectiveRank].map((figure) => (all: Shown) => figure(all, rows));
  const makers = [...(choice.dataset === ALL ? [] : ofDataset), ...ofRows, ...(choice.dataset === ALL ? [] : [spectra])];
  return makers.map((figure) => figure(shown)).filter((figure) => figure !== null);
}

const point = ([value, low, high]: Value): Point => ({ value, low, high });
const nothing: Point = { value: null, low: null, high: null };

/** A run's curves that the choice asks for. */
const curvesOf = ({ choice }: Shown, run: ReportRun, wanted = choice.statistic): ReportCurve[] =>
  run.curves.filter(({ statistic, module }) => statistic === wanted && (choice.module === ALL || module === choice.module));

/** Runs that have such curves, with these alone. */
const withCurves = (shown: Shown): ReportRun[] =>
  shown.runs.map((run) => ({ ...run, curves: curvesOf(shown, run) })).filter((run) => run.curves.length > 0);

const rowsOf = (run: ReportRun): number => Math.min(...run.curves.map(({ n }) => n));

/** Rows of the paper's figure. */
const paperStatistics: readonly StatisticName[] = ["nuclearNorm", "sigmaOneRatio", "lossScaledNorm"];

function curves(shown: Shown): ReportFigure | null {
  const { paperStyle, statistic } = shown.choice;
  const statistics = paperStyle ? paperStatistics.filter((name) => shown.data.statistics.includes(name)) : [statistic];
  const runs = shown.runs
    .map((run) => ({ ...run, curves: statistics.flatMap((name) => curvesOf(shown, run, name)) }))
    .filter((run) => run.curves.length > 0);
  if (runs.length === 0) return null;
  const data: CurvesData = {
    ...shown.about,
    level: 0.95,
    conditions: runs.map((run) => ({
      name: conditionOf(run.attributes),
      rows: rowsOf(run),
      curves: run.curves.map(({ module, statistic, layers }) => ({ module, statistic, points: layers.map(point) })),
    })),
  };
  return {
    kind: "curves",
    question: "How large is the gradient in each layer?",
    about: "The mean over each condition's rows, layer by layer. One scale serves all panels, so heights can be compared across them.",
    numbers: () => curvesTable(runs),
    draw: (options) => curvesFigure(data, { ...options, statistics, paperStyle }),
  };
}

function mads(shown: Shown): ReportFigure | null {
  const runs = withCurves(shown);
  const [first] = runs;
  if (first === undefined) return null;
  const bars = runs.flatMap((run) =>
    run.curves.flatMap(({ module, mad, segmentMads }) =>
      [mad, ...segmentMads].map((value, s) => ({
        condition: conditionOf(run.attributes),
        module,
        segment: madSegments[s]!,
        point: value === null ? nothing : point(value),
      })),
    ),
  );
  const data: MadData = {
    ...shown.about,
    statistic: shown.choice.statistic,
    level: 0.95,
    segments: segments(first.layers),
    conditions: runs.map((run) => ({ name: conditionOf(run.attributes), rows: rowsOf(run) })),
    bars,
  };
  return {
    kind: "mad",
    question: "How much do neighbouring layers differ?",
    about:
      "MAD, the mean absolute difference between neighbouring layers of a curve, over all layers and over the shallow, middle and deep ones. It grows with the curve's height.",
    numbers: () => ({
      columns: [text("Condition"), text("Projection"), text("Segment"), estimate("MAD")],
      rows: bars.map((bar): Cell[] => [
        bar.condition,
        moduleLabel(bar.module),
        bar.segment,
        [bar.point.value, bar.point.low, bar.point.high],
      ]),
    }),
    draw: (options) => madFigure(data, options),
  };
}

const text = (label: string): Column => ({ label, kind: "text" });
const number = (label: string): Column => ({ label, kind: "number" });
const estimate = (label: string): Column => ({ label, kind: "estimate" });

/** Comparisons of a kind between runs of the choice's model and data set. */
function comparisonsOf(
  { data, runs }: Shown,
  kind: ReportComparison["kind"],
): { readonly a: ReportRun; readonly b: ReportRun; readonly of: ReportComparison }[] {
  return data.comparisons.flatMap((of) => {
    const [a, b] = [data.runs[of.a]!, data.runs[of.b]!];
    // A twin need not be shown by itself to be compared with what is.
    const wanted = runs.includes(a) && (kind === "irrelevant" || runs.includes(b));
    return of.kind === kind && wanted ? [{ a, b, of }] : [];
  });
}

function relativeDifferencesOf(shown: Shown): ReportFigure | null {
  const pairs = comparisonsOf(shown, "irrelevant").map(({ a, b, of }) => ({
    name: conditionOf(a.attributes),
    rows: of.questions,
    modules: shown.choice.statistic === "nuclearNorm" ? comparedRd(shown, of) : rdOfCurves(shown, a, b),
  }));
  if (pairs.every(({ modules }) => modules.length === 0)) return null;
  const data: RelativeDifferenceData = { ...shown.about, statistic: shown.choice.statistic, level: 0.95, pairs };
  return {
    kind: "relative-difference",
    question: "Where do correct and irrelevant responses differ?",
    about:
      "RD by layer between a condition and its irrelevant twin, |correct − irrelevant| / |correct|, and the five layers where it is largest. What chance alone gives is marked where it is known.",
    compared: comparisonsOf(shown, "irrelevant").map(({ a, b }) => [a.path, b.path]),
    numbers: () => ({
      columns: [
        text("Condition"),
        text("Projection"),
        number("Layer"),
        number("RD"),
        number("Place among the five largest"),
        estimate("Mean over layers"),
        number("Chance"),
      ],
      rows: pairs.flatMap(({ name, modules }) =>
        modules.flatMap(({ module, byLayer, topLayers: top, mean, chance }) =>
          byLayer.map((value, layer): Cell[] => [
            name,
            moduleLabel(module),
            layer,
            value,
            top.includes(layer) ? top.indexOf(layer) + 1 : null,
            [mean.value, mean.low, mean.high],
            chance,
          ]),
        ),
      ),
    }),
    draw: (options) => relativeDifferenceFigure(data, options),
  };
}

const comparedRd = ({ choice }: Shown, { modules }: ReportComparison): ModuleRelativeDifference[] =>
  modules
    .filter(({ module }) => choice.module === ALL || module === choice.module)
    .map(({ module, relativeDifferenceByLayer, topLayers: top, relativeDifference: rd, chance }) => ({
      module,
      byLayer: relativeDifferenceByLayer.map((value) => value ?? Number.NaN),
      topLayers: top,
      mean: point(rd),
      chance: chance?.quantile95 ?? null,
    }));

/** Of the curves as they are drawn, without interval or test: only the nuclear norm's are made row by row. */
function rdOfCurves(shown: Shown, a: ReportRun, b: ReportRun): ModuleRelativeDifference[] {
  return curvesOf(shown, a).flatMap(({ module, layers }) => {
    const twin = curvesOf(shown, b).find((curve) => curve.module === module);
    if (twin === undefined) return [];
    const [x, y] = [layers, twin.layers].map((values) => values.map(([value]) => value ?? Number.NaN)) as [number[], number[]];
    const byLayer = Array.from(relativeDifferences(x, y));
    return [
      {
        module,
        byLayer,
        topLayers: topLayers(byLayer),
        mean: { value: rounded(relativeDifference(x, y)), low: null, high: null },
        chance: null,
      },
    ];
  });
}

function heatmap(shown: Shown): ReportFigure | null {
  const pairs = comparisonsOf(shown, "conditions").flatMap(({ a, b, of }) => {
    const twin = curvesOf(shown, b);
    const modules = curvesOf(shown, a).flatMap(({ module, layers }) => {
      const other = twin.find((curve) => curve.module === module);
      return other === undefined ? [] : { module, a: layers.map(([value]) => value), b: other.layers.map(([value]) => value) };
    });
    return modules.length === 0 ? [] : { name: `${conditionOf(a.attributes)} / ${conditionOf(b.attributes)}`, rows: of.questions, modules };
  });
  if (pairs.length === 0) return null;
  const data: HeatmapData = { ...shown.about, statistic: shown.choice.statistic, pairs };
  return {
    kind: "heat-map",
    question: "Which layers and projections set two conditions apart?",
    about: "The ratio of two conditions' curves in every layer and projection: the middle colour is a ratio of 1.",
    compared: comparisonsOf(shown, "conditions").map(({ a, b }) => [a.path, b.path]),
    numbers: () => ({
      columns: [text("Pair"), text("Projection"), number("Layer"), number("A"), number("B"), number("A / B")],
      rows: pairs.flatMap(({ name, modules }) =>
        modules.flatMap(({ module, a, b }) =>
          a.map((value, layer): Cell[] => {
            const other = b[layer] ?? null;
            return [name, moduleLabel(module), layer, value, other, value === null || other === null ? null : rounded(value / other)];
          }),
        ),
      ),
    }),
    draw: (options) => heatmapFigure(data, options),
  };
}

/** Means over training, of all checkpoints of the chosen model's family that the study has. */
function trajectory({ data, choice, runs, about }: Shown): ReportFigure | null {
  const [first] = runs;
  if (first?.attributes.model.step === undefined) return null;
  const { model, mode, data: of } = first.attributes;
  const names = runs.map((run) => conditionOf(run.attributes));
  const points = data.runs.flatMap((run) => {
    const { attributes } = run;
    const step = attributes.model.step;
    const same =
      attributes.model.family === model.family &&
      attributes.mode === mode &&
      attributes.data.task === of.task &&
      attributes.data.dataset === of.dataset;
    const condition = conditionOf(attributes);
    if (step === undefined || !same || !names.includes(condition)) return [];
    return run.curves
      .filter(({ statistic, module }) => statistic === choice.statistic && (choice.module === ALL || module === choice.module))
      .map(({ module, mean, n }) => ({ condition, module, step, rows: n, point: point(mean) }));
  });
  if (new Set(points.map(({ step }) => step)).size < 2) return null;
  const drawn: TrajectoryData = {
    ...about,
    model: `${model.family ?? "checkpoints"}, ${mode} mode`,
    statistic: choice.statistic,
    level: 0.95,
    points: points.toSorted((a, b) => a.step - b.step),
  };
  return {
    kind: "trajectory",
    question: "How does it change over training?",
    about: "The mean over layers and rows at each checkpoint.",
    numbers: () => ({
      columns: [text("Condition"), text("Projection"), number("Step"), estimate("Mean"), number("Rows")],
      rows: drawn.points.map(({ condition, module, step, rows, point: p }): Cell[] => [
        condition,
        moduleLabel(module),
        step,
        [p.value, p.low, p.high],
        rows,
      ]),
    }),
    draw: (options) => trajectoryFigure(drawn, options),
  };
}

/** Characters of the instruction and of the response that a dot tells. */
const TEXT = 78;

const rowText = ({ texts }: ReportData, instruction: number, response: number): string =>
  `${beginning(texts[instruction]!)} → ${beginning(texts[response]!)}`;

/** No half of a pair at the cut. */
const beginning = (text: string): string => (text.length <= TEXT ? text : `${text.slice(0, TEXT).replace(/[\ud800-\udbff]$/, "")}…`);

/** A module's value of one row, by module. */
const byModule = (
  modules: readonly string[],
  values: readonly (readonly (number | null)[])[] | undefined,
  row: number,
): Record<string, number | null> => Object.fromEntries(modules.map((module, m) => [module, values?.[m]?.[row] ?? null]));

function rowsOfRuns({ data, runs, about, choice }: Shown): RowsData {
  const all = runsOf(data, choice.subject, choice.dataset).map((index) => data.runs[index]!);
  return {
    ...about,
    rows: runs.flatMap((run) => {
      const condition = conditionOf(run.attributes);
      const { points, modules } = run;
      return points.loss.map(
        (loss, row): RowDot => ({
          condition,
          text: rowText(data, points.instruction[row]!, points.response[row]!),
          loss,
          nTokens: points.nTokens[row]!,
          nLabels: points.nLabels[row]!,
          norms: byModule(modules, points.nuclearNorm, row),
          ranks: byModule(modules, points.effectiveRank, row),
        }),
      );
    }),
    // A sweep goes with its condition, whether or not its own dots, which are the same rows again, are shown.
    sweeps: all.flatMap((swept) => {
      const shown = runs.find((run) => run === swept) ?? runs.find((run) => sameData(run, swept));
      return shown === undefined ? [] : swept.sweep.flatMap((row) => sweepLines(data, swept, row, conditionOf(shown.attributes)));
    }),
  };
}

/** Whether two runs are of the same data, with all labels in the first one's loss. */
const sameData = ({ attributes: { data, labels } }: ReportRun, other: ReportRun): boolean =>
  labels === "all" && data.name === other.attributes.data.name;

/** A swept row's lines, each to the step that counts all labels, which stands once. */
const sweepLines = (
  data: ReportData,
  run: ReportRun,
  { instruction, response, nLabels, steps }: ReportSweepRow,
  condition: string,
): SweepLine[] =>
  (["first", "random"] as const).flatMap((labels) => {
    const own = steps.filter((step) => step.labels === labels || step.k === nLabels).toSorted((a, b) => a.k - b.k);
    const drawn = own.map(({ k, loss, nuclearNorm }) => ({
      k,
      loss: loss ?? Number.NaN,
      norms: Object.fromEntries(run.modules.map((module, m) => [module, nuclearNorm[m] ?? Number.NaN])),
    }));
    return drawn.length < 2 ? [] : { condition, text: rowText(data, instruction, response), labels, steps: drawn };
  });

/** A figure with a dot a row. One module, as a panel each would be four times as many dots: the chosen one, else V. */
function dots(
  shown: Shown,
  data: RowsData,
  {
    has,
    draw,
    ...said
  }: Pick<ReportFigure, "kind" | "question" | "about"> & {
    /** Whether a row has both of the figure's numbers. */
    has(row: RowDot, module: string): boolean;
    draw(data: RowsData, options: RowsOptions): SVGSVGElement;
  },
): ReportFigure | null {
  const present = [...new Set(shown.runs.flatMap(({ modules }) => modules))];
  const value = "self_attn.v_proj";
  const module = shown.choice.module !== ALL ? shown.choice.module : present.includes(value) ? value : present[0]!;
  if (!data.rows.some((row) => has(row, module))) return null;
  return {
    ...said,
    numbers: () => rowsTable(shown.runs, shown.data.texts),
    draw: (options) => draw(data, { ...options, modules: [module] }),
  };
}

const labels = (shown: Shown, rows: RowsData): ReportFigure | null =>
  dots(shown, rows, {
    kind: "labels",
    question: "How much of it is the number of labels?",
    about:
      "One dot a row. The loss is a mean over labels, so more labels alone make a gradient smaller. Lines, where there are any, follow one row as ever more of its own labels count.",
    has: ({ nLabels, norms }, module) => nLabels !== null && (norms[module] ?? null) !== null,
    draw: labelsFigure,
  });

const loss = (shown: Shown, rows: RowsData): ReportFigure | null =>
  dots(shown, rows, {
    kind: "loss",
    question: "Does it go with the loss?",
    about: "One dot a row. What the model finds unlikely has a large loss, and mostly a large gradient.",
    has: (row, module) => row.loss !== null && (row.norms[module] ?? null) !== null,
    draw: lossFigure,
  });

const effectiveRank = (shown: Shown, rows: RowsData): ReportFigure | null =>
  dots(shown, rows, {
    kind: "effective-rank",
    question: "Does length decide the effective rank?",
    about:
      "One dot a row. A gradient has at most as many directions as the row has tokens, so longer rows have higher ranks whatever they say.",
    has: ({ nTokens, ranks }, module) => nTokens !== null && (ranks[module] ?? null) !== null,
    draw: effectiveRankFigure,
  });

/** Spectra of the middle layer that the data hold. */
function spectra({ data, choice, runs, about }: Shown): ReportFigure | null {
  const held = runs.flatMap((run) =>
    run.spectra
      .filter(({ module }) => choice.module === ALL || module === choice.module)
      .map((spectrum) => ({ ...spectrum, condition: conditionOf(run.attributes) })),
  );
  const layers = [...new Set(held.map(({ layer }) => layer))].toSorted((a, b) => a - b);
  const layer = layers[Math.floor(layers.length / 2)];
  if (layer === undefined) return null;
  const drawn: SpectrumData = {
    ...about,
    layer,
    series: held
      .filter((spectrum) => spectrum.layer === layer)
      .map(({ condition, module, row, instruction, response, sigma }) => ({
        condition,
        module,
        row,
        text: rowText(data, instruction, response),
        values: sigma,
      })),
  };
  return {
    kind: "spectra",
    question: "How do the singular values fall?",
    about: `Singular values of the gradients of each condition's first rows, in layer ${layer}, largest first.`,
    numbers: () => ({
      columns: [text("Condition"), number("Row"), number("Layer"), text("Projection"), number("i"), number("Singular value")],
      rows: held.flatMap(({ condition, row, layer: of, module, sigma }) =>
        sigma.map((value, i): Cell[] => [condition, row, of, moduleLabel(module), i + 1, value]),
      ),
    }),
    draw: (options) => spectrumFigure(drawn, options),
  };
}

/** The commands that write a choice's figure as a file, and print the comparisons that it shows. */
export function commandsFor({ paths, options, runs }: ReportData, choice: Choice, compared: ReportFigure["compared"] = []): string[] {
  const of = runs.find(
    ({ attributes }) => subjectOf(attributes) === choice.subject && [ALL, datasetOf(attributes)].includes(choice.dataset),
  );
  const { model, mode, data } = of!.attributes;
  const statistic = kebab(choice.statistic);
  const report = commandLine("report", paths, {
    ...options,
    model: model.name,
    mode,
    dataset: choice.dataset === ALL ? undefined : data.dataset,
    statistic,
    "paper-style": choice.paperStyle || undefined,
    out: "report",
  });
  return [report, ...compared.map((pair) => commandLine("compare", pair, { statistic }))];
}
