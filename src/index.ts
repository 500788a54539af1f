/**
 * Layergrad as a library: what training on a row would do to each layer of a language model.
 *
 * From the top down: {@link run} measures a file of rows into a folder, {@link measureRows} rows in memory, {@link readRecords} reads
 * what either wrote; {@link effectiveRank}, {@link meanCurve} and their neighbours turn numbers into statistics. Below that is
 * the engine itself: {@link Engine}, its backends, and {@link graph} with {@link differentiate}.
 *
 * Conventions throughout: weights and their gradients are `[out, in]`, layers and rows count from zero, a loss is the mean
 * cross-entropy over a row's own labels in nats, and gradients (hence singular values and norms) are in nats a unit of weight.
 * What a user can act on is thrown as a {@link LayergradError}; any other error is a bug.
 *
 * @module
 */
import { builtFile } from "./runtime/built-file.ts";
import * as t from "./tensor/expr.ts";

// Measuring
export { type Model, type ModelOrigin, type OpenModelOptions, openModel } from "./run/open-model.ts";
export type { ModelPlace, ModelReference } from "./run/locate-model.ts";
export type { DownloadWatcher } from "./hub/fetch-model.ts";
export type { MeasureOptions } from "./run/measuring.ts";
export { type MeasuredRow, measureRows, type RowInput } from "./run/measure-rows.ts";
export { type RunOptions, type RunSummary, type RunWatcher, run } from "./run/run.ts";
export {
  type SelftestCheck,
  type SelftestOptions,
  type SelftestReport,
  type SelftestStatistic,
  selftest,
} from "./run/selftest.ts";
export { type MatrixChoice, matrixChoices } from "./models/block.ts";
export { supportedModelTypes } from "./models/registry.ts";
export type { ModelSpec } from "./models/family.ts";
export type { PromptMode } from "./text/prompt.ts";
export type { Row } from "./text/row.ts";

// Data
export type { ColumnOptions, Columns } from "./io/columns.ts";
export { type RowFile, readRows } from "./io/rows.ts";
export { type CatalogueFile, catalogue, type DataAttributes, findCatalogueFile } from "./data/catalogue.ts";
export { type OpenedRows, type OpenRowsOptions, openRows } from "./data/open-rows.ts";
export { type Pulled, pullFile } from "./data/pull.ts";
export { pullHub } from "./data/hub.ts";
export { markCollisions, type ShuffledRow, shuffleResponses } from "./data/shuffle.ts";

// Studies
export { parseStudy, readStudy, type StudySpec } from "./study/spec.ts";
export { runStudy, type StudySummary, type StudyWatcher } from "./study/run-study.ts";
export { readStudyIndex } from "./study/index-file.ts";
export type { RunAttributes, StudyIndex } from "./analysis/study-index.ts";

// Records
export {
  type CosineStatistics,
  type GradientRecord,
  type Identity,
  type LabelIdentity,
  type LabelSubset,
  type Manifest,
  type MatrixKey,
  type MatrixStatistics,
  matrixKey,
  type Projection,
  parseMatrixKey,
  type ReadMatrix,
  type ReadRecord,
  type ReadRecordsOptions,
  readManifest,
  readRecords,
  runFiles,
  SCHEMA_VERSION,
  type SkippedRow,
  type SweepEntry,
} from "./store/index.ts";
export { type ReadTableOptions, readTable } from "./store/table-reader.ts";
export { type RunTable, type StatisticName, statistics as statisticNames, type TableRow } from "./analysis/table.ts";

// Statistics of one spectrum
export {
  effectiveRank,
  frobeniusNorm,
  type MatrixShape,
  nuclearNorm,
  numericalRank,
  sigmaMax,
  sigmaMin,
  sigmaOneRatio,
  stableRank,
} from "./spectra/statistics.ts";

// Curves over layers, and comparisons of runs
export {
  mean,
  meanAbsoluteDifference,
  meanCurve,
  relativeDifference,
  relativeMad,
  type Segments,
  segmentMads,
  segments,
  topLayers,
} from "./analysis/curves.ts";
export { type CompareOptions, compareRuns, describeRun } from "./analysis/compare.ts";
export type { Comparison, ModuleComparison, RunDescription } from "./analysis/comparison.ts";
export { type Findings, type FindingsOptions, findings, type StudyRun } from "./analysis/findings.ts";

// Statistics over questions
export type { Block } from "./analysis/blocks.ts";
export {
  differenceEstimates,
  type Estimate,
  functionalEstimates,
  type Interval,
  meanEstimates,
  type Resampling,
  ratioEstimates,
} from "./analysis/bootstrap.ts";
export { exchangeabilityTest, swapTest } from "./analysis/permutation.ts";
export { benjaminiHochberg, fcrLevel } from "./analysis/multiplicity.ts";
export { adjustedEffect, regress } from "./analysis/regression.ts";
export { matchNearest } from "./analysis/matching.ts";
export { cliffsDelta, pairedD } from "./analysis/effect-size.ts";

// Errors
export { type ErrorKind, exitStatus, LayergradError } from "./errors.ts";

