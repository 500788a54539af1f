/** Element types that graphs compute in. Integers are indices (positions, labels). */
export type DType = "float32" | "float64" | "int64";

/**
 * The storage of each {@link DType}. The float64 interpreter keeps every floating tensor in a
 * `Float64Array`, whatever its nominal type.
 */
export type TensorData = Float32Array | Float64Array | BigInt64Array;

/** Real-valued storage. */
export type FloatArray = Float32Array | Float64Array;

/** A dense row-major array with its sizes. `data` may be a view into a larger buffer. */
export interface Tensor<D extends TensorData = TensorData> {
  readonly shape: readonly number[];
  readonly data: D;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** A tensor over `data`; the number of elements must be that of the shape. */
export function tensor<D extends TensorData>(shape: readonly number[], data: D): Tensor<D> {
  if (sizeOf(shape) !== data.length) throw new Error(`tensor: shape [${shape}] has ${sizeOf(shape)} elements, the data ${data.length}`);
  return { shape, data };
}

/** Zeros in one of the floating types. */
export const zeros = (type: "float32" | "float64", shape: readonly number[]): Tensor<FloatArray> => {
  const FloatType = type === "float64" ? Float64Array : Float32Array;
  return { shape, data: new FloatType(sizeOf(shape)) };
};

/** Positions, labels and other indices, shape `[n]`. */
export const indices = (values: ArrayLike<number>): Tensor<BigInt64Array> =>
  tensor([values.length], BigInt64Array.from(Array.from(values, BigInt)));

/** Rows `[from, to)` of a matrix, as a view. */
export const rowsOf = <D extends FloatArray>({ shape, data }: Tensor<D>, from: number, to: number): Tensor<D> => {
  const width = shape[1]!;
  return { shape: [to - from, width], data: data.subarray(from * width, to * width) as D };
};
