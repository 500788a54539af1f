import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { fixtures } from "../../test/fixtures.ts";
import { dequantise, type GgufType, layoutOf, readableTypes } from "./gguf-quants.ts";

/** Random blocks, and what gguf.quants of llama.cpp's Python package makes of them. */
const expected: Record<string, { bytes: string; values: string }> = JSON.parse(readFileSync(`${fixtures}gguf/quants.json`, "utf8"));

const bytesOf = (array: Float32Array): Buffer => Buffer.from(array.buffer, array.byteOffset, array.byteLength);

describe("each block format", () => {
  it.each(readableTypes)("%s gives the very float32 values of llama.cpp's own package", (type) => {
    const bytes = Buffer.from(expected[type]!.bytes, "base64");
    const values = Buffer.from(expected[type]!.values, "base64");
    const out = new Float32Array(values.length / 4);
    expect(out.length / layoutOf(type).values).toBeGreaterThanOrEqual(6);
    dequantise(type, bytes, out);
    expect(Buffer.compare(bytesOf(out), values)).toBe(0);
  });

  it("may begin at any byte", () => {
    for (const type of ["Q8_0", "Q6_K", "F16"] satisfies GgufType[]) {
      const bytes = Buffer.from(expected[type]!.bytes, "base64");
      const shifted = new Uint8Array(bytes.length + 1);
      shifted.set(bytes, 1);
      const values = Buffer.from(expected[type]!.values, "base64");
      const out = new Float32Array(values.length / 4);
      dequantise(type, shifted.subarray(1), out);
      expect(Buffer.compare(bytesOf(out), values)).toBe(0);
    }
  });

  it("is refused where bytes and values do not belong together", () => {
    expect(() => dequantise("Q4_0", new Uint8Array(18), new Float32Array(31))).toThrow("18 bytes of Q4_0 are not 31 values");
    expect(() => dequantise("Q4_0", new Uint8Array(17), new Float32Array(32))).toThrow(RangeError);
  });
});
