import { input, linear } from "../tensor/expr.ts";
import type { Backend } from "./backend.ts";

/**
 * The machine's own float32 matrix product rate, FLOP/s (a multiply-add is two): the best of several products
 * [tokens, d]·[d, out] with the weight packed beforehand. The engine's speed is judged by it.
 */
export async function gemmRate(backend: Backend, d: number, out: number, { tokens = 1024, repeats = 12 } = {}): Promise<number> {
  const weights = Float32Array.from({ length: out * d }, (_, i) => Math.sin(i) / 16);
  const graph = { name: "gemm", outputs: { y: linear("gemm", input("x", [tokens, d]), input("w", [out, d])) } };
  const program = await backend.compile(graph, new Map([["w", weights]]));
  const x = { shape: [tokens, d], data: Float32Array.from({ length: tokens * d }, (_, i) => Math.cos(i)) };
  let best = 0;
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    await program.run({ x });
    best = Math.max(best, (2 * tokens * d * out) / ((performance.now() - start) / 1000));
  }
  await program.release();
  return best;
}
