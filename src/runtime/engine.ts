import { LayergradError } from "../errors.ts";
import { attentionGraphs, causalMask, stripRanges, stripsOf } from "../models/attention.ts";
import { buildBlock, chooseLinears, type MatrixChoice, tableInputs } from "../models/block.ts";
import type { Family, ModelSpec } from "../models/family.ts";
import { readModel } from "../models/registry.ts";
import { type RopeSpec, ropeTables } from "../models/rope.ts";
import { headGraph, headWeights, mixStage, projectStage, type SavedSet, type Stage, type Tap } from "../models/stages.ts";
import type { MatrixStatistics } from "../spectra/matrix-statistics.ts";
import type { Graph } from "../tensor/expr.ts";
import { type FloatArray, indices, rowsOf, sizeOf, type Tensor } from "../tensor/tensor.ts";
import type { Backend, Program } from "./backend.ts";
import { type FactorPair, FactorStatistics, type GradientMeasure, type SpectrumSolver } from "./factor-statistics.ts";
import { Phases } from "./phases.ts";
import { CosineCollector, matrixStatistics, type RowStatistics } from "./row-statistics.ts";

/** Where a model's numbers come from: a folder, a file, or a test's own arrays. */
export interface ModelSource {
  /** `config.json` */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>;
  /** A tensor widened to float32, row by row. */
  read(name: string): Promise<Float32Array>;
  /** Chosen rows of a matrix, `[rows.length, width]`, widened to float32. */
  readRows(name: string, rows: ArrayLike<number>): Promise<Float32Array>;
}

/** A row as tokens. Its labels are the tokens from `labelStart` on, each predicted from the position before it. */
export interface TokenRow {
  readonly row: number;
  readonly inputIds: ArrayLike<number>;
  readonly labelStart: number;
}

/** A row with the subsets of its labels whose losses are wanted, one gradient each. */
export interface SubsetRow extends TokenRow {
  /** Each a set of labels, counted from the row's first; the loss is the mean over them. */
  readonly subsets: readonly ArrayLike<number>[];
}

/** How the weights reach the runtime: fed at each call, or packed once into a session of each layer (no faster on packs of 512 tokens, more than twice the memory). */
export type WeightMode = "fed" | "packed";

/** What a forward pass leaves for the backward one: all products of every layer, or only each layer's input, from which the rest is computed again. */
export type Retention = "products" | "inputs";

export interface EngineOptions {
  readonly backend: Backend;
  readonly solver: SpectrumSolver;
  readonly matrices: MatrixChoice;
  /** Add every singular value to the statistics. */
  readonly spectrum: boolean;
  /** Add the similarities of gradients within and between layers. */
  readonly cosines: boolean;
  /** Longest row, in tokens. */
  readonly maxLength: number;
  readonly weights: WeightMode;
  readonly retention: Retention;
  /** Most label positions whose logits exist at one time. */
  readonly labelsPerChunk: number;
  /** What the backward graphs read rather than recompute; a choice of speed alone. */
  readonly saved: SavedSet;
}

type FloatTensor = Tensor<FloatArray>;
type Feeds = Record<string, Tensor>;
type Activations = Record<string, FloatTensor>;

/** What one layer's forward leaves. */
interface LayerState {
  readonly x: FloatTensor;
  /** Queries, keys, values, context and saved products; absent where they are to be computed again. */
  readonly kept?: Readonly<Activations>;
}

/** The programs of one layer: shared by all layers where weights are fed. */
interface LayerPrograms {
  readonly project: Program;
  readonly mix: Program;
  readonly projectVjp: Program;
  readonly mixVjp: Program;
}

/** Rows laid one after another: `starts[i]` is the first token of row i, the last entry the number of tokens. */
interface PackLayout {
  readonly rows: readonly TokenRow[];
  readonly starts: readonly number[];
  readonly tokens: number;
  /** Positions and each layer's rotary tables, fed to every stage. */
  readonly tables: readonly Feeds[];
  /** For each layer the masks of each row's strips. */
  readonly masks: readonly (readonly Feeds[])[];
}

/**
 * One forward and one backward pass over packs of rows, layer by layer, and from each layer's factor pairs the statistics of every
 * row's own gradient. The loss of a row is the mean over its own labels, whatever it is packed with.
 */
