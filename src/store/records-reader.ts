import { closeSync, fstatSync, openSync, read as readCallback } from "node:fs";
import { promisify } from "node:util";
import { LayergradError } from "../errors.ts";
import { fsReason } from "../io/fs-reason.ts";
import { firstJsonError } from "../io/json-error.ts";
import { parsePythonJson } from "../io/python-json.ts";
import type { MatrixStatistics } from "../spectra/matrix-statistics.ts";
import { type CosineStatistics, parseMatrixKey } from "./record.ts";

/** Longest line read, in bytes. With all singular values a row of the largest model has some 20 MB. */
export const MAX_LINE_BYTES = 256_000_000;

const readAsync = promisify(readCallback);

/** One line of a file: its bytes without the newline, and where it lies. */
export interface Line {
  bytes: Buffer;
  /** From one. */
  number: number;
  /** Position of its first byte. */
  start: number;
  /** Position after its newline, or the file's end. */
  end: number;
  /** Whether it ends with a newline; only a last line may not. */
  terminated: boolean;
}

/**
 * Reads a file line by line, never more of it than a line and a piece.
 *
 * @throws {LayergradError} Of the given kind if the file cannot be read or a line is longer than {@link MAX_LINE_BYTES}.
 */
export async function* readLines(path: string, kind: "data" | "output"): AsyncGenerator<Line, void, undefined> {
  const fail = (what: string, cause?: unknown): LayergradError =>
    new LayergradError(kind, `${path}: ${what}`, cause === undefined ? undefined : { cause });
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw fail(`cannot be opened: ${fsReason(error)}.`, error);
  }
  try {
    if (!fstatSync(fd).isFile()) throw fail("is not a file.");
    let pending: Buffer[] = [];
    let pendingBytes = 0;
    let start = 0;
    let number = 1;
    for (let position = 0; ; ) {
      const chunk = Buffer.allocUnsafe(1 << 20);
      let bytesRead: number;
      try {
        bytesRead = (await readAsync(fd, chunk, 0, chunk.length, position)).bytesRead;
      } catch (error) {
        throw fail(`cannot be read: ${fsReason(error)}.`, error);
      }
      if (bytesRead === 0) break;
      position += bytesRead;
      let from = 0;
      for (;;) {
        const newline = chunk.subarray(0, bytesRead).indexOf(10, from);
        const piece = chunk.subarray(from, newline < 0 ? bytesRead : newline);
        pending.push(piece);
        pendingBytes += piece.length;
        if (pendingBytes > MAX_LINE_BYTES) throw fail(`line ${number} is longer than ${MAX_LINE_BYTES} bytes: this is no file of records.`);
        if (newline < 0) break;
        const bytes = pending.length === 1 ? pending[0]! : Buffer.concat(pending);
        yield { bytes, number, start, end: start + bytes.length + 1, terminated: true };
        start += bytes.length + 1;
        number++;
        pending = [];
        pendingBytes = 0;
        from = newline + 1;
      }
    }
    if (pendingBytes > 0) yield { bytes: Buffer.concat(pending), number, start, end: start + pendingBytes, terminated: false };
  } finally {
    closeSync(fd);
  }
}

/** A record as read: ours, or one of the authors' with fewer fields. Numbers may be NaN or infinite. */
export interface ReadRecord extends CosineStatistics {
  instruction: string;
  output: string;
  /** NaN where the file says NaN or null. */
  loss: number;
  row?: number;
  n_tokens?: number;
  label_start?: number;
  n_labels?: number;
  /** Statistics by layer and module, in the file's order. */
  matrices: ReadMatrix[];
  /** Position of its line in the file, from one. */
  line: number;
}

/** The reference's own seven statistics, and those of ours that the file has. */
export type ReadStatistics = Pick<MatrixStatistics, "M_mean" | "M_max" | "M_min" | "frobenius_norm" | "S_sum" | "S_max" | "S_min"> &
  Partial<MatrixStatistics>;

/** Statistics of one matrix of a record. */
export interface ReadMatrix {
  layer: number;
  /** `self_attn.q_proj`, … */
  module: string;
  statistics: ReadStatistics;
}

/** Options of {@link readRecords}. */
export interface ReadRecordsOptions {
  /**
   * What a last line means that is cut off: an error (default), or, for a run that may still be going on, nothing: it is left out, and a
   * function given here is told so.
   */
  tornTail?: "error" | "ignore" | (() => void);
}

