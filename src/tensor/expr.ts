import { broadcastShapes, type Dim, printShape, type Shape, sameDim, sameShape, shift } from "./shape.ts";
import type { DType } from "./tensor.ts";

/**
 * The primitives of the expression graph, each with its attributes. Every table over primitives
 * (vjp rules, interpreter, ONNX emission) is total over this type, so a missing entry does not compile.
 */
export interface Attributes {
  /** A value given when the graph runs: activations, weights, cotangents, indices. */
  input: { readonly name: string };
  /** A scalar. */
  constant: { readonly value: number };
  /** x·wᵀ (+ bias): x `[T, in]`, w `[out, in]` as checkpoints store it, bias `[out]` → `[T, out]`. */
  linear: { readonly name: string };
  /** alpha · A·B over the last two dimensions, either transposed; leading dimensions broadcast. */
  matmul: { readonly transA: boolean; readonly transB: boolean; readonly alpha: number };
  add: None;
  sub: None;
  mul: None;
  sigmoid: None;
  /** x·σ(x) */
  silu: None;
  tanh: None;
  exp: None;
  /** x·σ(2u) with u = √(2/π)·(x + 0.044715x³): the GELU by its tanh approximation, ½x(1 + tanh u). */
  geluTanh: None;
  /** x · weight / √(mean(x²) + eps) over the last dimension. */
  rmsNorm: { readonly eps: number };
  /** 1 / √(mean(x²) + eps) over the last dimension, which is kept with size 1. */
  inverseRms: { readonly eps: number };
  /**
   * Rotary position embedding, halves rotated (not interleaved): args x `[T, heads·D]`, positions `[T]`,
   * cos and sin `[P, D/2]`.
   */
  rope: { readonly heads: number };
  /** Over the last dimension. */
  softmax: None;
  /** softmax(scores)·v over the last dimension of scores, fused so that its vjp needs only the output, not a second product. */
  attendTo: None;
  /** One entry of each row: x `[n, V]`, at `[n]` → `[n, 1]`. */
  pick: None;
  /** x with something added to one entry of each row: x `[n, V]`, at `[n]`, more `[n, 1]`. */
  addAt: None;
  transpose: { readonly perm: readonly number[] };
  reshape: { readonly shape: Shape };
  /** Elements `[start, end)` of one axis; `end` null is the axis's end. */
  slice: { readonly axis: number; readonly start: number; readonly end: number | null };
  /** Zeros around one axis. `after` is a dimension, as the length of what follows may be symbolic. */
  pad: { readonly axis: number; readonly before: number; readonly after: Dim };
  concat: { readonly axis: number };
  /** Sum over one axis, kept with size 1. */
  sum: { readonly axis: number };
  /** Maximum over the last axis, kept with size 1. */
  max: None;
  /** Minimum over the last axis, kept with size 1. */
  min: None;
  cast: { readonly to: DType };
}

type None = Readonly<Record<never, never>>;

export type Primitive = keyof Attributes;

/** One node of a graph: immutable, so a forward and a backward graph can share parts. */
export interface Node<P extends Primitive> {
  readonly op: P;
  readonly args: readonly Expr[];
  readonly attrs: Attributes[P];
  readonly shape: Shape;
  readonly dtype: DType;
}

/** A typed expression: the node and, through its arguments, everything it is computed from. */
export type Expr = { [P in Primitive]: Node<P> }[Primitive];

/** A named set of expressions to be computed together. */
export interface Graph {
  readonly name: string;
  readonly outputs: Readonly<Record<string, Expr>>;
}

const node = <P extends Primitive>(op: P, args: readonly Expr[], attrs: Attributes[P], shape: Shape, dtype: DType): Expr =>
  ({ op, args, attrs, shape, dtype }) as Expr;

/** `float32[T,64]` */
export const printType = (x: Expr): string => `${x.dtype}${printShape(x.shape)}`;

const fail = (op: string, what: string, ...args: Expr[]): never => {
  const label = args.map((a) => (a.op === "input" ? `${printType(a)} (${a.attrs.name})` : printType(a))).join(" · ");
  throw new Error(`${op}: ${what}, ${label}`);
};

const last = (shape: Shape): Dim => shape[shape.length - 1]!;
const withLast = (shape: Shape, size: Dim): Shape => [...shape.slice(0, -1), size];

export const input = (name: string, shape: Shape, dtype: DType = "float32"): Expr => node("input", [], { name }, shape, dtype);

export const constant = (value: number, dtype: DType = "float32"): Expr => node("constant", [], { value }, [], dtype);