export class Engine {
  readonly phases = new Phases();
  private readonly attention = new Map<number, Promise<{ forward: Program; backward: Program }>>();
  private readonly factors: FactorStatistics;
  private readonly layerWeights: Feeds[] = [];
  /** Rotary tables, which layers that rotate alike share, and their length in positions. */
  private readonly tables = new Map<RopeSpec, { readonly cos: FloatTensor; readonly sin: FloatTensor }>();
  private tableLength: number;

  private constructor(
    private readonly source: ModelSource,
    readonly spec: ModelSpec,
    private readonly stages: { readonly project: Stage; readonly mix: Stage },
    private readonly options: EngineOptions,
    private readonly layers: LayerPrograms[],
    private readonly head: Program,
    private readonly headFeeds: Feeds,
  ) {
    this.factors = new FactorStatistics(options.backend, options.solver, this.phases, options.cosines);
    this.tableLength = options.maxLength;
  }

  /**
   * Reads the weights and prepares the programs.
   *
   * @throws {LayergradError} `model` if the family is not supported or a weight is missing or misshapen.
   */
  static async open(source: ModelSource, options: EngineOptions, onLayer?: (done: number, total: number) => void): Promise<Engine> {
    const { family, spec } = readModel(source.config);
    checkTensors(source, family, spec);
    const block = buildBlock(family, spec);
    const tapped = chooseLinears(block, options.matrices);
    if (tapped.length === 0)
      throw new LayergradError("usage", `No weight matrix of this model is chosen by --matrices ${options.matrices}.`);
    const stages = { project: projectStage(block, tapped, options.saved), mix: mixStage(block, tapped, options.saved) };
    const { backend, weights } = options;

    const headFeeds: Feeds = {
      [headWeights.norm]: { shape: [spec.hidden], data: await source.read(headWeights.norm) },
      [headWeights.head]: { shape: [spec.vocabulary, spec.hidden], data: await source.read(headTensor(spec)) },
    };
    const engine = new Engine(source, spec, stages, options, [], await backend.compile(headGraph(spec)), headFeeds);
    try {
      if (weights === "fed") engine.layers.push(await engine.compileLayer());
      for (let i = 0; i < spec.layers; i++) {
        const feeds: Feeds = {};
        for (const [name, shape] of block.weights) feeds[name] = { shape, data: await source.read(`model.layers.${i}.${name}`) };
        if (weights === "fed") engine.layerWeights.push(feeds);
        else engine.layers.push(await engine.compileLayer(feeds));
        onLayer?.(i + 1, spec.layers);
      }
      return engine;
    } catch (error) {
      await engine.close();
      throw error;
    }
  }

  /**
   * The statistics of each row of a pack. A row whose loss is not finite comes back with that loss and no matrices.
   * The rows' order, and what a row is packed with, change nothing but rounding.
   *
   * @param signal - Looked at before each layer; the pack is then given up with the signal's reason.
   */
  async measure(rows: readonly TokenRow[], signal?: AbortSignal): Promise<RowStatistics[]> {
    const all = rows.map((row) => ({ ...row, subsets: [Array.from({ length: labelCount(row) }, (_, i) => i)] }));
    return (await this.measureSubsets(all, signal)).map(([statistics]) => statistics!);
  }

  /**
   * As {@link measure}, for chosen labels: one forward pass serves all subsets of a row, each of which takes a backward pass.
   *
   * @returns For each row the statistics of each of its subsets. A subset without labels has the loss NaN and no matrices.
   */
  async measureSubsets(rows: readonly SubsetRow[], signal?: AbortSignal): Promise<RowStatistics[][]> {
    const pack = this.layOut(rows);
    let x = await this.phases.time("embedding", () => this.embed(pack));
    const states: LayerState[] = [];
    for (let i = 0; i < this.spec.layers; i++) {
      signal?.throwIfAborted();
      const { output, ...state } = await this.phases.time("forward", () => this.forward(i, x, pack));
      states.push(this.options.retention === "products" ? state : { x });
      x = output;
    }
    const heads = await this.phases.time("head", () => this.runHead(x, pack));

    const results: RowStatistics[][] = rows.map(() => []);
    const passes = Math.max(...rows.map((row) => row.subsets.length));
    for (let pass = 0; pass < passes; pass++) {
      const ct = this.zeros([pack.tokens, this.spec.hidden]);
      const inHand = rows.map(({ row, subsets }, r) => {
        const subset = subsets[pass];
        return subset && new RowInProgress(row, this.seedSubset(ct, heads[r]!, subset, pack.starts[r]!), this.options);
      });
      await this.backwardThrough(states, ct, pack, inHand, pass === passes - 1, signal);
      for (const [r, row] of inHand.entries()) if (row) results[r]!.push(row.finish());
    }
    return results;
  }

