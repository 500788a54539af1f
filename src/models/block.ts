import * as t from "../tensor/expr.ts";
import { type Expr, input } from "../tensor/expr.ts";
import { dim, type Shape } from "../tensor/shape.ts";
import type { Family, ModelSpec } from "./family.ts";

/** Tokens of a pack: the rows one after another. */
export const TOKENS = dim("T");

/** A linear layer of the block with what goes into it: the pair that a weight gradient is made of. */
export interface LinearLayer {
  /** Name within the block, `self_attn.q_proj`. */
  readonly name: string;
  /** The layer's output: a `linear` node, or a slice of one where the checkpoint holds the weight as a part of a fused one. */
  readonly node: Expr;
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

/** What a norm multiplies with, from its stored weight. */
export const normScale = ({ normOffset }: ModelSpec, weight: Expr): Expr =>
  normOffset === 0 ? weight : t.add(weight, t.constant(normOffset));

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

  const tap = (name: string, node: Expr, value: Expr): Expr => {
    linears.push({ name, node, x: value, inFeatures: value.shape[1] as number, outFeatures: node.shape[1] as number });
    return node;
  };
  const linear = (name: string, value: Expr, outFeatures: number): Expr => {
    const bias = spec.biases.has(name) ? weight(`${name}.bias`, [outFeatures]) : undefined;
    return tap(name, t.linear(name, value, weight(`${name}.weight`, [outFeatures, value.shape[1] as number]), bias), value);
  };
  const rmsNorm = (name: string, value: Expr): Expr =>
    t.rmsNorm(value, normScale(spec, weight(`${name}.weight`, [value.shape.at(-1) as number])), spec.normEps);

  const output = family.block({
    spec,
    x,
    linear,
    fused: <N extends string>(name: string, value: Expr, parts: Readonly<Record<N, number>>) => {
      const entries = Object.entries<number>(parts);
      const whole = linear(
        name,
        value,
        entries.reduce((total, [, width]) => total + width, 0),
      );
      let start = 0;
      const sliced = entries.map(([part, width]) => {
        start += width;
        return [part, tap(part, t.slice(whole, 1, start - width, start), value)];
      });
      return Object.fromEntries(sliced) as Record<N, Expr>;
    },
    rmsNorm,
    headNorm: (name, value, heads) =>
      t.reshape(rmsNorm(name, t.reshape(value, [TOKENS, heads, spec.headDim])), [TOKENS, heads * spec.headDim]),
    rope: (value, heads) => t.rope(value, positions, cos, sin, heads),
    attend: (q, k, v) => {
      attended = { q, k, v };
      return context;
    },
  });
  if (!attended) throw new Error(`${spec.family}: the block never attends`);
  return { x, ...attended, context, output, linears, weights };
}

/**
 * Which weight matrices are measured. `reference`: two-dimensional and square, or in attention, as the published scripts choose from the
 * checkpoint's own; a part of a fused matrix is none of those, and is chosen by its name alone.
 */
export type MatrixChoice = "reference" | "attention" | "mlp" | "all";

export const matrixChoices: readonly MatrixChoice[] = ["reference", "attention", "mlp", "all"];

const chosen: Readonly<Record<MatrixChoice, (l: LinearLayer) => boolean>> = {
  reference: (l) => (l.node.op === "linear" && l.inFeatures === l.outFeatures) || l.name.includes("self_attn"),
  attention: (l) => l.name.includes("self_attn"),
  mlp: (l) => l.name.includes("mlp"),
  all: () => true,
};

export const chooseLinears = (block: Block, choice: MatrixChoice): readonly LinearLayer[] => block.linears.filter(chosen[choice]);