export function linear(name: string, x: Expr, w: Expr, bias?: Expr): Expr {
  if (x.shape.length !== 2 || w.shape.length !== 2 || !sameDim(x.shape[1]!, w.shape[1]!))
    fail(`linear ${name}`, "inner dimensions differ", x, w);
  if (bias && !(bias.shape.length === 1 && sameDim(bias.shape[0]!, w.shape[0]!))) fail(`linear ${name}`, "the bias does not fit", w, bias);
  return node("linear", bias ? [x, w, bias] : [x, w], { name }, [x.shape[0]!, w.shape[0]!], x.dtype);
}

export function matmul(a: Expr, b: Expr, { transA = false, transB = false, alpha = 1 } = {}): Expr {
  if (a.shape.length < 2 || b.shape.length < 2 || a.dtype !== b.dtype) fail("matmul", "needs two matrices of one type", a, b);
  const [m, k] = transA ? [a.shape.at(-1)!, a.shape.at(-2)!] : [a.shape.at(-2)!, a.shape.at(-1)!];
  const [k2, n] = transB ? [b.shape.at(-1)!, b.shape.at(-2)!] : [b.shape.at(-2)!, b.shape.at(-1)!];
  if (!sameDim(k, k2)) fail("matmul", "inner dimensions differ", a, b);
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2)) ?? fail("matmul", "leading dimensions do not broadcast", a, b);
  return node("matmul", [a, b], { transA, transB, alpha }, [...batch, m, n], a.dtype);
}

const elementwise =
  (op: "add" | "sub" | "mul") =>
  (a: Expr, b: Expr): Expr => {
    if (a.dtype !== b.dtype) fail(op, "types differ", a, b);
    return node(op, [a, b], {}, broadcastShapes(a.shape, b.shape) ?? fail(op, "shapes do not broadcast", a, b), a.dtype);
  };

export const add = elementwise("add");
export const sub = elementwise("sub");
export const mul = elementwise("mul");
export const neg = (x: Expr): Expr => mul(x, constant(-1, x.dtype));

export const sigmoid = (x: Expr): Expr => node("sigmoid", [x], {}, x.shape, x.dtype);
export const silu = (x: Expr): Expr => node("silu", [x], {}, x.shape, x.dtype);
export const tanh = (x: Expr): Expr => node("tanh", [x], {}, x.shape, x.dtype);
export const exp = (x: Expr): Expr => node("exp", [x], {}, x.shape, x.dtype);
export const geluTanh = (x: Expr): Expr => node("geluTanh", [x], {}, x.shape, x.dtype);

/** cap·tanh(x / cap), which is close to x where that is small and never beyond ±cap, from x / cap. A cap of Infinity is none, and x itself is given. */
export const softcap = (share: Expr, cap: number): Expr =>
  cap === Number.POSITIVE_INFINITY ? share : mul(tanh(share), constant(cap, share.dtype));

export function rmsNorm(x: Expr, weight: Expr, eps: number): Expr {
  if (weight.shape.length !== 1 || !sameDim(last(x.shape), weight.shape[0]!)) fail("rmsNorm", "the weight does not fit", x, weight);
  return node("rmsNorm", [x, weight], { eps }, x.shape, x.dtype);
}

export const inverseRms = (x: Expr, eps: number): Expr => node("inverseRms", [x], { eps }, withLast(x.shape, 1), x.dtype);

export function rope(x: Expr, positions: Expr, cos: Expr, sin: Expr, heads: number): Expr {
  const half = cos.shape[1];
  if (x.shape.length !== 2 || typeof half !== "number" || x.shape[1] !== heads * half * 2)
    fail("rope", `${heads} heads do not fit`, x, cos);
  if (positions.dtype !== "int64" || !sameShape(cos.shape, sin.shape)) fail("rope", "bad positions or tables", positions, cos, sin);
  return node("rope", [x, positions, cos, sin], { heads }, x.shape, x.dtype);
}

export const softmax = (x: Expr): Expr => node("softmax", [x], {}, x.shape, x.dtype);

export function attendTo(scores: Expr, v: Expr): Expr {
  const { shape } = matmul(scores, v);
  return node("attendTo", [scores, v], {}, shape, v.dtype);
}

export function pick(x: Expr, at: Expr): Expr {
  if (x.shape.length !== 2 || at.dtype !== "int64" || !sameShape(at.shape, [x.shape[0]!])) fail("pick", "the indices do not fit", x, at);
  return node("pick", [x, at], {}, withLast(x.shape, 1), x.dtype);
}

export function addAt(x: Expr, at: Expr, more: Expr): Expr {
  if (!sameShape(pick(x, at).shape, more.shape)) fail("addAt", "what is added does not fit", x, more);
  return node("addAt", [x, at, more], {}, x.shape, x.dtype);
}

