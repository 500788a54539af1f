import { describe, expect, it } from "vitest";
import { interpreterBackend } from "../runtime/backend.ts";
import { onnxRuntime } from "../runtime/onnx-runtime.ts";
import { interpret } from "../tensor/interpreter.ts";
import type { FloatArray, Tensor } from "../tensor/tensor.ts";
import { attentionGraphs, causalMask, STRIP, stripRanges, stripsOf } from "./attention.ts";
import type { ModelSpec } from "./family.ts";

const [heads, keyValueHeads, headDim] = [4, 2, 6];
const none = Number.POSITIVE_INFINITY;
const spec = { heads, keyValueHeads, headDim, scoreScale: 1 / Math.sqrt(headDim), scoreCap: none } as ModelSpec;

/** Repeatable normal-ish numbers. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      sum += state / 2 ** 32;
    }
    return sum;
  };
}

interface Case {
  readonly q: Float64Array;
  readonly k: Float64Array;
  readonly v: Float64Array;
  readonly ct: Float64Array;
}

function makeCase(n: number): Case {
  const next = numbers(n);
  const fill = (width: number, scale: number) => Float64Array.from({ length: n * width }, () => Math.fround(scale * next()));
  return {
    q: fill(heads * headDim, 2),
    k: fill(keyValueHeads * headDim, 2),
    v: fill(keyValueHeads * headDim, 1),
    ct: fill(heads * headDim, 1),
  };
}

/** Causal grouped-query attention and its vjp as the textbook writes them, whole score matrices, no strips. */
function dense(
  { q, k, v, ct }: Case,
  n: number,
  { scoreScale, scoreCap } = spec,
  window = none,
): Record<"context" | "ct.q" | "ct.k" | "ct.v", Float64Array> {
  const [wide, narrow] = [heads * headDim, keyValueHeads * headDim];
  const out = {
    context: new Float64Array(n * wide),
    "ct.q": new Float64Array(n * wide),
    "ct.k": new Float64Array(n * narrow),
    "ct.v": new Float64Array(n * narrow),
  };
  const cap = (s: number) => (scoreCap === none ? s : scoreCap * Math.tanh(s / scoreCap));
  for (let h = 0; h < heads; h++) {
    const [a, b] = [h * headDim, Math.floor(h / (heads / keyValueHeads)) * headDim];
    for (let i = 0; i < n; i++) {
      const each = <T>(f: (d: number) => T): T[] => Array.from({ length: headDim }, (_, d) => f(d));
      const first = Math.max(0, i - window + 1);
      const upTo = (f: (j: number) => number): number[] => Array.from({ length: i + 1 - first }, (_, j) => f(first + j));
      const sum = (list: readonly number[]) => list.reduce((x, y) => x + y, 0);
      const scores = upTo((j) => cap(scoreScale * sum(each((d) => q[i * wide + a + d]! * k[j * narrow + b + d]!))));
      const top = Math.max(...scores);
      const total = sum(scores.map((s) => Math.exp(s - top)));
      const p = scores.map((s) => Math.exp(s - top) / total);
      const dp = upTo((j) => sum(each((d) => ct[i * wide + a + d]! * v[j * narrow + b + d]!)));
      const mean = sum(p.map((x, j) => x * dp[j]!));
      for (let j = first; j <= i; j++) {
        const at = j - first;
        const ds = p[at]! * (dp[at]! - mean) * (1 - (scores[at]! / scoreCap) ** 2) * scoreScale;
        for (let d = 0; d < headDim; d++) {
          out.context[i * wide + a + d]! += p[at]! * v[j * narrow + b + d]!;
          out["ct.v"][j * narrow + b + d]! += p[at]! * ct[i * wide + a + d]!;
          out["ct.q"][i * wide + a + d]! += ds * k[j * narrow + b + d]!;
          out["ct.k"][j * narrow + b + d]! += ds * q[i * wide + a + d]!;
        }
      }
    }
  }
  return out;
}

const masks = (n: number, window: number) =>
  Object.fromEntries(
    stripRanges(n).map((s, i) => [`mask.${i}`, { shape: [s.rows, s.start + s.rows], data: causalMask(s.start, s.rows, window) }]),
  );

/** A case as a backend's feeds. */
function feeds({ q, k, v, ct }: Case, n: number, Type: typeof Float32Array | typeof Float64Array, window = none): Record<string, Tensor> {
  const matrix = (data: Float64Array): Tensor<FloatArray> => ({ shape: [n, data.length / n], data: Type.from(data) });
  return { q: matrix(q), k: matrix(k), v: matrix(v), "ct.context": matrix(ct), ...masks(n, window) };
}

/** Largest difference relative to the largest entry. */
function worst(actual: Tensor | undefined, expected: Float64Array): number {
  const largest = expected.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  const data = actual!.data as FloatArray;
  expect(data.length).toBe(expected.length);
  return expected.reduce((m, x, i) => Math.max(m, Math.abs(x - data[i]!)), 0) / largest;
}

