import type { ColumnMetaData, Compressors, FileMetaData } from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import { decompressPage } from "hyparquet/src/datapage.js";
import { readRleBitPackedHybrid } from "hyparquet/src/encoding.js";
import { getMaxDefinitionLevel, getMaxRepetitionLevel, getSchemaPath } from "hyparquet/src/schema.js";
import { readVarInt } from "hyparquet/src/thrift.js";

/** Values and rows that a file may state for each byte of the columns read. Texts take more than a hundredth of a byte, however well they compress. */
const VALUES_PER_BYTE = 100;
const VALUES_AT_LEAST = 100_000;

/** A place in some bytes. */
interface Reader {
  readonly view: DataView;
  offset: number;
}

/**
 * Checks what the decoder believes: a page states how many values it has, and each of its runs how long it is, so that a few damaged bytes
 * could ask for billions of values and take the process with them.
 *
 * @param columns - Those that will be decoded, as {@link columnsOf} gives them.
 * @throws {Error} Beginning with `parquet`, for more rows or values than those columns can hold, and for a run beyond its page.
 */
export function checkPages(file: ArrayBuffer, metadata: FileMetaData, columns: readonly ColumnMetaData[], compressors: Compressors): void {
  // Of the file at most, as chunks that lie over each other would count its bytes more than once.
  const bytes = Math.min(
    file.byteLength,
    columns.reduce((sum, column) => sum + Number(column.total_compressed_size), 0),
  );
  const most = Math.max(VALUES_AT_LEAST, VALUES_PER_BYTE * bytes);
  const bounded = (stated: number | bigint, what: string): number => {
    const count = Number(stated);
    if (!(count >= 0 && count <= most))
      throw new Error(`parquet file states ${count} ${what}, more than the ${bytes} bytes of the columns read can hold`);
    return count;
  };
  bounded(
    metadata.row_groups.reduce((sum, group) => sum + bounded(group.num_rows, "rows"), 0),
    "rows",
  );
  for (const column of columns) {
    const path = getSchemaPath(metadata.schema, column.path_in_schema);
    const levels = { repetition: getMaxRepetitionLevel(path), definition: getMaxDefinitionLevel(path) };
    checkColumn(file, column, levels, compressors, (count) => bounded(count, "values"));
  }
}

/** The chunks of columns that are wanted, of all row groups; a column of lists or objects has one for each of its parts. */
export const columnsOf = (metadata: FileMetaData, wanted: readonly string[]): ColumnMetaData[] =>
  metadata.row_groups.flatMap(({ columns }) =>
    columns.flatMap(({ meta_data: column }) => (column && wanted.includes(column.path_in_schema[0]!) ? [column] : [])),
  );

interface Levels {
  readonly repetition: number;
  readonly definition: number;
}

function checkColumn(
  file: ArrayBuffer,
  column: ColumnMetaData,
  levels: Levels,
  compressors: Compressors,
  bounded: (count: number) => number,
): void {
  const start = Number(column.dictionary_page_offset || column.data_page_offset);
  const reader: Reader = { view: new DataView(file, start, Number(column.total_compressed_size)), offset: 0 };
  for (let values = 0; reader.offset < reader.view.byteLength - 1; ) {
    const header = parquetHeader(reader);
    const body = new Uint8Array(file, start + reader.offset, header.compressed_page_size);
    reader.offset += header.compressed_page_size;
    const { data_page_header: v1, data_page_header_v2: v2, dictionary_page_header: dictionary } = header;
    if (dictionary) bounded(dictionary.num_values);
    const stated = (v1 ?? v2)?.num_values;
    if (stated === undefined) continue;
    values = bounded(values + bounded(stated));
    if (!(values <= Number(column.num_values)))
      throw new Error(`parquet column has more than the ${column.num_values} values that it states`);
    const unpack = (bytes: Uint8Array, size: number) => viewOf(decompressPage(bytes, size, column.codec, compressors));
    if (v1) {
      const page: Reader = { view: unpack(body, header.uncompressed_page_size), offset: 0 };
      if (levels.repetition > 0) checkLevels(page, levels.repetition, stated);
      const nulls = levels.definition > 0 ? checkLevels(page, levels.definition, stated) : 0;
      checkIndices(page, v1.encoding, column.type, stated - nulls);
    } else if (v2) {
      const at = v2.repetition_levels_byte_length;
      const rest = at + v2.definition_levels_byte_length;
      if (levels.repetition > 0) checkRuns({ view: viewOf(body), offset: 0 }, bitWidth(levels.repetition), stated);
      if (levels.definition > 0) checkRuns({ view: viewOf(body), offset: at }, bitWidth(levels.definition), stated);
      const bytes = body.subarray(rest);
      const view = v2.is_compressed === false ? viewOf(bytes) : unpack(bytes, header.uncompressed_page_size - rest);
      checkIndices({ view, offset: 0 }, v2.encoding, column.type, bounded(stated - v2.num_nulls));
    }
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const bitWidth = (max: number): number => 32 - Math.clz32(max);

/** Levels with their length before them. Gives how many are below the highest one: the nulls among definition levels. */
function checkLevels(page: Reader, max: number, values: number): number {
  const length = page.view.getUint32(page.offset, true);
  const start = page.offset + 4;
  checkRuns({ view: page.view, offset: start }, bitWidth(max), values);
  const found = new Array<number>(values);
  readRleBitPackedHybrid({ view: page.view, offset: start }, bitWidth(max), found, length);
  page.offset = start + length;
  return found.reduce((below, level) => below + (level < max ? 1 : 0), 0);
}

/** The values of a page, where they are written in runs. */
function checkIndices(page: Reader, encoding: string, type: string, values: number): void {
  if (encoding === "PLAIN_DICTIONARY" || encoding === "RLE_DICTIONARY" || encoding === "RLE") {
    const isBoolean = type === "BOOLEAN";
    const width = isBoolean ? 1 : page.view.getUint8(page.offset);
    checkRuns({ view: page.view, offset: page.offset + (isBoolean ? 4 : 1) }, width, width === 0 ? 0 : values);
  }
}

/** That runs of equal and groups of packed values come to what is stated, within their page. */
function checkRuns(reader: Reader, width: number, values: number): void {
  for (let seen = 0; seen < values; ) {
    if (reader.offset >= reader.view.byteLength) throw new Error("parquet page ends before its values do");
    const header = readVarInt(reader) >>> 0;
    const count = header >>> 1;
    if (header & 1) {
      // The last group of eight may be cut off.
      if (count * width > reader.view.byteLength - reader.offset + width)
        throw new Error(`parquet page has ${count} groups beyond its end`);
      reader.offset += count * width;
      seen += count * 8;
    } else {
      if (count > values - seen) throw new Error(`parquet page has a run of ${count} values where ${values - seen} are left`);
      reader.offset += Math.ceil(width / 8);
      seen += count;
    }
  }
}
