import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { excerpt, LayergradError } from "../errors.ts";
import { fsReason } from "./fs-reason.ts";
import { firstJsonError } from "./json-error.ts";
import { stringEnd } from "./python-json.ts";

/** One tensor of a checkpoint: where its values lie and how they are stored. */
export interface TensorInfo {
  /** Name as the checkpoint spells it. */
  readonly name: string;
  /** Stored dtype, by its safetensors name: `"F32"`, `"BF16"`, … */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Path of the file that holds it. */
  readonly file: string;
  /** Position of its first byte, from the beginning of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** What a safetensors file says about itself. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** `__metadata__`: free text by key. */
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * Longest header read, in bytes. It is the limit of the format's own library; real headers of the largest models have some
 * megabytes. Without a limit eight bytes of a hostile file decide how much memory is asked for.
 */
export const MAX_HEADER_BYTES = 100_000_000;

/** Longest tensor name, in UTF-16 units. Real ones have less than 200; names are printed in messages. */
export const MAX_NAME_LENGTH = 4096;

/** Bits of one value of each dtype that the format knows (some pack several values into a byte). */
const dtypeBits: ReadonlyMap<string, number> = new Map(
  Object.entries({
    BOOL: 8,
    F4: 4,
    F6_E2M3: 6,
    F6_E3M2: 6,
    F8_E4M3: 8,
    F8_E5M2: 8,
    F8_E8M0: 8,
    F8_E4M3FNUZ: 8,
    F8_E5M2FNUZ: 8,
    U8: 8,
    I8: 8,
    U16: 16,
    I16: 16,
    F16: 16,
    BF16: 16,
    U32: 32,
    I32: 32,
    F32: 32,
    C64: 64,
    U64: 64,
    I64: 64,
    F64: 64,
  }),
);

/**
 * Reads and checks the header of a safetensors file: that the lengths fit the file, the JSON has no key twice, each dtype is
 * known, each shape and range is of non-negative safe integers that agree with each other, and the tensors fill the data
 * exactly, without overlap, hole or rest. After that every `offset … offset + byteLength` can be read without another check.
 *
 * @param path - The file.
 * @throws {LayergradError} `"model"`, one sentence that names the file, the tensor and what to do.
 */
export function readSafetensorsHeader(path: string): SafetensorsHeader {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw new LayergradError("model", `${path}: cannot be opened: ${fsReason(error)}; download it again, or correct the link.`, {
      cause: error,
    });
  }
  try {
    return readSafetensorsHeaderFrom(fd, path);
  } finally {
    closeSync(fd);
  }
}

/** {@link readSafetensorsHeader} of a file that is already open; `path` serves the messages. */
export function readSafetensorsHeaderFrom(fd: number, path: string): SafetensorsHeader {
  const fail = (what: string, cause?: unknown): never => {
    throw new LayergradError("model", `${path}: ${what}`, cause === undefined ? undefined : { cause });
  };
  const readAt = (position: number, length: number): Buffer => {
    const bytes = Buffer.alloc(length);
    let got = 0;
    try {
      while (got < length) {
        const n = readSync(fd, bytes, got, length - got, position + got);
        if (n === 0) break;
        got += n;
      }
    } catch (error) {
      fail(`cannot be read: ${fsReason(error)}.`, error);
    }
    return bytes.subarray(0, got);
  };

  const stat = fstatSync(fd);
  if (!stat.isFile()) fail("is not a regular file; give a folder with safetensors files.");
  const size = stat.size;
  const start = readAt(0, Math.min(size, 64));
  const other = recognise(start);
  if (other) fail(other);
  if (start.length < 8) fail(`has ${size} bytes, less than a safetensors file needs: it is empty or truncated; download it again.`);
  const headerBytes = start.readBigUInt64LE(0);
  if (headerBytes > BigInt(MAX_HEADER_BYTES)) {
    fail(
      `states a header of ${headerBytes} bytes, more than the ${MAX_HEADER_BYTES} allowed: it is no safetensors file, or damaged; download it again.`,
    );
  }
  const headerLength = Number(headerBytes);
  if (8 + headerLength > size) {
    fail(`states a header of ${headerLength} bytes but has only ${size} bytes in all: it is truncated or damaged; download it again.`);
  }
  const raw = readAt(8, headerLength);
  if (raw.length < headerLength) fail("became shorter while it was read; leave it alone and try again.");
  return parseSafetensorsHeader(raw, size, path);
}

/** What a file that is no safetensors file is instead, where its first bytes tell. */
function recognise(start: Buffer): string | undefined {
  const text = start.toString("latin1");
  if (text.startsWith("version https://git-lfs")) return "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`.";
  if (text.startsWith("GGUF")) return "is a GGUF file under another name; give a folder with safetensors files.";
  if (text.startsWith("PK\x03\x04")) return "is a PyTorch (zip) file under another name; convert it to safetensors.";
  if (/^\s*<(!doctype|html)/i.test(text)) return "is a web page, not weights (a failed download?); download it again.";
  return undefined;
}

/**
 * Checks and parses the bytes of a header. See {@link readSafetensorsHeader}.
 *
 * @param raw - The header: UTF-8 JSON, spaces allowed at its end.
 * @param fileSize - Bytes of the whole file: eight for the length, the header, the data.
 * @param path - The file's name in messages and in each {@link TensorInfo}.
 */
