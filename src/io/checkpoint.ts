import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, read as readCallback, readdirSync, readFileSync, readSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { excerpt, LayergradError } from "../errors.ts";
import { isWidenable, storedBytes, type WidenableDtype, widen } from "../tensor/widen.ts";
import { DirectFile } from "./direct-file.ts";
import { fsCode, fsReason } from "./fs-reason.ts";
import { firstJsonError } from "./json-error.ts";
import { parsePythonJson } from "./python-json.ts";
import { duplicateKey, readSafetensorsHeaderFrom, type TensorInfo } from "./safetensors.ts";

export type { TensorInfo } from "./safetensors.ts";

/** SHA-256 sums (hexadecimal) of what a model folder gives to a run. */
export interface CheckpointHashes {
  /** Over the name and sum of config.json, the index (if there is one) and each weight file, in name order. */
  readonly weights: string;
  /** Over the name and sum of tokenizer.json, tokenizer_config.json and chat_template.jinja, those that are there, in name order. */
  readonly tokenizer: string;
  /** By file name. */
  readonly files: Readonly<Record<string, string>>;
}

/** An open model: its configuration, the text side's files, and its tensors, read on demand. */
export interface Checkpoint {
  /** Path of the folder, or of the file where a file holds the model. */
  readonly folder: string;
  /** Folder of the adapter that is merged into the weights, if one is. */
  readonly adapter?: string;
  /** config.json, as it stands. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly files: {
    /** tokenizer.json, parsed. */
    readonly tokenizerJson: unknown;
    /** tokenizer_config.json, parsed; undefined where there is none. */
    readonly tokenizerConfig: unknown;
    /** Text of chat_template.jinja; undefined where there is none (the template may then be in `tokenizerConfig`). */
    readonly chatTemplate: string | undefined;
  };
  /** All tensors by name. Those of unsupported dtypes are an error only when read, unless the language model needs them. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /**
   * Reads one tensor as float32, row-major: widened exactly, dequantised, or merged with an adapter. Takes little memory beside the result.
   *
   * @param target - Where the values go, of the tensor's length; default a new array.
   * @throws {LayergradError} `"model"` if there is no such tensor, its dtype is not read, or the file fails.
   */
  read(name: string, target?: Float32Array): Promise<Float32Array>;
  /**
   * Gathers rows of a tensor of two dimensions, shape `[indices.length, width]`, by positioned reads: an embedding look-up that
   * never holds the table. Each row asked for is read once, whatever the order and repetitions.
   *
   * @throws {LayergradError} As {@link Checkpoint.read}, and if an index is no row of the tensor.
   */
  readRows(name: string, indices: ArrayLike<number>, target?: Float32Array): Promise<Float32Array>;
  /**
   * Has whole tensors read past the system's page cache from now on, where files and system allow that (see {@link DirectFile}): for weights
   * that are read again and again and do not fit it. Such reads hold the event loop.
   */
  readDirectly?(): void;
  /** Hashes all files of the model, streamed; the first call's result is kept. */
  hashes(): Promise<CheckpointHashes>;
  /** Closes the files. Reads after that are an error. */
  close(): void;
}

/** A model of safetensors files. */
export interface SafetensorsCheckpoint extends Checkpoint {
  /** {@link Checkpoint.read}, holding the event loop. */
  readSync(name: string, target?: Float32Array): Float32Array;
  /**
   * Reads the rows `start … end` (without `end`) of a tensor of two dimensions, shape `[end − start, width]`.
   *
   * @throws {LayergradError} As {@link Checkpoint.read}, and if the tensor has no such rows or is not of two dimensions.
   */
  readRowRange(name: string, start: number, end: number, target?: Float32Array): Promise<Float32Array>;
}

/** Largest config.json or index read, in bytes: real ones have some kilobytes, the index of the largest models some megabytes. */
export const MAX_CONFIG_BYTES = 64_000_000;

/** Largest tokenizer.json, tokenizer_config.json or template read, in bytes: vocabularies of 256k tokens take about 35 MB. */
export const MAX_TOKENIZER_BYTES = 512_000_000;

