/**
 * Figures: each a function from plain data to one self-contained SVG image, in a page or, with a light DOM, in Node. See docs/figures.md.
 *
 * @module
 */
export type { Point } from "./axis.ts";
export { type ConditionCurves, type CurvePoints, type CurvesData, type CurvesOptions, curvesData, curvesFigure } from "./curves-figure.ts";
export type { NamedRun } from "./described-runs.ts";
export type { About, FigureOptions } from "./figure.ts";
export { type MadBar, type MadData, type MadSegment, madData, madFigure, madSegments } from "./mad-figure.ts";
export { svgMarkup } from "./markup.ts";
export {
  type ModuleRelativeDifference,
  type NamedComparison,
  type RelativeDifferenceData,
  relativeDifferenceData,
  relativeDifferenceFigure,
} from "./relative-difference-figure.ts";
export { FONT_FAMILY, type Palette, type Theme, themes } from "./theme.ts";
export { type HeatmapCurves, type HeatmapData, type HeatmapOptions, heatmapData, heatmapFigure } from "./heatmap-figure.ts";
export {
  effectiveRankFigure,
  type LabelsOptions,
  labelsFigure,
  lossFigure,
  type NamedTable,
  type RowDot,
  type RowsData,
  type RowsOptions,
  rowsData,
  type SweepLine,
} from "./rows-figure.ts";
export { type Spectrum, type SpectrumData, spectrumFigure } from "./spectrum-figure.ts";
export { type TrajectoryData, type TrajectoryPoint, trajectoryData, trajectoryFigure } from "./trajectory-figure.ts";
export {
  type ForestClaim,
  type ForestData,
  type ForestEffect,
  type ForestLine,
  type ForestOptions,
  forestData,
  forestFigure,
} from "./forest-figure.ts";
