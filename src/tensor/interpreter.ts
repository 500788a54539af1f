import { type Expr, type Graph, inputsOf, type Node, type Primitive, topological } from "./expr.ts";
import { bind, printShape, type Shape } from "./shape.ts";
import { sizeOf, type Tensor } from "./tensor.ts";

/**
 * The float64 reference interpreter: every primitive as its plain definition, in the order it is
 * written, all floating arithmetic in double precision whatever the nominal type. Slow and exact;
 * the tests hold the ONNX Runtime backend against it, and a user who doubts a number can too.
 */
export function interpret(graph: Graph, feeds: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  const symbols = new Map<string, number>();
  for (const [name, x] of inputsOf(graph)) {
    const given = feeds[name];
    if (!given) throw new Error(`${graph.name}: input ${name} is missing`);
    bindSymbols(graph.name, name, x.shape, given.shape, symbols);
  }
  const values = new Map<Expr, Tensor>();
  const evaluate = <P extends Primitive>(x: Node<P>, shape: number[]): Tensor => {
    const args = x.args.map((a) => values.get(a)!);
    return { shape, data: rules[x.op](x, args, shape, feeds) };
  };
  for (const x of topological(Object.values(graph.outputs))) values.set(x, evaluate(x as Node<Primitive>, bind(x.shape, symbols)));
  return Object.fromEntries(Object.entries(graph.outputs).map(([key, x]) => [key, values.get(x)!]));
}

/** Checks a given shape against a declared one and learns the symbols' sizes. */
export function bindSymbols(graph: string, name: string, declared: Shape, given: readonly number[], symbols: Map<string, number>): void {
  const fits = declared.length === given.length && declared.every((d, i) => matches(d, given[i]!, symbols));
  if (!fits) throw new Error(`${graph}: input ${name} is declared ${printShape(declared)} and given [${given}]`);
}

function matches(declared: Shape[number], given: number, symbols: Map<string, number>): boolean {
  if (typeof declared === "number") return declared === given;
  const size = symbols.get(declared.symbol);
  if (size === undefined) symbols.set(declared.symbol, given - declared.plus);
  return size === undefined ? given >= declared.plus : size + declared.plus === given;
}

type Evaluate<P extends Primitive> = (
  node: Node<P>,
  args: readonly Tensor[],
  shape: readonly number[],
  feeds: Readonly<Record<string, Tensor>>,
) => Float64Array | BigInt64Array;

const reals = (x: Tensor | undefined): Float64Array => x!.data as Float64Array;

