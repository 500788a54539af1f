import { describe, expect, it } from "vitest";
import { isWidenable, widen } from "./widen.ts";

const bytesOf = (values: readonly number[]) => new Uint8Array(new Uint16Array(values).buffer);
const bitsOf = (values: Float32Array) => [...new Uint32Array(values.buffer, values.byteOffset, values.length)];

/** binary16 by its definition, in float64. */
function half(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const fraction = h & 0x3ff;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

describe("widen", () => {
  it("gives each of the 65,536 F16 values its own value, signed zeros, subnormals, infinities and NaNs included", () => {
    const all = Array.from({ length: 65536 }, (_, i) => i);
    const wide = widen("F16", bytesOf(all));
    const wrong = all.filter((h) => !Object.is(wide[h], half(h)) && !(Number.isNaN(wide[h]) && Number.isNaN(half(h))));
    expect(wrong).toEqual([]);
  });

  it("makes a BF16 value the upper half of a float32, for all 65,536 bit patterns", () => {
    const all = Array.from({ length: 65536 }, (_, i) => i);
    expect(bitsOf(widen("BF16", bytesOf(all)))).toEqual(all.map((b) => (b << 16) >>> 0));
  });

  it("copies F32 bit by bit, a NaN's payload included", () => {
    const bits = new Uint32Array([0, 0x80000000, 1, 0x7f800000, 0x7fa12345, 0x3f800000]);
    expect(bitsOf(widen("F32", new Uint8Array(bits.buffer)))).toEqual([...bits]);
  });

  it("reads from an odd byte offset", () => {
    const odd = new Uint8Array(5);
    odd.set(bytesOf([0x3f80, 0xc000]), 1);
    expect([...widen("BF16", odd.subarray(1))]).toEqual([1, -2]);
  });

  it("fills a subarray and nothing beside it", () => {
    const whole = new Float32Array([9, 9, 9, 9]);
    widen("F16", bytesOf([0x3c00, 0xc000]), whole.subarray(1, 3));
    expect([...whole]).toEqual([9, 1, -2, 9]);
  });

  it.each((["F16", "BF16"] as const).flatMap((dtype) => [1, 2, 7, 8, 9, 16, 1001, 1004].map((n) => [dtype, n] as const)))(
    "widens %s in place from the target's second half, %d values",
    (dtype, n) => {
      const stored = bytesOf(Array.from({ length: n }, (_, i) => (i * 61) % 0x7000));
      const expected = widen(dtype, stored);
      const target = new Float32Array(n);
      const half = new Uint8Array(target.buffer, 2 * n);
      half.set(stored);
      expect(bitsOf(widen(dtype, half, target))).toEqual(bitsOf(expected));
    },
  );

  it("takes an empty tensor", () => expect(widen("BF16", new Uint8Array(0)).length).toBe(0));

  it("refuses half a value and a target of another length", () => {
    expect(() => widen("BF16", new Uint8Array(3))).toThrow("3 bytes are no whole number of BF16 values of 2 bytes");
    expect(() => widen("F32", new Uint8Array(8), new Float32Array(3))).toThrow("target has 3 values, expected 2");
  });

  it("knows what it reads", () =>
    expect(["F32", "F16", "BF16", "F64", "I8", ""].map(isWidenable)).toEqual([true, true, true, false, false, false]));
});
