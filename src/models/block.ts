import * as t from "../tensor/expr.ts";
import { type Expr, input, type Node } from "../tensor/expr.ts";
import { dim, type Shape } from "../tensor/shape.ts";
import type { Family, ModelSpec } from "./family.ts";

/** Tokens of a pack: the rows one after another. */
export const TOKENS = dim("T");

/** A linear layer of the block with what goes into it: the pair that a weight gradient is made of. */
export interface LinearLayer {
  /** Name within the block, `self_attn.q_proj`. */
  readonly name: string;
  readonly node: Node<"linear"> & Expr;
  readonly x: Expr;
  readonly inFeatures: number;
  readonly outFeatures: number;
}

/**
 * A family's block as expressions, cut at the attention: everything else acts on tokens one by one and
 * runs over a whole pack, attention runs row by row.
 */
export interface Block {
  readonly x: Expr;
  readonly q: Expr;
  readonly k: Expr;
  readonly v: Expr;
  /** What attention gives, as an input, `[T, heads·headDim]`. */
  readonly context: Expr;
  readonly output: Expr;
  readonly linears: readonly LinearLayer[];
  /** Weights and biases by name within the block, with their shapes. */
  readonly weights: ReadonlyMap<string, readonly number[]>;
}

/** Inputs of a block that are neither activations nor weights. */
export const tableInputs = { positions: "positions", cos: "rope.cos", sin: "rope.sin" } as const;

export function buildBlock(family: Family, spec: ModelSpec): Block {
  const weights = new Map<string, readonly number[]>();
  const linears: LinearLayer[] = [];
  const weight = (name: string, shape: readonly number[]): Expr => {
    weights.set(name, shape);
    return input(name, shape);
  };
  const tables: Shape = [dim("P"), spec.headDim / 2];
  const [positions, cos, sin] = [
    input(tableInputs.positions, [TOKENS], "int64"),
    input(tableInputs.cos, tables),
    input(tableInputs.sin, tables),
  ];
  const x = input("x", [TOKENS, spec.hidden]);
  const context = input("context", [TOKENS, spec.heads * spec.headDim]);
  let attended: { q: Expr; k: Expr; v: Expr } | undefined;

  const output = family.block({
    spec,
    x,
    linear: (name, value, outFeatures) => {
      const inFeatures = value.shape[1] as number;
      const bias = spec.biases.has(name) ? weight(`${name}.bias`, [outFeatures]) : undefined;
      const node = t.linear(name, value, weight(`${name}.weight`, [outFeatures, inFeatures]), bias) as Node<"linear"> & Expr;
      linears.push({ name, node, x: value, inFeatures, outFeatures });
      return node;
    },
    rmsNorm: (name, value) => t.rmsNorm(value, weight(`${name}.weight`, [value.shape.at(-1) as number]), spec.normEps),
    rope: (value, heads) => t.rope(value, positions, cos, sin, heads),
    attend: (q, k, v) => {
      attended = { q, k, v };
      return context;
    },
  });
  if (!attended) throw new Error(`${spec.family}: the block never attends`);
  return { x, ...attended, context, output, linears, weights };
}

/** Which weight matrices are measured. `reference`: two-dimensional and square, or in attention, as the published scripts choose. */
export type MatrixChoice = "reference" | "attention" | "mlp" | "all";

export const matrixChoices: readonly MatrixChoice[] = ["reference", "attention", "mlp", "all"];

const chosen: Readonly<Record<MatrixChoice, (l: LinearLayer) => boolean>> = {
  reference: (l) => l.inFeatures === l.outFeatures || l.name.includes("self_attn"),
  attention: (l) => l.name.includes("self_attn"),
  mlp: (l) => l.name.includes("mlp"),
  all: () => true,
};

export const chooseLinears = (block: Block, choice: MatrixChoice): readonly LinearLayer[] => block.linears.filter(chosen[choice]);
