import type { MatrixStatistics } from "../spectra/matrix-statistics.ts";
import { spectrumStatistics } from "../spectra/statistics.ts";
import type { FloatArray } from "../tensor/tensor.ts";
import type { GradientMeasure } from "./factor-statistics.ts";

/** What is known of one row: its loss and the statistics of its gradients. */
export interface RowStatistics {
  readonly row: number;
  /** Mean cross-entropy over the row's labels, nats; NaN for a row without labels. */
  readonly loss: number;
  /** Set where the numbers are not finite; `matrices` is then empty. */
  readonly problem?: "non-finite loss" | "non-finite gradient";
  /** By checkpoint name of the weight, `model.layers.0.self_attn.q_proj.weight`, from the first layer on. */
  readonly matrices: Readonly<Record<string, MatrixStatistics>>;
  readonly cosines?: Cosines;
}

/** Statistics of one matrix from its measured entries and singular values. */
export async function matrixStatistics(measure: GradientMeasure, withSpectrum: boolean): Promise<MatrixStatistics> {
  const sigma = await measure.sigma;
  return {
    M_mean: measure.mean,
    M_max: measure.max,
    M_min: measure.min,
    ...spectrumStatistics(sigma, measure.shape),
    ...(withSpectrum ? { S_list: Array.from(sigma) } : {}),
  };
}

/** Cosine similarities of gradient matrices, dot / (norm·norm + 1e-9), as the second paper (arXiv 2504.10766) defines them. */
export interface Cosines {
  /** By layer index: Q with O and K with V, each flattened row by row. */
  readonly cosine_sim_qkvo: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** By projection: layer i with i + 1. */
  readonly cosine_adjacent: Readonly<Record<string, readonly number[]>>;
}

const withinLayer = [
  ["q_proj", "o_proj"],
  ["k_proj", "v_proj"],
] as const;

/** Collects one row's cosines while the backward pass goes from the last layer to the first, holding two layers' gradients at most. */
export class CosineCollector {
  private readonly within: Record<string, Record<string, number>> = {};
  private readonly adjacent: Record<string, number[]> = {};
  private above: Readonly<Record<string, FloatArray>> = {};

  /** @param gradients - By projection name (`q_proj` …), each flattened. */
  add(layer: number, gradients: Readonly<Record<string, FloatArray>>): void {
    for (const [a, b] of withinLayer) {
      const [x, y] = [gradients[a], gradients[b]];
      if (x && y) this.within[layer] = { ...this.within[layer], [`${a}_x_${b}`]: cosine(x, y) };
    }
    for (const [name, gradient] of Object.entries(gradients)) {
      this.adjacent[name] ??= [];
      if (this.above[name]) this.adjacent[name].unshift(cosine(gradient, this.above[name]));
    }
    this.above = gradients;
  }

  result(): Cosines {
    return { cosine_sim_qkvo: this.within, cosine_adjacent: this.adjacent };
  }
}

/** dot / (‖a‖‖b‖ + 1e-9), accumulated in double precision. */
export function cosine(a: FloatArray, b: FloatArray): number {
  if (a.length !== b.length) throw new Error(`cosine: ${a.length} and ${b.length} elements`);
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]!, b[i]!];
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  return dot / (Math.sqrt(aa) * Math.sqrt(bb) + 1e-9);
}

/** A row's statistics while they come in, from the last layer to the first. */
export class RowInProgress {
  private problem: RowStatistics["problem"];
  private readonly byLayer: Promise<[string, MatrixStatistics][]>[] = [];
  private readonly cosines = new CosineCollector();

  /** @param loss - Nats; a row without a finite one is left at that. */
  constructor(
    private readonly row: number,
    private readonly loss: number,
    private readonly options: { readonly spectrum: boolean; readonly cosines: boolean },
  ) {
    if (!Number.isFinite(loss)) this.problem = "non-finite loss";
  }

  /** False once a number was met that is not finite: nothing more need be added. */
  get finite(): boolean {
    return this.problem === undefined;
  }

  /** Takes in a layer. The promise is settled when its spectra are solved, which {@link finish} waits for in any case. */
  add(layer: number, measures: readonly GradientMeasure[]): Promise<unknown> {
    const { spectrum, cosines } = this.options;
    const solved = Promise.all(
      measures.map(async (m): Promise<[string, MatrixStatistics]> => [m.name, await matrixStatistics(m, spectrum)]),
    );
    if (!measures.every((m) => m.finite)) {
      this.problem = "non-finite gradient";
      return Promise.allSettled([solved]);
    }
    this.byLayer.unshift(solved);
    if (cosines) {
      const attention = measures.filter((m) => /\.self_attn\.[qkvo]_proj\./.test(m.name));
      this.cosines.add(layer, Object.fromEntries(attention.map((m) => [m.name.split(".").at(-2)!, m.gradient!])));
    }
    return solved;
  }

  async finish(): Promise<RowStatistics> {
    const { row, loss, problem } = this;
    if (problem) return { row, loss, problem, matrices: {} };
    const matrices = Object.fromEntries((await Promise.all(this.byLayer)).flat());
    return { row, loss, matrices, ...(this.options.cosines ? { cosines: this.cosines.result() } : {}) };
  }
}
