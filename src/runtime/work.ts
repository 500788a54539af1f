import type { ModelSpec } from "../models/family.ts";

/** Elements of a block's weight matrices. */
export function blockElements({ hidden, heads, keyValueHeads, headDim, intermediate }: ModelSpec): number {
  return hidden * headDim * (2 * heads + 2 * keyValueHeads) + 3 * hidden * intermediate;
}

/**
 * Floating-point operations of a row's forward pass and the gradients of its activations, a multiply-add being two: the
 * blocks' weight matrices once each way, the head at label positions, six attention products over the causal half.
 * Weight gradients are not in it, nor anything computed twice.
 */
export function rowFlops(spec: ModelSpec, tokens: number, labels: number): number {
  const weights = 4 * tokens * blockElements(spec) * spec.layers;
  const head = 4 * labels * spec.vocabulary * spec.hidden;
  const attention = 6 * tokens * tokens * spec.heads * spec.headDim * spec.layers;
  return weights + head + attention;
}
