import type { Expr } from "../tensor/expr.ts";
import type { ConfigReader } from "./config-reader.ts";
import type { RopeSpec } from "./rope.ts";

/** What a configuration says of a decoder-only language model. Sizes are counts of elements. */
export interface ModelSpec {
  /** The family's name for people. */
  readonly family: string;
  readonly modelType: string;
  readonly layers: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  /** Key/value heads; fewer than `heads` under grouped-query attention. */
  readonly keyValueHeads: number;
  readonly headDim: number;
  readonly vocabulary: number;
  /** ε of every RMSNorm. */
  readonly normEps: number;
  /** Added to every norm's weight: 1 where checkpoints store the scale's distance from 1. */
  readonly normOffset: number;
  /** The output head is the embedding matrix. */
  readonly tiedEmbeddings: boolean;
  /** Factor on the embeddings. */
  readonly embeddingScale: number;
  /** Factor on the products of queries and keys. */
  readonly scoreScale: number;
  /** Soft cap c of attention scores, c·tanh(score / c), before the mask; Infinity for none. */
  readonly scoreCap: number;
  /** The same of logits. */
  readonly logitCap: number;
  /** How each layer attends: all that tells layers apart but their weights. */
  readonly attention: readonly LayerAttention[];
  /** The linear layers of a block that have a bias. */
  readonly biases: ReadonlySet<string>;
}

export interface LayerAttention {
  /** Tokens that a token sees, itself and those before it: position i sees i − window + 1 … i. Infinity for all. */
  readonly window: number;
  /** Layers that rotate alike share the object. */
  readonly rope: RopeSpec;
}

/** What a family's block is written with. */
export interface BlockContext {
  readonly spec: ModelSpec;
  /** The residual stream, `[T, hidden]`. */
  readonly x: Expr;
  /** A named linear layer of the checkpoint, with its bias where the spec says so; `out` features. */
  linear(name: string, x: Expr, out: number): Expr;
  /**
   * A linear layer whose outputs are several layers' side by side: the parts, in their order, by the names they have where they are not
   * fused, with the features of each. The gradient is measured whole, under `name`, and in parts.
   */
  fused<N extends string>(name: string, x: Expr, parts: Readonly<Record<N, number>>): Readonly<Record<N, Expr>>;
  /** Over all features. */
  rmsNorm(name: string, x: Expr): Expr;
  /** Over each of `heads` heads by itself, with one weight `[headDim]`. */
  headNorm(name: string, x: Expr, heads: number): Expr;
  /** Rotary position embedding of `heads` heads side by side. */
  rope(x: Expr, heads: number): Expr;
  /** Causal grouped-query attention within each row; q `[T, heads·headDim]`, k and v `[T, keyValueHeads·headDim]`. Called once. */
  attend(q: Expr, k: Expr, v: Expr): Expr;
}

/**
 * A family of models: how its configuration is read and what one block computes. The backward pass,
 * the packing and the statistics follow from that.
 */
export interface Family {
  readonly modelTypes: readonly string[];
  readSpec(config: ConfigReader): ModelSpec;
  /** The block's output, `[T, hidden]`. Checkpoint names are relative to `model.layers.<i>.` */
  block(context: BlockContext): Expr;
}
