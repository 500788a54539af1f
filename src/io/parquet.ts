import { type FileMetaData, parquetMetadata, parquetReadObjects, parquetSchema } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { LayergradError } from "../errors.ts";
import type { RawTable } from "./columns.ts";

/**
 * Reads a Parquet file. Columns are decoded only where they are wanted; nested ones, such as lists of turns, come as lists and objects.
 *
 * @throws {LayergradError} `data` for a file that is no Parquet, is damaged or is encrypted.
 */
export function parquetTable(bytes: Uint8Array<ArrayBuffer>, path: string): RawTable {
  const failed = (cause: unknown): LayergradError =>
    new LayergradError(
      "data",
      `${path} cannot be read as Parquet: ${cause instanceof Error ? cause.message : String(cause)}; fetch or write it again.`,
      { cause },
    );
  const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  let metadata: FileMetaData;
  let columns: string[];
  try {
    metadata = parquetMetadata(file);
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
        rows = await parquetReadObjects({ file, metadata, columns: present, compressors });
      } catch (cause) {
        throw failed(cause);
      }
      return rows.map((value, i) => ({ where: `${path}, row ${i}`, value }));
    },
  };
}
