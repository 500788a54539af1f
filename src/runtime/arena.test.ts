import { describe, expect, it } from "vitest";
import { Arena } from "./arena.ts";

const tensor = (length: number, value: number) => ({ shape: [1, length], data: new Float32Array(length).fill(value) });

describe("an arena", () => {
  it("keeps copies, which nothing kept later touches", () => {
    const arena = new Arena("float32");
    const source = tensor(5, 1);
    const kept = arena.keep(source);
    source.data.fill(9);
    const others = [arena.keep(tensor(3, 2)), arena.keep(tensor(4, 3))];
    expect([kept, ...others].map(({ data }) => Array.from(data))).toEqual([
      [1, 1, 1, 1, 1],
      [2, 2, 2],
      [3, 3, 3, 3],
    ]);
    expect(kept.shape).toEqual([1, 5]);
  });

  it("uses its memory again after a reset, and only then", () => {
    const arena = new Arena("float32");
    const first = arena.keep(tensor(8, 1)).data;
    expect(arena.keep(tensor(8, 2)).data.byteOffset).toBe(first.byteOffset + first.byteLength);
    arena.reset();
    const again = arena.keep(tensor(8, 3)).data;
    expect(again.buffer).toBe(first.buffer);
    expect(again.byteOffset).toBe(first.byteOffset);
  });

  it("takes what is larger than a slab, and has the precision of the backend", () => {
    const large = 2 ** 26 + 1;
    const kept = new Arena("float32").keep({ shape: [1, large], data: new Float32Array(large).fill(1, large - 1) });
    expect(kept.data[large - 1]).toBe(1);
    expect(new Arena("float64").keep({ shape: [1, 1], data: Float64Array.of(1 / 3) }).data[0]).toBe(1 / 3);
  });
});