// The engine
export { type Backend, interpreterBackend, type Program } from "./runtime/backend.ts";
export { Engine, type EngineOptions, type ModelSource, type Retention, type TokenRow, type WeightMode } from "./runtime/engine.ts";
export type { SpectrumSolver } from "./runtime/factor-statistics.ts";
export { checkDevice, type Device, devices } from "./runtime/device.ts";
export { type OnnxRuntimeOptions, onnxRuntime } from "./runtime/onnx-runtime.ts";
export type { LogitsAtOnce } from "./runtime/output-head.ts";
export { packRows } from "./runtime/packing.ts";
export { type Plan, type PlanRequest, planRun } from "./runtime/planner.ts";
export type { Cosines, RowStatistics } from "./runtime/row-statistics.ts";
export { SpectrumPool } from "./runtime/spectrum-pool.ts";
export type { Family } from "./models/family.ts";
export type { SavedSet } from "./models/stages.ts";

// Spectra
export { type SpectrumKernel, spectrumFloor } from "./spectra/kernel.ts";
export { typescriptKernel } from "./spectra/kernel-typescript.ts";
export { createWasmKernel } from "./spectra/kernel-wasm.ts";

/** Where this package's `kernel.wasm` lies: `createWasmKernel(await readFile(kernelFile))`. It exists in a built package only. */
export const kernelFile: URL = builtFile("spectra/kernel.wasm");

// Graphs
export { differentiate, withSaved } from "./autodiff/differentiate.ts";
export { type EmitOptions, emitOnnx } from "./onnx/emit.ts";
export type { Expr, Graph, Primitive } from "./tensor/expr.ts";
export { interpret } from "./tensor/interpreter.ts";
export { printGraph } from "./tensor/print.ts";
export { type Dim, dim, type Shape, type SymbolicDim } from "./tensor/shape.ts";
export { type DType, indices, type Tensor, type TensorData, tensor } from "./tensor/tensor.ts";

/**
 * Builders of expressions. Where types or shapes do not fit, they throw an `Error` that names both,
 * `matmul: inner dimensions differ, float32[4,8] · float32[6,8]`; the few mistakes that they let through (the other axes of `concat`,
 * an element type in `linear`) are refused when the graph is compiled. A shape's dimensions are numbers, or symbols from
 * {@link dim} that are bound when the graph runs. All but `max` and `min` have a derivative; see {@link differentiate}.
 *
 * Nothing is computed here: `{ name, outputs: { y } }` is a {@link Graph}, which {@link interpret} runs in float64 and
 * `onnxRuntime().compile(graph)` in float32.
 */
export const graph = {
  /** A value given when the graph runs. One name is one input, of one shape and type (default float32). */
  input: t.input,
  /** A scalar, shape `[]`. */
  constant: t.constant,
  /** x·wᵀ + bias: x `[T, in]`, w `[out, in]`, bias `[out]` or absent → `[T, out]`. The name is for people. */
  linear: t.linear,
  /** alpha·A·B over the last two dimensions, `[…, m, k]·[…, k, n]` → `[…, m, n]`, either transposed; those before broadcast. */
  matmul: t.matmul,
  /** a + b; NumPy's broadcasting. */
  add: t.add,
  /** a − b; NumPy's broadcasting. */
  sub: t.sub,
  /** a∘b; NumPy's broadcasting. */
  mul: t.mul,
  /** −x */
  neg: t.neg,
  /** tanh x */
  tanh: t.tanh,
  /** x·Φ(x) by its tanh approximation */
  geluTanh: t.geluTanh,
  /** eˣ */
  exp: t.exp,
  /** 1 / (1 + e⁻ˣ) */
  sigmoid: t.sigmoid,
  /** x·sigmoid(x) */
  silu: t.silu,
  /** x∘weight / √(mean(x²) + eps) over the last dimension: x `[…, D]`, weight `[D]` → `[…, D]`. */
  rmsNorm: t.rmsNorm,
  /** 1 / √(mean(x²) + eps) over the last dimension: `[…, D]` → `[…, 1]`. */
  inverseRms: t.inverseRms,
  /** Rotary position embedding, halves rotated: x `[T, heads·D]`, positions int64 `[T]`, cos and sin `[P, D/2]` → `[T, heads·D]`. */
  rope: t.rope,
  /** eˣ / Σeˣ over the last dimension. */
  softmax: t.softmax,
  /** softmax(scores)·v: scores `[…, m, k]`, v `[…, k, n]` → `[…, m, n]`. Its derivative needs the output, not a second product. */
  attendTo: t.attendTo,
  /** One entry of each row: x `[n, V]`, at int64 `[n]` → `[n, 1]`. */
  pick: t.pick,
  /** x with something added to one entry of each row: x `[n, V]`, at int64 `[n]`, more `[n, 1]` → `[n, V]`. */
  addAt: t.addAt,
  /** Axes in another order: axis i of the result is axis perm[i] of x. */
  transpose: t.transpose,
  /** The same elements, row by row, in another shape; at most one symbolic dimension, which stays. */
  reshape: t.reshape,
  /** Elements `[start, end)` of one axis; `end` null is the axis's end. */
  slice: t.slice,
  /** Zeros around one axis, up to `total` elements with `before` of them in front. */
  pad: t.pad,
  /** Parts one after another along one axis; one of them may be of symbolic length. */
  concat: t.concat,
  /** Sum over one axis, which is kept with size 1. */
  sum: t.sum,
  /** Maximum over the last axis, which is kept with size 1. */
  max: t.max,
  /** Minimum over the last axis, which is kept with size 1. */
  min: t.min,
  /** Another element type. */
  cast: t.cast,
} as const;
