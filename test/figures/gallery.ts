import { readFileSync } from "node:fs";
import {
  type CurvesData,
  curvesFigure,
  effectiveRankFigure,
  type FigureOptions,
  type ForestData,
  forestFigure,
  type HeatmapData,
  heatmapFigure,
  labelsFigure,
  lossFigure,
  type MadData,
  madFigure,
  type RelativeDifferenceData,
  type RowsData,
  relativeDifferenceFigure,
  type SpectrumData,
  spectrumFigure,
  type TrajectoryData,
  trajectoryFigure,
} from "../../src/figures/index.ts";

const read = <T>(name: string): T => JSON.parse(readFileSync(new URL(`data/${name}.json`, import.meta.url), "utf8")) as T;

/** Made by make-data.mjs. */
export const data = {
  curves: read<CurvesData>("curves"),
  mad: read<MadData>("mad"),
  relativeDifference: read<RelativeDifferenceData>("relative-difference"),
  heatmap: read<HeatmapData>("heatmap"),
  spectrum: read<SpectrumData>("spectrum"),
  rows: read<RowsData>("rows"),
  forest: read<ForestData>("forest"),
  trajectory: read<TrajectoryData>("trajectory"),
};

const projections = ["q", "k", "v", "o"].map((projection) => `self_attn.${projection}_proj`);

/** Every kind of figure, by the name of its committed picture. */
export const gallery: Readonly<Record<string, (options: FigureOptions) => SVGSVGElement>> = {
  curves: (options) => curvesFigure(data.curves, options),
  "curves-statistics": (options) =>
    curvesFigure(data.curves, { ...options, statistics: ["nuclearNorm", "sigmaOneRatio", "lossScaledNorm"] }),
  "curves-paper-style": (options) =>
    curvesFigure(data.curves, { ...options, paperStyle: true, statistics: ["nuclearNorm", "sigmaOneRatio"] }),
  "curves-dark": (options) => curvesFigure(data.curves, { ...options, theme: "dark" }),
  mad: (options) => madFigure(data.mad, options),
  "relative-difference": (options) => relativeDifferenceFigure(data.relativeDifference, options),
  heatmap: (options) => heatmapFigure(data.heatmap, options),
  "heatmap-difference": (options) => heatmapFigure(data.heatmap, { ...options, scale: "difference" }),
  spectrum: (options) => spectrumFigure(data.spectrum, options),
  labels: (options) => labelsFigure(data.rows, options),
  "labels-projections": (options) => labelsFigure(data.rows, { ...options, modules: projections }),
  loss: (options) => lossFigure(data.rows, options),
  "effective-rank": (options) => effectiveRankFigure(data.rows, options),
  forest: (options) => forestFigure(data.forest, options),
  trajectory: (options) => trajectoryFigure(data.trajectory, options),
};
