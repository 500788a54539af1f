import { differentiate, withSaved } from "../autodiff/differentiate.ts";
import { type Expr, type Graph, input, topological } from "../tensor/expr.ts";
import type { Block, LinearLayer } from "./block.ts";

/**
 * What a stage's forward keeps for its backward. `linears`: the outputs of matrix products, so that only
 * elementwise work is done twice; `narrow`: of those only what is no wider than the residual stream, so that the MLP's inner products are
 * done twice; `nothing`: the backward computes all it needs from the stage's inputs.
 */
export type SavedSet = "linears" | "narrow" | "nothing";

/** Where the two factors of a tapped layer's weight gradient G = ΔᵀX are found. */
export interface Tap {
  readonly linear: LinearLayer;
  /** Backward output or input that holds Δ, `[T, out]`. */
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

  // A factor that the backward is given, or gives already, goes by that name.
  const given = new Map<string, Expr>(Object.keys(inputs).map((key, i) => [`ct.${key}`, cotangents[i]!]));
  const named = (x: Expr, name: string): string => {
    if (x.op === "input") return x.attrs.name;
    const known = [...given].find(([, other]) => other === x)?.[0] ?? name;
    given.set(known, x);
    return known;
  };
  const found = taps.map((linear, i) => ({
    linear,
    delta: named(cotangents[Object.keys(inputs).length + i]!, `delta.${linear.name}`),
    x: named(linear.x, `x.${linear.name}`),
  }));
  const widest = { linears: Number.POSITIVE_INFINITY, narrow: inputs.x!.shape[1] as number, nothing: 0 }[save];
  const saved = productsReached([...given.values()], inside, widest);
  const replaced = withSaved([...given.values()], new Map(saved.map((x, i) => [x, input(`saved.${i}`, x.shape)])));
  return {
    forward: { name, outputs: { ...outputs, ...Object.fromEntries(saved.map((x, i) => [`saved.${i}`, x])) } },
    backward: { name: `${name}.vjp`, outputs: Object.fromEntries([...given.keys()].map((key, i) => [key, replaced[i]!])) },
    saved: saved.map((_, i) => `saved.${i}`),
    taps: found,
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
