import * as t from "../tensor/expr.ts";
import { type Graph, input } from "../tensor/expr.ts";
import { dim } from "../tensor/shape.ts";
import type { FloatArray, Tensor } from "../tensor/tensor.ts";
import type { Backend, Program } from "./backend.ts";
import type { Phases } from "./phases.ts";

/** Solves for singular values, wherever it may run: in this thread or in worker threads. */
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
  /** False where a factor has an entry that is not finite: nothing else then holds. */
  readonly finite: boolean;
  /** The first min(n, out, in) singular values, descending; the rest are exact zeros. */
  readonly sigma: Promise<Float64Array>;
  /** The matrix itself, `[out · in]` row by row, where it was asked for. */
  readonly gradient?: FloatArray;
}

/**
 * Measures gradients from their factors, without a singular value decomposition of any of them.
 *
 * With n tokens below both widths, the singular values come from the two n×n Gram matrices XXᵀ and ΔΔᵀ; else
 * G itself is formed in float64 and its Gram matrix on the narrower side. Gram matrices are float64: float32 ones would lose
 * every σ below 3e-4·‖X‖‖Δ‖. max and min come from the product ΔᵀX, in float32 where n is the smallest side.
 */
export class FactorStatistics {
  private readonly programs = new Map<string, Promise<Program>>();

  constructor(
    private readonly backend: Backend,
    private readonly solver: SpectrumSolver,
    private readonly phases: Phases,
    private readonly wantGradients: boolean,
  ) {}

  async measure(pairs: readonly FactorPair[]): Promise<GradientMeasure[]> {
    const measures: GradientMeasure[] = [];
    for (const x of new Set(pairs.map((p) => p.x))) {
      const sharing = pairs.filter((p) => p.x === x);
      const [tokens, inFeatures] = x.shape as [number, number];
      const tokensLeast = (p: FactorPair) => tokens < Math.min(inFeatures, p.delta.shape[1]!);
      measures.push(...(await this.fromTokenGrams(x, sharing.filter(tokensLeast))));
      for (const pair of sharing.filter((p) => !tokensLeast(p))) measures.push(await this.fromProduct(pair));
    }
    return measures;
  }

  async release(): Promise<void> {
    for (const program of this.programs.values()) await (await program).release();
    this.programs.clear();
  }

  private async fromTokenGrams(x: Tensor<FloatArray>, pairs: readonly FactorPair[]): Promise<GradientMeasure[]> {
    if (pairs.length === 0) return [];
    const [tokens, inFeatures] = x.shape as [number, number];
    const widths = pairs.map((p) => p.delta.shape[1]!);
    const grams = await this.program(`grams ${inFeatures} ${widths}`, () => gramsGraph(inFeatures, widths));
    const deltas = Object.fromEntries(pairs.map((p, i) => [`delta.${i}`, p.delta]));
    const g = await this.phases.time("grams", () => grams.run({ x, ...deltas }));
    const kx = real(g["gram.x"]);
    const xSums = real(g["sum.x"]);
    const measures: GradientMeasure[] = [];
    for (const [i, { name, delta }] of pairs.entries()) {
      const outFeatures = widths[i]!;
      const deltaSums = real(g[`sum.${i}`]);
      const total = xSums.reduce((sum, v, token) => sum + v * deltaSums[token]!, 0);
      const finite = Number.isFinite(total);
      // The solver starts before the product: worker threads take it up while this one goes on.
      const sigma = solved(finite, () => this.solver.fromGrams(kx, real(g[`gram.${i}`]), tokens));
      const product = await this.program(`product ${inFeatures} ${outFeatures}`, () => productGraph(inFeatures, outFeatures, this.wantGradients));
      const p = await this.phases.time("products", () => product.run({ x, delta }));
      measures.push({
        name,
        shape: [outFeatures, inFeatures],
        mean: total / (outFeatures * inFeatures),
        ...extremes(p),
        finite,
        sigma,
        ...(this.wantGradients ? { gradient: p.gradient!.data as FloatArray } : {}),
      });
    }
    return measures;
  }

