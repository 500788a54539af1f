import * as t from "../tensor/expr.ts";
import { type Graph, input } from "../tensor/expr.ts";
import { dim } from "../tensor/shape.ts";
import type { FloatArray, Tensor } from "../tensor/tensor.ts";
import type { Backend, Program } from "./backend.ts";
import type { Phases } from "./phases.ts";

/**
 * Tokens, as a share of a gradient's narrower side, up to which its singular values come from the Gram matrices of its factors. Those take two
 * decompositions of the tokens' order where the gradient's own takes one of that side's: so the work is equal a little below the side.
 */
const FACTORS_PAY = 0.8;

/** Whether a gradient's `[out, in]` singular values come from the Gram matrices of its factors, rather than from its own. */
export const fromFactors = (tokens: number, shape: readonly [number, number]): boolean => tokens < FACTORS_PAY * Math.min(...shape);

/** Solves for singular values, wherever it may run: in this thread or in worker threads. What it is given may be gone once the call has returned its promise. */
export interface SpectrumSolver {
  /** σ of G from GGᵀ or GᵀG, `[r, r]`: r values, descending. */
  fromGram(gram: Float64Array, r: number): Promise<Float64Array>;
  /** σ of ΔᵀX from XXᵀ and ΔΔᵀ, `[n, n]` each: n values, descending, exact zeros beyond the rank. */
  fromGrams(kx: Float64Array, kd: Float64Array, n: number): Promise<Float64Array>;
}

/** The factors of one weight gradient G = ΔᵀX, `[out, in]`, of one row: Δ `[n, out]`, X `[n, in]`. */
export interface FactorPair {
  readonly name: string;
  readonly delta: Tensor<FloatArray>;
  /** Pairs that share X share the array: its Gram matrix is formed once. */
  readonly x: Tensor<FloatArray>;
}

/** What is measured of one gradient matrix. Entries and singular values in units of the gradient. */
export interface GradientMeasure {
  readonly name: string;
  /** `[out, in]` */
  readonly shape: readonly [number, number];
  readonly mean: number;
  readonly max: number;
  readonly min: number;
  /** False where an entry of the gradient is not finite: nothing else then holds. */
  readonly finite: boolean;
  /** The first min(n, out, in) singular values, descending; the rest are exact zeros. */
  readonly sigma: Promise<Float64Array>;
  /** The matrix itself, `[out · in]` row by row, where it was asked for. */
  readonly gradient?: FloatArray;
}

/**
 * Measures gradients from their factors, without a singular value decomposition of any of them.
 *
 * With n tokens below four fifths of both widths, the singular values come from the two n×n Gram matrices XXᵀ and ΔΔᵀ; else
 * G itself is formed in float64 and its Gram matrix on the narrower side. Gram matrices are float64: float32 ones would lose
 * every σ below 3e-4·‖X‖‖Δ‖. max and min come from the product ΔᵀX, in float32 in the first case, in float64 in the second.
 */
export class FactorStatistics {
  private readonly programs = new Map<string, Promise<Program>>();

  constructor(
    private readonly backend: Backend,
    private readonly solver: SpectrumSolver,
    private readonly phases: Phases,
    private readonly wantGradients: boolean,
  ) {}

  /** Measures all gradients of one layer and one row: the pairs have one number of tokens. */
  async measure(pairs: readonly FactorPair[]): Promise<GradientMeasure[]> {
    const layout = layOut(pairs);
    const { feeds, signature, tokens } = layout;
    const grams = await this.run("grams", `grams ${signature}`, () => gramsGraph(layout), feeds);
    // Spectra that are ready to be solved for start before the products: worker threads take them up meanwhile.
    const solving = layout.members.map(({ x, delta, byFactors }) =>
      byFactors ? this.solved(() => this.solver.fromGrams(real(grams[`gram.${x}`]), real(grams[`gram.${delta}`]), tokens)) : undefined,
    );
    const products = await this.run("products", `products ${signature}`, () => productsGraph(layout, this.wantGradients), feeds);
    const measures = layout.members.map(({ name, x, delta, shape }, i) => {
      const [outFeatures, inFeatures] = shape;
      const total = dot(real(grams[`sum.${x}`]), real(grams[`sum.${delta}`]));
      const max = extreme(products[`max.${delta}`]!, Math.max);
      const min = extreme(products[`min.${delta}`]!, Math.min);
      return {
        name,
        shape,
        mean: total / (outFeatures * inFeatures),
        max,
        min,
        // A float32 product can overflow where the float64 sum does not.
        finite: [total, max, min].every(Number.isFinite),
        sigma: solving[i] ?? this.solved(() => this.ofGradient(real(products[`gram.${delta}`]), Math.min(outFeatures, inFeatures), tokens)),
        ...(this.wantGradients ? { gradient: products[`gradient.${delta}`]!.data as FloatArray } : {}),
      };
    });
    this.backend.discard(Object.values(grams));
    if (!this.wantGradients) this.backend.discard(Object.values(products));
    return measures;
  }

  async release(): Promise<void> {
    for (const program of await Promise.allSettled(this.programs.values()))
      if (program.status === "fulfilled") await program.value.release();
    this.programs.clear();
  }

  /** σ from the Gram matrix of G on its narrower side, of `r` features; of more than `tokens` the rest are zeros but for rounding. */
  private async ofGradient(gram: Float64Array, r: number, tokens: number): Promise<Float64Array> {
    return (await this.solver.fromGram(gram, r)).slice(0, tokens);
  }