const rules: { readonly [P in Primitive]: Evaluate<P> } = {
  input: ({ attrs }, _, __, feeds) => {
    const { data } = feeds[attrs.name]!;
    return data instanceof Float32Array ? Float64Array.from(data) : data;
  },
  constant: ({ attrs, dtype }) => (dtype === "int64" ? BigInt64Array.of(BigInt(attrs.value)) : Float64Array.of(attrs.value)),
  linear: (_, [x, w, bias], [rows, out]) => {
    const inner = w!.shape[1]!;
    const [a, b, c] = [reals(x), reals(w), bias && reals(bias)];
    return table(rows!, out!, (t, o) => {
      let total = c ? c[o]! : 0;
      for (let i = 0; i < inner; i++) total += a[t * inner + i]! * b[o * inner + i]!;
      return total;
    });
  },
  matmul: ({ attrs }, [a, b], shape) => batchedProduct(a!, b!, shape, attrs),
  add: (_, [a, b], shape) => elementwise(a!, b!, shape, (x, y) => x + y),
  sub: (_, [a, b], shape) => elementwise(a!, b!, shape, (x, y) => x - y),
  mul: (_, [a, b], shape) => elementwise(a!, b!, shape, (x, y) => x * y),
  sigmoid: (_, [x]) => reals(x).map(logistic),
  silu: (_, [x]) => reals(x).map((v) => v * logistic(v)),
  tanh: (_, [x]) => reals(x).map(Math.tanh),
  exp: (_, [x]) => reals(x).map(Math.exp),
  geluTanh: (_, [x]) => reals(x).map((v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))),
  rmsNorm: ({ attrs }, [x, weight]) => {
    const w = reals(weight);
    return byRow(x!, (row) => {
      const scale = 1 / Math.sqrt(meanSquare(row) + attrs.eps);
      return row.map((v, i) => v * scale * w[i]!);
    });
  },
  inverseRms: ({ attrs }, [x]) => reduceRows(x!, (row) => 1 / Math.sqrt(meanSquare(row) + attrs.eps)),
  rope: ({ attrs }, [x, positions, cos, sin]) => {
    const half = cos!.shape[1]!;
    const [c, s, at] = [reals(cos), reals(sin), positions!.data];
    let t = 0;
    return byRow(x!, (row) => {
      const from = Number(at[t++]) * half;
      const out = new Float64Array(row.length);
      for (let head = 0; head < attrs.heads; head++) {
        for (let i = 0; i < half; i++) {
          const [p, q] = [head * 2 * half + i, head * 2 * half + half + i];
          out[p] = row[p]! * c[from + i]! - row[q]! * s[from + i]!;
          out[q] = row[q]! * c[from + i]! + row[p]! * s[from + i]!;
        }
      }
      return out;
    });
  },
  softmax: (_, [x]) => byRow(x!, softmaxOf),
  attendTo: (_, [scores, v], shape) => {
    const weights = { shape: scores!.shape, data: byRow(scores!, softmaxOf) };
    return batchedProduct(weights, v!, shape, { transA: false, transB: false, alpha: 1 });
  },
  pick: (_, [x, at]) => {
    let t = 0;
    return reduceRows(x!, (row) => row[Number(at!.data[t++])]!);
  },
  addAt: (_, [x, at, more]) => {
    let t = 0;
    return byRow(x!, (row) => {
      const out = row.slice();
      out[Number(at!.data[t])]! += reals(more)[t++]!;
      return out;
    });
  },
  transpose: ({ attrs }, [x], shape) => {
    const strides = stridesOf(x!.shape);
    const from = attrs.perm.map((axis) => strides[axis]!);
    const data = reals(x);
    return eachIndex(shape, (index) => data[dot(index, from)]!);
  },
  reshape: (_, [x]) => reals(x),
  slice: ({ attrs }, [x], shape) => {
    const strides = stridesOf(x!.shape);
    const data = reals(x);
    return eachIndex(shape, (index) => data[dot(index, strides) + attrs.start * strides[attrs.axis]!]!);
  },
  pad: ({ attrs }, [x], shape) => {
    const strides = stridesOf(x!.shape);
    const data = reals(x);
    const { axis, before } = attrs;
    return eachIndex(shape, (index) => {
      const at = index[axis]! - before;
      return at < 0 || at >= x!.shape[axis]! ? 0 : data[dot(index, strides) - before * strides[axis]!]!;
    });
  },
  concat: ({ attrs }, parts, shape) => {
    const out = new Float64Array(sizeOf(shape));
    const inner = sizeOf(shape.slice(attrs.axis + 1));
    const stride = shape[attrs.axis]! * inner;
    let start = 0;
    for (const part of parts) {
      const block = part.shape[attrs.axis]! * inner;
      for (let i = 0; i * block < part.data.length; i++) out.set(reals(part).subarray(i * block, (i + 1) * block), i * stride + start);
      start += block;
    }
    return out;
  },
  sum: ({ attrs }, [x], shape) => {
    const strides = stridesOf(x!.shape);
    const data = reals(x);
    const count = x!.shape[attrs.axis]!;
    return eachIndex(shape, (index) => {
      let total = 0;
      for (let i = 0; i < count; i++) total += data[dot(index, strides) + i * strides[attrs.axis]!]!;
      return total;
    });
  },
  max: (_, [x]) => reduceRows(x!, (row) => row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)),
  min: (_, [x]) => reduceRows(x!, (row) => row.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY)),
  cast: ({ attrs }, [x]) => {
    if (attrs.to === "int64") throw new Error("interpreter: cast to int64 is not defined");
    return x!.data instanceof BigInt64Array ? Float64Array.from(x!.data, Number) : reals(x);
  },
};

const logistic = (x: number): number => 1 / (1 + Math.exp(-x));

