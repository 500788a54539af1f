import { access, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { LayergradError } from "../errors.ts";
import { collect, download, type Request } from "../io/download.ts";
import { fsCode, fsReason } from "../io/fs-reason.ts";
import { hubAuthorization, hubEndpoint, isHubOffline } from "../io/hub-settings.ts";
import { dataFolder, saveWhole } from "./folder.ts";

/**
 * Data of the Hugging Face Hub, as a reference names it:
 *
 * - `hf:owner/name`, `hf:owner/name#split`, `hf:owner/name#config/split`: a split, from the Parquet files that the Hub makes of every data
 *   set's newest revision;
 * - `hf:owner/name/path/file.jsonl`, `hf:owner/name@revision/path/file.jsonl`: one file of the repository, at a branch, tag or commit.
 */
export type HubReference =
  | { readonly kind: "split"; readonly id: string; readonly config: string | undefined; readonly split: string | undefined }
  | { readonly kind: "file"; readonly id: string; readonly revision: string; readonly path: string };

const forms = "write hf:owner/name#config/split for a split, or hf:owner/name@revision/path/file.jsonl for a file";

export const isHubReference = (reference: string): boolean => reference.startsWith("hf:");

/** @throws {LayergradError} `usage` for anything but the forms of {@link HubReference}. */
export function parseHubReference(reference: string): HubReference {
  const [, id, rest] = /^hf:([\w.-]+\/[\w.-]+)(.*)$/.exec(reference) ?? [];
  // Parts of the reference become folders here.
  if (id === undefined || rest === undefined || /(^|[/:@#])\.*([/@#]|$)/.test(`${id}${rest}`)) throw malformed(reference);
  const [, fragment] = /^#(.+)$/.exec(rest) ?? [];
  if (rest === "" || fragment !== undefined) {
    const parts = fragment?.split("/") ?? [];
    if (parts.length > 2) throw malformed(reference);
    return { kind: "split", id, config: parts.at(-2), split: parts.at(-1) };
  }
  const [, revision, path] = /^(?:@([^/#]+))?\/([^#\\]+)$/.exec(rest) ?? [];
  if (path === undefined) {
    if (!rest.startsWith("@")) throw malformed(reference);
    throw malformed(reference, "the Hub's own Parquet files are of the newest revision only, so a revision needs the path of a file");
  }
  if (!/\.(jsonl?|ndjson|csv|parquet)$/i.test(path))
    throw new LayergradError("usage", `${reference}: the file must be JSON, JSONL, CSV or Parquet, and end so; ${forms}.`);
  return { kind: "file", id, revision: revision ?? "main", path };
}

const malformed = (reference: string, why = "it names no data set of the Hub"): LayergradError =>
  new LayergradError("usage", `${reference}: ${why}; ${forms}.`);

/** The files of a reference as they were pulled, in their order, or undefined where they were not. */
export async function findHubFiles(reference: string): Promise<readonly string[] | undefined> {
  const receipt = receiptPath(parseHubReference(reference));
  try {
    const { files } = JSON.parse(await readFile(receipt, "utf8")) as Receipt;
    const paths = files.map(({ path }) => join(dataFolder(), path));
    for (const path of paths) await access(path);
    return paths;
  } catch (cause) {
    if (fsCode(cause) === "ENOENT") return undefined;
    throw new LayergradError("data", `${receipt} cannot be read: ${fsReason(cause)}; run "layergrad data pull ${reference}".`, { cause });
  }
}

/**
 * Downloads the files of a reference, anew where they were pulled before, and gives their paths in their order. `HF_ENDPOINT` names another
 * Hub, `HF_TOKEN` or the stored token opens what is private or gated.
 *
 * @throws {LayergradError} `data` where they cannot be had, or the reference leaves open which split is meant; `output` where they cannot
 * be written. Files of an interrupted call are never taken for the whole.
 */
export async function pullHub(reference: string): Promise<readonly string[]> {
  const parsed = parseHubReference(reference);
  if (isHubOffline())
    throw new LayergradError("data", `${reference} cannot be fetched while HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set; unset it.`);
  const urls = parsed.kind === "file" ? [fileUrl(parsed)] : await splitUrls(reference, parsed);
  const receipt = receiptPath(parsed);
  await rm(receipt, { force: true });
  const files: Receipt["files"][number][] = [];
  for (const [i, url] of urls.entries()) {
    const path = parsed.kind === "file" ? place(parsed) : `${place(parsed)}/${i}.parquet`;
    const digest = await download(request(url, parsed.id), (body) => saveWhole(join(dataFolder(), path), body));
    files.push({ path, url, ...digest });
  }
  const content: Receipt = { reference, pulled: new Date().toISOString(), files };
  await saveWhole(receipt, [Buffer.from(`${JSON.stringify(content, null, 2)}\n`)]);
  return files.map(({ path }) => join(dataFolder(), path));
}

/** What was pulled, written when all of it is there. */
interface Receipt {
  readonly reference: string;
  readonly pulled: string;
  /** In their order; paths below the data folder, with slashes. */
  readonly files: readonly { readonly path: string; readonly url: string; readonly bytes: number; readonly sha256: string }[];
}

/** A name as a part of a path, on any system. */
const asFileName = (name: string): string => encodeURIComponent(name).replaceAll("*", "%2A").replace(/^\.+$/, "_");

/** Where a reference's file or folder lies, below the data folder. Each reference has its own, so that no call disturbs another's files. */
function place(parsed: HubReference): string {
  const what =
    parsed.kind === "file"
      ? `@${asFileName(parsed.revision)}/${parsed.path}`
      : asFileName([parsed.config, parsed.split].filter((part) => part !== undefined).join("/") || "only");
  return `hub/${parsed.id}/${what}`;
}

const receiptPath = (parsed: HubReference): string => join(dataFolder(), `${place(parsed)}.pulled.json`);

function request(url: string, id: string): Request {
  const advice = (status: number | undefined): string => {
    if (status === undefined) return "check the network, or HF_ENDPOINT if it is set";
    if (status === 401 || status === 403)
      return `set HF_TOKEN to a token that may read ${id}, after accepting its terms on the Hub if it has any`;
    if (status === 404) return "check the name; what is private or gated needs HF_TOKEN";
    return "try again later";
  };
  // fetch itself drops the token where the Hub sends it on to another host.
  return { url, advice, headers: hubAuthorization(url) };
}

function fileUrl({ id, revision, path }: HubReference & { kind: "file" }): string {
  // A branch such as refs/convert/parquet comes with its slashes encoded.
  const at = encodeURIComponent(revision.replaceAll(/%2f/gi, "/"));
  return `${hubEndpoint()}/datasets/${id}/resolve/${at}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

async function splitUrls(reference: string, { id, config, split }: HubReference & { kind: "split" }): Promise<string[]> {
  const url = `${hubEndpoint()}/api/datasets/${id}/parquet`;
  const splits = splitsOf(await download(request(url, id), json), url);
  const matching = splits.filter((s) => (config === undefined || s.config === config) && (split === undefined || s.split === split));
  const [chosen] = matching;
  if (chosen === undefined || matching.length > 1) {
    const choices = splits.map((s) => `#${s.config}/${s.split}`).join(", ") || "none";
    throw new LayergradError(
      "data",
      `${reference}: ${chosen ? "it has several splits" : "there is no such split"}; choose one of ${choices}.`,
    );
  }
  // The listing's addresses are of the public Hub whatever the endpoint, and the token is for the endpoint alone.
  return chosen.urls.map((address) => `${hubEndpoint()}${new URL(address).pathname}`);
}

interface Split {
  readonly config: string;
  readonly split: string;
  readonly urls: readonly string[];
}

/** Reads the listing `{config: {split: [address, …]}}`. */
function splitsOf(listing: unknown, url: string): Split[] {
  const fields = (value: unknown): [string, unknown][] =>
    typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
  return fields(listing).flatMap(([config, splits]) =>
    fields(splits).map(([split, urls]) => {
      if (!Array.isArray(urls) || urls.length === 0 || !urls.every((address) => typeof address === "string" && URL.canParse(address)))
        throw new LayergradError("data", `${url} does not list Parquet files as the Hub does; check HF_ENDPOINT if it is set.`);
      return { config, split, urls };
    }),
  );
}

/** Longest listing read, bytes. */
const MAX_LISTING = 64e6;

async function json(body: AsyncIterable<Uint8Array>): Promise<unknown> {
  const text = (await collect(body, MAX_LISTING)).toString("utf8");
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
