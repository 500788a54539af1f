import { LayergradError } from "../errors.ts";
import { attentionGraphs, stripsOf } from "../models/attention.ts";
import { buildBlock, chooseLinears, type MatrixChoice } from "../models/block.ts";
import type { Family, ModelSpec } from "../models/family.ts";
import { headWeights } from "../models/head.ts";
import { readModel } from "../models/registry.ts";
import { mixStage, projectStage, type SavedSet, type Stage, type Tap } from "../models/stages.ts";
import type { Graph } from "../tensor/expr.ts";
import { type FloatArray, rowsOf, type Tensor, zeros } from "../tensor/tensor.ts";
import { Arena } from "./arena.ts";
import type { Backend, Program } from "./backend.ts";
import { type FactorPair, FactorStatistics, type SpectrumSolver } from "./factor-statistics.ts";
import { checkTensors, type ModelSource } from "./model-source.ts";
import { type LogitsAtOnce, OutputHead } from "./output-head.ts";
import { type PackLayout, PackLayouts, type SubsetRow, type TokenRow } from "./pack-layout.ts";
import { Phases } from "./phases.ts";
import { RowInProgress, type RowStatistics } from "./row-statistics.ts";
import { Borrower, openDesk } from "./weight-desk.ts";
import { type WeightMode, type Weights, type WeightSupply, weightGroups } from "./weight-supply.ts";

export type { ModelSource } from "./model-source.ts";
export type { SubsetRow, TokenRow } from "./pack-layout.ts";
export type { WeightMode } from "./weight-supply.ts";

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
  /** Of streamed weights: whether the output head is read in its turn like a layer, rather than held. */
  readonly streamHead?: boolean;
  readonly retention: Retention;
  /** How many logits exist at one time, default 1,024 labels by 4,096 entries of the vocabulary; a choice of speed and memory alone. */
  readonly logits?: LogitsAtOnce;
  /** What the backward graphs read rather than recompute; a choice of speed alone. */
  readonly saved: SavedSet;
}

type FloatTensor = Tensor<FloatArray>;
type Feeds = Record<string, Tensor>;
type Activations = Record<string, FloatTensor>;

/** One engine, or several side by side. */
export interface MeasuringEngine {
  readonly phases: Phases;
  /** Waves that may be asked for before the first has come. */
  readonly wavesAtOnce: number;
  measureWave(packs: readonly (readonly SubsetRow[])[], signal?: AbortSignal): Promise<RowStatistics[][][]>;
  close(): Promise<void>;
}

/** What one layer's forward leaves. */
interface LayerState {
  readonly x: FloatTensor;
  /** Queries, keys, values, context and saved products; absent where they are to be computed again. */
  readonly kept?: Readonly<Activations>;
}

/** The programs of one layer: shared by all layers unless weights are packed. */
interface LayerPrograms {
  readonly project: Program;
  readonly mix: Program;
  readonly projectVjp: Program;
  readonly mixVjp: Program;
}

interface Stages {
  readonly project: Stage;
  readonly mix: Stage;
}

/** A pack on its way through the layers. */
interface PackInHand {
  readonly layout: PackLayout;
  readonly rows: readonly SubsetRow[];
  /** What comes out of the layers done so far, `[tokens, hidden]`. */
  x: FloatTensor;
  readonly states: LayerState[];
}

/** A backward pass of one pack: one subset of each row. */
interface PassInHand {
  /** Cotangent of what comes out of the next layer to do, `[tokens, hidden]`. */
  ct: FloatTensor;
  /** By row of the pack; undefined for rows with fewer subsets. */
  readonly rows: readonly (RowInProgress | undefined)[];
}

/**
 * Forward and backward passes over packs of rows, layer by layer, and from each layer's factor pairs the statistics of every
 * row's own gradient. The loss of a row is the mean over its own labels, whatever it is packed with.
 *
 * Packs that go through the layers together are a wave: each layer's weights are taken up once for all of them, forward and backward.
 */
