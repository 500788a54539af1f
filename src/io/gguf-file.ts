import { fstatSync, readSync } from "node:fs";
import { excerpt, LayergradError } from "../errors.ts";
import { fsReason } from "./fs-reason.ts";
import { type GgufType, isReadable, layoutOf, readableTypes } from "./gguf-quants.ts";

export type GgufScalar = number | boolean | string;
export type GgufValue = GgufScalar | readonly GgufScalar[];

/** One tensor of a GGUF file. */
export interface GgufTensor {
  /** Name as the file spells it. */
  readonly name: string;
  readonly type: GgufType;
  /** Slowest dimension first, as safetensors has it; the file itself lists the fastest first. */
  readonly shape: readonly number[];
  /** Position of its first byte, from the beginning of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** What a GGUF file says about itself. */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** Longest header read, in bytes. That of a vocabulary of 256k tokens has about 20 MB. */
export const MAX_GGUF_HEADER_BYTES = 100_000_000;

/** Most values in all lists together, since a value in memory takes many times its bytes in the file. The largest vocabularies have 1.5 million: tokens, scores, types, merges. */
export const MAX_GGUF_LIST_VALUES = 2 ** 22;

/** Most tensors, and most metadata keys. The largest models have some thousands. */
const MAX_ENTRIES = 2 ** 16;

const damaged = "the file is damaged or truncated; download it again.";

/** Names of ggml's tensor types by number, those that are only refused included. */
const typeNames: Readonly<Record<number, string>> = {
  0: "F32",
  1: "F16",
  2: "Q4_0",
  3: "Q4_1",
  6: "Q5_0",
  7: "Q5_1",
  8: "Q8_0",
  9: "Q8_1",
  10: "Q2_K",
  11: "Q3_K",
  12: "Q4_K",
  13: "Q5_K",
  14: "Q6_K",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  20: "IQ4_NL",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  30: "BF16",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
};

/**
 * Reads and checks the header of a GGUF file of version 2 or 3: metadata, and tensors that lie in the file one after the other, aligned,
 * without overlap or hole, each of a type that is read. After that every `offset … offset + byteLength` can be read without another check.
 *
 * The file is a stranger's: a count or length allocates nothing before the bytes behind it have been read, and the limits above keep what is
 * made of those bytes within some hundred megabytes. (@huggingface/gguf 0.4.6 reads
 * zeros behind a file's end, and cuts a text short in silence that reaches beyond its window of 2 MB, so it is the tests' second opinion only.)
 *
 * @param fd - The file, open for reading; `path` serves the messages.
 * @throws {LayergradError} `"model"`, one sentence that names the file, the tensor or key, and what to do.
 */
export function readGgufHeader(fd: number, path: string): GgufHeader {
  const fail = (what: string): never => {
    throw new LayergradError("model", `${path}: ${what}`);
  };
  const stat = fstatSync(fd);
  if (!stat.isFile()) fail("is not a regular file; give a .gguf file.");
  const cursor = new Cursor(fd, path, stat.size);
  const [tensorCount, keyCount] = readPreamble(cursor, fail);

  const metadata = new Map<string, GgufValue>();
  let listed = 0;
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.string("a metadata key");
    if (metadata.has(key)) fail(`has the metadata key ${excerpt(key)} twice; ${damaged}`);
    const value = readValue(cursor, key, MAX_GGUF_LIST_VALUES - listed, fail);
    if (Array.isArray(value)) listed += value.length;
    metadata.set(key, value);
  }
  refuseShards(metadata, path, fail);

  const alignment = metadata.get("general.alignment") ?? 32;
  if (typeof alignment !== "number" || alignment < 8 || alignment > 2 ** 20 || !Number.isInteger(Math.log2(alignment)))
    return fail(`has the general.alignment ${excerpt(alignment)}, expected a power of two from 8 to 1048576; ${damaged}`);
  const stated: GgufTensor[] = [];
  for (let i = 0; i < tensorCount; i++) stated.push(readTensorInfo(cursor, fail));
  const start = padded(cursor.position, alignment);
  const tensors = new Map<string, GgufTensor>();
  for (const { offset, ...tensor } of stated) {
    if (tensors.has(tensor.name)) fail(`has the tensor ${excerpt(tensor.name)} twice; ${damaged}`);
    tensors.set(tensor.name, { ...tensor, offset: start + offset });
  }
  checkPlaces([...tensors.values()], start, stat.size, alignment, fail);
  return { metadata, tensors };
}

