import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { LayergradError } from "../errors.ts";
import type { ColumnOptions } from "../io/columns.ts";
import { type RowFile, readRows } from "../io/rows.ts";
import { type CatalogueFile, catalogueGroup, type DataAttributes, findCatalogueFile } from "./catalogue.ts";
import { findHubFiles, isHubReference, pullHub } from "./hub.ts";
import { catalogueFilePath, pullFile } from "./pull.ts";

/** Which columns hold what, and whether files that are not here may be fetched. */
export interface OpenRowsOptions extends ColumnOptions {
  /** Fetch what has a public address and is not here. Default false: say how. */
  readonly pull?: boolean | undefined;
}

/** A data set, and where it came from. */
export interface OpenedRows extends RowFile {
  /** The reference it was opened by. */
  readonly name: string;
  /** The files it was read from, in their order: one, but for large data sets of the Hub. */
  readonly paths: readonly string[];
  /** What it is of, where the catalogue knows it. */
  readonly attributes?: DataAttributes;
}

/**
 * Opens a data set by a reference: a name of the catalogue (`aqua/none`, `demo/sums/none`), a data set of the Hub (`hf:owner/name#config/split`,
 * see {@link HubReference}), or a file. A name of the catalogue comes first: a file of that very path is `./aqua/none`.
 *
 * @throws {LayergradError} `data` as `readRows` does, where what is referred to is not here, or where a pulled file was changed; `usage` for
 * a malformed reference.
 */
export async function openRows(reference: string, options: OpenRowsOptions = {}): Promise<OpenedRows> {
  const file = findCatalogueFile(reference);
  if (file) return openCatalogued(file, options);
  const paths = isHubReference(reference) ? await hubPaths(reference, options) : [await filePath(reference)];
  return { ...(await readRows(paths, options)), name: reference, paths };
}

async function openCatalogued(file: CatalogueFile, options: OpenRowsOptions): Promise<OpenedRows> {
  const { name, attributes } = file;
  if (options.pull) await pullFile(file);
  const path = catalogueFilePath(file);
  if (!(await isFile(path))) throw notHere(name);
  const rows = await readRows(path, options);
  if (rows.sha256 !== file.sha256)
    throw new LayergradError(
      "data",
      `${path} is not, or no longer, the file that the catalogue knows as ${name}; run "layergrad data pull ${name}", which fetches it again.`,
    );
  return { ...rows, name, paths: [path], attributes };
}

async function hubPaths(reference: string, options: OpenRowsOptions): Promise<readonly string[]> {
  const found = await findHubFiles(reference);
  if (found) return found;
  if (!options.pull) throw notHere(reference);
  return pullHub(reference);
}

const notHere = (name: string): LayergradError =>
  new LayergradError("data", `${name} is not here yet; run "layergrad data pull ${name}", which fetches it.`);

/** The path as it is, unless it reads like a name and is neither one nor a file; a mistyped file is left to its reader. */
async function filePath(reference: string): Promise<string> {
  if (extname(reference) !== "" || (await isFile(reference))) return reference;
  const group = catalogueGroup(reference).map((file) => file.name);
  throw new LayergradError(
    "data",
    group.length > 0
      ? `${reference} is a group of the catalogue; choose one of ${group.join(", ")}.`
      : `${reference} is neither a file nor a name of the catalogue; "layergrad data list" shows the names.`,
  );
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
