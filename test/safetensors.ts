import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";

/** A tensor's place in a file, as the format's own header says it (https://github.com/huggingface/safetensors). */
export interface NamedTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Bytes from the file's start. */
  readonly offset: number;
}

/** Reads a header by the format's description alone, so that the tests need not trust our reader. */
export function namedTensors(path: string): Map<string, NamedTensor> {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + length)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  return new Map(
    Object.entries(header)
      .filter(([name]) => name !== "__metadata__")
      .map(([name, { dtype, shape, data_offsets }]) => [name, { dtype, shape, offset: 8 + length + data_offsets[0] }]),
  );
}

/** Writes the file with another header over the same data. */
export function withHeader(path: string, change: (header: string) => string): void {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = Buffer.from(change(bytes.toString("utf8", 8, 8 + length)));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(path, Buffer.concat([size, header, bytes.subarray(8 + length)]));
}

/** Overwrites some bytes of a file. */
export function patchFile(path: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(path, "r+");
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}