describe("strips", () => {
  it("cover every row's tokens once, in order, and none is shorter than half a strip unless the row is", () => {
    for (let n = 1; n <= 5 * STRIP; n++) {
      const ranges = stripRanges(n);
      expect(ranges.length).toBe(stripsOf(n));
      let next = 0;
      for (const { start, rows } of ranges) {
        expect(start).toBe(next);
        expect(rows).toBeGreaterThanOrEqual(Math.min(n, STRIP / 2));
        expect(rows).toBeLessThan(1.5 * STRIP);
        next += rows;
      }
      expect(next).toBe(n);
    }
  });
  it("see keys up to each query's own position and no further", () => {
    const mask = causalMask(2, 3);
    expect(Array.from(mask, (x) => (x === 0 ? 1 : 0))).toEqual([1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1]);
  });
  it("see the last keys of a window only, where there is one", () => {
    const seen = (window: number) => Array.from(causalMask(2, 3, window), (x) => (x === 0 ? 1 : 0));
    expect(seen(2)).toEqual([0, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1]);
    expect(seen(1)).toEqual([0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    expect(seen(5)).toEqual(seen(Number.POSITIVE_INFINITY));
  });
});

/** Scores reach 20 here, so that a cap of 3 bends nearly all of them. */
const capped: ModelSpec = { ...spec, scoreScale: 0.3, scoreCap: 3 };

describe("attention in strips", () => {
  for (const [n, strips, variant, window] of [
    [5, 1, spec, none],
    [191, 1, spec, none],
    [192, 2, spec, none],
    [300, 2, spec, none],
    [330, 3, spec, none],
    [5, 1, spec, 2],
    [191, 1, spec, 24],
    // Windows shorter and longer than a strip, and one that begins in the strip before.
    [330, 3, spec, 24],
    [330, 3, spec, 200],
    [300, 2, spec, 129],
    [330, 3, capped, none],
    [330, 3, capped, 100],
  ] as const) {
    const c = makeCase(n);
    const expected = dense(c, n, variant, window);
    const what = `dense ${variant === capped ? "softly capped " : ""}${window === none ? "causal" : `${window}-token window`} attention`;
    const backward = ["ct.q", "ct.k", "ct.v"] as const;

    for (const [backend, Type, tolerance] of [
      // Sums of a few hundred terms in another order.
      [interpreterBackend, Float64Array, 1e-12],
      // float32 with scores up to 20, whose exponentials carry their rounding twentyfold: 20·2⁻²⁴ is 1.2e-6.
      [onnxRuntime(), Float32Array, 1e-5],
    ] as const) {
      it(`of ${n} tokens (${strips} strips) in ${backend.name} is ${what}, forward and backward, to ${tolerance}`, async () => {
        expect(stripsOf(n)).toBe(strips);
        const graphs = attentionGraphs(variant, strips);
        const [forward, vjp] = [await backend.compile(graphs.forward), await backend.compile(graphs.backward)];
        const given = feeds(c, n, Type, window);
        const { context } = await forward.run(given);
        expect(worst(context, expected.context)).toBeLessThan(tolerance);
        const result = await vjp.run({ ...given, context: context! });
        for (const key of backward) expect(worst(result[key], expected[key]), key).toBeLessThan(tolerance);
        await forward.release();
        await vjp.release();
      });
    }
  }

  it("has a vjp that finite differences of its forward pass confirm, across a strip's border", () => {
    const n = 200;
    const c = makeCase(n);
    const { forward, backward } = attentionGraphs(spec, stripsOf(n));
    const loss = (changed: Case): number => {
      const { data } = interpret(forward, feeds(changed, n, Float64Array)).context!;
      return (data as Float64Array).reduce((sum, x, i) => sum + x * c.ct[i]!, 0);
    };
    const given = feeds(c, n, Float64Array);
    const gradient = interpret(backward, { ...given, context: interpret(forward, given).context! });
    const h = 1e-4;
    for (const key of ["q", "k", "v"] as const) {
      const slopes = gradient[`ct.${key}`]!.data as Float64Array;
      const border = (STRIP * slopes.length) / n;
      // The steepest direction on either side of the strips' border.
      for (const [from, to] of [
        [0, border],
        [border, slopes.length],
      ] as const) {
        const at = from + slopes.subarray(from, to).reduce((best, x, i, all) => (Math.abs(x) > Math.abs(all[best]!) ? i : best), 0);
        const moved = (by: number): Case => ({ ...c, [key]: c[key].with(at, c[key][at]! + by) });
        const slope = (loss(moved(h)) - loss(moved(-h))) / (2 * h);
        expect(Math.abs(slope), `${key} entry ${at}`).toBeGreaterThan(0.1);
        // Truncation: h²/6 of the third derivative, which is of the order of the slope.
        expect(Math.abs(slope - slopes[at]!) / Math.abs(slope), `${key} entry ${at}`).toBeLessThan(1e-6);
      }
    }
  });
});
