import * as t from "../tensor/expr.ts";
import { type Expr, type Graph, input } from "../tensor/expr.ts";
import { dim, type Shape } from "../tensor/shape.ts";
import { differentiate, withSaved } from "../autodiff/differentiate.ts";
import type { ModelSpec } from "./family.ts";

/**
 * Queries go in strips of this many tokens, each seeing the keys up to its own end: a long row then costs
 * little more than the causal half, and a strip's scores stay in the cache.
 */
export const STRIP = 128;

/** Strips of a row of n tokens. The last may be up to half a strip longer, so that no tiny one is left over. */
export const stripsOf = (tokens: number): number => Math.max(1, Math.round(tokens / STRIP));

/** Far below any score, and finite, so that no 0·∞ can arise. */
const MASKED = -1e30;

/**
 * The additive causal mask of one strip: shape `[rows, keys]`, rows `start … start + rows − 1` of the sequence, each seeing the last
 * `window` tokens up to itself.
 */
export function causalMask(start: number, rows: number, window = Number.POSITIVE_INFINITY): Float32Array {
  const keys = start + rows;
  const mask = new Float32Array(rows * keys);
  for (let i = 0; i < rows; i++) {
    mask.fill(MASKED, i * keys, i * keys + Math.max(0, start + i + 1 - window));
    mask.fill(MASKED, i * keys + start + i + 1, (i + 1) * keys);
  }
  return mask;
}

/** Where each strip of a row begins, and how many tokens it has. */
export function stripRanges(tokens: number): { start: number; rows: number }[] {
  const strips = stripsOf(tokens);
  return Array.from({ length: strips }, (_, i) => ({ start: i * STRIP, rows: i === strips - 1 ? tokens - i * STRIP : STRIP }));
}

/**
 * Causal grouped-query attention of one row, and its vjp, for a given number of strips. Windows are the masks' affair.
 *
 * Inputs q `[n, H·D]`, k and v `[n, Hkv·D]`, `mask.<i>` `[rows, keys]`; the forward gives `context` `[n, H·D]`. The backward takes
 * `context` and its cotangent and gives `ct.q`, `ct.k`, `ct.v`; scores and their softmax are computed again, never stored.
 */
export function attentionGraphs(spec: ModelSpec, strips: number): { readonly forward: Graph; readonly backward: Graph } {
  const { heads, keyValueHeads, headDim, scoreScale, scoreCap } = spec;
  const alpha = scoreCap === Number.POSITIVE_INFINITY ? scoreScale : scoreScale / scoreCap;
  const before = (strips - 1) * STRIP;
  const n = dim("m", before);
  const repeats = heads / keyValueHeads;
  const byHead = (x: Expr, perKey: number) => t.transpose(t.reshape(x, [n, keyValueHeads, perKey, headDim]), [1, 2, 0, 3]);
  const byToken = (x: Expr) => t.reshape(t.transpose(x, [2, 0, 1, 3]), [n, heads * headDim]);
  const strip = (x: Expr, i: number) => t.slice(x, 2, i * STRIP, i === strips - 1 ? null : (i + 1) * STRIP);
  const upTo = (x: Expr, i: number) => t.slice(x, 2, 0, i === strips - 1 ? null : (i + 1) * STRIP);

  const flat: Shape = [n, heads * headDim];
  const q = input("q", flat);
  const k = input("k", [n, keyValueHeads * headDim]);
  const v = input("v", [n, keyValueHeads * headDim]);
  const [qHeads, kHeads, vHeads] = [byHead(q, repeats), byHead(k, 1), byHead(v, 1)];
  const attended = Array.from({ length: strips }, (_, i) => {
    const last = i === strips - 1;
    const mask = input(`mask.${i}`, last ? [dim("m"), n] : [STRIP, (i + 1) * STRIP]);
    const scores = t.matmul(strip(qHeads, i), upTo(kHeads, i), { transB: true, alpha });
    return t.attendTo(t.add(t.softcap(scores, scoreCap), mask), upTo(vHeads, i));
  });
  const context = byToken(t.concat(attended, 2));

  const saved = byHead(input("context", flat), repeats);
  const cotangents = differentiate([[context, input("ct.context", flat)]], [q, k, v]);
  const [dq, dk, dv] = withSaved(cotangents, new Map(attended.map((x, i) => [x, strip(saved, i)]))) as [Expr, Expr, Expr];
  return {
    forward: { name: `attention/${strips}`, outputs: { context } },
    backward: { name: `attention/${strips}.vjp`, outputs: { "ct.q": dq, "ct.k": dk, "ct.v": dv } },
  };
}
