import * as t from "../../src/tensor/expr.ts";
import type { Expr, Primitive } from "../../src/tensor/expr.ts";
import { dim, type Shape } from "../../src/tensor/shape.ts";
import { indices, sizeOf, type Tensor } from "../../src/tensor/tensor.ts";

/** One use of a primitive: what goes in (symbol T is 5 and m is 3 when run) and the expression. */
export interface PrimitiveCase {
  readonly title: string;
  readonly inputs: Readonly<Record<string, Shape>>;
  /** Integer inputs with their values. */
  readonly indices?: Readonly<Record<string, readonly number[]>>;
  readonly build: (x: Readonly<Record<string, Expr>>) => Expr;
}

export const symbols: ReadonlyMap<string, number> = new Map([
  ["T", 5],
  ["m", 3],
]);

const T = dim("T");
const m = dim("m");

const one = (title: string, shape: Shape, build: (x: Expr) => Expr): PrimitiveCase => ({
  title,
  inputs: { x: shape },
  build: ({ x }) => build(x!),
});
const two = (title: string, a: Shape, b: Shape, build: (a: Expr, b: Expr) => Expr): PrimitiveCase => ({
  title,
  inputs: { a, b },
  build: (x) => build(x.a!, x.b!),
});

/** At least one case for every primitive; the type makes a forgotten one a compile error. */
export const primitiveCases: { readonly [P in Primitive]: readonly PrimitiveCase[] } = {
  input: [one("is itself", [T, 3], (x) => x)],
  constant: [one("stretches as a scalar", [T, 3], (x) => t.mul(x, t.constant(2.5)))],
  linear: [
    two("x·wᵀ", [T, 4], [6, 4], (x, w) => t.linear("p", x, w)),
    { title: "x·wᵀ + bias", inputs: { x: [T, 4], w: [6, 4], b: [6] }, build: ({ x, w, b }) => t.linear("p", x!, w!, b) },
    { title: "with a residual", inputs: { x: [T, 4], w: [6, 4], r: [T, 6] }, build: ({ x, w, r }) => t.add(r!, t.linear("p", x!, w!)) },
  ],
  matmul: [
    two("plain", [T, 4], [4, 6], (a, b) => t.matmul(a, b)),
    two("transA", [4, 3], [4, 6], (a, b) => t.matmul(a, b, { transA: true, alpha: 0.5 })),
    two("transB", [T, 4], [6, 4], (a, b) => t.matmul(a, b, { transB: true, alpha: -2 })),
    two("both transposed", [4, 3], [6, 4], (a, b) => t.matmul(a, b, { transA: true, transB: true })),
    two("batched", [2, 3, T, 4], [2, 3, 4, 6], (a, b) => t.matmul(a, b)),
    two("batched and stretched", [2, 3, T, 4], [2, 1, m, 4], (a, b) => t.matmul(a, b, { transB: true, alpha: 0.3 })),
    two("batched, transA, stretched", [2, 1, T, 4], [2, 3, T, 6], (a, b) => t.matmul(a, b, { transA: true })),
    two("a sum of products", [T, 4], [4, 4], (a, b) => t.add(t.matmul(a, b), t.matmul(t.mul(a, a), b))),
  ],
  add: [two("of one shape", [T, 3], [T, 3], t.add), two("stretched", [2, 1, T], [3, 1], t.add)],
  sub: [two("of one shape", [T, 3], [T, 3], t.sub), two("stretched", [T, 3], [3], t.sub)],
  mul: [two("of one shape", [T, 3], [T, 3], t.mul), two("stretched", [T, 1], [T, 3], t.mul)],
  sigmoid: [one("elementwise", [T, 3], t.sigmoid)],
  silu: [one("elementwise", [T, 3], t.silu)],
  tanh: [one("elementwise", [T, 3], t.tanh), one("as a soft cap", [T, 3], (x) => t.softcap(x, 1.5))],
  exp: [one("elementwise", [T, 3], t.exp)],
  geluTanh: [
    one("elementwise", [T, 3], t.geluTanh),
    one("where it bends and where it is nearly 0 or x", [T, 6], (x) => t.geluTanh(t.mul(x, t.constant(3)))),
  ],
  rmsNorm: [
    two("over the last axis", [T, 6], [6], (x, w) => t.rmsNorm(x, w, 1e-3)),
    two("over the last of three axes", [T, 2, 6], [6], (x, w) => t.rmsNorm(x, w, 1e-3)),
  ],
  inverseRms: [one("over the last axis", [T, 6], (x) => t.inverseRms(x, 1e-3))],
  rope: [
    {
      title: "with positions that start anew",
      inputs: { x: [T, 12], cos: [9, 3], sin: [9, 3] },
      indices: { positions: [0, 1, 2, 0, 8] },
      build: ({ x, positions, cos, sin }) => t.rope(x!, positions!, cos!, sin!, 2),
    },
  ],
  softmax: [one("over the last axis", [2, T, 4], t.softmax)],
  attendTo: [two("weights and values", [2, 3, T, 4], [2, 1, 4, 6], t.attendTo)],
  pick: [
    {
      title: "one of each row",
      inputs: { x: [T, 7] },
      indices: { at: [0, 6, 3, 3, 1] },
      build: ({ x, at }) => t.mul(t.pick(x!, at!), t.pick(t.mul(x!, x!), at!)),
    },
  ],
  addAt: [
    {
      title: "to one of each row",
      inputs: { x: [T, 7], more: [T, 1] },
      indices: { at: [0, 6, 3, 3, 1] },
      build: ({ x, at, more }) => t.addAt(t.mul(x!, x!), at!, more!),
    },
  ],
  transpose: [one("of four axes", [T, 2, 3, 4], (x) => t.transpose(x, [1, 2, 0, 3]))],
  reshape: [one("splits the last axis", [T, 12], (x) => t.reshape(x, [T, 2, 6]))],
  slice: [
    one("from inside", [2, 6], (x) => t.slice(x, 1, 2, 5)),
    one("to a symbolic end", [2, dim("m", 4), 3], (x) => t.slice(x, 1, 4, null)),
    one("strips that tile", [dim("m", 4), 3], (x) => t.concat([t.mul(t.slice(x, 0, 0, 4), t.constant(2)), t.slice(x, 0, 4, null)], 0)),
    one("prefixes that grow", [dim("m", 4), 3], (x) => t.concat([t.mul(t.slice(x, 0, 0, 2), t.constant(2)), t.slice(x, 0, 0, 4), x], 0)),
  ],
  pad: [
    one("in front", [2, T], (x) => t.pad(x, 1, 3, dim("T", 3))),
    two("to a symbolic length", [2, 4], [2, dim("m", 4)], (a, b) => t.add(t.pad(a, 1, 0, dim("m", 4)), b)),
  ],
  concat: [two("of a fixed and a symbolic part", [2, 3, 4], [2, m, 4], (a, b) => t.concat([a, b], 1))],
  sum: [one("over an inner axis", [2, T, 3], (x) => t.sum(x, 1)), one("over the last axis", [2, T, 3], (x) => t.sum(x, 2))],
  max: [one("over the last axis", [T, 4], t.max)],
  min: [one("over the last axis", [T, 4], t.min)],
  cast: [one("to double and back", [T, 4], (x) => t.cast(t.mul(t.cast(x, "float64"), t.constant(3, "float64")), "float32"))],
};

/** Gaussian numbers from a seed (mulberry32, Box–Muller). */
export function gaussian(seed: number): () => number {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let z = Math.imul(state ^ (state >>> 15), 1 | state);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return ((z ^ (z >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(uniform() + 1e-12)) * Math.cos(2 * Math.PI * uniform());
}

/** The case's inputs as expressions and, for a seed, as values (float32-representable, so that both backends see the same). */
export function instantiate({ inputs, indices: integers = {} }: PrimitiveCase, seed: number) {
  const next = gaussian(seed);
  const exprs: Record<string, Expr> = {};
  const feeds: Record<string, Tensor> = {};
  for (const [name, shape] of Object.entries(inputs)) {
    exprs[name] = t.input(name, shape);
    const sizes = shape.map((d) => (typeof d === "number" ? d : symbols.get(d.symbol)! + d.plus));
    feeds[name] = { shape: sizes, data: Float32Array.from({ length: sizeOf(sizes) }, next) };
  }
  for (const [name, values] of Object.entries(integers)) {
    exprs[name] = t.input(name, [T], "int64");
    feeds[name] = indices(values);
  }
  return { exprs, feeds };
}
