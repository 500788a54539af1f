import { describe, expect, it } from "vitest";
import type { ModelSource } from "./model-source.ts";
import { StreamedWeights, slotLength } from "./weight-supply.ts";

/** A source whose reads end when they are told to; tensor `n` holds its own number. */
function paused() {
  const waiting: { name: string; end(error?: Error): void }[] = [];
  const source: ModelSource = {
    config: {},
    tensors: new Map(),
    readRows: () => Promise.reject(new Error("no rows here")),
    read: (name, target) =>
      new Promise((resolve, reject) => {
        waiting.push({ name, end: (error) => (error ? reject(error) : resolve(target!.fill(Number(name)))) });
      }),
  };
  return { source, waiting };
}

const groups = [0, 1, 2, 3].map((n) => [{ input: "w", name: String(n), shape: [2, 3] }]);
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe("streamed weights", () => {
  it("read the next group while the present one is in use, and hold the two used last", async () => {
    const { source, waiting } = paused();
    const supply = new StreamedWeights(source, groups, new Map());
    const first = supply.take(0, 1);
    await turn();
    waiting[0]!.end();
    expect((await first).w!.data).toEqual(new Float32Array(6).fill(0));
    await turn();
    expect(waiting.map((r) => r.name)).toEqual(["0", "1"]);
    waiting[1]!.end();
    expect((await supply.take(1, 0)).w!.data[0]).toBe(1);
    expect((await supply.take(0, 1)).w!.data[0]).toBe(0);
    await turn();
    expect(waiting).toHaveLength(2);
    await supply.close();
  });

  it("do not read into memory that an earlier read, given up, still writes to", async () => {
    const { source, waiting } = paused();
    const supply = new StreamedWeights(source, groups, new Map());
    const first = supply.take(0, 1);
    await turn();
    waiting[0]!.end();
    await first;
    await turn();
    // 0 is in use, so 2 goes where 1 is still being read.
    const second = supply.take(2);
    await turn();
    expect(waiting.map((r) => r.name)).toEqual(["0", "1"]);
    waiting[1]!.end();
    await turn();
    waiting[2]!.end();
    expect((await second).w!.data).toEqual(new Float32Array(6).fill(2));
    await supply.close();
  });

  it("tell whoever takes a group that it cannot be read, and nobody else", async () => {
    const { source, waiting } = paused();
    const supply = new StreamedWeights(source, groups, new Map());
    const first = supply.take(0, 1);
    await turn();
    waiting[0]!.end();
    await first;
    await turn();
    waiting[1]!.end(new Error("the disk is gone"));
    await turn();
    await expect(supply.take(1)).rejects.toThrow("the disk is gone");
    await supply.close();
  });

  it("take a group that is held without reading it", async () => {
    const { source, waiting } = paused();
    const held = { w: { shape: [1], data: Float32Array.of(7) } };
    const supply = new StreamedWeights(source, groups, new Map([[3, held]]));
    expect(await supply.take(3, 3)).toBe(held);
    expect(waiting).toHaveLength(0);
    await supply.close();
  });

  it("begin each tensor at a cache line", () => {
    expect(slotLength([...groups[0]!, { input: "b", name: "b", shape: [17] }])).toBe(16 + 32);
  });
});