/** Bytes of one read call: far from the 2 GiB that a call can take, and large enough that the calls cost nothing. */
const readBytes = 64 * 2 ** 20;

const readAsync = promisify(readCallback);

/**
 * Opens a model folder as the Hugging Face hub lays it out: config.json, model.safetensors (or model.safetensors.index.json and
 * its shards), tokenizer.json, and if there, tokenizer_config.json and chat_template.jinja. The headers of all weight files are
 * read and checked; no weight is.
 *
 * @param folder - The folder's path.
 * @param options.texts - Whether the text side's files are read too, default yes; without them the tokenizer's hash is one of no files.
 * @throws {LayergradError} `"model"`: one sentence that says what is wrong with which file, and what to do.
 */
export async function openCheckpoint(
  folder: string,
  { texts: withTexts = true }: { texts?: boolean } = {},
): Promise<SafetensorsCheckpoint> {
  const entries = listFolder(folder);
  const { config, files: texts } = withTexts ? readModelTexts(folder) : { config: readConfig(folder, entries), files: noTexts };

  const files = new Map<string, number>();
  try {
    const weightFiles: string[] = [];
    const tensors = new Map<string, TensorInfo>();
    const open = (name: string): ReadonlyMap<string, TensorInfo> => {
      const path = join(folder, name);
      const fd = openFile(path);
      files.set(path, fd);
      weightFiles.push(name);
      return readSafetensorsHeaderFrom(fd, path).tensors;
    };
    // The same precedence as transformers: a whole file wins over an index beside it.
    if (entries.includes(singleFile)) {
      for (const [name, info] of open(singleFile)) addTensor(tensors, name, info);
    } else if (entries.includes(indexFile)) {
      weightFiles.push(indexFile);
      openShards(folder, entries, open, tensors);
    } else {
      throw missingWeights(folder, entries);
    }
    for (const info of tensors.values()) if (isWeight.test(info.name)) dtypeOf(info);
    return new OpenCheckpoint(folder, config, texts, tensors, files, ["config.json", ...weightFiles], textFilesOf(texts));
  } catch (error) {
    for (const fd of files.values()) closeSync(fd);
    throw error;
  }
}

/**
 * Reads what a model folder holds beside its weights: config.json, tokenizer.json, and if there, tokenizer_config.json and
 * chat_template.jinja.
 *
 * @throws {LayergradError} `"model"`: what is wrong with which file.
 */
export function readModelTexts(folder: string): Pick<Checkpoint, "config" | "files"> {
  const entries = listFolder(folder);
  const config = readConfig(folder, entries);
  const files = readTextFiles(folder);
  if (files.tokenizerJson === undefined) {
    const saved = "AutoTokenizer.from_pretrained(…).save_pretrained(…) of Python's transformers writes one";
    const instead = entries.includes("tokenizer.model") ? " (a SentencePiece tokenizer.model is there, which is not read)" : "";
    throw new LayergradError("model", `${folder}: has no tokenizer.json${instead}; download it, or convert the tokenizer: ${saved}.`);
  }
  return { config, files };
}

function readConfig(folder: string, entries: readonly string[]): Checkpoint["config"] {
  const config = readJson(folder, "config.json", MAX_CONFIG_BYTES);
  if (config === undefined) throw missingConfig(folder, entries);
  if (!isRecord(config)) throw new LayergradError("model", `${join(folder, "config.json")}: is no JSON object; download it again.`);
  return config;
}

const noTexts: Checkpoint["files"] = { tokenizerJson: undefined, tokenizerConfig: undefined, chatTemplate: undefined };

/** Reads what a folder holds for the text side; what is not there is undefined. */
export function readTextFiles(folder: string): Checkpoint["files"] {
  return {
    tokenizerJson: readJson(folder, "tokenizer.json", MAX_TOKENIZER_BYTES),
    tokenizerConfig: readJson(folder, "tokenizer_config.json", MAX_TOKENIZER_BYTES),
    chatTemplate: readText(folder, "chat_template.jinja", MAX_TOKENIZER_BYTES),
  };
}

