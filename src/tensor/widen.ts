/** The dtypes a weight can be stored in and still be read exactly as float32, by their safetensors names. */
export type WidenableDtype = "F32" | "F16" | "BF16";

/** Bytes of one stored value of each {@link WidenableDtype}. */
export const storedBytes: Readonly<Record<WidenableDtype, number>> = { F32: 4, F16: 2, BF16: 2 };

/** Whether {@link widen} reads this dtype. F64 and the 8-bit and integer types are not float32 values and are refused. */
export function isWidenable(dtype: string): dtype is WidenableDtype {
  return dtype === "F32" || dtype === "F16" || dtype === "BF16";
}

// Files are little endian, and so is every platform this project runs on; a big-endian host would read swapped numbers in silence.
if (new Uint8Array(new Uint16Array([1]).buffer)[0] !== 1) throw new Error("layergrad: weights can only be read on a little-endian host");

/**
 * Float32 bit patterns of all 65,536 binary16 values: 256 KB, made on first use. Real weights live in a few exponents,
 * so that the part in use stays in the first cache levels and a look-up beats the arithmetic.
 */
let halfTable: Uint32Array | undefined;

function halfBits(): Uint32Array {
  if (halfTable) return halfTable;
  const table = new Uint32Array(65536);
  for (let half = 0; half < 65536; half++) {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >> 10) & 31;
    const fraction = half & 0x3ff;
    let bits: number;
    if (exponent === 31) bits = 0x7f800000 | (fraction << 13);
    else if (exponent > 0) bits = ((exponent + 112) << 23) | (fraction << 13);
    else if (fraction === 0) bits = 0;
    else {
      // Subnormal, fraction · 2⁻²⁴: normal in float32, with the leading one shifted up to the hidden bit.
      const shift = Math.clz32(fraction) - 21;
      bits = ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
    }
    table[half] = sign | bits;
  }
  halfTable = table;
  return table;
}

/** BF16 is a float32's upper half. Values are taken up eight at a time, which are all read before the first is written: one by one takes twice as long. */
function widenUpperHalves(from: Uint16Array, to: Uint32Array): void {
  // Pairs are read as one number, which begins at a multiple of four bytes.
  const first = from.length > 0 && from.byteOffset % 4 !== 0 ? 1 : 0;
  if (first > 0) to[0] = from[0]! << 16;
  const pairs = new Uint32Array(from.buffer, from.byteOffset + 2 * first, (from.length - first) >> 1);
  const values = to.subarray(first);
  const n = values.length;
  for (let p = 0, i = 0; i + 8 <= n; p += 4, i += 8) {
    const a = pairs[p]!;
    const b = pairs[p + 1]!;
    const c = pairs[p + 2]!;
    const d = pairs[p + 3]!;
    values[i] = a << 16;
    values[i + 1] = a & 0xffff0000;
    values[i + 2] = b << 16;
    values[i + 3] = b & 0xffff0000;
    values[i + 4] = c << 16;
    values[i + 5] = c & 0xffff0000;
    values[i + 6] = d << 16;
    values[i + 7] = d & 0xffff0000;
  }
  for (let i = n - (n % 8); i < n; i++) values[i] = from[first + i]! << 16;
}

/**
 * Widens stored weights to float32, exactly: every F16 and BF16 value is a float32 value, subnormals, infinities and NaNs
 * (with their payload) included.
 *
 * `bytes` may lie in the same buffer as `target` if it is the target's own second half (F16, BF16) or all of it (F32):
 * values are written in ascending order, and value i then never overwrites a stored value after it. That is how a file is
 * read into its final place without a second buffer.
 *
 * @param dtype - How the values are stored, little endian.
 * @param bytes - `n` values, at any alignment.
 * @param target - Where they go, shape `[n]`, default a new array; a subarray of a larger one will do.
 * @returns `target`.
 * @throws {RangeError} If `bytes` is no whole number of values, or `target` has not as many.
 */
export function widen(dtype: WidenableDtype, bytes: Uint8Array, target?: Float32Array): Float32Array {
  const size = storedBytes[dtype];
  const n = bytes.byteLength / size;
  if (!Number.isInteger(n))
    throw new RangeError(`widen: ${bytes.byteLength} bytes are no whole number of ${dtype} values of ${size} bytes`);
  const out = target ?? new Float32Array(n);
  if (out.length !== n)
    throw new RangeError(`widen: target has ${out.length} values, expected ${n} (${bytes.byteLength} bytes of ${dtype})`);
  if (dtype === "F32") {
    new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes);
    return out;
  }
  // Bit patterns, not numbers, are copied: assigning a NaN through a float array may change its payload.
  const to = new Uint32Array(out.buffer, out.byteOffset, n);
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  const from = new Uint16Array(aligned.buffer, aligned.byteOffset, n);
  if (dtype === "BF16") {
    widenUpperHalves(from, to);
  } else {
    const table = halfBits();
    for (let i = 0; i < n; i++) to[i] = table[from[i]!]!;
  }
  return out;
}