/** Magic, version and the counts of tensors and of metadata. */
function readPreamble(cursor: Cursor, fail: (what: string) => never): readonly [number, number] {
  const magic = cursor.bytes(4, "the magic").toString("latin1");
  if (magic !== "GGUF") {
    if (magic === "vers") fail("is perhaps a Git LFS pointer, not the file itself; fetch it with `git lfs pull`.");
    fail(`is no GGUF file: it begins with ${excerpt(magic)}; download it again.`);
  }
  const version = cursor.uint32("the version");
  if (version !== 0 && version % 65536 === 0) fail("is a big-endian GGUF file, which is not read; convert the model without --bigendian.");
  if (version !== 2 && version !== 3) fail(`is GGUF of version ${version}, of which only 2 and 3 are read; convert the model again.`);
  const count = (what: string): number => {
    const stated = cursor.uint64(`the number of ${what}`);
    return stated <= MAX_ENTRIES ? stated : fail(`states ${stated} ${what}, more than the ${MAX_ENTRIES} allowed; ${damaged}`);
  };
  return [count("tensors"), count("metadata entries")];
}

/** Readers of single values by ggml's number of their type. */
const scalars: Readonly<Record<number, (cursor: Cursor, key: string) => GgufScalar>> = {
  0: (cursor, key) => cursor.bytes(1, key).readUInt8(),
  1: (cursor, key) => cursor.bytes(1, key).readInt8(),
  2: (cursor, key) => cursor.bytes(2, key).readUInt16LE(),
  3: (cursor, key) => cursor.bytes(2, key).readInt16LE(),
  4: (cursor, key) => cursor.uint32(key),
  5: (cursor, key) => cursor.bytes(4, key).readInt32LE(),
  6: (cursor, key) => cursor.bytes(4, key).readFloatLE(),
  7: (cursor, key) => cursor.bytes(1, key).readUInt8() !== 0,
  8: (cursor, key) => cursor.string(key),
  10: (cursor, key) => cursor.uint64(key),
  11: (cursor, key) => Number(cursor.bytes(8, key).readBigInt64LE()),
  12: (cursor, key) => cursor.bytes(8, key).readDoubleLE(),
};

const LIST = 9;

/** @param room - Values that a list may have. */
function readValue(cursor: Cursor, key: string, room: number, fail: (what: string) => never): GgufValue {
  const type = cursor.uint32(key);
  const element = type === LIST ? cursor.uint32(key) : type;
  const read =
    scalars[element] ?? fail(`has a value of type ${element} under the metadata key ${excerpt(key)}, which is not known; ${damaged}`);
  if (type !== LIST) return read(cursor, key);
  const count = cursor.uint64(key);
  if (count > room)
    fail(
      `has a list of ${count} values under the metadata key ${excerpt(key)}, more than the ${MAX_GGUF_LIST_VALUES} that all lists may have; ${damaged}`,
    );
  const values: GgufScalar[] = [];
  for (let i = 0; i < count; i++) values.push(read(cursor, key));
  return values;
}

function refuseShards(metadata: ReadonlyMap<string, GgufValue>, path: string, fail: (what: string) => never): void {
  const count = metadata.get("split.count");
  const named = /-\d{5}-of-(\d{5})\.gguf$/i.exec(path);
  if ((typeof count === "number" && count > 1) || Number(named?.[1] ?? 1) > 1)
    fail("is one of several shards, which are not read; join them with llama.cpp's `llama-gguf-split --merge` and give the result.");
}