/** Names of the text side's files that are there. */
const textFilesOf = ({ tokenizerJson, tokenizerConfig, chatTemplate }: Checkpoint["files"]): string[] =>
  ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"].filter(
    (_, i) => [tokenizerJson, tokenizerConfig, chatTemplate][i] !== undefined,
  );

/**
 * Opens one safetensors file by itself, with the JSON file that describes it: an adapter's.
 *
 * @throws {LayergradError} `"model"`: what is wrong with which file; a dtype that is not read too, as all of an adapter is needed.
 */
export function openWeightFile(folder: string, name: string, describedBy: string): SafetensorsCheckpoint {
  const config = readDescription(folder, describedBy);
  const path = join(folder, name);
  const fd = openFile(path);
  try {
    const texts = noTexts;
    const { tensors } = readSafetensorsHeaderFrom(fd, path);
    for (const info of tensors.values()) dtypeOf(info, "adapter");
    return new OpenCheckpoint(folder, config, texts, tensors, new Map([[path, fd]]), [describedBy, name], []);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Reads a JSON file that describes weights beside it. */
export function readDescription(folder: string, name: string): Readonly<Record<string, unknown>> {
  const description = readJson(folder, name, MAX_CONFIG_BYTES);
  if (!isRecord(description)) throw new LayergradError("model", `${join(folder, name)}: is missing or no JSON object; download it again.`);
  return description;
}

/** Opens a file for reading. */
export function openFile(path: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw new LayergradError("model", `${path}: cannot be opened: ${fsReason(error)}; download it again, or correct the link.`, {
      cause: error,
    });
  }
}

/**
 * The name that a tensor has in a model of text alone: multimodal checkpoints, and adapters of them, hold that model as
 * `language_model.model.…` or `model.language_model.…`.
 */
export const textModelName = (stored: string): string =>
  stored.replace(/^language_model\./, "").replace(/^model\.language_model\./, "model.");

function addTensor(tensors: Map<string, TensorInfo>, stored: string, info: TensorInfo): void {
  const name = textModelName(stored);
  if (tensors.has(name))
    throw new LayergradError(
      "model",
      `${info.file}: holds tensor ${excerpt(name)} under two names, ${excerpt(stored)} being one; download it again.`,
    );
  tensors.set(name, info);
}

/** Name of the weights in one file. */
export const singleFile = "model.safetensors";
/** Name of the index of weights in several files. */
export const indexFile = "model.safetensors.index.json";

const indexFail = (folder: string, what: string): LayergradError => new LayergradError("model", `${join(folder, indexFile)}: ${what}`);

/**
 * Reads the index of a model folder: the weight files that it names, and the tensors that it puts into each. Every name is a plain one of
 * a file in the folder.
 *
 * @throws {LayergradError} `"model"`: what is wrong with the index.
 */
export function readShardIndex(folder: string): ReadonlyMap<string, readonly string[]> {
  const path = join(folder, indexFile);
  const fail = (what: string): LayergradError => indexFail(folder, what);
  const text = readText(folder, indexFile, MAX_CONFIG_BYTES);
  if (text === undefined) throw fail("disappeared while the model was opened.");
  const index = parseJson(text, path);
  const weightMap = isRecord(index) ? index.weight_map : undefined;
  if (!isRecord(weightMap)) throw fail('has no "weight_map" that maps tensor names to files; download it again.');
  const twice = duplicateKey(text);
  if (twice !== undefined) throw fail(`names ${excerpt(twice)} twice; download it again.`);
  const shards = new Map<string, string[]>();
  for (const [name, shard] of Object.entries(weightMap)) {
    if (typeof shard !== "string") throw fail(`maps tensor ${excerpt(name)} to no file name; download it again.`);
    if (!isPlainFileName(shard)) {
      throw fail(
        `maps tensor ${excerpt(name)} to ${excerpt(shard)}, expected the plain name of a .safetensors file in the same folder; do not use this download.`,
      );
    }
    const names = shards.get(shard);
    if (names) names.push(name);
    else shards.set(shard, [name]);
  }
  if (shards.size === 0) throw fail("lists no tensors; download it again.");
  return shards;
}

/** Opens the shards that the index names and takes from each the tensors the index puts there. */
function openShards(
  folder: string,
  entries: readonly string[],
  open: (name: string) => ReadonlyMap<string, TensorInfo>,
  tensors: Map<string, TensorInfo>,
): void {
  const fail = (what: string): LayergradError => indexFail(folder, what);
  const shards = readShardIndex(folder);
  const missing = [...shards.keys()].filter((shard) => !entries.includes(shard)).sort();
  if (missing.length > 0) {
    const rest = missing.length > 3 ? ` and ${missing.length - 3} more` : "";
    throw fail(
      `names ${missing.slice(0, 3).map(excerpt).join(", ")}${rest}, not in the folder; download the missing shard${missing.length > 1 ? "s" : ""}.`,
    );
  }
  for (const shard of [...shards.keys()].sort()) {
    const held = open(shard);
    // Tensors of the shard that the index puts elsewhere, or nowhere, are left out, as every other reader does.
    for (const name of shards.get(shard)!) {
      const info = held.get(name);
      if (!info) throw fail(`puts tensor ${excerpt(name)} into ${shard}, which does not hold it; download both files again.`);
      addTensor(tensors, name, info);
    }
  }
}

/** Whether an index may name this file: nothing that could lead out of the folder, on any system, and nothing unprintable. */
function isPlainFileName(name: string): boolean {
  return /^[^\p{C}/\\:]+\.safetensors$/u.test(name) && !name.includes("..");
}

/** Tensors that every run reads, so that a dtype that cannot be read is told before anything is computed or written. */
const isWeight = /^(model\.(layers|embed_tokens|norm)|lm_head)\./;

function dtypeOf({ name, file, dtype }: TensorInfo, owner: "model" | "adapter" = "model"): WidenableDtype {
  if (!isWidenable(dtype))
    throw new LayergradError(
      "model",
      `${file}: tensor ${excerpt(name)} is stored as ${dtype}, expected F32, F16 or BF16; save the ${owner} in one of these.`,
    );
  return dtype;
}

class OpenCheckpoint implements SafetensorsCheckpoint {
  #hashes: Promise<CheckpointHashes> | undefined;
  #closed = false;
  /** By path, those that are read past the page cache. */
  readonly #direct = new Map<string, DirectFile>();

  constructor(
    readonly folder: string,
    readonly config: Readonly<Record<string, unknown>>,
    readonly files: Checkpoint["files"],
    readonly tensors: ReadonlyMap<string, TensorInfo>,
    private readonly descriptors: ReadonlyMap<string, number>,
    private readonly weightFiles: readonly string[],
    private readonly textFiles: readonly string[],
  ) {}

  async read(name: string, target?: Float32Array): Promise<Float32Array> {
    const { info, dtype } = this.#find(name);
    return this.#readValues(info, dtype, info.offset, info.byteLength / storedBytes[dtype], target);
  }

  readSync(name: string, target?: Float32Array): Float32Array {
    const { info, dtype } = this.#find(name);
    return this.#readValuesSync(info, dtype, info.offset, info.byteLength / storedBytes[dtype], target);
  }

  async readRowRange(name: string, start: number, end: number, target?: Float32Array): Promise<Float32Array> {
    const { info, dtype, rows, width } = this.#findTable(name);
    if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || start > end || end > rows) {
      throw new LayergradError(
        "model",
        `${info.file}: rows ${start} to ${end} of ${excerpt(name)} were asked for, which has ${rows} rows.`,
      );
    }
    return this.#readValues(info, dtype, info.offset + start * width * storedBytes[dtype], (end - start) * width, target);
  }

  async readRows(name: string, indices: ArrayLike<number>, target?: Float32Array): Promise<Float32Array> {
    const { info, dtype, rows, width } = this.#findTable(name);
    const out = takeTarget(target, indices.length * width, name);
    const order = Uint32Array.from({ length: indices.length }, (_, i) => i);
    for (let i = 0; i < indices.length; i++) {
      const index = indices[i]!;
      if (!Number.isInteger(index) || index < 0 || index >= rows) {
        throw new LayergradError(
          "model",
          `${info.file}: row ${index} of ${excerpt(name)} was asked for, which has ${rows} rows; a tokenizer that does not belong to these weights gives such ids.`,
        );
      }
    }
    order.sort((a, b) => indices[a]! - indices[b]!);
    // Runs of neighbouring rows, in the file's order, are read at once; a row that is asked for again is copied.
    for (let begin = 0; begin < order.length; ) {
      const first = indices[order[begin]!]!;
      let last = first;
      let end = begin + 1;
      while (end < order.length && indices[order[end]!]! <= last + 1 && (indices[order[end]!]! - first + 1) * width * 4 <= readBytes) {
        last = indices[order[end]!]!;
        end++;
      }
      const count = last - first + 1;
      const offset = info.offset + first * width * storedBytes[dtype];
      if (end === begin + 1) {
        const at = order[begin]! * width;
        this.#readValuesSync(info, dtype, offset, width, out.subarray(at, at + width));
      } else {
        const run = this.#readValuesSync(info, dtype, offset, count * width, undefined);
        for (let i = begin; i < end; i++) {
          const from = (indices[order[i]!]! - first) * width;
          out.set(run.subarray(from, from + width), order[i]! * width);
        }
      }
      begin = end;
    }
    return out;
  }

  readDirectly(): void {
    for (const path of this.descriptors.keys()) {
      const file = this.#direct.has(path) ? undefined : DirectFile.open(path);
      if (file) this.#direct.set(path, file);
    }
  }

  hashes(): Promise<CheckpointHashes> {
    this.#hashes ??= this.#hashAll();
    return this.#hashes;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const file of this.#direct.values()) file.close();
    for (const fd of this.descriptors.values()) closeSync(fd);
  }

  #find(name: string): { info: TensorInfo; dtype: WidenableDtype } {
    const info = this.tensors.get(name);
    if (!info)
      throw new LayergradError(
        "model",
        `${this.folder}: has no tensor ${excerpt(name)}; its config.json promises one, so the two do not belong together.`,
      );
    return { info, dtype: dtypeOf(info) };
  }

  #findTable(name: string): { info: TensorInfo; dtype: WidenableDtype; rows: number; width: number } {
    const { info, dtype } = this.#find(name);
    const [rows, width] = info.shape;
    if (info.shape.length !== 2 || rows === undefined || width === undefined) {
      throw new LayergradError("model", `${info.file}: tensor ${excerpt(name)} has the shape [${info.shape}], expected two dimensions.`);
    }
    return { info, dtype, rows, width };
  }

  #fd(info: TensorInfo): number {
    const fd = this.descriptors.get(info.file);
    // A closed descriptor's number may belong to another file by now.
    if (this.#closed || fd === undefined) throw new Error(`checkpoint ${this.folder}: read of ${info.name} after close()`);
    return fd;
  }

  /** Reads `n` values at `offset` into the second half of their final place (all of it for F32) and widens them there. */
  async #readValues(
    info: TensorInfo,
    dtype: WidenableDtype,
    offset: number,
    n: number,
    target: Float32Array | undefined,
  ): Promise<Float32Array> {
    const out = takeTarget(target, n, info.name);
    const direct = this.#direct.get(info.file);
    if (direct && !this.#closed && offset % storedBytes[dtype] === 0) return readDirectly(direct, info, dtype, offset, out);
    const bytes = storedPart(out, dtype);
    for (let done = 0; done < bytes.byteLength; ) {
      let got: number;
      try {
        got = (await readAsync(this.#fd(info), bytes, done, Math.min(readBytes, bytes.byteLength - done), offset + done)).bytesRead;
      } catch (error) {
        throw readFailure(info, error);
      }
      if (got === 0) throw shrunk(info);
      done += got;
    }
    return widen(dtype, bytes, out);
  }

  #readValuesSync(info: TensorInfo, dtype: WidenableDtype, offset: number, n: number, target: Float32Array | undefined): Float32Array {
    const out = takeTarget(target, n, info.name);
    const bytes = storedPart(out, dtype);
    for (let done = 0; done < bytes.byteLength; ) {
      let got: number;
      try {
        got = readSync(this.#fd(info), bytes, done, Math.min(readBytes, bytes.byteLength - done), offset + done);
      } catch (error) {
        throw readFailure(info, error);
      }
      if (got === 0) throw shrunk(info);
      done += got;
    }
    return widen(dtype, bytes, out);
  }

  async #hashAll(): Promise<CheckpointHashes> {
    const sums = new Map<string, string>();
    for (const name of [...this.weightFiles, ...this.textFiles].sort()) sums.set(name, await hashFile(join(this.folder, name)));
    const combine = (names: readonly string[]): string => combineSums(names.map((name) => [name, sums.get(name)!]));
    return { weights: combine(this.weightFiles), tokenizer: combine(this.textFiles), files: Object.fromEntries(sums) };
  }
}

/** One SHA-256 over names and sums, in name order. */
export function combineSums(sums: readonly (readonly [string, string])[]): string {
  const hash = createHash("sha256");
  for (const [name, sum] of [...sums].sort(([a], [b]) => (a < b ? -1 : 1))) hash.update(`${name}\0${sum}\n`);
  return hash.digest("hex");
}

/**
 * SHA-256 of a file, hexadecimal, read in pieces.
 *
 * @throws {LayergradError} Of the given kind (default `"model"`) if the file cannot be read.
 */
export async function hashFile(path: string, kind: "model" | "data" = "model"): Promise<string> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafeSlow(4 * 2 ** 20);
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    for (;;) {
      const { bytesRead } = await readAsync(fd, buffer, 0, buffer.length, null);
      if (bytesRead === 0) break;
      hash.update(buffer.subarray(0, bytesRead));
    }
  } catch (error) {
    throw new LayergradError(kind, `${path}: cannot be read: ${fsReason(error)}; make it readable, or download it again.`, {
      cause: error,
    });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
  return hash.digest("hex");
}

