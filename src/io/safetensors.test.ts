import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { LayergradError } from "../errors.ts";
import { duplicateKey, MAX_HEADER_BYTES, MAX_NAME_LENGTH, readSafetensorsHeader } from "./safetensors.ts";

const folder = mkdtempSync(join(tmpdir(), "layergrad-safetensors-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A file of this header and so many bytes of data. */
function file(header: unknown, dataBytes = 0, stated?: bigint): Buffer {
  const json = Buffer.isBuffer(header) ? header : Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(stated ?? BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(dataBytes)]);
}

function read(bytes: Buffer) {
  const path = join(folder, "model.safetensors");
  writeFileSync(path, bytes);
  return readSafetensorsHeader(path);
}

const tensor = (dtype: unknown, shape: unknown, data_offsets: unknown) => ({ dtype, shape, data_offsets });
const deep = (n: number) => "[".repeat(n) + "]".repeat(n);

describe("a safetensors header", () => {
  it("gives each tensor's dtype, shape and place in the file, and the metadata", () => {
    const header = {
      __metadata__: { format: "pt" },
      b: tensor("BF16", [2, 3], [4, 16]),
      a: tensor("F32", [], [0, 4]),
      empty: tensor("F16", [0, 5], [16, 16]),
    };
    const { tensors, metadata } = read(file(`${JSON.stringify(header)}    `, 16));
    const start = 8 + JSON.stringify(header).length + 4;
    const path = join(folder, "model.safetensors");
    expect([...tensors.values()]).toEqual([
      { name: "b", dtype: "BF16", shape: [2, 3], file: path, offset: start + 4, byteLength: 12 },
      { name: "a", dtype: "F32", shape: [], file: path, offset: start, byteLength: 4 },
      { name: "empty", dtype: "F16", shape: [0, 5], file: path, offset: start + 16, byteLength: 0 },
    ]);
    expect([...metadata]).toEqual([["format", "pt"]]);
  });

  it("takes dtypes that cannot be read as weights, packed ones too", () => {
    const { tensors } = read(file({ q: tensor("I8", [3], [0, 3]), f: tensor("F4", [2, 3], [3, 6]) }, 6));
    expect([...tensors.keys()]).toEqual(["q", "f"]);
  });

  it("takes a tensor named __proto__ for a tensor", () =>
    expect([...read(file('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1)).tensors.keys()]).toEqual(["__proto__"]));

  it("takes a file without tensors", () => expect(read(file({})).tensors.size).toBe(0));

  const hostile: [title: string, bytes: Buffer, message: string | RegExp][] = [
    ["an empty file", Buffer.alloc(0), "has 0 bytes"],
    ["seven bytes", Buffer.alloc(7), "has 7 bytes"],
    ["a length of 2⁶⁴ − 1", file({}, 0, 2n ** 64n - 1n), `more than the ${MAX_HEADER_BYTES} allowed`],
    ["a length beyond the limit", file({}, 0, BigInt(MAX_HEADER_BYTES) + 1n), "more than the"],
    ["a length beyond the file", file({}, 0, 3n), "states a header of 3 bytes but has only 10 bytes in all"],
    ["a length of zero", file("", 4), 'does not begin with "{"'],
    ["a header that is an array", file([1]), 'does not begin with "{"'],
    ["a header after a space", file(" {}"), 'does not begin with "{"'],
    ["broken JSON", file('{"a":'), "not valid JSON"],
    ["bytes that are no UTF-8", file(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])), "not valid JSON in UTF-8"],
    ["a bare NaN", file('{"a": NaN}'), "not valid JSON"],
    ["a GGUF file", Buffer.from("GGUF\x03\0\0\0\0\0\0\0"), "is a GGUF file"],
    ["a PyTorch file", Buffer.from("PK\x03\x04aaaaaaaaaaaaa"), "is a PyTorch (zip) file"],
    ["a Git LFS pointer", Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"), "git lfs pull"],
    ["a web page", Buffer.from("<!DOCTYPE html><html>"), "is a web page"],
    [
      "a tensor twice",
      file('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
      'names "a" twice',
    ],
    ["a field twice", file('{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', 1), 'names "dtype" twice'],
    ["a tensor that is a number", file({ a: 1 }), 'tensor "a" is described by 1'],
    ["a tensor that is null", file({ a: null }), 'tensor "a" is described by null'],
    ["a tensor nested deeper than the stack", file(`{"a":${deep(200_000)}}`), 'tensor "a" is described by'],
    ["an unknown field", file({ a: { ...tensor("U8", [1], [0, 1]), strides: [1] } }, 1), 'unknown field "strides"'],
    ["no dtype", file({ a: { shape: [1], data_offsets: [0, 1] } }, 1), "has the dtype nothing"],
    ["an unknown dtype", file({ a: tensor("F31", [1], [0, 4]) }, 4), 'tensor "a" has the dtype "F31"'],
    ["a dtype of Object.prototype", file({ a: tensor("constructor", [1], [0, 4]) }, 4), 'has the dtype "constructor"'],
    ["a negative size", file({ a: tensor("F32", [-1], [0, 4]) }, 4), "has the shape [-1]"],
    ["a fraction as size", file({ a: tensor("F32", [1.5], [0, 6]) }, 6), "has the shape [1.5]"],
    ["a size beyond 2⁵³", file('{"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,4]}}', 4), "has the shape"],
    ["a size as text", file({ a: tensor("F32", ["1"], [0, 4]) }, 4), 'has the shape ["1"]'],
    ["a shape that is no array", file({ a: tensor("F32", { length: 1 }, [0, 4]) }, 4), "has the shape"],
    ["a product that wraps around 2⁶⁴", file({ a: tensor("F32", [2 ** 32, 2 ** 32], [0, 0]) }), "takes 73786976294838206464 bytes"],
    ["a product that rounds", file({ a: tensor("U8", [2 ** 27 + 1, 2 ** 27 + 1, 0], [0, 1]) }, 1), "span 1 bytes"],
    ["one offset", file({ a: tensor("F32", [1], [0]) }, 4), "has the data_offsets [0]"],
    ["a negative offset", file({ a: tensor("F32", [1], [-4, 0]) }, 4), "has the data_offsets [-4,0]"],
    ["an end before the beginning", file({ a: tensor("F32", [1], [4, 0]) }, 4), "end before they begin"],
    [
      "a range that is too short",
      file({ a: tensor("F32", [2], [0, 4]) }, 4),
      "of F32 with the shape [2] takes 8 bytes, but its data_offsets span 4",
    ],
    ["half a byte", file({ a: tensor("F4", [3], [0, 2]) }, 2), "takes 12 bits"],
    ["truncated data", file({ a: tensor("F32", [2], [0, 8]) }, 5), "ends at byte 8 of the data, of which the file has 5: it is truncated"],
    ["a rest after the last tensor", file({ a: tensor("F32", [1], [0, 4]) }, 6), "has 2 bytes after its last tensor"],
    ["a hole before the first tensor", file({ a: tensor("F32", [1], [4, 8]) }, 8), '4 bytes between the header and tensor "a"'],
    [
      "a hole between tensors",
      file({ a: tensor("U8", [1], [0, 1]), b: tensor("U8", [1], [2, 3]) }, 3),
      '1 bytes between "a" and tensor "b"',
    ],
    ["tensors that overlap", file({ a: tensor("U8", [3], [0, 3]), b: tensor("U8", [2], [2, 4]) }, 4), 'tensors "a" and "b" overlap'],
    ["tensors that share their bytes", file({ a: tensor("U8", [3], [0, 3]), b: tensor("U8", [3], [0, 3]) }, 3), "overlap"],
    ["an empty tensor inside another", file({ a: tensor("U8", [4], [0, 4]), b: tensor("U8", [0], [2, 2]) }, 4), "overlap"],
    ["metadata that is text", file({ __metadata__: "pt" }), "__metadata__ is no object"],
    ["metadata of numbers", file({ __metadata__: { a: 1 } }), '__metadata__ "a" is not a string'],
    ["a name without end", file({ ["x".repeat(MAX_NAME_LENGTH + 1)]: tensor("U8", [1], [0, 1]) }, 1), "name has 4097 characters"],
    ["a name of control characters", file({ "\u001b[2J": 1 }), String.raw`tensor "\u001b[2J"`],
  ];
  it.each(hostile)("refuses %s", (_, bytes, message) => {
    expect(() => read(bytes)).toThrow(message);
    try {
      read(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(LayergradError);
      expect((error as LayergradError).kind).toBe("model");
      expect((error as LayergradError).message).toContain("model.safetensors: ");
      expect((error as LayergradError).message.length).toBeLessThan(700);
    }
  });

  it("names a file that is not there, or is a folder", () => {
    expect(() => readSafetensorsHeader(join(folder, "none.safetensors"))).toThrow("none.safetensors: cannot be opened: no such file");
    expect(() => readSafetensorsHeader(folder)).toThrow("is not a regular file");
  });

  it("is refused or read, never worse, after any single byte is changed", () => {
    const good = file({ a: tensor("U8", [3], [0, 3]), b: tensor("F16", [1, 2], [3, 7]) }, 7);
    for (let at = 0; at < good.length - 7; at++) {
      for (const flip of [1, 0x20, 0x80]) {
        const bytes = Buffer.from(good);
        bytes[at]! ^= flip;
        try {
          for (const info of read(bytes).tensors.values()) expect(info.offset + info.byteLength).toBeLessThanOrEqual(bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(LayergradError);
        }
      }
    }
  });
});

describe("duplicateKey", () => {
  it.each([
    ['{"a":1,"b":{"a":1}}', undefined],
    ['{"a":["a","a",{"a":1},{"a":2}],"b":"a"}', undefined],
    ['{"a":"b","b":"a"}', undefined],
    ['{"a":{"x":1},"a":2}', "a"],
    ['[{"x":1,"y":[1,2],"x":3}]', "x"],
    ['{"a\\"b":1,"a\\"b":2}', 'a"b'],
    ['{"a\\\\":1,"a":2}', undefined],
    ['{ "" : 1 , "" : 2 }', ""],
    ['{"x":"{\\"x\\":1,","y":1}', undefined],
  ])("of %s is %s", (text, expected) => expect(duplicateKey(text)).toBe(expected));
});