  /** Takes a cotangent from the last layer to the first and adds each layer's statistics to the rows in hand. */
  private async backwardThrough(
    states: LayerState[],
    ct: FloatTensor,
    pack: PackLayout,
    inHand: readonly (RowInProgress | undefined)[],
    last: boolean,
    signal?: AbortSignal,
  ): Promise<void> {
    let ctX = ct;
    for (let i = this.spec.layers - 1; i >= 0; i--) {
      signal?.throwIfAborted();
      const { ctInput, factors } = await this.phases.time("backward", () => this.backward(i, states[i]!, ctX, pack));
      if (last) states.length = i;
      ctX = ctInput;
      for (const [r, row] of inHand.entries()) {
        if (row?.finite) await row.add(i, await this.factors.measure(pairsOf(factors, i, pack, r)), this.phases);
      }
    }
  }

  /** Frees every program. The engine cannot be used afterwards. */
  async close(): Promise<void> {
    for (const layer of this.layers) for (const program of Object.values(layer)) await program.release();
    for (const pair of await Promise.allSettled(this.attention.values())) {
      if (pair.status === "fulfilled") for (const program of Object.values(pair.value)) await program.release();
    }
    await this.factors.release();
    await this.head.release();
  }

  private async compileLayer(weights?: Feeds): Promise<LayerPrograms> {
    const { project, mix } = this.stages;
    const compile = (graph: Graph) => {
      const constants = weights && new Map(Object.entries(weights).map(([name, { data }]) => [name, data as FloatArray]));
      return this.options.backend.compile(graph, constants);
    };
    return {
      project: await compile(project.forward),
      mix: await compile(mix.forward),
      projectVjp: await compile(project.backward),
      mixVjp: await compile(mix.backward),
    };
  }

  private layOut(rows: readonly TokenRow[]): PackLayout {
    const starts = [0];
    for (const { inputIds, row } of rows) {
      if (inputIds.length > this.options.maxLength)
        throw new Error(`row ${row} has ${inputIds.length} tokens, more than maxLength ${this.options.maxLength}`);
      starts.push(starts.at(-1)! + inputIds.length);
    }
    const positions = rows.flatMap((r) => Array.from(r.inputIds, (_, i) => i));
    // ONNX Runtime wants tables as long as the whole sequence, though positions start anew with each row.
    if (positions.length > this.tableLength) {
      this.tableLength = positions.length;
      this.tables.clear();
    }
    const at = indices(positions);
    const masksFor = remembered((window: number) => rows.map((r) => stripMasks(r.inputIds.length, window)));
    const longest = rows.reduce((most, r) => Math.max(most, r.inputIds.length), 0);
    return {
      rows,
      starts,
      tokens: positions.length,
      tables: this.spec.attention.map(({ rope }) => {
        const { cos, sin } = this.tablesFor(rope);
        return { [tableInputs.positions]: at, [tableInputs.cos]: cos, [tableInputs.sin]: sin };
      }),
      masks: this.spec.attention.map(({ window }) => masksFor(window < longest ? window : Number.POSITIVE_INFINITY)),
    };
  }

  private async embed({ rows, tokens }: PackLayout): Promise<FloatTensor> {
    const ids = rows.flatMap((r) => Array.from(r.inputIds));
    const { hidden, embeddingScale } = this.spec;
    const embeddings = this.real([tokens, hidden], await this.source.readRows(headWeights.embedding, ids));
    if (embeddingScale === 1) return embeddings;
    // The factor has the precision of the embeddings, as in the original.
    const scale = this.real([1], Float64Array.of(embeddingScale)).data[0]!;
    const scaled = this.zeros(embeddings.shape);
    for (let i = 0; i < scaled.data.length; i++) scaled.data[i] = embeddings.data[i]! * scale;
    return scaled;
  }

