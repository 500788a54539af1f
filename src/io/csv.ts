import { CsvError, parse } from "csv-parse/sync";
import { excerpt, LayergradError } from "../errors.ts";
import type { RawTable } from "./columns.ts";

/**
 * Reads comma-separated values as RFC 4180 has them: a header, quotes around what holds commas, quotes or line ends, a quote in quotes
 * doubled. Every value is a text; empty lines are skipped.
 *
 * @throws {LayergradError} `data`, with the line, for anything else, and for a column named twice.
 */
export function csvTable(text: string, path: string): RawTable {
  let records: string[][];
  try {
    records = parse(text, { skip_empty_lines: true, record_delimiter: ["\r\n", "\n", "\r"] });
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause;
    throw new LayergradError("data", `${path}: invalid CSV: ${cause.message}; correct it there.`, { cause });
  }
  const [columns = [], ...rows] = records;
  const twice = columns.find((column, i) => columns.indexOf(column) !== i);
  if (twice !== undefined)
    throw new LayergradError("data", `${path}: the header names the column ${excerpt(twice)} twice; rename one of the two.`);
  return {
    columns,
    read: () =>
      rows.map((values, i) => ({
        where: `${path}, row ${i}`,
        value: Object.fromEntries(values.map((value, column) => [columns[column]!, value])),
      })),
  };
}