/**
 * Iterates over a records.jsonl, ours or the authors', line by line. Bare `NaN`, `Infinity` and `-Infinity` are numbers, as Python's
 * json writes them; blank lines and a byte order mark are passed over; fields that are not known are ignored.
 *
 * @param path - The file.
 * @throws {LayergradError} `"data"`; names file and line.
 */
export async function* readRecords(path: string, options: ReadRecordsOptions = {}): AsyncGenerator<ReadRecord, void, undefined> {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  for await (const line of readLines(path, "data")) {
    const fail = (what: string, cause?: unknown): LayergradError =>
      new LayergradError("data", `${path}:${line.number}: ${what}`, cause === undefined ? undefined : { cause });
    let value: unknown;
    let text: string | undefined;
    try {
      text = decoder.decode(line.bytes);
      if (line.number === 1 && text.startsWith("\uFEFF")) text = text.slice(1);
      if (text.trim() === "") continue;
      value = parsePythonJson(text);
    } catch (error) {
      if (!line.terminated && (options.tornTail ?? "error") !== "error") {
        if (typeof options.tornTail === "function") options.tornTail();
        return;
      }
      const torn = line.terminated ? "" : " (the last line is cut off: a run was killed; running it again repairs the file)";
      const found = text === undefined ? "other bytes" : firstJsonError(text, { bareNumbers: true }).found;
      throw fail(`is not valid JSON in UTF-8${torn}, ${found}; remove the line.`, error);
    }
    yield toRecord(value, line.number, fail);
  }
}

const statisticNames = ["M_mean", "M_max", "M_min", "frobenius_norm", "S_sum", "S_max", "S_min"] as const;
const optionalStatistics = ["effective_rank", "stable_rank", "rank"] as const;
const optionalCounts = ["row", "n_tokens", "label_start", "n_labels"] as const;

function toRecord(value: unknown, line: number, fail: (what: string) => LayergradError): ReadRecord {
  if (!isObject(value)) throw fail("is no JSON object, expected one record a line.");
  const { instruction, output, loss } = value;
  if (typeof instruction !== "string") throw fail(`instruction is ${show(instruction)}, expected a string.`);
  if (typeof output !== "string") throw fail(`output is ${show(output)}, expected a string.`);
  if (typeof loss !== "number" && loss !== null) throw fail(`loss is ${show(loss)}, expected a number.`);
  const record: ReadRecord = { instruction, output, loss: loss ?? Number.NaN, matrices: [], line };
  for (const name of optionalCounts) {
    const count = value[name];
    if (count === undefined || count === null) continue;
    if (!Number.isSafeInteger(count) || (count as number) < 0) throw fail(`${name} is ${show(count)}, expected a non-negative integer.`);
    record[name] = count as number;
  }
  for (const name of ["cosine_sim_qkvo", "cosine_adjacent"] as const) {
    const cosines = value[name];
    if (cosines === undefined) continue;
    if (cosines !== null && !isObject(cosines)) throw fail(`${name} is ${show(cosines)}, expected an object.`);
    record[name] = cosines as never;
  }
  for (const [key, entry] of Object.entries(value)) {
    const parsed = parseMatrixKey(key);
    if (!parsed) continue;
    if (!isObject(entry)) throw fail(`${key} is ${show(entry)}, expected an object of statistics.`);
    for (const name of statisticNames) {
      if (typeof entry[name] !== "number") throw fail(`${key}.${name} is ${show(entry[name])}, expected a number.`);
    }
    for (const name of optionalStatistics) {
      const statistic = entry[name];
      if (statistic !== undefined && statistic !== null && typeof statistic !== "number")
        throw fail(`${key}.${name} is ${show(statistic)}, expected a number.`);
    }
    const list = entry.S_list;
    if (list !== undefined && !(Array.isArray(list) && list.every((sigma) => typeof sigma === "number"))) {
      throw fail(`${key}.S_list is ${show(list)}, expected an array of numbers.`);
    }
    record.matrices.push({ ...parsed, statistics: entry as unknown as ReadStatistics });
  }
  return record;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  if (value === undefined) return "missing";
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  return typeof value === "string" ? JSON.stringify(value.slice(0, 60)) : String(value);
}