export function takeTarget(target: Float32Array | undefined, n: number, name: string): Float32Array {
  if (target && target.length !== n) throw new RangeError(`read of ${name}: target has ${target.length} values, expected ${n}`);
  return target ?? new Float32Array(n);
}

/** Reads values past the page cache and widens them piece by piece. */
async function readDirectly(
  file: DirectFile,
  info: TensorInfo,
  dtype: WidenableDtype,
  offset: number,
  out: Float32Array,
): Promise<Float32Array> {
  const size = storedBytes[dtype];
  let got: number;
  try {
    got = await file.read(offset, out.length * size, (bytes, at) => {
      // All but the last piece of a file that ends too early hold whole values.
      const values = Math.floor(bytes.length / size);
      widen(dtype, bytes.subarray(0, values * size), out.subarray(at / size, at / size + values));
    });
  } catch (error) {
    throw readFailure(info, error);
  }
  if (got < out.length * size) throw shrunk(info);
  return out;
}

/** The part of a float32 array that takes the stored bytes before {@link widen} spreads them over the whole. */
function storedPart(out: Float32Array, dtype: WidenableDtype): Uint8Array {
  const bytes = out.length * storedBytes[dtype];
  return new Uint8Array(out.buffer, out.byteOffset + out.byteLength - bytes, bytes);
}