  private async forward(layer: number, x: FloatTensor, pack: PackLayout): Promise<LayerState & { output: FloatTensor }> {
    const programs = this.programs(layer);
    const feeds: Feeds = { ...this.layerWeights[layer], ...pack.tables[layer], x };
    const projected = rename(await programs.project.run(feeds), "project");
    const context = this.zeros([pack.tokens, this.spec.heads * this.spec.headDim]);
    for (const [r] of pack.rows.entries()) {
      const { forward } = await this.attentionFor(pack, r);
      const inputs = sliceAll({ q: projected.q!, k: projected.k!, v: projected.v! }, pack, r);
      const result = await forward.run({ ...inputs, ...pack.masks[layer]![r] });
      place(context, result.context!, pack.starts[r]!);
    }
    const { output, ...mixed } = rename(await programs.mix.run({ ...feeds, context }), "mix");
    return { x, kept: { ...projected, ...mixed, context }, output: output! };
  }

  private async backward(layer: number, state: LayerState, ctOutput: FloatTensor, pack: PackLayout) {
    const { x } = state;
    const kept = state.kept ?? (await this.forward(layer, x, pack)).kept!;
    const programs = this.programs(layer);
    const feeds: Feeds = { ...this.layerWeights[layer], ...pack.tables[layer], x };
    const saved = (stage: "project" | "mix") => Object.fromEntries(this.stages[stage].saved.map((key) => [key, kept[`${stage}.${key}`]!]));

    const mixed = await programs.mixVjp.run({ ...feeds, ...saved("mix"), context: kept.context!, "ct.output": ctOutput });
    const { heads, keyValueHeads, headDim } = this.spec;
    const ct: Activations = {
      "ct.q": this.zeros([pack.tokens, heads * headDim]),
      "ct.k": this.zeros([pack.tokens, keyValueHeads * headDim]),
      "ct.v": this.zeros([pack.tokens, keyValueHeads * headDim]),
    };
    for (const [r] of pack.rows.entries()) {
      const { backward } = await this.attentionFor(pack, r);
      const inputs = sliceAll(
        { q: kept.q!, k: kept.k!, v: kept.v!, context: kept.context!, "ct.context": mixed["ct.context"] as FloatTensor },
        pack,
        r,
      );
      const result = await backward.run({ ...inputs, ...pack.masks[layer]![r] });
      for (const key of Object.keys(ct)) place(ct[key]!, result[key]!, pack.starts[r]!);
    }
    const projected = await programs.projectVjp.run({ ...feeds, ...saved("project"), ...ct, "ct.residual": mixed["ct.x"]! });
    const pick = ({ taps }: Stage, outputs: Feeds): Factor[] =>
      taps.map((tap) => ({
        tap,
        delta: outputs[tap.delta] as FloatTensor,
        x: (outputs[tap.x] ?? { x, context: kept.context! }[tap.x]) as FloatTensor,
      }));
    return {
      ctInput: projected["ct.x"] as FloatTensor,
      factors: [...pick(this.stages.project, projected), ...pick(this.stages.mix, mixed)],
    };
  }

  /** Each row's losses label by label, and their cotangents; logits exist at label positions only, a chunk at a time. */
  private async runHead(x: FloatTensor, { rows, starts }: PackLayout): Promise<RowHead[]> {
    const { hidden } = this.spec;
    const heads = rows.map((row) => {
      const count = labelCount(row);
      return { first: row.inputIds.length - count - 1, losses: new Float64Array(count), ct: this.zeros([count, hidden]) };
    });
    const labels = heads.flatMap(({ first, losses }, r) =>
      Array.from(losses, (_, i) => ({ r, i, at: starts[r]! + first + i, label: rows[r]!.inputIds[first + i + 1]! })),
    );
    // Chunks of one size: a short last one would starve the matrix product.
    const size = Math.ceil(labels.length / Math.ceil(labels.length / this.options.labelsPerChunk));
    for (let from = 0; from < labels.length; from += size) {
      const chunk = labels.slice(from, from + size);
      const states = this.zeros([chunk.length, hidden]);
      for (const [c, { at }] of chunk.entries()) place(states, rowsOf(x, at, at + 1), c);
      const result = await this.head.run({
        ...this.headFeeds,
        x: states,
        labels: indices(chunk.map((l) => l.label)),
        "ct.loss": this.real([chunk.length], new Float32Array(chunk.length).fill(1)),
      });
      const [losses, ct] = [result.loss!.data as FloatArray, result["ct.x"] as FloatTensor];
      for (const [c, { r, i }] of chunk.entries()) {
        heads[r]!.losses[i] = losses[c]!;
        place(heads[r]!.ct, rowsOf(ct, c, c + 1), i);
      }
    }
    return heads;
  }

