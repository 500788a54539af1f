import { createHash } from "node:crypto";
import { closeSync, read as readCallback } from "node:fs";
import { basename, dirname } from "node:path";
import { promisify } from "node:util";
import { excerpt, LayergradError } from "../errors.ts";
import {
  type Checkpoint,
  type CheckpointHashes,
  combineSums,
  hashFile,
  openFile,
  readTextFiles,
  type TensorInfo,
  takeTarget,
} from "./checkpoint.ts";
import { fsReason } from "./fs-reason.ts";
import { configOf } from "./gguf-config.ts";
import { type GgufHeader, type GgufTensor, readGgufHeader } from "./gguf-file.ts";
import { placeOf, storedRow, type TensorPlace } from "./gguf-names.ts";
import { dequantise, layoutOf } from "./gguf-quants.ts";
import { tokenizerConfigOf, tokenizerOf } from "./gguf-tokenizer.ts";

/** Stored bytes that are dequantised at a time. */
const PIECE_BYTES = 2 ** 22;

const readAsync = promisify(readCallback);

/** A tensor of the file under the checkpoint's name. */
type PlacedTensor = TensorInfo & { readonly stored: GgufTensor } & TensorPlace;

/**
 * Opens a GGUF file as the Hugging Face checkpoint it was made from: config.json from its metadata, the checkpoint's tensor names and
 * layouts, and the tokenizer of its vocabulary, or of the tokenizer.json in the file's folder where there is one. No weight is read.
 *
 * @throws {LayergradError} `"model"`: what of the file is damaged or not read, and what to do.
 */
