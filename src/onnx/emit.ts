import { create, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProto_AttributeType as AttributeType,
  AttributeProtoSchema,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  TensorProto_DataType as DataType,
  type TensorProto,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";
import { type Expr, type Graph, inputsOf, type Node, type Primitive, topological } from "../tensor/expr.ts";
import { type Dim, printDim, type Shape, sameShape } from "../tensor/shape.ts";
import type { DType, FloatArray } from "../tensor/tensor.ts";

/** ONNX operator set of the default domain. `com.microsoft` gives FusedMatMul, QuickGelu and RotaryEmbedding. */
const OPSET = 21n;
const IR_VERSION = 10n;
const MICROSOFT = "com.microsoft";

const dataTypes: Readonly<Record<DType, DataType>> = { float32: DataType.FLOAT, float64: DataType.DOUBLE, int64: DataType.INT64 };

/**
 * A graph as the bytes of an ONNX model for ONNX Runtime.
 *
 * @param constants - Inputs that become initialisers, by name: the runtime may then pack them once for its
 *   matrix products, at the price of its own copy. A model is one protobuf message, so they must stay below 2 GB together.
 */
export function emitOnnx(
  graph: Graph,
  constants: ReadonlyMap<string, FloatArray> = new Map(),
  { normGivesInverse = true }: EmitOptions = {},
): Uint8Array {
  const emitter = new Emitter(graph, constants, normGivesInverse);
  const outputs = Object.entries(graph.outputs).map(([key, x]) => emitter.output(key, x));
  const model = create(ModelProtoSchema, {
    irVersion: IR_VERSION,
    producerName: "layergrad",
    opsetImport: [
      { domain: "", version: OPSET },
      { domain: MICROSOFT, version: 1n },
    ],
    graph: create(GraphProtoSchema, {
      name: graph.name,
      node: emitter.finished(),
      initializer: emitter.initializers,
      input: [...inputsOf(graph).values()].filter((x) => !constants.has(x.attrs.name)).map((x) => valueInfo(x.attrs.name, x)),
      output: outputs,
    }),
  });
  return toBinary(ModelProtoSchema, model);
}

/** What the runtime at hand can do. */
export interface EmitOptions {
  /** Whether its norm's second output is the inverse root mean square, as it should be; default true. */
  readonly normGivesInverse?: boolean | undefined;
}

type AttributeValue = number | bigint | string | readonly bigint[] | TensorProto;

class Emitter {
  private readonly nodes: NodeProto[] = [];
  private readonly renamed = new Map<string, string>();
  readonly initializers: TensorProto[] = [];
  private readonly values = new Map<Expr, string>();
  /** Nodes by what they compute, so that two primitives that need one softmax share it. */
  private readonly computed = new Map<string, readonly string[]>();
  private readonly uses = new Map<Expr, number>();
  private readonly norms = new Map<Expr, Node<"rmsNorm">>();
  private readonly symbols = new Map<string, { input: string; axis: number; plus: number }>();

  constructor(
    graph: Graph,
    constants: ReadonlyMap<string, FloatArray>,
    private readonly normGivesInverse: boolean,
  ) {
    const order = topological(Object.values(graph.outputs));
    for (const x of [...order.flatMap((n) => n.args), ...Object.values(graph.outputs)]) this.uses.set(x, (this.uses.get(x) ?? 0) + 1);
    for (const x of order) if (x.op === "rmsNorm") this.norms.set(x.args[0]!, x);
    for (const [name, x] of inputsOf(graph)) {
      const data = constants.get(name);
      if (data) this.initializers.push(rawTensor(name, x.dtype, x.shape as number[], data));
      else x.shape.forEach((d, axis) => typeof d !== "number" && this.symbols.set(d.symbol, { input: name, axis, plus: d.plus }));
    }
  }

  /** The name of an expression's value, emitting what it needs first. */
  value(x: Expr): string {
    const known = this.values.get(x);
    if (known !== undefined) return known;
    const name = this.emit(x as Node<Primitive>);
    this.values.set(x, name);
    return name;
  }

  private emit<P extends Primitive>(x: Node<P>): string {
    return rules[x.op](x as Node<P> & Expr, this);
  }

  /** A node and its first output. */
  node(op: string, inputs: readonly string[], attributes: Readonly<Record<string, AttributeValue>> = {}, domain = ""): string {
    return this.nodeOutputs(op, inputs, attributes, domain, 1)[0]!;
  }

  nodeOutputs(
    op: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, AttributeValue>>,
    domain: string,
    count: number,
  ): readonly string[] {
    const key = JSON.stringify([op, inputs, attributes], (_, v) => (typeof v === "bigint" ? `${v}` : v));
    const known = this.computed.get(key);
    if (known) return known;
    const output = Array.from({ length: count }, (_, i) => `${this.nodes.length}${".".repeat(i)}`);
    const attribute = Object.entries(attributes).map(([name, value]) => toAttribute(name, value));
    this.nodes.push(
      create(NodeProtoSchema, { opType: op, domain, name: `${op}_${this.nodes.length}`, input: [...inputs], output, attribute }),
    );
    this.computed.set(key, output);
    return output;
  }

  /** A small integer tensor as an initialiser. */
  integers(values: readonly (number | bigint)[]): string {
    const name = `i:${values.join(",")}`;
    if (!this.initializers.some((i) => i.name === name))
      this.initializers.push(rawTensor(name, "int64", [values.length], BigInt64Array.from(values, BigInt)));
    return name;
  }

  scalar(value: number, dtype: DType): string {
    const name = `${dtype}:${value}`;
    const data =
      dtype === "int64" ? BigInt64Array.of(BigInt(value)) : dtype === "float32" ? Float32Array.of(value) : Float64Array.of(value);
    if (!this.initializers.some((i) => i.name === name)) this.initializers.push(rawTensor(name, dtype, [], data));
    return name;
  }

  ones(size: number, dtype: DType): string {
    const name = `${dtype}:ones:${size}`;
    const data = (dtype === "float64" ? new Float64Array(size) : new Float32Array(size)).fill(1);
    if (!this.initializers.some((i) => i.name === name)) this.initializers.push(rawTensor(name, dtype, [size], data));
    return name;
  }

  /** A dimension as an int64 tensor of one element, read from an input's shape where it is symbolic. */
  size(d: Dim): string {
    if (typeof d === "number") return this.integers([d]);
    const source = this.symbols.get(d.symbol);
    if (!source) throw new Error(`onnx: dimension ${printDim(d)} is not bound by any input`);
    const whole = this.node("Shape", [source.input], { start: BigInt(source.axis), end: BigInt(source.axis + 1) });
    return d.plus === source.plus ? whole : this.node("Add", [whole, this.integers([d.plus - source.plus])]);
  }

  usedOnce(x: Expr): boolean {
    return this.uses.get(x) === 1;
  }

  /** SimplifiedLayerNormalization gives the inverse root mean square as its second output: one pass serves both primitives. */
  norm(x: Expr, weight: string, eps: number): readonly string[] {
    return this.nodeOutputs("SimplifiedLayerNormalization", [this.value(x), weight], { axis: -1n, epsilon: eps }, "", 2);
  }

  inverseRms(x: Expr, eps: number): string {
    if (!this.normGivesInverse) {
      const meanSquare = this.node("ReduceMean", [this.node("Mul", [this.value(x), this.value(x)]), this.integers([-1])], { keepdims: 1n });
      return this.node("Reciprocal", [this.node("Sqrt", [this.node("Add", [meanSquare, this.scalar(eps, x.dtype)])])]);
    }
    const sibling = this.norms.get(x);
    const weight = sibling && sibling.attrs.eps === eps ? this.value(sibling.args[1]!) : this.ones(x.shape.at(-1) as number, x.dtype);
    return this.norm(x, weight, eps)[1]!;
  }

  /**
   * Names a value as an output. One that a node makes gets the name itself, and is not copied; an input, an initialiser, or what is an output
   * already under another name is copied.
   */
  output(name: string, x: Expr): ValueInfoProto {
    const value = this.value(x);
    const made = this.nodes.some(({ output }) => output.includes(value));
    if (made && !this.renamed.has(value)) this.renamed.set(value, name);
    else this.nodes.push(create(NodeProtoSchema, { opType: "Identity", name: `output_${name}`, input: [value], output: [name] }));
    return valueInfo(name, x);
  }

  /** The nodes, with the outputs' names in place. */
  finished(): NodeProto[] {
    const renamed = (name: string): string => this.renamed.get(name) ?? name;
    for (const node of this.nodes) {
      node.input = node.input.map(renamed);
      node.output = node.output.map(renamed);
    }
    return this.nodes;
  }
}

type Emit<P extends Primitive> = (x: Node<P> & Expr, e: Emitter) => string;

const unary =
  <P extends Primitive>(op: string): Emit<P> =>
  (x, e) =>
    e.node(op, [e.value(x.args[0]!)]);

const elementwise =
  <P extends Primitive>(op: string): Emit<P> =>
  (x, e) =>
    e.node(
      op,
      x.args.map((a) => e.value(a)),
    );

const reduceLast =
  <P extends Primitive>(op: string): Emit<P> =>
  (x, e) =>
    e.node(op, [e.value(x.args[0]!), e.integers([-1])], { keepdims: 1n });

const rules: { readonly [P in Primitive]: Emit<P> } = {
  input: ({ attrs }) => attrs.name,
  constant: ({ attrs, dtype }, e) => e.scalar(attrs.value, dtype),
  linear: ({ args }, e) =>
    e.node(
      "Gemm",
      args.map((a) => e.value(a)),
      { transB: 1n },
    ),
  matmul: (x, e) => product(x, e),
  add: (x, e) => {
    // A product plus a matrix of the same shape is one Gemm, which adds while it writes.
    for (const [product, other] of [x.args, x.args.toReversed()] as [Expr, Expr][]) {
      if (!e.usedOnce(product) || product.shape.length !== 2 || !sameShape(product.shape, x.shape)) continue;
      if (product.op === "linear" && product.args.length === 2)
        return e.node(
          "Gemm",
          [...product.args, other].map((a) => e.value(a)),
          { transB: 1n },
        );
      if (product.op === "matmul") return gemm(product, e, other);
    }
    return e.node(
      "Add",
      x.args.map((a) => e.value(a)),
    );
  },
  sub: elementwise("Sub"),
  mul: elementwise("Mul"),
  sigmoid: unary("Sigmoid"),
  silu: (x, e) => e.node("QuickGelu", [e.value(x.args[0]!)], { alpha: 1 }, MICROSOFT),
  tanh: unary("Tanh"),
  exp: unary("Exp"),
  geluTanh: (x, e) => e.node("Gelu", [e.value(x.args[0]!)], { approximate: "tanh" }),
  rmsNorm: ({ args: [x, weight], attrs }, e) => e.norm(x!, e.value(weight!), attrs.eps)[0]!,
  inverseRms: ({ args: [x], attrs }, e) => e.inverseRms(x!, attrs.eps),
  rope: ({ args: [x, positions, cos, sin] }, e) => {
    const batched = [e.node("Unsqueeze", [e.value(x!), e.integers([0])]), e.node("Unsqueeze", [e.value(positions!), e.integers([0])])];
    const rotated = e.node("RotaryEmbedding", [...batched, e.value(cos!), e.value(sin!)], {}, MICROSOFT);
    return e.node("Squeeze", [rotated, e.integers([0])]);
  },
  softmax: (x, e) => softmax(x.args[0]!, e),
  attendTo: ({ args: [scores, v] }, e) => e.node("MatMul", [softmax(scores!, e), e.value(v!)]),
  pick: ({ args: [x, at] }, e) => e.node("GatherElements", [e.value(x!), column(at!, e)], { axis: -1n }),
  addAt: ({ args: [x, at, more] }, e) =>
    e.node("ScatterElements", [e.value(x!), column(at!, e), e.value(more!)], { axis: -1n, reduction: "add" }),
  transpose: ({ args: [x], attrs }, e) => e.node("Transpose", [e.value(x!)], { perm: attrs.perm.map(BigInt) }),
  reshape: ({ args: [x], attrs }, e) => e.node("Reshape", [e.value(x!), e.integers(target(attrs.shape))]),
  slice: ({ args: [x], attrs: { axis, start, end } }, e) =>
    e.node("Slice", [e.value(x!), e.integers([start]), e.integers([end ?? 2n ** 63n - 1n]), e.integers([axis])]),
  pad: ({ args: [x], attrs: { axis, before, after }, dtype }, e) => {
    const pads =
      typeof after === "number" ? e.integers([before, after]) : e.node("Concat", [e.integers([before]), e.size(after)], { axis: 0n });
    return e.node("Pad", [e.value(x!), pads, e.scalar(0, dtype), e.integers([axis])]);
  },
  concat: ({ args, attrs }, e) =>
    e.node(
      "Concat",
      args.map((a) => e.value(a)),
      { axis: BigInt(attrs.axis) },
    ),
  sum: ({ args: [x], attrs }, e) => e.node("ReduceSum", [e.value(x!), e.integers([attrs.axis])], { keepdims: 1n }),
  max: reduceLast("ReduceMax"),
  min: reduceLast("ReduceMin"),
  cast: ({ args: [x], attrs }, e) => e.node("Cast", [e.value(x!)], { to: BigInt(dataTypes[attrs.to]) }),
};

const softmax = (x: Expr, e: Emitter): string => e.node("Softmax", [e.value(x)], { axis: -1n });

/** Indices `[n]` as `[n, 1]`. */
const column = (at: Expr, e: Emitter): string => e.node("Unsqueeze", [e.value(at), e.integers([1])]);

/** A reshape's target: the symbolic dimension, of which there is at most one, is inferred. */
const target = (shape: Shape): number[] => shape.map((d) => (typeof d === "number" ? d : -1));

function product(x: Node<"matmul">, e: Emitter): string {
  const { transA, transB, alpha } = x.attrs;
  if (!transA && !transB && alpha === 1)
    return e.node(
      "MatMul",
      x.args.map((a) => e.value(a)),
    );
  if (x.shape.length === 2) return gemm(x, e);
  if (x.dtype !== "float32") throw new Error("onnx: a transposed batched product exists in float32 only");
  const attributes = { transA: transA ? 1n : 0n, transB: transB ? 1n : 0n, alpha };
  return e.node(
    "FusedMatMul",
    x.args.map((a) => e.value(a)),
    attributes,
    MICROSOFT,
  );
}

const gemm = ({ args, attrs: { transA, transB, alpha } }: Node<"matmul">, e: Emitter, c?: Expr): string =>
  e.node(
    "Gemm",
    [...args, ...(c ? [c] : [])].map((a) => e.value(a)),
    { transA: transA ? 1n : 0n, transB: transB ? 1n : 0n, alpha },
  );

const toDimension = (d: Dim) =>
  create(TensorShapeProto_DimensionSchema, {
    value: typeof d === "number" ? { case: "dimValue", value: BigInt(d) } : { case: "dimParam", value: printDim(d) },
  });

const valueInfo = (name: string, { shape, dtype }: { readonly shape: Shape; readonly dtype: DType }): ValueInfoProto =>
  create(ValueInfoProtoSchema, {
    name,
    type: { value: { case: "tensorType", value: { elemType: dataTypes[dtype], shape: { dim: shape.map(toDimension) } } } },
  });

const rawTensor = (name: string, dtype: DType, shape: readonly number[], data: FloatArray | BigInt64Array): TensorProto =>
  create(TensorProtoSchema, {
    name,
    dataType: dataTypes[dtype],
    dims: shape.map(BigInt),
    rawData: new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength),
  });

function toAttribute(name: string, value: AttributeValue): AttributeProto {
  if (typeof value === "bigint") return create(AttributeProtoSchema, { name, type: AttributeType.INT, i: value });
  if (typeof value === "number") return create(AttributeProtoSchema, { name, type: AttributeType.FLOAT, f: value });
  if (typeof value === "string")
    return create(AttributeProtoSchema, { name, type: AttributeType.STRING, s: new TextEncoder().encode(value) });
  if (Array.isArray(value)) return create(AttributeProtoSchema, { name, type: AttributeType.INTS, ints: [...value] });
  return create(AttributeProtoSchema, { name, type: AttributeType.TENSOR, t: value as TensorProto });
}