  /** Puts the cotangent of a subset's mean loss into the pack's, for a row that begins at token `start`; returns that loss, NaN for an empty subset. */
  private seedSubset(ct: FloatTensor, head: RowHead, subset: ArrayLike<number>, start: number): number {
    const { hidden } = this.spec;
    let total = 0;
    for (let n = 0; n < subset.length; n++) {
      const label = subset[n]!;
      total += head.losses[label]!;
      const to = (start + head.first + label) * hidden;
      for (let j = 0; j < hidden; j++) ct.data[to + j] = head.ct.data[label * hidden + j]! / subset.length;
    }
    return total / subset.length;
  }

  private programs(layer: number): LayerPrograms {
    return this.layers[this.options.weights === "fed" ? 0 : layer]!;
  }

  private attentionFor({ rows }: PackLayout, r: number): Promise<{ forward: Program; backward: Program }> {
    const strips = stripsOf(rows[r]!.inputIds.length);
    const known = this.attention.get(strips) ?? this.compileAttention(strips);
    this.attention.set(strips, known);
    return known;
  }

  private async compileAttention(strips: number): Promise<{ forward: Program; backward: Program }> {
    const { forward, backward } = attentionGraphs(this.spec, strips);
    return { forward: await this.options.backend.compile(forward), backward: await this.options.backend.compile(backward) };
  }

  private tablesFor(rope: RopeSpec): { readonly cos: FloatTensor; readonly sin: FloatTensor } {
    const known = this.tables.get(rope);
    if (known) return known;
    const { cos, sin } = ropeTables(rope, this.tableLength);
    const shape = [this.tableLength, this.spec.headDim / 2];
    const made = { cos: this.real(shape, cos), sin: this.real(shape, sin) };
    this.tables.set(rope, made);
    return made;
  }

  private real(shape: readonly number[], data: FloatArray): FloatTensor {
    if (this.options.backend.precision === "float64") return { shape, data: data instanceof Float64Array ? data : Float64Array.from(data) };
    return { shape, data: data instanceof Float32Array ? data : Float32Array.from(data) };
  }

  private zeros(shape: readonly number[]): FloatTensor {
    const Type = this.options.backend.precision === "float64" ? Float64Array : Float32Array;
    return { shape, data: new Type(sizeOf(shape)) };
  }
}

/** The output head's result for one row. */
interface RowHead {
  /** Position in the row from which its first label is predicted. */
  readonly first: number;
  /** Cross-entropy of each label, nats. */
  readonly losses: Float64Array;
  /** Cotangent that each label's own loss, unweighted, sends to the position it is predicted from: `[labels, hidden]`. */
  readonly ct: FloatTensor;
}

/** The masks of a row's strips. */
const stripMasks = (tokens: number, window: number): Feeds =>
  Object.fromEntries(
    stripRanges(tokens).map(({ start, rows }, i) => [`mask.${i}`, { shape: [rows, start + rows], data: causalMask(start, rows, window) }]),
  );

/** A function that is asked once for each argument. */
function remembered<A, B>(f: (a: A) => B): (a: A) => B {
  const known = new Map<A, B>();
  return (a) => {
    if (!known.has(a)) known.set(a, f(a));
    return known.get(a)!;
  };
}

/** Labels of a row: nothing comes before its first token, which therefore is none. */
const labelCount = ({ inputIds, labelStart }: TokenRow): number => Math.max(0, inputIds.length - Math.max(labelStart, 1));

/** A tapped layer's factors over a whole pack. */
interface Factor {
  readonly tap: Tap;
  readonly delta: FloatTensor;
  readonly x: FloatTensor;
}

/** One row's share of a layer's factors; what shares an X goes on sharing it. */
function pairsOf(factors: readonly Factor[], layer: number, { starts }: PackLayout, r: number): FactorPair[] {
  const views = new Map<FloatTensor, FloatTensor>();
  const view = (x: FloatTensor): FloatTensor => {
    const known = views.get(x) ?? rowsOf(x, starts[r]!, starts[r + 1]!);
    views.set(x, known);
    return known;
  };
  return factors.map(({ tap, delta, x }) => ({ name: `model.layers.${layer}.${tap.linear.name}.weight`, delta: view(delta), x: view(x) }));
}

