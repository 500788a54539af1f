import { type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { LayergradError } from "../errors.ts";
import { collect, DownloadError, download, type Request } from "../io/download.ts";
import { hubAuthorization, hubEndpoint } from "../io/hub-settings.ts";
import { isCommit, isPlainPath } from "./model-id.ts";

/** A file of a repository at a commit. */
export interface HubFile {
  readonly path: string;
  readonly bytes: number;
  /** What the Hub knows its bytes by: SHA-256 of a file in large file storage, else git's hash of a blob. Its name in the cache. */
  readonly etag: string;
}

/** A model repository on the Hub, as far as this session may see it. */
export interface Repository {
  readonly id: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  readonly signal?: AbortSignal | undefined;
  /** Attempts at a request that fails in passing; default four. */
  readonly attempts?: number | undefined;
}

/** Longest answer of the Hub's API that is read, bytes: a page of a listing has some hundred kilobytes. */
const MAX_ANSWER = 64e6;

/** Most files of a folder that are looked at, and most pages they may come in: a server might never end. */
const MAX_FILES = 100_000;
const MAX_PAGES = 1000;

/** A repository's files by their paths, as the Hub lists them: what it says of each is read when the file is chosen. */
export type Listing = ReadonlyMap<string, ListFileEntry>;

/**
 * The commit of the repository's revision, and the repository's name today: one that was renamed is found by its old name too.
 *
 * @throws {LayergradError} `model`: one sentence that says what is in the way and what to do; a {@link DownloadError} where the Hub cannot
 * be reached.
 */
export async function findCommit(repository: Repository): Promise<{ readonly commit: string; readonly name: string }> {
  const { id, revision } = repository;
  const what = `what it says of ${id}`;
  try {
    const fetch = apiFetch(repository, what, isObject);
    const info = await modelInfo({ name: id, revision, hubUrl: hubEndpoint(), additionalFields: ["sha"], fetch });
    if (typeof info.sha !== "string" || !isCommit(info.sha) || typeof info.name !== "string") throw noHub(what);
    return { commit: info.sha, name: info.name };
  } catch (error) {
    throw error instanceof RepositoryNotFound ? ((await otherKind(repository)) ?? error) : error;
  }
}

/**
 * The files of one folder of the repository; those whose paths a system might take for another's are left out.
 *
 * @param folder - Its path; "" for the repository's own.
 * @throws {LayergradError} As {@link findCommit}.
 */
export async function filesOf(repository: Repository, folder = ""): Promise<Listing> {
  const what = `its list of the files of ${repository.id}`;
  const entries = listFiles({
    repo: { type: "model", name: repository.id },
    revision: repository.revision,
    path: encodePath(folder),
    hubUrl: hubEndpoint(),
    fetch: apiFetch(repository, what, (answer) => Array.isArray(answer) && answer.every(isObject)),
  });
  const files = new Map<string, ListFileEntry>();
  for await (const entry of entries) {
    if (entry.type === "file" && typeof entry.path === "string" && isPlainPath(entry.path)) files.set(entry.path, entry);
    if (files.size > MAX_FILES) throw noHub(`${what}, more than ${MAX_FILES},`);
  }
  return files;
}

/**
 * A file of a listing; undefined where it is not there.
 *
 * @throws {LayergradError} `model` where the listing says nothing of use of it.
 */
export function findFile(repository: Repository, listing: Listing, path: string): HubFile | undefined {
  const entry = listing.get(path);
  if (!entry) return undefined;
  const file = { path, bytes: entry.lfs?.size ?? entry.size, etag: entry.lfs?.oid ?? entry.oid };
  if (!isHubFile(file)) throw noHub(`what its list of the files of ${repository.id} says of ${path}`);
  return file;
}

/** The request for a file at a commit. */
export function fileRequest(repository: Repository, file: string): Request {
  const url = `${hubEndpoint()}/${repository.id}/resolve/${encodeURIComponent(repository.revision)}/${encodePath(file)}`;
  return requestOf(url, repository);
}

const encodePath = (path: string): string => path.split("/").map(encodeURIComponent).join("/");

const isObject = (value: unknown): boolean => typeof value === "object" && value !== null && !Array.isArray(value);

const isHubFile = (file: Record<keyof HubFile, unknown>): file is HubFile =>
  Number.isSafeInteger(file.bytes) &&
  (file.bytes as number) >= 0 &&
  typeof file.etag === "string" &&
  /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(file.etag);

/** @param what - What of its answers is not as expected. */
const noHub = (what: string): LayergradError =>
  new LayergradError("model", `${hubEndpoint()} does not answer as the Hub does: ${what} cannot be read; check HF_ENDPOINT if it is set.`);

/** The model is not there, or not for this token. */
class RepositoryNotFound extends LayergradError {}

/**
 * A `fetch` for the library, with our attempts, limits and sentences; the token goes to the Hub alone, whatever a listing's next page names.
 *
 * @param what - What is asked for, as messages name it.
 * @param isRight - Whether an answer has the shape that the library takes for granted.
 */
function apiFetch(repository: Repository, what: string, isRight: (answer: unknown) => boolean): typeof fetch {
  let pages = 0;
  return async (input, init) => {
    if (++pages > MAX_PAGES) throw noHub(`${what}, more than ${MAX_PAGES} pages,`);
    const request = requestOf(String(input), repository);
    const headers = { ...Object.fromEntries(new Headers(init?.headers)), ...request.headers };
    const take = async (body: AsyncIterable<Uint8Array>, answer: Response): Promise<Response> => {
      const bytes = await collect(body, MAX_ANSWER);
      if (!isRight(parsed(bytes))) throw noHub(what);
      const next = nextPage(answer);
      return new Response(bytes, next === undefined ? {} : { headers: { link: `<${next}>; rel="next"` } });
    };
    return download({ ...request, headers }, take, repository.attempts);
  };
}

function parsed(json: Buffer): unknown {
  try {
    return JSON.parse(json.toString("utf8"));
  } catch {
    throw noHub("an answer that is no JSON");
  }
}

/** Where a listing goes on: an address may be given from the answer's own. */
function nextPage({ url, headers }: Response): string | undefined {
  const [, next] = /<([^>]*)>\s*;[^,<]*\brel="?next\b/i.exec(headers.get("link") ?? "") ?? [];
  if (next === undefined) return undefined;
  if (!URL.canParse(next, url)) throw noHub("the address of a listing's next page");
  return new URL(next, url).href;
}

function requestOf(url: string, repository: Repository): Request {
  const advice = (status: number | undefined): string => {
    if (status === undefined) return "check the network, or HF_ENDPOINT if it is set";
    if (status === 429) return "the Hub wants fewer requests: try again later, or with HF_TOKEN set";
    return status >= 500 ? "try again later" : "check HF_ENDPOINT if it is set, and HF_TOKEN";
  };
  const headers = { "accept-encoding": "identity", ...hubAuthorization(url) };
  return { url, headers, kind: "model", signal: repository.signal, advice, refusal: (answer) => refusalOf(answer, repository) };
}

/** What the Hub's own words for a refusal come to. */
function refusalOf(answer: Response, { id, revision }: Repository): Error | undefined {
  const code = answer.headers.get("x-error-code");
  const words = answer.headers.get("x-error-message") ?? "";
  const page = `${hubEndpoint()}/${id}`;
  const model = (sentence: string): LayergradError => new LayergradError("model", sentence);
  if (code === "GatedRepo")
    return model(
      answer.status === 401
        ? `${id} is gated: accept its terms at ${page}, then set HF_TOKEN to a token of that account, or store it with "hf auth login".`
        : `${id} is gated, and the account of the token has no access: accept its terms at ${page} or wait to be let in; a fine-grained token also needs the right to read gated repositories.`,
    );
  if (code === "RevisionNotFound")
    return model(`${id} has no revision ${JSON.stringify(revision)}; its branches, tags and commits are at ${page}/commits/main.`);
  if (code === "EntryNotFound") return model(`${id} at ${revision} has no such file or folder: ${new URL(answer.url).pathname}.`);
  if (words === "Access to this resource is disabled.") return model(`${id} is disabled on the Hub: ${page} may say why.`);
  if (/^Invalid (credentials|username or password)/.test(words))
    return model(
      "The Hub does not know the token of HF_TOKEN, or the stored one; make another at https://huggingface.co/settings/tokens, or unset HF_TOKEN for what is public.",
    );
  if (code === "RepoNotFound" || (answer.status === 401 && code === null && answer.url.startsWith(hubEndpoint())))
    return new RepositoryNotFound(
      "model",
      `${id}: there is no such folder, and the Hub has no model of that id, or a private one; check the id, or set HF_TOKEN to a token that may read it.`,
    );
  return undefined;
}

/** The sentence for an id that is a data set's or a space's. */
async function otherKind(repository: Repository): Promise<LayergradError | undefined> {
  const { id } = repository;
  for (const [kind, sentence] of [
    ["datasets", `${id} is a data set of the Hub, not a model; --data takes it as hf:${id}.`],
    ["spaces", `${id} is a space of the Hub, not a model; its page says which models it uses.`],
  ] as const) {
    const url = `${hubEndpoint()}/api/${kind}/${id}`;
    const exists = await download(requestOf(url, repository), async () => true, 1).catch((error: unknown) => {
      if (error instanceof LayergradError) return false;
      throw error;
    });
    if (exists) return new LayergradError("model", sentence);
  }
  return undefined;
}

/** Whether an error says that the Hub cannot be reached now. */
export const isUnreachable = (error: unknown): boolean => error instanceof DownloadError && error.isPassing;
