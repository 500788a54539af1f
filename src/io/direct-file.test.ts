import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { DirectFile } from "./direct-file.ts";

const root = mkdtempSync(join(tmpdir(), "layergrad-direct-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

// Longer than two pieces of 8 MB, and no multiple of a block.
const content = Uint8Array.from({ length: 2 * 2 ** 23 + 12_345 }, (_, i) => (i * 31 + (i >> 11)) & 255);
const path = join(root, "numbers");
writeFileSync(path, content);
const file = DirectFile.open(path);
afterAll(() => file?.close());

/** What was read, put together, with the number of bytes that the call says. */
async function read(position: number, length: number): Promise<{ bytes: Uint8Array; got: number }> {
  const bytes = new Uint8Array(length);
  const got = await file!.read(position, length, (piece, at) => bytes.set(piece, at));
  return { bytes: bytes.subarray(0, got), got };
}

describe.skipIf(file === undefined)("a file read past the page cache (skipped where the file system does not allow that)", () => {
  it.each([
    ["from its beginning", 0, 4096],
    ["within one block", 5, 1],
    ["across blocks", 4095, 2],
    ["nothing", 100, 0],
    ["across pieces", 2 ** 23 - 3, 4096],
    ["whole", 0, content.length],
    ["from the midst to its end", 999_999, content.length - 999_999],
  ])("gives the same bytes as any other: %s", async (_, position, length) => {
    const { bytes, got } = await read(position, length);
    expect(got).toBe(length);
    expect(Buffer.compare(bytes, content.subarray(position, position + length))).toBe(0);
  });

  it("comes in pieces that begin at multiples of a block but for the first", async () => {
    const starts: number[] = [];
    await file!.read(10, content.length - 10, (_, at) => starts.push(10 + at));
    expect(starts).toEqual([10, 2 ** 23, 2 ** 24]);
  });

  it("says how much there was where it ends too early", async () => {
    expect((await read(content.length - 100, 200)).got).toBe(100);
    expect((await read(content.length + 5000, 10)).got).toBe(0);
  });

  it("gives each of several reads at a time its own bytes, also after one whose taker throws", async () => {
    const refused = file!.read(0, content.length, () => {
      throw new Error("refused");
    });
    const ranges = [0, 1, 2, 3].map((i) => [i * 1_000_003, 9_000_000] as const);
    const reads = ranges.map(([position, length]) => read(position, length));
    await expect(refused).rejects.toThrow("refused");
    for (const [i, [position, length]] of ranges.entries()) {
      const { bytes, got } = await reads[i]!;
      expect(got).toBe(length);
      expect(Buffer.compare(bytes, content.subarray(position, position + length))).toBe(0);
    }
  });
});

it("is undefined for a file that is not there", () => {
  expect(DirectFile.open(join(root, "nothing"))).toBeUndefined();
});