function readFailure(info: TensorInfo, error: unknown): Error {
  if (fsCode(error) === undefined) return error as Error;
  return new LayergradError("model", `${info.file}: tensor ${excerpt(info.name)} cannot be read: ${fsReason(error)}.`, { cause: error });
}

function shrunk(info: TensorInfo): LayergradError {
  return new LayergradError(
    "model",
    `${info.file}: ended inside tensor ${excerpt(info.name)}: the file was changed while it was in use; start again.`,
  );
}

export function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    const code = fsCode(error);
    if (code === "ENOTDIR" && isFile(folder)) {
      throw new LayergradError(
        "model",
        `${folder}: is a file; give a .gguf file, or the folder that holds config.json and model.safetensors.`,
        {
          cause: error,
        },
      );
    }
    if (code === "ENOENT") {
      throw new LayergradError("model", `${folder}: there is no such folder; give the path of a model folder.`, { cause: error });
    }
    throw new LayergradError("model", `${folder}: the model folder cannot be read: ${fsReason(error)}.`, { cause: error });
  }
}

function missingConfig(folder: string, entries: readonly string[]): LayergradError {
  if (entries.length === 0)
    return new LayergradError("model", `${folder}: the folder is empty; give the folder that holds config.json and model.safetensors.`);
  if (entries.includes("snapshots") && entries.includes("blobs")) {
    return new LayergradError(
      "model",
      `${folder}: is a hub cache folder; give the folder of one revision inside it (snapshots/<revision>).`,
    );
  }
  if (entries.includes("adapter_config.json")) {
    return new LayergradError(
      "model",
      `${folder}: holds an adapter (adapter_config.json), not a whole model; give its base model as the model and this as its adapter.`,
    );
  }
  return new LayergradError("model", `${folder}: has no config.json; give a model folder as the Hugging Face hub has it.`);
}

