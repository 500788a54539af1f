/** Writes GGUF files by the format's own description (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), sound ones and others. */

/** Numbers of the format's value types. */
export const valueType = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9, uint64: 10 } as const;

export type GgufEntry =
  | readonly [key: string, type: "uint32" | "int32" | "float32" | "uint64", value: number]
  | readonly [key: string, type: "bool", value: boolean]
  | readonly [key: string, type: "string", value: string]
  | readonly [key: string, type: "strings", value: readonly string[]]
  | readonly [key: string, type: "floats" | "ints", value: readonly number[]];

export interface GgufTensorParts {
  readonly name: string;
  /** ggml's number of the type: 0 F32, 1 F16, 30 BF16, 3 Q4_1, … */
  readonly type: number;
  /** Slowest dimension first; written the other way round. */
  readonly shape: readonly number[];
  readonly data: Uint8Array;
  /** Offset to write instead of the right one. */
  readonly offset?: number;
}

export interface GgufParts {
  readonly version?: number;
  readonly metadata: readonly GgufEntry[];
  readonly tensors: readonly GgufTensorParts[];
  /** Counts to write instead of the right ones. */
  readonly tensorCount?: bigint;
  readonly keyCount?: bigint;
  /** Bytes after the metadata's entries, which count as one more. */
  readonly rawEntry?: Uint8Array;
}

export const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

export const uint64 = (value: number | bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};

export const text = (value: string): Buffer => Buffer.concat([uint64(Buffer.byteLength(value)), Buffer.from(value)]);

const float32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
};

function entryBytes([key, type, value]: GgufEntry): Buffer {
  const list = (element: number, items: readonly Buffer[]): Buffer =>
    Buffer.concat([text(key), uint32(valueType.array), uint32(element), uint64(items.length), ...items]);
  switch (type) {
    case "strings":
      return list(valueType.string, value.map(text));
    case "floats":
      return list(valueType.float32, value.map(float32));
    case "ints":
      return list(valueType.int32, value.map(uint32));
    case "string":
      return Buffer.concat([text(key), uint32(valueType.string), text(value)]);
    case "bool":
      return Buffer.concat([text(key), uint32(valueType.bool), Buffer.from([value ? 1 : 0])]);
    case "float32":
      return Buffer.concat([text(key), uint32(valueType.float32), float32(value)]);
    case "uint64":
      return Buffer.concat([text(key), uint32(valueType.uint64), uint64(value)]);
    default:
      return Buffer.concat([text(key), uint32(valueType[type]), uint32(value)]);
  }
}

const ALIGNMENT = 32;
const padding = (length: number): Buffer => Buffer.alloc((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);

export function ggufBytes({ version = 3, metadata, tensors, tensorCount, keyCount, rawEntry }: GgufParts): Buffer {
  const header = [
    Buffer.from("GGUF"),
    uint32(version),
    uint64(tensorCount ?? tensors.length),
    uint64(keyCount ?? metadata.length + (rawEntry ? 1 : 0)),
    ...metadata.map(entryBytes),
    ...(rawEntry ? [rawEntry] : []),
  ];
  const data: Uint8Array[] = [];
  let position = 0;
  for (const { name, type, shape, data: bytes, offset } of tensors) {
    header.push(text(name), uint32(shape.length), ...shape.toReversed().map(uint64), uint32(type), uint64(offset ?? position));
    const pad = padding(bytes.length);
    data.push(bytes, pad);
    position += bytes.length + pad.length;
  }
  const head = Buffer.concat(header);
  return Buffer.concat([head, padding(head.length), ...data]);
}