function readTensorInfo(cursor: Cursor, fail: (what: string) => never): GgufTensor {
  const name = cursor.string("a tensor's name");
  const dimensions = cursor.uint32(name);
  if (dimensions < 1 || dimensions > 4) fail(`tensor ${excerpt(name)} has ${dimensions} dimensions, expected 1 to 4; ${damaged}`);
  const shape = Array.from({ length: dimensions }, () => cursor.uint64(name)).reverse();
  const code = cursor.uint32(name);
  const offset = cursor.uint64(name);
  const type = typeNames[code] ?? `number ${code}`;
  if (!isReadable(type)) {
    return fail(
      `tensor ${excerpt(name)} is of the type ${type}, which is not read; quantise the model again to one of ${readableTypes.join(", ")}.`,
    );
  }
  const { values, bytes } = layoutOf(type);
  const rowLength = shape.at(-1)!;
  // As big integers, so that a product of huge sizes cannot round its way to a plausible length.
  const count = shape.reduce((product, size) => product * BigInt(size), 1n);
  const byteLength = (count / BigInt(values)) * BigInt(bytes);
  if (count === 0n || rowLength % values !== 0 || byteLength > BigInt(Number.MAX_SAFE_INTEGER))
    fail(`tensor ${excerpt(name)} of ${type} has the shape [${shape}], expected rows of a multiple of ${values} values; ${damaged}`);
  return { name, type, shape, offset, byteLength: Number(byteLength) };
}

/** That the tensors fill the data one after the other but for padding, as ggml demands too. */
function checkPlaces(tensors: GgufTensor[], start: number, size: number, alignment: number, fail: (what: string) => never): void {
  tensors.sort((a, b) => a.offset - b.offset);
  let expected = start;
  for (const { name, offset, byteLength } of tensors) {
    if (offset !== expected)
      fail(`tensor ${excerpt(name)} begins at byte ${offset}, expected ${expected}: tensors overlap or leave a hole; ${damaged}`);
    if (offset + byteLength > size)
      fail(`tensor ${excerpt(name)} ends at byte ${offset + byteLength}, but the file has ${size}: it is truncated; download it again.`);
    expected = padded(offset + byteLength, alignment);
  }
  if (size > expected) fail(`has ${size - expected} bytes after its last tensor; ${damaged}`);
}

const padded = (position: number, alignment: number): number => Math.ceil(position / alignment) * alignment;

/** Reads a header from front to back, a window at a time. */
class Cursor {
  position = 0;
  private window = Buffer.alloc(0);
  private windowStart = 0;

  constructor(
    private readonly fd: number,
    private readonly path: string,
    private readonly size: number,
  ) {}

  /** The next bytes, good until the next call. */
  bytes(length: number, what: string): Buffer {
    const end = this.position + length;
    if (end > this.size) this.fail(`ends within its header, at ${excerpt(what)}: ${damaged}`);
    if (end > MAX_GGUF_HEADER_BYTES)
      this.fail(`has a header of more than the ${MAX_GGUF_HEADER_BYTES} bytes allowed, at ${excerpt(what)}; ${damaged}`);
    if (end > this.windowStart + this.window.length) this.fill(length);
    const from = this.position - this.windowStart;
    this.position = end;
    return this.window.subarray(from, from + length);
  }

  uint32(what: string): number {
    return this.bytes(4, what).readUInt32LE();
  }

  uint64(what: string): number {
    const value = this.bytes(8, what).readBigUInt64LE();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.fail(`states ${value} at ${excerpt(what)}, which no file can hold; ${damaged}`);
    return Number(value);
  }

  string(what: string): string {
    const length = this.uint64(what);
    const bytes = this.bytes(length, what);
    try {
      return utf8.decode(bytes);
    } catch (cause) {
      throw new LayergradError("model", `${this.path}: the text at ${excerpt(what)} is not UTF-8; ${damaged}`, { cause });
    }
  }

  private fill(needed: number): void {
    const length = Math.min(Math.max(needed, 2 ** 20), this.size - this.position);
    const window = Buffer.allocUnsafe(length);
    for (let got = 0; got < length; ) {
      let n: number;
      try {
        n = readSync(this.fd, window, got, length - got, this.position + got);
      } catch (cause) {
        throw new LayergradError("model", `${this.path}: cannot be read: ${fsReason(cause)}.`, { cause });
      }
      if (n === 0) this.fail("became shorter while it was read; leave it alone and try again.");
      got += n;
    }
    this.window = window;
    this.windowStart = this.position;
  }

  private fail(what: string): never {
    throw new LayergradError("model", `${this.path}: ${what}`);
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
