import * as t from "../tensor/expr.ts";
import type { Expr, Node, Primitive } from "../tensor/expr.ts";
import { type Dim, sameDim, type Shape } from "../tensor/shape.ts";

/**
 * A vjp rule: from the node and the cotangent `ct` of its value, the cotangent of each argument, in their
 * order, built when asked for. `null` marks an argument without a derivative (an index, a table of angles).
 */
export type VjpRule<P extends Primitive> = (node: Node<P> & Expr, ct: Expr) => readonly ((() => Expr) | null)[];

const notDifferentiable =
  <P extends Primitive>(why: string): VjpRule<P> =>
  (node) => {
    throw new Error(`vjp: ${node.op} is not differentiable: ${why}`);
  };

/** Reverse-mode rules, one for every primitive. */
export const vjpRules: { readonly [P in Primitive]: VjpRule<P> } = {
  input: () => [],
  constant: () => [],
  linear: ({ args }, ct) => {
    const [x, w, bias] = args as [Expr, Expr, Expr?];
    const dx = () => t.matmul(ct, w);
    const dw = () => t.matmul(ct, x, { transA: true });
    return bias ? [dx, dw, () => unbroadcast(ct, bias.shape)] : [dx, dw];
  },
  matmul: ({ args, attrs }, ct) => {
    const [a, b] = args as [Expr, Expr];
    const { transA, transB, alpha } = attrs;
    const da = () => (transA ? t.matmul(b, ct, { transA: transB, transB: true, alpha }) : t.matmul(ct, b, { transB: !transB, alpha }));
    const db = () => (transB ? t.matmul(ct, a, { transA: true, transB: transA, alpha }) : t.matmul(a, ct, { transA: !transA, alpha }));
    return [() => unbroadcast(da(), a.shape), () => unbroadcast(db(), b.shape)];
  },
  add: ({ args: [a, b] }, ct) => [() => unbroadcast(ct, a!.shape), () => unbroadcast(ct, b!.shape)],
  sub: ({ args: [a, b] }, ct) => [() => unbroadcast(ct, a!.shape), () => unbroadcast(t.neg(ct), b!.shape)],
  mul: ({ args: [a, b] }, ct) => [() => unbroadcast(t.mul(ct, b!), a!.shape), () => unbroadcast(t.mul(ct, a!), b!.shape)],
  // σ' = σ(1 − σ) = σ − σ²
  sigmoid: (y, ct) => [() => t.mul(ct, t.sub(y, t.mul(y, y)))],
  // (x·σ)' = σ + y − y·σ with y = x·σ
  silu: (y, ct) => [
    () => {
      const s = t.sigmoid(y.args[0]!);
      return t.mul(ct, t.add(s, t.sub(y, t.mul(y, s))));
    },
  ],
  exp: (y, ct) => [() => t.mul(ct, y)],
  // tanh' = 1 − tanh²
  tanh: (y, ct) => [() => t.sub(ct, t.mul(ct, t.mul(y, y)))],
  // With y = x·s, s = σ(2u) and 2u = x·(a + b·x²): y' = s + (y − y·s)·(a + 3b·x²)
  geluTanh: (y, ct) => [
    () => {
      const x = y.args[0]!;
      const scalar = (value: number) => t.constant(value, x.dtype);
      const a = 2 * Math.sqrt(2 / Math.PI);
      const b = 0.044715 * a;
      const square = t.mul(x, x);
      const s = t.sigmoid(t.mul(x, t.add(t.mul(square, scalar(b)), scalar(a))));
      const slope = t.add(t.mul(square, scalar(3 * b)), scalar(a));
      return t.mul(ct, t.add(s, t.mul(t.sub(y, t.mul(y, s)), slope)));
    },
  ],
  // With x̂ = x·r and g = ct∘w: dx = r·(g − x̂·mean(g∘x̂)), the eps inside r being exact.
  rmsNorm: ({ args, attrs }, ct) => {
    const [x, weight] = args as [Expr, Expr];
    const r = t.inverseRms(x, attrs.eps);
    const normalised = t.mul(x, r);
    const dx = () => {
      const g = t.mul(ct, weight);
      const along = t.mul(t.sum(t.mul(g, normalised), x.shape.length - 1), t.constant(1 / width(x.shape), x.dtype));
      return t.mul(r, t.sub(g, t.mul(normalised, along)));
    };
    return [dx, () => unbroadcast(t.mul(ct, normalised), weight.shape)];
  },
  // dr/dx = −r³·x / width
  inverseRms: (r, ct) => [
    () => {
      const x = r.args[0]!;
      const cubed = t.mul(t.mul(r, r), r);
      return t.mul(x, t.mul(t.mul(ct, cubed), t.constant(-1 / width(x.shape), x.dtype)));
    },
  ],
  // A rotation: its transpose is the rotation by the opposite angle.
  rope: ({ args, attrs }, ct) => {
    const [, positions, cos, sin] = args as [Expr, Expr, Expr, Expr];
    return [() => t.rope(ct, positions, cos, t.neg(sin), attrs.heads), null, null, null];
  },
  softmax: (p, ct) => [() => t.mul(p, t.sub(ct, t.sum(t.mul(ct, p), p.shape.length - 1)))],
  // With o = P·v: Σⱼ Pᵢⱼ·(ct·vᵀ)ᵢⱼ = Σ ctᵢ∘oᵢ, so the inner product of the softmax rule needs no T×T pass.
  attendTo: (o, ct) => {
    const [scores, v] = o.args as [Expr, Expr];
    const p = t.softmax(scores);
    const dScores = () => {
      const along = t.sum(t.mul(ct, o), o.shape.length - 1);
      return t.mul(p, t.sub(t.matmul(ct, v, { transB: true }), along));
    };
    return [() => unbroadcast(dScores(), scores.shape), () => unbroadcast(t.matmul(p, ct, { transA: true }), v.shape)];
  },
  pick: ({ args: [x, at] }, ct) => [() => t.addAt(zerosLike(x!), at!, ct), null],
  addAt: ({ args: [, at] }, ct) => [() => ct, null, () => t.pick(ct, at!)],
  transpose: ({ attrs: { perm } }, ct) => {
    const inverse = perm.map((_, axis) => perm.indexOf(axis));
    return [() => t.transpose(ct, inverse)];
  },
  reshape: ({ args: [x] }, ct) => [() => t.reshape(ct, x!.shape)],
  slice: ({ args: [x], attrs: { axis, start } }, ct) => [() => t.pad(ct, axis, start, x!.shape[axis]!)],
  pad: ({ args: [x], attrs: { axis, before, after } }, ct) => {
    const size = x!.shape[axis]!;
    if (typeof size !== "number" && after !== 0) throw new Error("vjp: pad: zeros after a symbolic length cannot be cut off");
    return [() => t.slice(ct, axis, before, typeof size === "number" ? before + size : null)];
  },
  concat: ({ args, attrs: { axis } }, ct) => {
    let start = 0;
    return args.map((part, i) => {
      const size = part.shape[axis]!;
      if (typeof size !== "number" && i < args.length - 1) throw new Error("vjp: concat: only the last part may have a symbolic length");
      const from = start;
      if (typeof size === "number") start += size;
      return () => t.slice(ct, axis, from, typeof size === "number" ? from + size : null);
    });
  },
  // Adding the cotangent to zeros of x's shape stretches it along the summed axis.
  sum: ({ args: [x] }, ct) => [() => t.add(ct, zerosLike(x!))],
  max: notDifferentiable("it serves statistics of finished gradients only"),
  min: notDifferentiable("it serves statistics of finished gradients only"),
  cast: ({ args: [x] }, ct) => [x!.dtype === "int64" ? null : () => t.cast(ct, x!.dtype)],
};

const zerosLike = (x: Expr): Expr => t.mul(x, t.constant(0, x.dtype));

const width = (shape: Shape): number => {
  const size = shape[shape.length - 1];
  if (typeof size !== "number") throw new Error("vjp: a norm needs a fixed width");
  return size;
};

/** Sums a cotangent over the axes along which its argument was stretched by broadcasting. */
function unbroadcast(ct: Expr, shape: Shape): Expr {
  let result = ct;
  const extra = ct.shape.length - shape.length;
  const stretched = (d: Dim, axis: number) => axis < extra || (shape[axis - extra] === 1 && !sameDim(d, 1));
  ct.shape.forEach((d, axis) => {
    if (stretched(d, axis)) result = t.sum(result, axis);
  });
  return t.reshape(result, shape);
}
