import { cpSync, mkdtempSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { openModelFiles } from "./open-weights.ts";
import { WeightReader } from "./weight-reader.ts";

const root = mkdtempSync(join(tmpdir(), "layergrad-reader-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const fixture = fileURLToPath(new URL("../../test/fixtures/models/llama/", import.meta.url));

const sizeOf = (shape: readonly number[]): number => shape.reduce((n, size) => n * size, 1);

describe.each([false, true])("weights read in a thread of their own (past the page cache: %s)", (direct) => {
  it("are those of the checkpoint, in their places, and the memory goes on to the next", async () => {
    const checkpoint = await openModelFiles(fixture);
    const reader = new WeightReader(checkpoint, { direct });
    try {
      const names = [...checkpoint.tensors.keys()];
      expect(names.length).toBeGreaterThan(4);
      let memory: Float32Array = new Float32Array(Math.max(...[...checkpoint.tensors.values()].map(({ shape }) => sizeOf(shape))) + 64);
      for (const name of names) {
        const length = sizeOf(checkpoint.tensors.get(name)!.shape);
        const given = memory;
        memory = await reader.readPlaces([{ name, start: 16, length }], memory);
        expect([given.length, memory.subarray(16, 16 + length)]).toEqual([0, await checkpoint.read(name)]);
      }
    } finally {
      checkpoint.close();
      await reader.close();
    }
  });

  it("that a file no longer holds are an error of the model, and the next read goes on", async () => {
    const folder = join(root, `cut-${direct}`);
    cpSync(fixture, folder, { recursive: true });
    const checkpoint = await openModelFiles(folder);
    const byOffset = [...checkpoint.tensors.values()].sort((a, b) => a.offset - b.offset);
    const [first, last] = [byOffset[0]!, byOffset.at(-1)!];
    const reader = new WeightReader(checkpoint, { direct });
    const placeOf = ({ name, shape }: typeof first) => [{ name, start: 0, length: sizeOf(shape) }];
    const memoryOf = ({ shape }: typeof first): Float32Array => new Float32Array(sizeOf(shape));
    try {
      await reader.readPlaces(placeOf(first), memoryOf(first));
      truncateSync(last.file, last.offset + 1);
      await expect(reader.readPlaces(placeOf(last), memoryOf(last))).rejects.toMatchObject({
        kind: "model",
        message: expect.stringContaining("the file was changed while it was in use"),
      });
      expect((await reader.readPlaces(placeOf(first), memoryOf(first))).length).toBe(sizeOf(first.shape));
    } finally {
      checkpoint.close();
      await reader.close();
    }
  });
});

it("a reader whose model is gone says so at the first read", async () => {
  const reader = new WeightReader({ folder: join(root, "gone") }, { direct: false });
  await expect(reader.readPlaces([{ name: "w", start: 0, length: 1 }], new Float32Array(1))).rejects.toMatchObject({ kind: "model" });
  await reader.close();
});