function missingWeights(folder: string, entries: readonly string[]): LayergradError {
  const fail = (what: string): LayergradError => new LayergradError("model", `${folder}: ${what}`);
  const matching = (pattern: RegExp): string | undefined => entries.find((name) => pattern.test(name));
  const shard = matching(/^model-\d+-of-\d+\.safetensors$/);
  if (shard) return fail(`has shards (${shard}) but no ${indexFile}; download that file too.`);
  const other = matching(/\.safetensors$/);
  if (other) return fail(`has ${other} but neither ${singleFile} nor ${indexFile}; rename the file if it holds the whole model.`);
  const pickle = matching(/\.(bin|pt|pth|ckpt)$/);
  if (pickle) {
    return fail(
      `has its weights only as ${pickle}, a pickle that can run code and is not read; convert it with save_pretrained(…, safe_serialization=True) of Python's transformers.`,
    );
  }
  return fail(`has no weights, neither ${singleFile} nor ${indexFile}; download them.`);
}

function readText(folder: string, name: string, limit: number): string | undefined {
  const path = join(folder, name);
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const stat = fstatSync(fd);
    if (stat.isDirectory()) throw new LayergradError("model", `${path}: is a folder, expected a file; download the file.`);
    if (stat.size > limit)
      throw new LayergradError("model", `${path}: has ${stat.size} bytes, more than the ${limit} that a ${basename(name)} may have.`);
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(fd));
  } catch (error) {
    if (error instanceof LayergradError) throw error;
    if (fsCode(error) === "ENOENT" && !isBrokenLink(folder, name)) return undefined;
    if (error instanceof TypeError) throw new LayergradError("model", `${path}: is not UTF-8 text; download it again.`, { cause: error });
    throw new LayergradError("model", `${path}: cannot be read: ${fsReason(error)}; make it readable, or download it again.`, {
      cause: error,
    });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function readJson(folder: string, name: string, limit: number): unknown {
  const text = readText(folder, name, limit);
  return text === undefined ? undefined : parseJson(text, join(folder, name));
}

function parseJson(text: string, path: string): unknown {
  try {
    // Python's json, which writes these files, may leave a bare Infinity or NaN in them.
    return parsePythonJson(text);
  } catch (error) {
    if (text.startsWith("version https://git-lfs"))
      throw new LayergradError("model", `${path}: is a Git LFS pointer, not the file itself; fetch it with \`git lfs pull\`.`, {
        cause: error,
      });
    const { line, found } = firstJsonError(text, { bareNumbers: true });
    throw new LayergradError("model", `${path}: is not valid JSON in line ${line}, ${found}; download it again.`, { cause: error });
  }
}

/** A hub cache holds links into its blobs; one whose blob is gone must not pass for a file that was never there. */
function isBrokenLink(folder: string, name: string): boolean {
  try {
    return readdirSync(folder).includes(name);
  } catch {
    return false;
  }
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