  private async fromProduct({ name, delta, x }: FactorPair): Promise<GradientMeasure> {
    const [inFeatures, outFeatures] = [x.shape[1]!, delta.shape[1]!];
    const program = await this.program(`exact ${inFeatures} ${outFeatures}`, () => exactProductGraph(inFeatures, outFeatures, this.wantGradients));
    const p = await this.phases.time("products", () => program.run({ x, delta }));
    const total = real(p.sum).reduce((sum, v) => sum + v, 0);
    const finite = Number.isFinite(total);
    return {
      name,
      shape: [outFeatures, inFeatures],
      mean: total / (outFeatures * inFeatures),
      ...extremes(p),
      finite,
      sigma: solved(finite, () => this.solver.fromGram(real(p.gram), Math.min(inFeatures, outFeatures))),
      ...(this.wantGradients ? { gradient: p.gradient!.data as FloatArray } : {}),
    };
  }

  private program(key: string, graph: () => Graph): Promise<Program> {
    const known = this.programs.get(key) ?? this.backend.compile(graph());
    this.programs.set(key, known);
    return known;
  }
}

/** Starts solving where there is something to solve. A failure waits for whoever awaits the result. */
function solved(finite: boolean, solve: () => Promise<Float64Array>): Promise<Float64Array> {
  const sigma = finite ? solve() : Promise.resolve(new Float64Array());
  sigma.catch(() => {});
  return sigma;
}

const real = (x: Tensor | undefined): Float64Array => x!.data as Float64Array;

const extremes = (p: Readonly<Record<string, Tensor>>): { max: number; min: number } => ({
  max: Array.from(p.max!.data as FloatArray).reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
  min: Array.from(p.min!.data as FloatArray).reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
});

const n = dim("n");

/** XXᵀ and every ΔΔᵀ `[n, n]`, and the row sums that the mean entry needs, all float64. */
function gramsGraph(inFeatures: number, widths: readonly number[]): Graph {
  const outputs: Record<string, t.Expr> = {};
  const factors: [string, t.Expr][] = [
    ["x", input("x", [n, inFeatures])],
    ...widths.map((width, i): [string, t.Expr] => [`${i}`, input(`delta.${i}`, [n, width])]),
  ];
  for (const [key, factor] of factors) {
    const exact = t.cast(factor, "float64");
    outputs[`gram.${key}`] = t.matmul(exact, exact, { transB: true });
    outputs[`sum.${key}`] = t.sum(exact, 1);
  }
  return { name: "grams", outputs };
}

/** The gradient in float32 and the extremes of its rows. */
function productGraph(inFeatures: number, outFeatures: number, wantGradient: boolean): Graph {
  const g = t.matmul(input("delta", [n, outFeatures]), input("x", [n, inFeatures]), { transA: true });
  return { name: "product", outputs: { max: t.max(g), min: t.min(g), ...(wantGradient ? { gradient: g } : {}) } };
}

/** The gradient in float64, the extremes and sums of its rows, and its Gram matrix on the narrower side. */
function exactProductGraph(inFeatures: number, outFeatures: number, wantGradient: boolean): Graph {
  const delta = t.cast(input("delta", [n, outFeatures]), "float64");
  const x = t.cast(input("x", [n, inFeatures]), "float64");
  const g = t.matmul(delta, x, { transA: true });
  const gram = outFeatures <= inFeatures ? t.matmul(g, g, { transB: true }) : t.matmul(g, g, { transA: true });
  const outputs = { max: t.max(g), min: t.min(g), sum: t.sum(g, 1), gram };
  return { name: "exact product", outputs: wantGradient ? { ...outputs, gradient: t.cast(g, "float32") } : outputs };
}