export function parseSafetensorsHeader(raw: Uint8Array, fileSize: number, path: string): SafetensorsHeader {
  const damaged = "the file is damaged or was not written by a safetensors library; download or save it again.";
  const fail = (what: string, cause?: unknown): never => {
    throw new LayergradError("model", `${path}: ${what}`, cause === undefined ? undefined : { cause });
  };

  if (raw[0] !== 0x7b) fail(`the header does not begin with "{": ${damaged}`);
  let json: unknown;
  let text = "";
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw);
    json = JSON.parse(text);
  } catch (error) {
    const why = text === "" ? "other bytes" : firstJsonError(text, { bareNumbers: false }).found;
    return fail(`the header is not valid JSON in UTF-8 (${why}): ${damaged}`, error);
  }
  const twice = duplicateKey(text);
  if (twice !== undefined) fail(`the header names ${excerpt(twice)} twice: ${damaged}`);

  const dataStart = 8 + raw.byteLength;
  const dataBytes = fileSize - dataStart;
  const metadata = new Map<string, string>();
  const tensors = new Map<string, TensorInfo>();
  for (const [name, value] of Object.entries(json as object)) {
    if (name === "__metadata__") {
      if (!isObject(value)) fail(`__metadata__ is no object: ${damaged}`);
      for (const [key, entry] of Object.entries(value as object)) {
        if (typeof entry !== "string") fail(`__metadata__ ${excerpt(key)} is not a string: ${damaged}`);
        metadata.set(key, entry);
      }
      continue;
    }
    if (name.length > MAX_NAME_LENGTH)
      fail(`a tensor's name has ${name.length} characters, more than the ${MAX_NAME_LENGTH} allowed: ${damaged}`);
    tensors.set(name, { name, file: path, ...checkTensor(value, dataStart, dataBytes, (what) => fail(`tensor ${excerpt(name)} ${what}`)) });
  }
  checkCoverage([...tensors.values()], dataStart, fileSize, fail);
  return { tensors, metadata };
}

function checkTensor(
  value: unknown,
  dataStart: number,
  dataBytes: number,
  fail: (what: string) => never,
): Pick<TensorInfo, "dtype" | "shape" | "offset" | "byteLength"> {
  const again = "download the file again.";
  if (!isObject(value)) return fail(`is described by ${excerpt(value)}, expected an object; ${again}`);
  const { dtype, shape, data_offsets: offsets } = value;
  const extra = Object.keys(value).find((key) => key !== "dtype" && key !== "shape" && key !== "data_offsets");
  if (extra !== undefined) fail(`has the unknown field ${excerpt(extra)}; ${again}`);
  const bits = typeof dtype === "string" ? dtypeBits.get(dtype) : undefined;
  if (typeof dtype !== "string" || bits === undefined) {
    return fail(
      `has the dtype ${excerpt(dtype)}, which the safetensors format does not know; save the model in float32, float16 or bfloat16.`,
    );
  }
  if (!Array.isArray(shape) || !shape.every(isSize))
    return fail(`has the shape ${excerpt(shape)}, expected non-negative integers; ${again}`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    return fail(`has the data_offsets ${excerpt(offsets)}, expected two non-negative integers; ${again}`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) fail(`has the data_offsets ${excerpt(offsets)}, which end before they begin; ${again}`);
  if (end > dataBytes) fail(`ends at byte ${end} of the data, of which the file has ${Math.max(0, dataBytes)}: it is truncated; ${again}`);
  // BigInt, so that a product of huge sizes cannot round its way to the right length.
  const needed = shape.reduce((product: bigint, size: number) => product * BigInt(size), 1n) * BigInt(bits);
  if (needed !== BigInt(end - begin) * 8n) {
    const bytes = needed % 8n === 0n ? `${needed / 8n} bytes` : `${needed} bits`;
    fail(`of ${dtype} with the shape ${excerpt(shape)} takes ${bytes}, but its data_offsets span ${end - begin} bytes; ${again}`);
  }
  return { dtype, shape, offset: dataStart + begin, byteLength: end - begin };
}

/** That the tensors fill the data: the format demands it, so that no two share bytes and nothing is hidden between them. */
function checkCoverage(tensors: TensorInfo[], dataStart: number, fileSize: number, fail: (what: string) => never): void {
  tensors.sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  let position = dataStart;
  let previous = "the header";
  for (const tensor of tensors) {
    if (tensor.offset < position) fail(`tensors ${previous} and ${excerpt(tensor.name)} overlap: the file is damaged; download it again.`);
    if (tensor.offset > position) {
      fail(
        `${tensor.offset - position} bytes between ${previous} and tensor ${excerpt(tensor.name)} belong to no tensor: the file is damaged; download it again.`,
      );
    }
    position = tensor.offset + tensor.byteLength;
    previous = excerpt(tensor.name);
  }
  if (position < fileSize) fail(`has ${fileSize - position} bytes after its last tensor: the file is damaged; download it again.`);
}

/**
 * The first key that an object of this JSON text has twice, or undefined. `JSON.parse` keeps the last of two in silence, so that two
 * readers could see two different files.
 *
 * @param text - Valid JSON (checked by `JSON.parse` before).
 */
export function duplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  // True where a string would be a key: after "{" and after "," directly inside an object.
  let keyNext = false;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x7b:
        open.push(new Set());
        keyNext = true;
        break;
      case 0x5b:
        open.push(undefined);
        keyNext = false;
        break;
      case 0x7d:
      case 0x5d:
        open.pop();
        keyNext = false;
        break;
      case 0x2c:
        keyNext = open.at(-1) !== undefined;
        break;
      case 0x22: {
        const end = stringEnd(text, at);
        if (keyNext) {
          // Parsed, since "a" and "\u0061" are the same key.
          const key = JSON.parse(text.slice(at, end)) as string;
          const keys = open.at(-1)!;
          if (keys.has(key)) return key;
          keys.add(key);
          keyNext = false;
        }
        at = end - 1;
        break;
      }
    }
  }
  return undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSize(value: unknown): boolean {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0);
}
