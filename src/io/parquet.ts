import { type FileMetaData, parquetMetadata, parquetReadObjects, parquetSchema } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { excerpt, LayergradError } from "../errors.ts";
import type { RawTable } from "./columns.ts";
import { checkPages, columnsOf } from "./parquet-pages.ts";

/** Most rows that a file may have, as all of them are in memory at once. */
const MAX_ROWS = 2_000_000;

/** Most values in the columns read: three texts for each of those rows, or 3 million turns of a role and a text, which take 2 GB. */
const MAX_VALUES = 3 * MAX_ROWS;

/**
 * Reads a Parquet file. Columns are decoded only where they are wanted; nested ones, such as lists of turns, come as lists and objects.
 *
 * @throws {LayergradError} `data` for a file that is no Parquet, is damaged or encrypted, or has more than 2 million rows or 6 million
 * values in the columns wanted.
 */
export function parquetTable(bytes: Uint8Array<ArrayBuffer>, path: string): RawTable {
  const failed = (cause: unknown): LayergradError =>
    cause instanceof LayergradError
      ? cause
      : new LayergradError("data", `${path} cannot be read as Parquet: ${reason(cause)}; fetch or write it again.`, { cause });
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  let metadata: FileMetaData;
  let columns: string[];
  try {
    // Geography is of no use here, and its reader never ends over a schema with a negative number of children.
    metadata = parquetMetadata(file, { geoparquet: false });
    columns = parquetSchema(metadata).children.map(({ element }) => element.name);
  } catch (cause) {
    throw failed(cause);
  }
  return {
    columns,
    read: async (wanted) => {
      const present = columns.filter((column) => wanted.includes(column));
      let rows: Record<string, unknown>[];
      try {
        const chunks = columnsOf(metadata, present);
        refuseTooMany(sum(metadata.row_groups.map(({ num_rows }) => num_rows)), MAX_ROWS, "rows", path);
        refuseTooMany(sum(chunks.map(({ num_values }) => num_values)), MAX_VALUES, `values in ${present.map(excerpt).join(", ")}`, path);
        checkPages(file, metadata, chunks, compressors);
        rows = await parquetReadObjects({ file, metadata, columns: present, compressors });
      } catch (cause) {
        throw failed(cause);
      }
      return rows.map((value, i) => ({ where: `${path}, row ${i}`, value }));
    },
  };
}

/** Of counts in a damaged file too, where a negative one must not hide another. */
const sum = (counts: readonly bigint[]): bigint => counts.reduce((total, count) => (count > 0n ? total + count : total), 0n);

function refuseTooMany(stated: bigint, most: number, what: string, path: string): void {
  if (stated > most)
    throw new LayergradError(
      "data",
      `${path} states ${stated} ${what}, more than the ${most} read of one file; split it, or fetch it again if it has fewer.`,
    );
}

/** What the reader says of a file, where it speaks of Parquet; its own stumbling over damage is no reason a user can read. */
function reason(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : "";
  return message.startsWith("parquet ") && !message.includes("undefined") ? message : "it is damaged";
}
