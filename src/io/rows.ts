import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { LayergradError } from "../errors.ts";
import type { Row } from "../text/row.ts";
import {
  areDefault,
  type ColumnOptions,
  type Columns,
  chooseColumns,
  describe,
  type RawRow,
  type RawTable,
  readColumns,
} from "./columns.ts";
import { csvTable } from "./csv.ts";
import { fsReason } from "./fs-reason.ts";
import { firstJsonError } from "./json-error.ts";
import { parquetTable } from "./parquet.ts";
import { parsePythonJson } from "./python-json.ts";

/** A data set as read from a file. */
export interface RowFile {
  /** In the file's order; a row is known by its position, counted from zero. */
  readonly rows: readonly Row[];
  /** SHA-256 of the file's bytes, in hexadecimal: a part of a run's identity. */
  readonly sha256: string;
  /** Which columns the rows were made from, where those are not `instruction`, `input` and `output`: then a part of a run's identity too. */
  readonly columns?: Columns;
}

/**
 * Reads instruction rows `{"instruction", "input", "output"}`. The name's end says how they are written: .jsonl and .ndjson one JSON
 * object a line, .csv with a header (RFC 4180), .parquet, anything else a JSON list. `input` may be missing, null or empty; other columns
 * are ignored. As Python writes JSON, bare NaN is let through in those.
 *
 * Columns of other names are chosen by the options. Rows that are conversations (`messages` with `role` and `content`, `conversations`
 * with `from` and `value`) are known by their column: the last turn that a model wrote is the output, the texts of the turns before it,
 * joined by newlines, are the instruction.
 *
 * @param path - A file, or the files of one data set in their order; its SHA-256 is then that of their bytes one after another.
 * @throws {LayergradError} `data`, with the file and the place, for a file that cannot be read, is not what its name says, holds no rows,
 * or holds a row without an instruction or output of Unicode text; `usage` for options that exclude each other.
 */
export async function readRows(path: string | readonly string[], options: ColumnOptions = {}): Promise<RowFile> {
  const paths = typeof path === "string" ? [path] : path;
  const hash = createHash("sha256");
  const rows: Row[] = [];
  let columns: Columns | undefined;
  for (const part of paths) {
    const bytes = await bytesOf(part);
    hash.update(bytes);
    const table = tableOf(bytes, part);
    // What the first file's columns are, they are in all.
    columns ??= chooseColumns(table.columns, options);
    const found = await readColumns(part, table, columns, options);
    for (const row of found) rows.push(row);
  }
  if (rows.length === 0)
    throw new LayergradError("data", `${paths.join(", ")} holds no rows; it must hold at least one {"instruction", "input", "output"}.`);
  return { rows, sha256: hash.digest("hex"), ...(columns && !areDefault(columns) ? { columns } : {}) };
}

async function bytesOf(path: string): Promise<Buffer<ArrayBuffer>> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new LayergradError("data", `${path} cannot be read: ${fsReason(cause)}; give the path of a file that can.`, { cause });
  }
}

function tableOf(bytes: Buffer<ArrayBuffer>, path: string): RawTable {
  if (/\.parquet$/i.test(path)) return parquetTable(bytes, path);
  const text = decode(bytes, path);
  if (text.trim() === "") throw new LayergradError("data", `${path} is empty; it must hold rows of {"instruction", "input", "output"}.`);
  if (/\.csv$/i.test(path)) return csvTable(text, path);
  const rows = /\.(jsonl|ndjson)$/i.test(path) ? fromLines(text, path) : fromList(text, path);
  const first = rows[0]?.value;
  return { columns: typeof first === "object" && first !== null && !Array.isArray(first) ? Object.keys(first) : [], read: () => rows };
}

function decode(bytes: Buffer, path: string): string {
  try {
    // Drops a byte order mark.
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    const reason = bytes.length > 2 ** 28 ? "is too large to be read whole; split it" : "is not UTF-8; convert it";
    throw new LayergradError("data", `${path} ${reason}.`, { cause });
  }
}

function fromList(text: string, path: string): RawRow[] {
  let value: unknown;
  try {
    value = parsePythonJson(text);
  } catch (cause) {
    const { line, found } = firstJsonError(text, { bareNumbers: true });
    const hint = line > 1 && text.trimStart().startsWith("{") ? "; if it holds one object a line, name it .jsonl" : "; correct it there";
    throw new LayergradError("data", `${path}, line ${line}: invalid JSON, ${found}${hint}.`, { cause });
  }
  if (!Array.isArray(value))
    throw new LayergradError(
      "data",
      `${path} must hold a JSON list of rows, found ${describe(value)}; put the rows in [ ], or one a line in a .jsonl file.`,
    );
  return value.map((item, i) => ({ where: `${path}, row ${i}`, value: item }));
}

function fromLines(text: string, path: string): RawRow[] {
  const rows: RawRow[] = [];
  // JSON strings may hold U+2028 unescaped, so that only \n ends a line; a \r before it is white space to JSON.
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const where = `${path}, line ${i + 1}`;
    try {
      rows.push({ where, value: parsePythonJson(line) });
    } catch (cause) {
      const { found } = firstJsonError(line, { bareNumbers: true });
      throw new LayergradError("data", `${where}: invalid JSON, ${found}; each line must hold one row.`, { cause });
    }
  }
  return rows;
}

/** Positions of a data set, from `start` up to but not including `end`. */
export interface RowRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Reads a row range as the command line takes it.
 *
 * @param count - Rows of the data set.
 * @param spec - `A:B`, half open, counted from zero; either side may be empty. A number with a decimal point is a fraction of the file,
 * rounded down to a row ("0.25:0.5", "0:0.1"); both kinds mix. An index past the end means the end. All rows by default.
 * @param limit - At most so many rows of the range, from its start.
 * @throws {LayergradError} `usage` for anything else, or a range that holds no row.
 */
export function selectRows(count: number, spec?: string, limit?: number): RowRange {
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0))
    throw new LayergradError("usage", `--limit must be a whole number above 0, found ${limit}.`);
  const sides = (spec ?? ":").split(":");
  if (sides.length !== 2) throw malformed(spec);
  const [start, end] = [position(sides[0]!, 0, count, spec), position(sides[1]!, count, count, spec)];
  if (start >= end)
    throw new LayergradError(
      "usage",
      `--rows ${spec} holds no row of a file of ${count} rows; give A:B with A below B and below ${count}.`,
    );
  return { start, end: limit === undefined ? end : Math.min(end, start + limit) };
}

function position(side: string, fallback: number, count: number, spec: string | undefined): number {
  const text = side.trim();
  if (text === "") return fallback;
  if (/^\d+$/.test(text)) return Math.min(Number(text), count);
  if (!/^\d*\.\d*$/.test(text) || text === ".") throw malformed(spec);
  const fraction = Number(text);
  if (fraction > 1)
    throw new LayergradError("usage", `--rows ${spec}: ${text} has a decimal point and so is a fraction of the file, but it exceeds 1.0.`);
  // 0.29 of 100 rows is 29, which the product in binary just misses.
  return Math.floor(fraction * count + 1e-9);
}

function malformed(spec: string | undefined): LayergradError {
  return new LayergradError(
    "usage",
    `--rows must be A:B with row numbers (0:100) or fractions (0.25:0.5), either side may be empty; found ${JSON.stringify(spec)}.`,
  );
}
