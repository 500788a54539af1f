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
  /** The output head is the embedding matrix. */
  readonly tiedEmbeddings: boolean;
  readonly rope: RopeSpec;
  /** The linear layers of a block that have a bias. */
  readonly biases: ReadonlySet<string>;
}

/** What a family's block is written with. */
export interface BlockContext {
  readonly spec: ModelSpec;
  /** The residual stream, `[T, hidden]`. */
  readonly x: Expr;
  /** A named linear layer of the checkpoint, with its bias where the spec says so; `out` features. */
  linear(name: string, x: Expr, out: number): Expr;
  rmsNorm(name: string, x: Expr): Expr;
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
