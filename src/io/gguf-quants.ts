import { type WidenableDtype, widen } from "../tensor/widen.ts";

/** The GGML tensor types that are read. */
export type GgufType = WidenableDtype | "Q8_0" | "Q4_0" | "Q4_1" | "Q4_K" | "Q6_K";

/** A row of a tensor is a whole number of blocks. */
export interface BlockLayout {
  /** Values in a block. */
  readonly values: number;
  /** Bytes of a block. */
  readonly bytes: number;
}

type Decoder = (bytes: Uint8Array, out: Float32Array) => void;

const layouts: Readonly<Record<GgufType, BlockLayout>> = {
  F32: { values: 1, bytes: 4 },
  F16: { values: 1, bytes: 2 },
  BF16: { values: 1, bytes: 2 },
  Q8_0: { values: 32, bytes: 34 },
  Q4_0: { values: 32, bytes: 18 },
  Q4_1: { values: 32, bytes: 20 },
  Q4_K: { values: 256, bytes: 144 },
  Q6_K: { values: 256, bytes: 210 },
};

const decoders: Readonly<Record<GgufType, Decoder>> = {
  F32: (bytes, out) => widen("F32", bytes, out),
  F16: (bytes, out) => widen("F16", bytes, out),
  BF16: (bytes, out) => widen("BF16", bytes, out),
  Q8_0: decodeQ8_0,
  Q4_0: decodeQ4_0,
  Q4_1: decodeQ4_1,
  Q4_K: decodeQ4_K,
  Q6_K: decodeQ6_K,
};

export const readableTypes = Object.keys(layouts) as readonly GgufType[];

export const isReadable = (type: string): type is GgufType => Object.hasOwn(layouts, type);

export const layoutOf = (type: GgufType): BlockLayout => layouts[type];

/**
 * Computes the float32 values of whole blocks, as ggml's reference and its Python package do.
 *
 * Each value is the exact result rounded once to float32: scales are binary16 and quants have at most 6 + 7 bits, so that every product
 * fits float32, and only the addition of a minimum rounds. No order of operations or fused multiply-add gives another number.
 *
 * @param bytes - Blocks, one after the other, at any alignment.
 * @param out - Shape `[blocks · values]`.
 * @throws {RangeError} If the lengths do not belong together.
 */
export function dequantise(type: GgufType, bytes: Uint8Array, out: Float32Array): void {
  const { values, bytes: size } = layouts[type];
  if (bytes.length % size !== 0 || (bytes.length / size) * values !== out.length)
    throw new RangeError(`dequantise: ${bytes.length} bytes of ${type} are not ${out.length} values`);
  decoders[type](bytes, out);
}

let halves: Float32Array | undefined;

/** The values of all binary16 bit patterns. */
function halfValues(): Float32Array {
  halves ??= widen("F16", new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer));
  return halves;
}

/** Block: scale d, 32 signed bytes q. Value d·q. */
function decodeQ8_0(bytes: Uint8Array, out: Float32Array): void {
  const half = halfValues();
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0, to = 0; at < bytes.length; at += 34, to += 32) {
    const d = half[bytes[at]! | (bytes[at + 1]! << 8)]!;
    for (let i = 0; i < 32; i++) out[to + i] = d * signed[at + 2 + i]!;
  }
}

/** Block: scale d, 16 bytes; low halves are values 0 … 15, high halves 16 … 31. Value d·(q − 8). */
function decodeQ4_0(bytes: Uint8Array, out: Float32Array): void {
  const half = halfValues();
  for (let at = 0, to = 0; at < bytes.length; at += 18, to += 32) {
    const d = half[bytes[at]! | (bytes[at + 1]! << 8)]!;
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 2 + i]!;
      out[to + i] = d * ((pair & 15) - 8);
      out[to + 16 + i] = d * ((pair >> 4) - 8);
    }
  }
}

/** Block: scale d, minimum m, 16 bytes as in Q4_0. Value d·q + m. */
function decodeQ4_1(bytes: Uint8Array, out: Float32Array): void {
  const half = halfValues();
  for (let at = 0, to = 0; at < bytes.length; at += 20, to += 32) {
    const d = half[bytes[at]! | (bytes[at + 1]! << 8)]!;
    const m = half[bytes[at + 2]! | (bytes[at + 3]! << 8)]!;
    for (let i = 0; i < 16; i++) {
      const pair = bytes[at + 4 + i]!;
      out[to + i] = d * (pair & 15) + m;
      out[to + 16 + i] = d * (pair >> 4) + m;
    }
  }
}

/**
 * Block of 256: scales d and dmin, eight 6-bit scales and minima in 12 bytes, 128 bytes of two 4-bit quants. Each 32 bytes hold a group of
 * 32 values in their low halves and the next in their high ones. Value d·scale·q − dmin·min.
 */
function decodeQ4_K(bytes: Uint8Array, out: Float32Array): void {
  const half = halfValues();
  for (let at = 0, to = 0; at < bytes.length; at += 144) {
    const d = half[bytes[at]! | (bytes[at + 1]! << 8)]!;
    const dmin = half[bytes[at + 2]! | (bytes[at + 3]! << 8)]!;
    const s = at + 4;
    for (let group = 0; group < 8; group++, to += 32) {
      let scale: number;
      let min: number;
      if (group < 4) {
        scale = bytes[s + group]! & 63;
        min = bytes[s + group + 4]! & 63;
      } else {
        // The last four have their low bits in the last four bytes and their two high bits over the first eight's.
        const low = bytes[s + group + 4]!;
        scale = (low & 15) | ((bytes[s + group - 4]! >> 6) << 4);
        min = (low >> 4) | ((bytes[s + group]! >> 6) << 4);
      }
      const a = d * scale;
      const b = dmin * min;
      const quants = at + 16 + (group >> 1) * 32;
      const shift = (group & 1) * 4;
      for (let i = 0; i < 32; i++) out[to + i] = a * ((bytes[quants + i]! >> shift) & 15) - b;
    }
  }
}

/**
 * Block of 256: 128 bytes of low 4 bits, 64 of high 2 bits, 16 signed scales of 16 values each, scale d. In each half of the block, 32
 * positions hold values i, i + 32, i + 64 and i + 96. Value d·scale·(q − 32).
 */
function decodeQ6_K(bytes: Uint8Array, out: Float32Array): void {
  const half = halfValues();
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0, to = 0; at < bytes.length; at += 210) {
    const d = half[bytes[at + 208]! | (bytes[at + 209]! << 8)]!;
    for (let part = 0; part < 2; part++, to += 128) {
      const low = at + part * 64;
      const high = at + 128 + part * 32;
      const scales = at + 192 + part * 8;
      for (let i = 0; i < 32; i++) {
        const s = scales + (i >> 4);
        const h = bytes[high + i]!;
        const l0 = bytes[low + i]!;
        const l1 = bytes[low + 32 + i]!;
        out[to + i] = d * signed[s]! * (((l0 & 15) | ((h & 3) << 4)) - 32);
        out[to + 32 + i] = d * signed[s + 2]! * (((l1 & 15) | ((h & 12) << 2)) - 32);
        out[to + 64 + i] = d * signed[s + 4]! * (((l0 >> 4) | (h & 48)) - 32);
        out[to + 96 + i] = d * signed[s + 6]! * (((l1 >> 4) | ((h & 192) >> 2)) - 32);
      }
    }
  }
}