  /** Starts solving. A failure (a factor that is not finite) waits for whoever awaits the result. */
  private solved(solve: () => Promise<Float64Array>): Promise<Float64Array> {
    const start = performance.now();
    const sigma = solve();
    // What a solver does in this thread; others are waited for later.
    this.phases.milliseconds.eigenvalues += performance.now() - start;
    sigma.catch(() => {});
    return sigma;
  }

  private async run(
    phase: "grams" | "products",
    key: string,
    graph: () => Graph,
    feeds: Readonly<Record<string, Tensor>>,
  ): Promise<Record<string, Tensor>> {
    const program = this.programs.get(key) ?? this.backend.compile(graph());
    this.programs.set(key, program);
    const ready = await program;
    return this.phases.time(phase, () => ready.run(feeds));
  }
}

/** The pairs of one layer and row as the inputs of a graph. */
interface Layout {
  readonly tokens: number;
  readonly members: readonly Member[];
  /** Widths of the distinct X, by input name. */
  readonly xs: ReadonlyMap<string, number>;
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** Layouts of one signature run by the same graphs. */
  readonly signature: string;
}

interface Member {
  readonly name: string;
  /** Input names of the factors. */
  readonly x: string;
  readonly delta: string;
  /** `[out, in]` */
  readonly shape: readonly [number, number];
  /** See {@link fromFactors}. */
  readonly byFactors: boolean;
}

function layOut(pairs: readonly FactorPair[]): Layout {
  const tokens = pairs[0]!.x.shape[0]!;
  const distinct = [...new Set(pairs.map((p) => p.x))];
  const members = pairs.map(({ name, x, delta }, i): Member => {
    const shape = [delta.shape[1]!, x.shape[1]!] as const;
    return { name, x: `x${distinct.indexOf(x)}`, delta: `delta${i}`, shape, byFactors: fromFactors(tokens, shape) };
  });
  return {
    tokens,
    members,
    xs: new Map(distinct.map((x, i) => [`x${i}`, x.shape[1]!])),
    feeds: Object.fromEntries([...distinct.map((x, i) => [`x${i}`, x]), ...pairs.map((p, i) => [`delta${i}`, p.delta])]),
    signature: members.map((m) => `${m.x}:${m.shape}:${m.byFactors}`).join(" "),
  };
}

const n = dim("n");

/** The row sums that the mean entry needs, and XXᵀ and ΔΔᵀ `[n, n]` where they give the spectrum; all float64. */
function gramsGraph({ members, xs }: Layout): Graph {
  const outputs: Record<string, t.Expr> = {};
  const measure = (name: string, width: number, withGram: boolean) => {
    const exact = t.cast(input(name, [n, width]), "float64");
    outputs[`sum.${name}`] = t.sum(exact, 1);
    if (withGram) outputs[`gram.${name}`] = t.matmul(exact, exact, { transB: true });
  };
  for (const [x, width] of xs)
    measure(
      x,
      width,
      members.some((m) => m.x === x && m.byFactors),
    );
  for (const { delta, shape, byFactors } of members) measure(delta, shape[0], byFactors);
  return { name: "grams", outputs };
}

/** Rows of a strip of a gradient, whose extremes are then found while it is in the cache: at 4,096 wide, 40 % faster than the whole. */
const STRIP_ROWS = 512;

/**
 * The extremes of every gradient's rows. Where its factors give the spectrum the gradient is a float32 product; else it is formed in float64
 * and gives its Gram matrix on the narrower side too.
 */
function productsGraph({ members }: Layout, wantGradients: boolean): Graph {
  const outputs: Record<string, t.Expr> = {};
  for (const { x, delta, shape, byFactors } of members) {
    const [outFeatures, inFeatures] = shape;
    const precision = byFactors ? "float32" : "float64";
    const [deltas, xs] = [t.cast(input(delta, [n, outFeatures]), precision), t.cast(input(x, [n, inFeatures]), precision)];
    const gs = byFactors && !wantGradients ? productStrips(deltas, xs) : [t.matmul(deltas, xs, { transA: true })];
    outputs[`max.${delta}`] = together(gs.map(t.max));
    outputs[`min.${delta}`] = together(gs.map(t.min));
    const [g] = gs as [t.Expr];
    if (!byFactors)
      outputs[`gram.${delta}`] = outFeatures <= inFeatures ? t.matmul(g, g, { transB: true }) : t.matmul(g, g, { transA: true });
    if (wantGradients) outputs[`gradient.${delta}`] = t.cast(g, "float32");
  }
  return { name: "products", outputs };
}

/** ΔᵀX in strips of rows. Δ is transposed once, as the runtime would otherwise do it for each strip. */
function productStrips(delta: t.Expr, x: t.Expr): t.Expr[] {
  const rows = delta.shape[1] as number;
  if (rows <= STRIP_ROWS) return [t.matmul(delta, x, { transA: true })];
  const transposed = t.transpose(delta, [1, 0]);
  const starts = Array.from({ length: Math.ceil(rows / STRIP_ROWS) }, (_, i) => i * STRIP_ROWS);
  return starts.map((start) => t.matmul(t.slice(transposed, 0, start, Math.min(rows, start + STRIP_ROWS)), x));
}

const together = (parts: readonly t.Expr[]): t.Expr => (parts.length === 1 ? parts[0]! : t.concat(parts, 0));

const real = (x: Tensor | undefined): Float64Array => x!.data as Float64Array;

function dot(a: Float64Array, b: Float64Array): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i]! * b[i]!;
  return total;
}

function extreme({ data }: Tensor, pick: (a: number, b: number) => number): number {
  let result = Number(data[0]);
  for (let i = 1; i < data.length; i++) result = pick(result, data[i] as number);
  return result;
}