export function transpose(x: Expr, perm: readonly number[]): Expr {
  if ([...perm].sort().join() !== x.shape.map((_, i) => i).join()) fail("transpose", `[${perm}] is no permutation of the axes`, x);
  return node(
    "transpose",
    [x],
    { perm },
    perm.map((i) => x.shape[i]!),
    x.dtype,
  );
}

/** Elements keep their row-major order. At most one symbolic dimension, the same before and after. */
export function reshape(x: Expr, shape: Shape): Expr {
  if (sameShape(x.shape, shape)) return x;
  const known = (s: Shape) => s.reduce<number>((n, d) => (typeof d === "number" ? n * d : n), 1);
  const symbols = (s: Shape) => s.filter((d) => typeof d !== "number");
  if (known(x.shape) !== known(shape) || !sameShape(symbols(x.shape), symbols(shape)) || symbols(shape).length > 1)
    fail("reshape", `cannot become ${printShape(shape)}`, x);
  return node("reshape", [x], { shape }, shape, x.dtype);
}

export function slice(x: Expr, axis: number, start: number, end: number | null): Expr {
  const size = x.shape[axis] ?? fail("slice", `has no axis ${axis}`, x);
  if (start === 0 && (end === null || end === size)) return x;
  const length = end === null ? shift(size, -start) : end - start;
  if (typeof length === "number" && (length < 0 || (typeof size === "number" && start + length > size)))
    fail("slice", `[${start}, ${end}) is out of range`, x);
  return node("slice", [x], { axis, start, end }, x.shape.with(axis, length), x.dtype);
}

/** Zeros around one axis, up to `total` elements with `before` of them in front. */
export function pad(x: Expr, axis: number, before: number, total: Dim): Expr {
  const size = x.shape[axis] ?? fail("pad", `has no axis ${axis}`, x);
  if (before === 0 && sameDim(size, total)) return x;
  const after =
    typeof size === "number" ? shift(total, -before - size) : typeof total === "number" ? null : total.plus - size.plus - before;
  if (after === null) return fail("pad", "cannot be padded to a fixed size", x);
  return node("pad", [x], { axis, before, after }, x.shape.with(axis, total), x.dtype);
}

export function concat(parts: readonly Expr[], axis: number): Expr {
  const first = parts[0] ?? fail("concat", "has no parts");
  if (parts.length === 1) return first;
  let total: Dim = 0;
  for (const { shape } of parts) {
    const size = shape[axis]!;
    if (typeof size === "number") total = shift(total, size);
    else if (typeof total === "number") total = shift(size, total);
    else fail("concat", "two symbolic parts", ...parts);
  }
  return node("concat", parts, { axis }, first.shape.with(axis, total), first.dtype);
}

export const sum = (x: Expr, axis: number): Expr => node("sum", [x], { axis }, x.shape.with(axis, 1), x.dtype);
export const max = (x: Expr): Expr => node("max", [x], {}, withLast(x.shape, 1), x.dtype);
export const min = (x: Expr): Expr => node("min", [x], {}, withLast(x.shape, 1), x.dtype);
export const cast = (x: Expr, to: DType): Expr => (x.dtype === to ? x : node("cast", [x], { to }, x.shape, to));

/** All expressions that `roots` are computed from, arguments before their users, each once. */
export function topological(roots: Iterable<Expr>): Expr[] {
  const order: Expr[] = [];
  const seen = new Set<Expr>();
  const visit = (x: Expr): void => {
    if (seen.has(x)) return;
    seen.add(x);
    x.args.forEach(visit);
    order.push(x);
  };
  for (const root of roots) visit(root);
  return order;
}

/** The inputs of a graph, by name. Two different inputs of one name are an error. */
export function inputsOf(graph: Graph): ReadonlyMap<string, Node<"input">> {
  const found = new Map<string, Node<"input">>();
  for (const x of topological(Object.values(graph.outputs))) {
    if (x.op !== "input") continue;
    const other = found.get(x.attrs.name);
    if (other && !(sameShape(other.shape, x.shape) && other.dtype === x.dtype)) fail(graph.name, "two inputs share a name", x, other);
    found.set(x.attrs.name, x);
  }
  return found;
}

/** The same expressions with some nodes replaced, as given by `replace`; unaffected parts are shared. */
export function substitute(roots: readonly Expr[], replace: ReadonlyMap<Expr, Expr>): Expr[] {
  const done = new Map<Expr, Expr>(replace);
  const visit = (x: Expr): Expr => {
    const known = done.get(x);
    if (known) return known;
    const args = x.args.map(visit);
    const result = args.every((a, i) => a === x.args[i]) ? x : ({ ...x, args } as Expr);
    done.set(x, result);
    return result;
  };
  return roots.map(visit);
}