export class Engine implements MeasuringEngine {
  readonly phases = new Phases();
  readonly wavesAtOnce = 1;
  private readonly attention = new Map<number, Promise<{ forward: Program; backward: Program }>>();
  private readonly factors: FactorStatistics;
  private readonly layouts: PackLayouts;
  private readonly kept: Arena;
  /** Spectra that worker threads are at, while the passes go on. */
  private solving: Promise<unknown> = Promise.resolve();
  private lastWave: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly source: Pick<ModelSource, "readRows">,
    readonly spec: ModelSpec,
    private readonly stages: Stages,
    private readonly options: EngineOptions,
    private readonly layers: readonly LayerPrograms[],
    private readonly head: OutputHead,
    private readonly weights: WeightSupply,
  ) {
    this.factors = new FactorStatistics(options.backend, options.solver, this.phases, options.cosines);
    this.layouts = new PackLayouts(spec, options.maxLength, (shape, data) => this.real(shape, data));
    this.kept = new Arena(options.backend.precision);
  }

  /**
   * Reads the weights that are held and prepares the programs.
   *
   * @param onLayer - Told of each layer that has been read.
   * @throws {LayergradError} `model` if the family is not supported or a weight is missing or misshapen.
   */
  static async open(source: ModelSource, options: EngineOptions, onLayer?: (done: number, total: number) => void): Promise<Engine> {
    const { family, spec } = readModel(source.config);
    checkTensors(source, family, spec);
    const { backend } = options;
    const stages = stagesOf(family, spec, options);
    const layers: LayerPrograms[] = [];
    try {
      const groups = weightGroups(buildBlock(family, spec), spec);
      const desk = await openDesk(source, groups, options, async (layer, read) => {
        if (options.weights === "packed") layers.push(await compileLayer(backend, stages, read));
        onLayer?.(layer + 1, spec.layers);
      });
      if (options.weights !== "packed") layers.push(await compileLayer(backend, stages));
      return new Engine(source, spec, stages, options, layers, await OutputHead.open(backend, spec, options.logits), new Borrower(desk));
    } catch (error) {
      await releaseAll(layers.flatMap((layer) => Object.values(layer) as Program[]));
      throw error;
    }
  }

  /** An engine whose weights come from elsewhere, and are not packed. */
  static async over(
    source: Pick<ModelSource, "config" | "readRows">,
    options: Omit<EngineOptions, "weights" | "streamHead">,
    weights: WeightSupply,
  ): Promise<Engine> {
    const { family, spec } = readModel(source.config);
    const { backend } = options;
    const stages = stagesOf(family, spec, options);
    const layers = [await compileLayer(backend, stages)];
    const head = await OutputHead.open(backend, spec, options.logits);
    return new Engine(source, spec, stages, { ...options, weights: "fed" }, layers, head, weights);
  }

  /**
   * The statistics of each row of a pack. A row whose loss is not finite comes back with that loss and no matrices.
   * The rows' order, and what a row is packed with, change nothing but rounding.
   *
   * @param signal - Looked at before each layer and pack; all is then given up with the signal's reason.
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
    return (await this.measureWave([rows], signal))[0]!;
  }

  /**
   * As {@link measureSubsets}, for several packs that go through the layers together. What else is in the wave changes no digit.
   *
   * @returns For each pack what {@link measureSubsets} returns.
   */
  measureWave(packs: readonly (readonly SubsetRow[])[], signal?: AbortSignal): Promise<RowStatistics[][][]> {
    // What is kept lies in one place, and streamed weights in two: calls take turns.
    const turn = this.lastWave.then(() => this.passThrough(packs, signal)).finally(() => this.weights.giveBack());
    this.lastWave = turn.catch(() => {});
    return turn;
  }

  private async passThrough(packs: readonly (readonly SubsetRow[])[], signal?: AbortSignal): Promise<RowStatistics[][][]> {
    this.kept.reset();
    const wave: PackInHand[] = [];
    for (const rows of packs) {
      const layout = this.layouts.layOut(rows);
      // The embeddings may be the source's own.
      const x = this.kept.keep(await this.phases.time("embedding", () => this.embed(layout)));
      wave.push({ layout, rows, x, states: [] });
    }
    await this.forwardThrough(wave, signal);
    const heads: RowHead[][] = [];
    const weights = await this.take(this.spec.layers, this.spec.layers - 1);
    for (const pack of wave) {
      heads.push(await this.phases.time("head", () => this.runHead(pack, weights)));
    }

    const results: RowStatistics[][][] = packs.map((rows) => rows.map(() => []));
    const passes = Math.max(...packs.flatMap((rows) => rows.map((row) => row.subsets.length)));
    const together = passesTogether(this.spec, this.options.cosines);
    for (let from = 0; from < passes; from += together) {
      const indexes = Array.from({ length: Math.min(together, passes - from) }, (_, i) => from + i);
      const inHand = wave.map((pack, p) => indexes.map((pass) => this.beginPass(pack, heads[p]!, pass)));
      await this.backwardThrough(wave, inHand, signal);
      for (const [p, ofPack] of inHand.entries())
        for (const { rows } of ofPack)
          for (const [r, row] of rows.entries()) if (row) results[p]![r]!.push(await this.phases.time("eigenvalues", () => row.finish()));
    }
    return results;
  }

  /** Frees every program. The engine cannot be used afterwards. */
  async close(): Promise<void> {
    await this.weights.close();
    await releaseAll(this.layers.flatMap((layer) => Object.values(layer) as Program[]));
    for (const pair of await Promise.allSettled(this.attention.values()))
      if (pair.status === "fulfilled") await releaseAll(Object.values(pair.value));
    await this.factors.release();
    await this.head.release();
  }

  /** The weights of a layer, or of the head, which comes after the last one. */
  private take(group: number, next?: number): Promise<Weights> {
    return this.phases.time("weights", () => this.weights.take(group, next));
  }

  /** Takes all packs through the layers, and keeps what their backward passes need. */
  private async forwardThrough(wave: readonly PackInHand[], signal?: AbortSignal): Promise<void> {
    for (let layer = 0; layer < this.spec.layers; layer++) {
      const weights = await this.take(layer, layer + 1);
      for (const pack of wave) {
        signal?.throwIfAborted();
        await this.phases.time("forward", async () => {
          const { x, layout } = pack;
          const { output, ...products } = await this.forward(layer, weights, x, layout, this.options.retention);
          if (this.options.retention === "inputs") this.discard(products);
          pack.states.push(this.options.retention === "products" ? { x, kept: products } : { x });
          pack.x = output!;
        });
      }
    }
  }

  private beginPass({ layout, rows }: PackInHand, heads: readonly RowHead[], pass: number): PassInHand {
    const ct = this.zeros([layout.tokens, this.spec.hidden]);
    return {
      ct,
      rows: rows.map(({ row, subsets }, r) => {
        const subset = subsets[pass];
        return subset && new RowInProgress(row, this.seedSubset(ct, heads[r]!, subset, layout.starts[r]!), this.options);
      }),
    };
  }

  /** Takes the cotangents of passes over each pack from the last layer to the first, and adds each layer's statistics to their rows. */
  private async backwardThrough(
    wave: readonly PackInHand[],
    passes: readonly (readonly PassInHand[])[],
    signal?: AbortSignal,
  ): Promise<void> {
    for (let layer = this.spec.layers - 1; layer >= 0; layer--) {
      const weights = await this.take(layer, layer > 0 ? layer - 1 : undefined);
      for (const [p, { layout, states }] of wave.entries()) {
        signal?.throwIfAborted();
        const { x, kept: known } = states[layer]!;
        const kept = known ?? (await this.phases.time("forward", () => this.forward(layer, weights, x, layout)));
        for (const pass of passes[p]!) {
          signal?.throwIfAborted();
          const { ctInput, factors, passing } = await this.phases.time("backward", () =>
            this.backward(layer, weights, { x, kept }, pass.ct, layout),
          );
          pass.ct = ctInput;
          await this.addStatistics(layer, pass, factors, layout);
          for (const tensors of passing) this.discard(tensors);
        }
        if (!known) this.discard(kept);
      }
    }
  }

  /** Begins on a layer's statistics of each row of a pass. Their spectra are solved while the passes go on, as far as the next layer's. */
  private async addStatistics(layer: number, { rows }: PassInHand, factors: readonly Factor[], layout: PackLayout): Promise<void> {
    const begun: Promise<unknown>[] = [];
    for (const [r, row] of rows.entries())
      if (row?.finite) begun.push(row.add(layer, await this.factors.measure(pairsOf(factors, layer, layout, r))));
    await this.phases.time("eigenvalues", () => this.solving);
    this.solving = Promise.all(begun);
    // A failure is thrown where the next layer or the row's end waits for it.
    this.solving.catch(() => {});
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

  /**
   * A layer's `output`, and all that its backward may read: queries, keys, values, context, saved products.
   *
   * @param kept - What of that is written where it is kept: all of it, or the output alone.
   */
  private async forward(layer: number, weights: Weights, x: FloatTensor, pack: PackLayout, kept?: Retention): Promise<Activations> {
    const programs = this.programs(layer);
    const feeds: Feeds = { ...weights, ...pack.tables[layer], x };
    const places = ({ outputs }: Graph): Activations => {
      const keys = Object.keys(outputs).filter((key) => kept === "products" || (kept === "inputs" && key === "output"));
      return Object.fromEntries(keys.map((key) => [key, this.kept.room([pack.tokens, outputs[key]!.shape[1] as number])]));
    };
    const { project, mix } = this.stages;
    const projected = rename(await programs.project.run(feeds, places(project.forward)), "project");
    const shape = [pack.tokens, this.spec.heads * this.spec.headDim];
    const context = kept === "products" ? this.kept.room(shape) : this.zeros(shape);
    for (const [r] of pack.rows.entries()) {
      const { forward } = await this.attentionFor(pack, r);
      const inputs = sliceAll({ q: projected.q!, k: projected.k!, v: projected.v! }, pack, r);
      await runInto(forward, { ...inputs, ...pack.masks[layer]![r] }, sliceAll({ context }, pack, r));
    }
    return { ...projected, ...rename(await programs.mix.run({ ...feeds, context }, places(mix.forward)), "mix"), context };
  }

  /** A layer's cotangents: of its input, and of what is measured. `passing` holds those and all else that is done with once they are measured. */
  private async backward(layer: number, weights: Weights, { x, kept }: Required<LayerState>, ctOutput: FloatTensor, pack: PackLayout) {
    const programs = this.programs(layer);
    const feeds: Feeds = { ...weights, ...pack.tables[layer], x };
    const saved = (stage: "project" | "mix") => Object.fromEntries(this.stages[stage].saved.map((key) => [key, kept[`${stage}.${key}`]!]));

    const mixing = { ...feeds, ...saved("mix"), context: kept.context!, "ct.output": ctOutput };
    const mixed = await programs.mixVjp.run(mixing);
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
      await runInto(backward, { ...inputs, ...pack.masks[layer]![r] }, sliceAll(ct, pack, r));
    }
    const projecting = { ...feeds, ...saved("project"), ...ct, "ct.residual": mixed["ct.x"]! };
    const { "ct.x": ctInput, ...projected } = await programs.projectVjp.run(projecting);
    const pick = ({ taps }: Stage, tensors: Feeds): Factor[] =>
      taps.map((tap) => ({ tap, delta: tensors[tap.delta] as FloatTensor, x: tensors[tap.x] as FloatTensor }));
    return {
      ctInput: ctInput as FloatTensor,
      factors: [...pick(this.stages.project, { ...projecting, ...projected }), ...pick(this.stages.mix, { ...mixing, ...mixed })],
      passing: [mixed, ct, projected, { ctOutput }],
    };
  }

  /** Each row's losses label by label, and their cotangents. */
  private async runHead({ x, layout: { rows, starts } }: PackInHand, weights: Weights): Promise<RowHead[]> {
    let count = 0;
    const places = rows.map((row) => {
      const from = count;
      count += labelCount(row);
      return { first: row.inputIds.length - (count - from) - 1, from, to: count };
    });
    const states = this.zeros([count, this.spec.hidden]);
    for (const [r, { first, from, to }] of places.entries()) {
      const start = starts[r]! + first;
      place(states, rowsOf(x, start, start + to - from), from);
    }
    const labels = rows.flatMap((row, r) => Array.from(row.inputIds).slice(places[r]!.first + 1));
    const { losses, ct } = await this.head.run(states, labels, weights);
    this.discard({ states });
    return places.map(({ first, from, to }) => ({ first, losses: losses.subarray(from, to), ct: rowsOf(ct, from, to) }));
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

  private discard(tensors: Feeds): void {
    this.options.backend.discard(Object.values(tensors));
  }

  private programs(layer: number): LayerPrograms {
    return this.layers[this.options.weights === "packed" ? layer : 0]!;
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

  private real(shape: readonly number[], data: FloatArray): FloatTensor {
    if (this.options.backend.precision === "float64") return { shape, data: data instanceof Float64Array ? data : Float64Array.from(data) };
    return { shape, data: data instanceof Float32Array ? data : Float32Array.from(data) };
  }

  private zeros(shape: readonly number[]): FloatTensor {
    return zeros(this.options.backend.precision, shape);
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

/**
 * Backward passes of a pack that go through the layers together: as many as there are layers, whose cotangents take no more than the
 * layers' inputs that are kept anyway; with cosines one at a time, since each pass holds gradients from layer to layer.
 */
export const passesTogether = ({ layers }: ModelSpec, cosines: boolean): number => (cosines ? 1 : layers);

/** The stages of a block, with taps where matrices are measured. */
function stagesOf(family: Family, spec: ModelSpec, { matrices, saved }: Pick<EngineOptions, "matrices" | "saved">): Stages {
  const block = buildBlock(family, spec);
  const tapped = chooseLinears(block, matrices);
  if (tapped.length === 0) throw new LayergradError("usage", `No weight matrix of this model is chosen by --matrices ${matrices}.`);
  return { project: projectStage(block, tapped, saved), mix: mixStage(block, tapped, saved) };
}

/** @param packed - Weights that become part of the programs. */
async function compileLayer(backend: Backend, { project, mix }: Stages, packed?: Weights): Promise<LayerPrograms> {
  const constants = packed && new Map(Object.entries(packed).map(([name, { data }]) => [name, data]));
  return {
    project: await backend.compile(project.forward, constants),
    mix: await backend.compile(mix.forward, constants),
    projectVjp: await backend.compile(project.backward, constants),
    mixVjp: await backend.compile(mix.backward, constants),
  };
}

async function releaseAll(programs: readonly Program[]): Promise<void> {
  for (const program of programs) await program.release();
}

/** Has all results of a program lie in given places, also where it pays no heed to them. */
async function runInto(program: Program, feeds: Feeds, places: Activations): Promise<void> {
  const results = await program.run(feeds, places);
  for (const [key, place] of Object.entries(places)) if (results[key] !== place) place.data.set(results[key]!.data as FloatArray);
}

/** Stage outputs under names of the layer: saved values are told apart by their stage. */
const rename = (outputs: Feeds, stage: string): Activations =>
  Object.fromEntries(Object.entries(outputs).map(([key, x]) => [key.startsWith("saved.") ? `${stage}.${key}` : key, x as FloatTensor]));

const sliceAll = (tensors: Readonly<Activations>, { starts }: PackLayout, r: number): Activations =>
  Object.fromEntries(Object.entries(tensors).map(([key, x]) => [key, rowsOf(x, starts[r]!, starts[r + 1]!)]));

/** Copies a matrix into rows of a larger one, from row `at` on. */
const place = (target: FloatTensor, part: Tensor, at: number): void => target.data.set(part.data as FloatArray, at * target.shape[1]!);
