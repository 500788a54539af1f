import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LayergradError } from "../errors.ts";
import { download } from "../io/download.ts";
import { fsCode, fsReason } from "../io/fs-reason.ts";
import type { CatalogueFile } from "./catalogue.ts";
import { type Digest, dataFolder, digestOf, saveWhole } from "./folder.ts";

/** Where the public repositories' files are fetched from: owner, repository, commit and path follow. */
const RAW_FILES = "https://raw.githubusercontent.com";

const packageFolder = fileURLToPath(new URL("../../", import.meta.url));

/** How a file came to be where it is. */
export type Pulled = "bundled" | "here" | "copied" | "downloaded";

/** Where a file of the catalogue lies once it is pulled. */
export const catalogueFilePath = (file: CatalogueFile): string =>
  file.collection.source ? join(dataFolder(), file.collection.name, file.path) : join(packageFolder, file.collection.folder, file.path);

/** The public address of a file, or undefined for a bundled one. `LAYERGRAD_DATA_URL` puts a mirror in GitHub's place. */
export function catalogueFileUrl({ collection, path }: CatalogueFile): string | undefined {
  if (!collection.source) return undefined;
  const base = (process.env.LAYERGRAD_DATA_URL || RAW_FILES).replace(/\/+$/, "");
  return `${base}/${collection.source.repository}/${collection.source.commit}/${collection.folder}/${path}`;
}

/**
 * Makes sure that a file of the catalogue is here, byte for byte: nothing to do for one that is bundled or was pulled before, else it is
 * downloaded, or copied from a folder.
 *
 * @param options.from - A folder to copy from instead: a checkout of the repository, its data folder, or a folder that holds the data of
 * both repositories as `layer-gradient` and `gradient-unified`.
 * @throws {LayergradError} `data` where the file cannot be had or is not the one that the catalogue knows, `output` where it cannot be
 * written. No part of a file is left behind.
 */
export async function pullFile(file: CatalogueFile, options: { readonly from?: string | undefined } = {}): Promise<Pulled> {
  const url = catalogueFileUrl(file);
  if (url === undefined) return "bundled";
  const path = catalogueFilePath(file);
  if (isIt(file, await digestOf(path))) return "here";
  if (options.from !== undefined) {
    const { bytes, source } = await readFrom(options.from, file);
    await saveWhole(path, [bytes], (found) =>
      refuseOther(file, found, source, `check out ${file.collection.source!.repository} at ${file.collection.source!.commit}`),
    );
    return "copied";
  }
  const elsewhere = `take the files from a checkout of https://github.com/${file.collection.source!.repository} with --from <folder>`;
  const mirror = process.env.LAYERGRAD_DATA_URL ? `check LAYERGRAD_DATA_URL, or ${elsewhere}` : elsewhere;
  const advice = (status: number | undefined): string => (status === undefined ? `check the network, or ${elsewhere}` : mirror);
  await download({ url, advice }, (body) => saveWhole(path, body, (found) => refuseOther(file, found, url, mirror)));
  return "downloaded";
}

const isIt = (file: CatalogueFile, found: Digest | undefined): boolean => found?.bytes === file.bytes && found.sha256 === file.sha256;

function refuseOther(file: CatalogueFile, found: Digest, source: string, advice: string): void {
  if (isIt(file, found)) return;
  throw new LayergradError(
    "data",
    `${source} is not the file that the catalogue knows as ${file.name}: ${found.bytes} bytes with SHA-256 ${found.sha256.slice(0, 12)}…, expected ${file.bytes} with ${file.sha256.slice(0, 12)}…; ${advice}.`,
  );
}

async function readFrom(from: string, { name, path, collection }: CatalogueFile): Promise<{ bytes: Buffer; source: string }> {
  for (const below of ["", collection.folder, collection.name]) {
    const source = join(from, below, path);
    try {
      return { bytes: await readFile(source), source };
    } catch (cause) {
      if (fsCode(cause) === "ENOENT" || fsCode(cause) === "ENOTDIR") continue;
      throw new LayergradError("data", `${source} cannot be read: ${fsReason(cause)}.`, { cause });
    }
  }
  throw new LayergradError(
    "data",
    `${from} has no ${path} (${name}), nor has ${collection.folder} or ${collection.name} in it; give a checkout of https://github.com/${collection.source!.repository} or its folder ${collection.folder}.`,
  );
}