export async function openGguf(path: string): Promise<Checkpoint> {
  const fd = openFile(path);
  try {
    const header = readGgufHeader(fd, path);
    const embedding = header.tensors.get("token_embd.weight");
    if (!embedding)
      throw new LayergradError("model", `${path}: has no token_embd.weight, so it holds no language model; give another file.`);
    const config = configOf({
      path,
      metadata: header.metadata,
      names: new Set(header.tensors.keys()),
      vocabulary: embedding.shape[0]!,
      ropeFactors: await readRopeFactors(fd, path, header),
    });
    return new GgufCheckpoint(path, config, textSide(path, header), placeTensors(path, header, config), fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** The tokenizer files in the file's folder; for what is not there, what the file itself gives. */
function textSide(path: string, { metadata }: GgufHeader): Checkpoint["files"] {
  const beside = readTextFiles(dirname(path));
  if (beside.tokenizerJson === undefined) return { ...tokenizerOf(metadata, path), chatTemplate: undefined };
  return { ...beside, tokenizerConfig: beside.tokenizerConfig ?? tokenizerConfigOf(metadata, path) };
}

const ropeFactors = "rope_freqs.weight";

async function readRopeFactors(fd: number, path: string, { tensors }: GgufHeader): Promise<Float32Array | undefined> {
  const stored = tensors.get(ropeFactors);
  if (!stored) return undefined;
  if (stored.type !== "F32" || stored.shape.length !== 1 || stored.shape[0]! > 4096)
    throw new LayergradError(
      "model",
      `${path}: ${ropeFactors} is ${stored.type} of shape [${stored.shape}], expected some F32 values; download it again.`,
    );
  const values = new Float32Array(stored.shape[0]!);
  await readBlocks(fd, path, stored, stored.offset, values);
  return values;
}

/** The file's tensors under the checkpoint's names, all of which must be known. */
function placeTensors(path: string, { metadata, tensors }: GgufHeader, config: Checkpoint["config"]): Map<string, PlacedTensor> {
  const placed = new Map<string, PlacedTensor>();
  const heads = { attn_q: config.num_attention_heads as number, attn_k: config.num_key_value_heads as number };
  for (const stored of tensors.values()) {
    if (stored.name === ropeFactors) continue;
    const place = placeOf(metadata.get("general.architecture") as string, stored.name, heads);
    const fail = (what: string): LayergradError => new LayergradError("model", `${path}: tensor ${excerpt(stored.name)} ${what}.`);
    if (!place) throw fail("is none of its architecture's that are read; give the model's safetensors folder");
    if (placed.has(place.name)) throw fail("is there under two names; download the file again");
    if (place.permutedHeads && stored.shape[0]! % (2 * place.permutedHeads) !== 0)
      throw fail(`has ${stored.shape[0]} rows, which do not divide into ${place.permutedHeads} heads; download the file again`);
    const { type, shape, offset, byteLength } = stored;
    placed.set(place.name, { ...place, stored, dtype: type, shape, file: path, offset, byteLength });
  }
  return placed;
}

class GgufCheckpoint implements Checkpoint {
  #hashes: Promise<CheckpointHashes> | undefined;
  #closed = false;

  constructor(
    readonly folder: string,
    readonly config: Checkpoint["config"],
    readonly files: Checkpoint["files"],
    readonly tensors: ReadonlyMap<string, PlacedTensor>,
    private readonly fd: number,
  ) {}

  async read(name: string, target?: Float32Array): Promise<Float32Array> {
    const tensor = this.#find(name);
    const out = takeTarget(
      target,
      tensor.shape.reduce((n, size) => n * size, 1),
      name,
    );
    await readBlocks(this.#openFd(), this.folder, tensor.stored, tensor.offset, out);
    if (tensor.permutedHeads) restoreRows(out, tensor.shape[0]!, tensor.permutedHeads);
    if (tensor.added) for (let i = 0; i < out.length; i++) out[i]! -= tensor.added;
    return out;
  }

  async readRows(name: string, indices: ArrayLike<number>, target?: Float32Array): Promise<Float32Array> {
    const tensor = this.#find(name);
    const [rows, width] = tensor.shape;
    if (tensor.shape.length !== 2 || rows === undefined || width === undefined || tensor.permutedHeads)
      throw new LayergradError(
        "model",
        `${this.folder}: tensor ${excerpt(name)} of shape [${tensor.shape}] is no table whose rows can be looked up.`,
      );
    const out = takeTarget(target, indices.length * width, name);
    const rowBytes = tensor.byteLength / rows;
    const seen = new Map<number, number>();
    for (let i = 0; i < indices.length; i++) {
      const row = indices[i]!;
      if (!Number.isInteger(row) || row < 0 || row >= rows) {
        throw new LayergradError(
          "model",
          `${this.folder}: row ${row} of ${excerpt(name)} was asked for, which has ${rows} rows; a tokenizer that does not belong to these weights gives such ids.`,
        );
      }
      const earlier = seen.get(row);
      if (earlier === undefined)
        await readBlocks(
          this.#openFd(),
          this.folder,
          tensor.stored,
          tensor.offset + row * rowBytes,
          out.subarray(i * width, (i + 1) * width),
        );
      else out.copyWithin(i * width, earlier * width, (earlier + 1) * width);
      seen.set(row, i);
    }
    return out;
  }

  hashes(): Promise<CheckpointHashes> {
    this.#hashes ??= this.#hashAll();
    return this.#hashes;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.fd);
  }

  /** The tokenizer's hash is over what it is made from, so that all quantisations of a model share it. */
  async #hashAll(): Promise<CheckpointHashes> {
    const file = basename(this.folder);
    const sum = await hashFile(this.folder);
    const tokenizer = createHash("sha256").update(JSON.stringify(this.files)).digest("hex");
    return { weights: combineSums([[file, sum]]), tokenizer, files: { [file]: sum } };
  }

  #find(name: string): PlacedTensor {
    const tensor = this.tensors.get(name);
    if (!tensor)
      throw new LayergradError("model", `${this.folder}: has no tensor ${excerpt(name)}; the file is incomplete, or of another model.`);
    return tensor;
  }

  #openFd(): number {
    // A closed descriptor's number may belong to another file by now.
    if (this.#closed) throw new Error(`${this.folder}: read after close()`);
    return this.fd;
  }
}

/** Reads and dequantises values of a tensor from a position in the file on, a piece at a time. */
async function readBlocks(fd: number, path: string, { name, type }: GgufTensor, offset: number, out: Float32Array): Promise<void> {
  const { values, bytes } = layoutOf(type);
  const pieceBlocks = Math.floor(PIECE_BYTES / bytes);
  const blocks = out.length / values;
  const buffer = Buffer.allocUnsafeSlow(Math.min(pieceBlocks, blocks) * bytes);
  for (let block = 0; block < blocks; block += pieceBlocks) {
    const count = Math.min(pieceBlocks, blocks - block);
    const piece = buffer.subarray(0, count * bytes);
    for (let got = 0; got < piece.length; ) {
      const n = await readAsync(fd, piece, got, piece.length - got, offset + block * bytes + got).then(
        ({ bytesRead }) => bytesRead,
        (cause: unknown) => {
          throw new LayergradError("model", `${path}: tensor ${excerpt(name)} cannot be read: ${fsReason(cause)}.`, { cause });
        },
      );
      if (n === 0)
        throw new LayergradError(
          "model",
          `${path}: ended inside tensor ${excerpt(name)}: the file was changed while it was in use; start again.`,
        );
      got += n;
    }
    dequantise(type, piece, out.subarray(block * values, (block + count) * values));
  }
}

/** Puts the rows of each head back into the checkpoint's order, a head at a time. */
function restoreRows(values: Float32Array, rows: number, heads: number): void {
  const rowsPerHead = rows / heads;
  const width = values.length / rows;
  const size = rowsPerHead * width;
  const head = new Float32Array(size);
  for (let start = 0; start < values.length; start += size) {
    head.set(values.subarray(start, start + size));
    for (let row = 0; row < rowsPerHead; row++) {
      const from = storedRow(row, rowsPerHead) * width;
      values.set(head.subarray(from, from + width), start + row * width);
    }
  }
}