const meanSquare = (row: Float64Array): number => row.reduce((total, v) => total + v * v, 0) / row.length;

function logSumExp(row: Float64Array): number {
  const top = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return top + Math.log(row.reduce((total, v) => total + Math.exp(v - top), 0));
}

function softmaxOf(row: Float64Array): Float64Array {
  const norm = logSumExp(row);
  return row.map((v) => Math.exp(v - norm));
}

function table(rows: number, columns: number, cell: (row: number, column: number) => number): Float64Array {
  const out = new Float64Array(rows * columns);
  for (let i = 0, at = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[at++] = cell(i, j);
  return out;
}

/** Maps every row (last axis). */
function byRow(x: Tensor, f: (row: Float64Array) => Float64Array): Float64Array {
  const width = x.shape.at(-1)!;
  const out = new Float64Array(x.data.length);
  for (let at = 0; at < out.length; at += width) out.set(f(reals(x).subarray(at, at + width)), at);
  return out;
}

function reduceRows(x: Tensor, f: (row: Float64Array) => number): Float64Array {
  const width = x.shape.at(-1)!;
  return Float64Array.from({ length: x.data.length / width }, (_, i) => f(reals(x).subarray(i * width, (i + 1) * width)));
}

const stridesOf = (shape: readonly number[]): number[] => {
  const strides = shape.map(() => 1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = strides[i + 1]! * shape[i + 1]!;
  return strides;
};

const dot = (index: readonly number[], strides: readonly number[]): number => {
  let at = 0;
  for (let i = 0; i < index.length; i++) at += index[i]! * strides[i]!;
  return at;
};

/** Calls `f` with every index of `shape`, in row-major order. The index array is reused. */
function eachIndex(shape: readonly number[], f: (index: readonly number[]) => number): Float64Array {
  const out = new Float64Array(sizeOf(shape));
  const index = shape.map(() => 0);
  for (let at = 0; at < out.length; at++) {
    out[at] = f(index);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis]! < shape[axis]!) break;
      index[axis] = 0;
    }
  }
  return out;
}

/** Strides into `x` for indices of the broadcast shape: 0 along stretched axes. */
const broadcastStrides = (x: readonly number[], rank: number): number[] => {
  const strides = stridesOf(x).map((s, i) => (x[i] === 1 ? 0 : s));
  return [...Array<number>(rank - x.length).fill(0), ...strides];
};

function elementwise(a: Tensor, b: Tensor, shape: readonly number[], f: (x: number, y: number) => number): Float64Array {
  const [p, q] = [broadcastStrides(a.shape, shape.length), broadcastStrides(b.shape, shape.length)];
  const [x, y] = [reals(a), reals(b)];
  return eachIndex(shape, (index) => f(x[dot(index, p)]!, y[dot(index, q)]!));
}

function batchedProduct(
  a: Tensor,
  b: Tensor,
  shape: readonly number[],
  { transA, transB, alpha }: { readonly transA: boolean; readonly transB: boolean; readonly alpha: number },
): Float64Array {
  const [m, n] = [shape.at(-2)!, shape.at(-1)!];
  const k = a.shape.at(transA ? -2 : -1)!;
  const batch = shape.slice(0, -2);
  const matrices = (x: Tensor) => broadcastStrides(x.shape.slice(0, -2), batch.length).map((s) => s * x.shape.at(-2)! * x.shape.at(-1)!);
  const [p, q] = [matrices(a), matrices(b)];
  const [x, y] = [reals(a), reals(b)];
  const [rowA, stepA] = transA ? [1, m] : [k, 1];
  const [columnB, stepB] = transB ? [k, 1] : [1, n];
  const out = new Float64Array(sizeOf(shape));
  let block = 0;
  eachIndex([...batch], (index) => {
    const [startA, startB] = [dot(index, p), dot(index, q)];
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let total = 0;
        for (let l = 0, ia = startA + i * rowA, ib = startB + j * columnB; l < k; l++, ia += stepA, ib += stepB) total += x[ia]! * y[ib]!;
        out[block * m * n + i * n + j] = alpha * total;
      }
    }
    block++;
    return 0;
  });
  return out;
}