/** A row's statistics while they come in, from the last layer to the first. */
class RowInProgress {
  private problem: RowStatistics["problem"];
  private readonly byLayer: [string, MatrixStatistics][][] = [];
  private readonly cosines = new CosineCollector();

  constructor(
    private readonly row: number,
    private readonly loss: number,
    private readonly options: { readonly spectrum: boolean; readonly cosines: boolean },
  ) {
    if (!Number.isFinite(loss)) this.problem = "non-finite loss";
  }

  get finite(): boolean {
    return this.problem === undefined;
  }

  async add(layer: number, measures: readonly GradientMeasure[], phases: Phases): Promise<void> {
    if (!measures.every((m) => m.finite)) {
      this.problem = "non-finite gradient";
      return;
    }
    const { spectrum, cosines } = this.options;
    const statistics = measures.map(async (m): Promise<[string, MatrixStatistics]> => [m.name, await matrixStatistics(m, spectrum)]);
    this.byLayer.unshift(await phases.time("eigenvalues", () => Promise.all(statistics)));
    if (!cosines) return;
    const attention = measures.filter((m) => /\.self_attn\.[qkvo]_proj\./.test(m.name));
    this.cosines.add(layer, Object.fromEntries(attention.map((m) => [m.name.split(".").at(-2)!, m.gradient!])));
  }

  finish(): RowStatistics {
    const { row, loss, problem } = this;
    if (problem) return { row, loss, problem, matrices: {} };
    const matrices = Object.fromEntries(this.byLayer.flat());
    return { row, loss, matrices, ...(this.options.cosines ? { cosines: this.cosines.result() } : {}) };
  }
}

/** The checkpoint's name of the output head. */
export const headTensor = (spec: ModelSpec): string => (spec.tiedEmbeddings ? headWeights.embedding : headWeights.head);

/** What a block may hold beside its weights: older checkpoints store the rotary frequencies, which follow from the configuration. */
const derived = /\.rotary_emb\.inv_freq$/;

/**
 * Every weight that will be read must be there, in the shape the configuration implies, and the blocks must have no other: a bias or a
 * norm that the family does not compute would change every number in silence.
 */
export function checkTensors(source: ModelSource, family: Family, spec: ModelSpec): void {
  const expected = new Map<string, readonly number[]>([
    [headWeights.embedding, [spec.vocabulary, spec.hidden]],
    [headWeights.norm, [spec.hidden]],
    [headTensor(spec), [spec.vocabulary, spec.hidden]],
  ]);
  const { weights } = buildBlock(family, spec);
  for (let i = 0; i < spec.layers; i++) for (const [name, shape] of weights) expected.set(`model.layers.${i}.${name}`, shape);
  for (const [name, shape] of expected) {
    const found = source.tensors.get(name);
    if (!found)
      throw new LayergradError(
        "model",
        `The weights have no tensor ${name}, which a ${spec.family} model of config.json's sizes needs; the folder may be incomplete.`,
      );
    if (found.shape.join() !== shape.join()) {
      throw new LayergradError(
        "model",
        `Tensor ${name} has shape [${found.shape}], but config.json implies [${shape}]; the files do not belong together.`,
      );
    }
  }
  for (const name of source.tensors.keys()) {
    if (name.startsWith("model.layers.") && !expected.has(name) && !derived.test(name)) {
      throw new LayergradError(
        "model",
        `The weights hold ${name}, which config.json's ${spec.family} model of ${spec.layers} layers does not have; the files do not belong together, or the model is of another family.`,
      );
    }
  }
}

/** Stage outputs under names of the layer: saved values are told apart by their stage. */
const rename = (outputs: Feeds, stage: string): Activations =>
  Object.fromEntries(Object.entries(outputs).map(([key, x]) => [key.startsWith("saved.") ? `${stage}.${key}` : key, x as FloatTensor]));

const sliceAll = (tensors: Readonly<Activations>, { starts }: PackLayout, r: number): Feeds =>
  Object.fromEntries(Object.entries(tensors).map(([key, x]) => [key, rowsOf(x, starts[r]!, starts[r + 1]!)]));

/** Copies a matrix into rows of a larger one, from row `at` on. */
const place = (target: FloatTensor, part: Tensor, at: number): void => target.data.set(part.data as FloatArray, at * target.shape[1]!);
