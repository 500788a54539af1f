import { differentiate, withSaved } from "../autodiff/differentiate.ts";
import * as t from "../tensor/expr.ts";
import { type Expr, type Graph, input, topological } from "../tensor/expr.ts";
import { dim } from "../tensor/shape.ts";
import { type Block, type LinearLayer, normScale } from "./block.ts";
import type { ModelSpec } from "./family.ts";

/**
 * What a stage's forward keeps for its backward. `linears`: the outputs of matrix products, so that only
 * elementwise work is done twice; `narrow`: of those only what is no wider than the residual stream, so that the MLP's inner products are
 * done twice; `nothing`: the backward computes all it needs from the stage's inputs.
 */
export type SavedSet = "linears" | "narrow" | "nothing";

/** Where the two factors of a tapped layer's weight gradient G = ΔᵀX are found. */
export interface Tap {
  readonly linear: LinearLayer;
  /** Backward output that holds Δ, `[T, out]`. */
  readonly delta: string;
  /** Backward output or stage input that holds X, `[T, in]`. Layers that share an X name the same. */
  readonly x: string;
}

/**
 * A part of a block that acts on tokens one by one, forward and backward.
 *
 * The forward takes the stage's inputs and weights and gives its outputs and `saved.<i>`. The backward takes those
 * inputs and saved values and a cotangent `ct.<output>` for each output, and gives `ct.<input>` for each input and the taps' factors.
 */
export interface Stage {
  readonly forward: Graph;
  readonly backward: Graph;
  readonly saved: readonly string[];
  readonly taps: readonly Tap[];
}

/** Before attention: the residual stream to queries, keys and values. The residual itself passes by as output `residual`. */
export const projectStage = (block: Block, tapped: readonly LinearLayer[], save: SavedSet): Stage =>
  buildStage("project", { x: block.x }, { q: block.q, k: block.k, v: block.v }, { residual: block.x }, tapped, save);

/** After attention: the residual stream and the attention's context to the block's output. */
export const mixStage = (block: Block, tapped: readonly LinearLayer[], save: SavedSet): Stage =>
  buildStage("mix", { x: block.x, context: block.context }, { output: block.output }, {}, tapped, save);

function buildStage(
  name: string,
  inputs: Readonly<Record<string, Expr>>,
  outputs: Readonly<Record<string, Expr>>,
  passedBy: Readonly<Record<string, Expr>>,
  tapped: readonly LinearLayer[],
  save: SavedSet,
): Stage {
  const forward = topological(Object.values(outputs));
  const inside = new Set<Expr>(forward);
  const taps = tapped.filter((l) => inside.has(l.node));
  const seeds = Object.entries({ ...outputs, ...passedBy }).map(([key, x]) => [x, input(`ct.${key}`, x.shape)] as const);
  const cotangents = differentiate(seeds, [...Object.values(inputs), ...taps.map((l) => l.node)]);

  const factors = [...new Set(taps.map((l) => l.x).filter((x) => x.op !== "input"))];
  const keys = [
    ...Object.keys(inputs).map((key) => `ct.${key}`),
    ...taps.map((l) => `delta.${l.name}`),
    ...factors.map((_, i) => `factor.${i}`),
  ];
  const widest = { linears: Number.POSITIVE_INFINITY, narrow: inputs.x!.shape[1] as number, nothing: 0 }[save];
  const saved = productsReached([...cotangents, ...factors], inside, widest);
  const replaced = withSaved([...cotangents, ...factors], new Map(saved.map((x, i) => [x, input(`saved.${i}`, x.shape)])));
  return {
    forward: { name, outputs: { ...outputs, ...Object.fromEntries(saved.map((x, i) => [`saved.${i}`, x])) } },
    backward: { name: `${name}.vjp`, outputs: Object.fromEntries(keys.map((key, i) => [key, replaced[i]!])) },
    saved: saved.map((_, i) => `saved.${i}`),
    taps: taps.map((linear) => ({
      linear,
      delta: `delta.${linear.name}`,
      x: linear.x.op === "input" ? linear.x.attrs.name : `factor.${factors.indexOf(linear.x)}`,
    })),
  };
}

/** The forward's matrix products up to a width (with the residual added, where that is one operation) that a backward graph comes upon first. */
function productsReached(backward: readonly Expr[], inside: ReadonlySet<Expr>, widest: number): Expr[] {
  const found = new Set<Expr>();
  const seen = new Set<Expr>();
  const isProduct = (x: Expr) => x.op === "linear" || (x.op === "add" && x.args.some((a) => a.op === "linear"));
  const visit = (x: Expr): void => {
    if (seen.has(x)) return;
    seen.add(x);
    if (inside.has(x) && isProduct(x) && (x.shape[1] as number) <= widest) found.add(x);
    else x.args.forEach(visit);
  };
  backward.forEach(visit);
  return [...found];
}

/** Names of the weights outside the blocks. */
export const headWeights = { norm: "model.norm.weight", head: "lm_head.weight", embedding: "model.embed_tokens.weight" } as const;

/**
 * The output head over label positions, forward and backward in one graph: hidden states `x` `[N, hidden]`, `labels` `[N]` and
 * `ct.loss` `[N]` to each label's own `loss` `[N]` in nats, and `ct.x` `[N, hidden]`.
 */
export function headGraph(spec: ModelSpec): Graph {
  const n = dim("N");
  const x = input("x", [n, spec.hidden]);
  const normalised = t.rmsNorm(x, normScale(spec, input(headWeights.norm, [spec.hidden])), spec.normEps);
  // A soft cap wants the logits over it: dividing what goes into the product saves a pass over the vocabulary each way.
  const { logitCap } = spec;
  const divided = logitCap === Number.POSITIVE_INFINITY ? normalised : t.mul(normalised, t.constant(1 / logitCap));
  const logits = t.linear("lm_head", divided, input(headWeights.head, [spec.vocabulary, spec.hidden]));
  const loss = t.crossEntropy(t.softcap(logits, logitCap), input("labels", [n], "int64"));
  const [dx] = differentiate([[loss, input("ct.loss", [n])]], [x]) as [Expr];
  return { name: "head", outputs: { loss, "ct.x": dx } };
}
