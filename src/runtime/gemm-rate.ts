import { type Expr, input, linear } from "../tensor/expr.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Backend, Program } from "./backend.ts";

/** Rates of many products, FLOP/s (a multiply-add is two). */
export interface GemmRate {
  /** What half of them reached: on a machine that others use too, what can be counted on. */
  readonly median: number;
  /** What the fastest reached. */
  readonly best: number;
}

/** Pairs of products in one call, so that what the call itself costs (its result is copied out) is not taken for theirs. */
const PAIRS = 4;

/**
 * The machine's own float32 matrix product rate: products [tokens, d]·[d, out] and back, one after another, with the weights packed
 * beforehand, on the backend's own threads. The engine's speed is judged by it. It changes within seconds on a shared machine, so it is asked
 * for next to what it judges.
 */
export class GemmProbe {
  private constructor(
    private readonly program: Program,
    private readonly feeds: Readonly<Record<string, Tensor>>,
    private readonly flops: number,
  ) {}

  static async open(backend: Backend, d: number, out: number, tokens = 1024): Promise<GemmProbe> {
    const [up, down] = [input("up", [out, d]), input("down", [d, out])];
    let y: Expr = input("x", [tokens, d]);
    for (let i = 0; i < PAIRS; i++) y = linear("down", linear("up", y, up), down);
    const constants = new Map([
      ["up", weights(out, d).data],
      ["down", weights(d, out).data],
    ]);
    const program = await backend.compile({ name: "gemm", outputs: { y } }, constants);
    return new GemmProbe(program, { x: activations(tokens, d) }, PAIRS * 4 * tokens * d * out);
  }

  /** A probe of one product a call, [tokens, d]·[d, out], with what a call from JavaScript brings: fed weights, and the result copied out. */
  static async openCalls(backend: Backend, d: number, out: number, tokens = 1024): Promise<GemmProbe> {
    const y = linear("up", input("x", [tokens, d]), input("up", [out, d]));
    const program = await backend.compile({ name: "gemm call", outputs: { y } });
    return new GemmProbe(program, { x: activations(tokens, d), up: weights(out, d) }, 2 * tokens * d * out);
  }

  /** The rate of each call, one after another, for at least so many milliseconds and three times. */
  async sample(milliseconds: number): Promise<number[]> {
    const rates: number[] = [];
    for (const end = performance.now() + milliseconds; rates.length < 3 || performance.now() < end; ) {
      const start = performance.now();
      await this.program.run(this.feeds);
      rates.push(this.flops / ((performance.now() - start) / 1000));
    }
    return rates;
  }

  close(): Promise<void> {
    return this.program.release();
  }
}

const activations = (tokens: number, d: number) => ({
  shape: [tokens, d],
  data: Float32Array.from({ length: tokens * d }, (_, i) => Math.cos(i)),
});

/** Of this size products of pairs leave numbers of the size that they got. */
const weights = (rows: number, width: number) => ({
  shape: [rows, width],
  data: Float32Array.from({ length: rows * width }, (_, i) => Math.sin(i) * Math.sqrt(2 / width)),
});

export function gemmRateOf(rates: readonly number[]): GemmRate {
  const sorted = rates.toSorted((a, b) => a - b);
  return { median: sorted[sorted.length >> 1]!, best: sorted.at(-1)! };
}

/** The rate over a moment, without the first product, which touches new memory. */
export async function gemmRate(backend: Backend, d: number, out: number): Promise<GemmRate> {
  const probe = await GemmProbe.open(backend, d, out);
  try {
    await probe.sample(0);
    return gemmRateOf(await probe.sample(100));
  } finally {
    await probe.close();
  }
}
