import type { ModelSpec } from "../models/family.ts";
import { type HeadGraphs, headGraphs, headWeights } from "../models/head.ts";
import { type FloatArray, indices, rowsOf, type Tensor, zeros } from "../tensor/tensor.ts";
import type { Backend, Program } from "./backend.ts";
import type { Weights } from "./weight-supply.ts";

type FloatTensor = Tensor<FloatArray>;

/** What the head gives for label positions. */
export interface HeadResult {
  /** Cross-entropy of each label, nats. */
  readonly losses: Float64Array;
  /** Cotangent that each label's own loss, unweighted, sends to the position it is predicted from: `[labels, hidden]`. */
  readonly ct: FloatTensor;
}

/** How many logits exist at one time, at most. */
export interface LogitsAtOnce {
  readonly labels: number;
  /** Entries of the vocabulary. */
  readonly vocabulary: number;
}

/** As many as a processor's cache holds: 17 MB. */
export const logitsAtOnce: LogitsAtOnce = { labels: 1024, vocabulary: 4096 };

/** Below any logit, and finite, so that no ∞ − ∞ can arise. */
const LOWEST = -1e30;

/** What {@link HeadGraphs.part} carries from part to part. */
const carried = ["top", "label", "others", "pulled"] as const;
type Carried = Readonly<Record<(typeof carried)[number], FloatTensor>>;

/** The output head over label positions, forward and backward, one part of the vocabulary after another. */
export class OutputHead {
  private readonly parts = new Map<number, Promise<Program>>();

  private constructor(
    private readonly backend: Backend,
    private readonly graphs: HeadGraphs,
    private readonly atOnce: LogitsAtOnce,
    private readonly begin: Program,
    private readonly end: Program,
  ) {}

  static async open(backend: Backend, spec: ModelSpec, atOnce = logitsAtOnce): Promise<OutputHead> {
    const graphs = headGraphs(spec);
    return new OutputHead(backend, graphs, atOnce, await backend.compile(graphs.begin), await backend.compile(graphs.end));
  }

  /**
   * @param x - Hidden states that labels are predicted from, `[labels, hidden]`.
   * @param labels - The labels' token ids.
   * @param weights - The head's norm and rows.
   */
  async run(x: FloatTensor, labels: readonly number[], weights: Weights): Promise<HeadResult> {
    const result: HeadResult = { losses: new Float64Array(labels.length), ct: this.zeros(x.shape) };
    const hidden = x.shape[1]!;
    // Chunks of one size: a short last one would starve the matrix product.
    const size = Math.ceil(labels.length / Math.ceil(labels.length / this.atOnce.labels));
    for (let from = 0; from < labels.length; from += size) {
      const to = Math.min(from + size, labels.length);
      const { losses, ct } = await this.runChunk(rowsOf(x, from, to), labels.slice(from, to), weights);
      result.losses.set(losses, from);
      result.ct.data.set(ct.data, from * hidden);
      this.backend.discard([ct]);
    }
    return result;
  }

  async release(): Promise<void> {
    await this.begin.release();
    await this.end.release();
    for (const part of await Promise.allSettled(this.parts.values())) if (part.status === "fulfilled") await part.value.release();
  }

  private async runChunk(x: FloatTensor, labels: readonly number[], weights: Weights): Promise<HeadResult> {
    const norm = { [headWeights.norm]: weights[headWeights.norm]! };
    const head = weights[headWeights.head] as FloatTensor;
    const states = (await this.begin.run({ x, ...norm })).states as FloatTensor;
    const sums = await this.overVocabulary(states, labels, head);

    const [top, label, others] = [sums.top.data, sums.label.data, sums.others.data];
    const [inverse, miss] = [this.column(labels), this.column(labels)];
    const losses = new Float64Array(labels.length);
    for (let i = 0; i < labels.length; i++) {
      const own = Math.exp(label[i]! - top[i]!);
      const total = own + others[i]!;
      // Where the model is sure of the label, ln(1 + S/e^{z−m}) keeps the digits that ln of their sum would lose.
      losses[i] = others[i]! < own ? Math.log1p(others[i]! / own) : Math.log(total) + (top[i]! - label[i]!);
      inverse.data[i] = 1 / total;
      miss.data[i] = others[i]! / total;
    }
    const row = this.zeros(x.shape);
    for (const [i, id] of labels.entries()) row.data.set(rowsOf(head, id, id + 1).data, i * x.shape[1]!);
    const ct = (await this.end.run({ x, ...norm, pulled: sums.pulled, row, inverse, miss }))["ct.x"] as FloatTensor;
    this.backend.discard([states, row, ...Object.values(sums)]);
    return { losses, ct };
  }

  /** The sums of {@link HeadGraphs} over the whole vocabulary. */
  private async overVocabulary(states: FloatTensor, labels: readonly number[], head: FloatTensor): Promise<Carried> {
    let sums: Carried = {
      top: this.column(labels, () => LOWEST),
      label: this.column(labels),
      others: this.column(labels),
      pulled: this.zeros(states.shape),
    };
    const vocabulary = head.shape[0]!;
    for (let from = 0; from < vocabulary; from += this.atOnce.vocabulary) {
      const to = Math.min(from + this.atOnce.vocabulary, vocabulary);
      const program = await this.programFor(to - from);
      const next = await program.run({
        states,
        [headWeights.head]: rowsOf(head, from, to),
        at: indices(labels.map((id) => Math.min(Math.max(id, from), to - 1) - from)),
        own: this.column(labels, (id) => (id >= from && id < to ? 1 : 0)),
        ...sums,
      });
      this.backend.discard(Object.values(sums));
      sums = Object.fromEntries(carried.map((key) => [key, next[`next.${key}`]])) as Carried;
    }
    return sums;
  }

  private programFor(size: number): Promise<Program> {
    const known = this.parts.get(size) ?? this.backend.compile(this.graphs.part(size));
    this.parts.set(size, known);
    return known;
  }

  private zeros(shape: readonly number[]): FloatTensor {
    return zeros(this.backend.precision, shape);
  }

  /** One number for each label, `[labels, 1]`. */
  private column(labels: readonly number[], value: (id: number) => number = () => 0): FloatTensor {
    const column = this.zeros([labels.length, 1]);
    for (const [i, id] of labels.entries()) column.data[i] = value(id);
    return column;
  }
}
