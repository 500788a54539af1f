import type { ModelSpec } from "../models/family.ts";

/** Elements of a block's weight matrices. */
export function blockElements({ hidden, heads, keyValueHeads, headDim, intermediate }: ModelSpec): number {
  return hidden * headDim * (2 * heads + 2 * keyValueHeads) + 3 * hidden * intermediate;
}

/** Pairs of a query and a key it sees in a row, about: half of all, less what lies beyond a window. */
const pairsSeen = (tokens: number, window: number): number => (tokens * tokens) / 2 - Math.max(0, tokens - window) ** 2 / 2;

/**
 * Floating-point operations of a row's forward pass and the gradients of its activations, a multiply-add being two: the
 * blocks' weight matrices once each way, the head at label positions, six attention products over what each token sees.
 * Weight gradients are not in it, nor anything computed twice.
 */
export function rowFlops(spec: ModelSpec, tokens: number, labels: number): number {
  const weights = 4 * tokens * blockElements(spec) * spec.layers;
  const head = 4 * labels * spec.vocabulary * spec.hidden;
  const seen = spec.attention.reduce((pairs, { window }) => pairs + pairsSeen(tokens, window), 0);
  const attention = 12 * seen * spec.heads * spec.headDim;
  return weights + head + attention;
}
