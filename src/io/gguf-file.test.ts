import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gguf } from "@huggingface/gguf";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { fixtures } from "../../test/fixtures.ts";
import { type GgufParts, ggufBytes, text, uint32, uint64, valueType } from "../../test/gguf.ts";
import { LayergradError } from "../errors.ts";
import { type GgufHeader, MAX_GGUF_HEADER_BYTES, MAX_GGUF_LIST_VALUES, readGgufHeader } from "./gguf-file.ts";

const folder = mkdtempSync(join(tmpdir(), "layergrad-gguf-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function read(bytes: Uint8Array, name = "model.gguf"): GgufHeader {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return readAt(path);
}

function readAt(path: string): GgufHeader {
  const fd = openSync(path, "r");
  try {
    return readGgufHeader(fd, path);
  } finally {
    closeSync(fd);
  }
}

const ones = (n: number): Uint8Array => new Uint8Array(n).fill(1);
const sound: GgufParts = {
  metadata: [
    ["general.architecture", "string", "llama"],
    ["a.flag", "bool", true],
    ["a.list", "floats", [1.5, -2]],
  ],
  tensors: [
    { name: "w", type: 0, shape: [3, 5], data: ones(60) },
    { name: "q", type: 3, shape: [2, 64], data: ones(80) },
  ],
};

describe("a GGUF header", () => {
  it("gives metadata and tensors, slowest dimension first, with their places in the file", () => {
    const bytes = ggufBytes(sound);
    const { metadata, tensors } = read(bytes);
    expect([...metadata]).toEqual([
      ["general.architecture", "llama"],
      ["a.flag", true],
      ["a.list", [1.5, -2]],
    ]);
    const start = bytes.length - 64 - 96;
    expect([...tensors.values()]).toEqual([
      { name: "w", type: "F32", shape: [3, 5], offset: start, byteLength: 60 },
      { name: "q", type: "Q4_1", shape: [2, 64], offset: start + 64, byteLength: 80 },
    ]);
  });

  it("of files that llama.cpp's package wrote is what Hugging Face's reader makes of them", async () => {
    const files = readdirSync(join(fixtures, "gguf")).filter((name) => name.endsWith(".gguf"));
    expect(files.length).toBe(9);
    for (const name of files) {
      const path = join(fixtures, "gguf", name);
      const theirs = await gguf(path, { allowLocalFile: true });
      const ours = readAt(path);
      const { version, tensor_count, kv_count, ...metadata } = theirs.metadata;
      expect(version).toBe(3);
      expect(Number(kv_count)).toBe(ours.metadata.size);
      expect(Object.fromEntries(ours.metadata)).toEqual(metadata);
      expect(Number(tensor_count)).toBe(ours.tensors.size);
      expect([...ours.tensors.values()].map((t) => [t.name, t.shape, t.offset])).toEqual(
        theirs.tensorInfos.map((t) => [t.name, t.shape.map(Number).reverse(), Number(theirs.tensorDataOffset + t.offset)]),
      );
    }
  });

  it("keeps a text of several megabytes whole", () => {
    const long = "é".repeat(2_000_000);
    const { metadata } = read(ggufBytes({ ...sound, metadata: [["tokenizer.chat_template", "string", long]] }));
    expect(metadata.get("tokenizer.chat_template")).toBe(long);
  });
});

describe("a GGUF file of a stranger is refused", () => {
  const bytes = ggufBytes(sound);
  const [w, q] = sound.tensors as [GgufParts["tensors"][number], GgufParts["tensors"][number]];
  const withTensor = (change: Partial<GgufParts["tensors"][number]>) => ggufBytes({ ...sound, tensors: [w, { ...q, ...change }] });
  const raw = (...parts: Uint8Array[]) => ggufBytes({ ...sound, rawEntry: Buffer.concat(parts) });
  const cases: [title: string, bytes: Uint8Array, message: string][] = [
    ["that is empty", new Uint8Array(), "ends within its header"],
    ["of another format", Buffer.from("PK\x03\x04 and so on"), 'is no GGUF file: it begins with "PK'],
    ["that is a Git LFS pointer", Buffer.from("version https://git-lfs.github.com/spec/v1"), "git lfs pull"],
    ["of version 1", ggufBytes({ ...sound, version: 1 }), "is GGUF of version 1, of which only 2 and 3"],
    ["that is big-endian", ggufBytes({ ...sound, version: 3 << 24 }), "is a big-endian GGUF file"],
    ["with 2⁶⁴ − 1 tensors", ggufBytes({ ...sound, tensorCount: 2n ** 64n - 1n }), "states 18446744073709551615"],
    ["with 2⁵² metadata entries", ggufBytes({ ...sound, keyCount: 2n ** 52n }), "metadata entries, more than the 65536 allowed"],
    ["with 2⁵² tensors", ggufBytes({ ...sound, tensorCount: 2n ** 52n }), "tensors, more than the 65536 allowed"],
    ["with a text beyond its end", raw(text("k"), uint32(valueType.string), uint64(2n ** 40n)), "ends within its header"],
    ["with a list beyond its end", raw(text("k"), uint32(valueType.array), uint32(0), uint64(2n ** 20n)), "ends within its header"],
    ["with a list of 2⁴⁰ values", raw(text("k"), uint32(valueType.array), uint32(0), uint64(2n ** 40n)), "a list of 1099511627776 values"],
    ["with lists of lists", raw(text("k"), uint32(valueType.array), uint32(valueType.array), uint64(1)), "has a value of type 9"],
    ["with a value of no type", raw(text("k"), uint32(99)), "has a value of type 99"],
    ["with a text that is no UTF-8", raw(text("k"), uint32(valueType.string), uint64(1), Buffer.from([0xff])), "is not UTF-8"],
    ["with a key twice", raw(text("a.flag"), uint32(valueType.bool), Buffer.from([1])), 'has the metadata key "a.flag" twice'],
    ["with an alignment of 24", ggufBytes({ ...sound, metadata: [["general.alignment", "uint32", 24]] }), "general.alignment 24"],
    ["with an alignment of 0", ggufBytes({ ...sound, metadata: [["general.alignment", "uint32", 0]] }), "general.alignment 0"],
    ["that is one of several", ggufBytes({ ...sound, metadata: [["split.count", "uint32", 3]] }), "llama-gguf-split --merge"],
    ["with a tensor twice", withTensor({ name: "w" }), 'has the tensor "w" twice'],
    ["with five dimensions", withTensor({ shape: [1, 1, 1, 2, 64] }), "has 5 dimensions"],
    ["with no dimension", withTensor({ shape: [] }), "has 0 dimensions"],
    ["with a dimension of 0", withTensor({ shape: [0, 64] }), "has the shape [0,64]"],
    ["with rows that are no whole blocks", withTensor({ shape: [4, 16] }), "expected rows of a multiple of 32 values"],
    ["with sizes that overflow", withTensor({ shape: [2 ** 40, 2 ** 40] }), "has the shape"],
    ["with tensors that overlap", withTensor({ offset: 32 }), "tensors overlap or leave a hole"],
    ["with a hole between tensors", withTensor({ offset: 96 }), "tensors overlap or leave a hole"],
    ["with a tensor out of line", withTensor({ offset: 65 }), "tensors overlap or leave a hole"],
    ["with a tensor longer than its data", withTensor({ shape: [4, 64] }), "it is truncated; download it again"],
    ["that is cut short", bytes.subarray(0, bytes.length - 17), "it is truncated; download it again"],
    ["with more than its tensors", Buffer.concat([bytes, ones(40)]), "bytes after its last tensor"],
    ["of 5-bit quants", withTensor({ type: 13 }), 'tensor "q" is of the type Q5_K, which is not read; quantise the model again'],
    ["of a type without a name", withTensor({ type: 4000 }), 'tensor "q" is of the type number 4000'],
  ];
  it.each(cases)("%s", (_, file, message) => {
    expect(() => read(file)).toThrow(LayergradError);
    expect(() => read(file)).toThrow(message);
  });

  it("named as a shard", () => {
    expect(() => read(bytes, "m-00001-of-00003.gguf")).toThrow("is one of several shards");
    expect(read(bytes, "m-00001-of-00001.gguf").tensors.size).toBe(2);
  });

  it("with a header over the limit, before it is read", () => {
    const path = join(folder, "long.gguf");
    writeFileSync(path, raw(text("k"), uint32(valueType.string), uint64(MAX_GGUF_HEADER_BYTES)));
    // Sparse: it takes no space.
    truncateSync(path, 2 * MAX_GGUF_HEADER_BYTES);
    expect(() => readAt(path)).toThrow(`more than the ${MAX_GGUF_HEADER_BYTES} bytes allowed`);
  });

  it("with lists of more values together than the largest vocabulary, before they are read", () => {
    const list = (key: string, count: number) => [text(key), uint32(valueType.array), uint32(0), uint64(count)];
    const stating = (count: number) =>
      ggufBytes({ ...sound, metadata: [], keyCount: 2n, rawEntry: Buffer.concat([...list("k", 1000), ones(1000), ...list("l", count)]) });
    const room = MAX_GGUF_LIST_VALUES - 1000;
    expect(() => read(stating(room))).toThrow("ends within its header");
    expect(() => read(stating(room + 1))).toThrow(
      `has a list of ${room + 1} values under the metadata key "l", more than the ${MAX_GGUF_LIST_VALUES} that all lists may have`,
    );
  });

  it("whatever bytes are changed: an error of one sentence, or a header whose tensors lie in the file", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        fc.nat(bytes.length),
        (changes, length) => {
          const changed = Buffer.from(bytes);
          for (const [at, value] of changes) changed[at] = value;
          try {
            for (const { offset, byteLength } of read(changed.subarray(0, Math.max(length, bytes.length - 40))).tensors.values())
              expect(offset + byteLength).toBeLessThanOrEqual(bytes.length);
          } catch (error) {
            if (!(error instanceof LayergradError)) throw error;
          }
        },
      ),
      { numRuns: 400, seed: 5 },
    );
  });
});
