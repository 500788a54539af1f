import { existsSync, statfsSync } from "node:fs";
import { posix } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { LayergradError } from "../errors.ts";
import { indexFile, readShardIndex } from "../io/checkpoint.ts";
import { hubCache, isHubOffline } from "../io/hub-settings.ts";
import { Lock, LockHeld } from "../store/lock.ts";
import { CachedRepository, sizeOf } from "./cache.ts";
import { fetchBlob, partialOf } from "./fetch-blob.ts";
import {
  type Choice,
  chooseAdapterFiles,
  chooseGgufFile,
  chooseModelFiles,
  type Missing,
  missingAdapterFiles,
  missingGgufFile,
  missingModelFiles,
  possibleTexts,
} from "./model-files.ts";
import { isCommit, type ModelId } from "./model-id.ts";
import { fileRequest, filesOf, findCommit, findFile, type HubFile, isUnreachable, type Listing, type Repository } from "./repository.ts";

/** Told how a download goes on. */
export interface DownloadWatcher {
  /** Something worth a line. */
  note?(message: string): void;
  /** Of all files under way: bytes here, and in all; the last time with both equal. */
  download?(state: { readonly name: string; readonly bytes: number; readonly total: number }): void;
}

export interface FetchOptions {
  readonly kind: "model" | "adapter";
  /** Whether the weights are to be here at the end. */
  readonly weights: boolean;
  /** Told the snapshot's folder when all but the weights is there, unless they are in a GGUF file; what it throws spares the weights. */
  readonly check?: (folder: string) => void;
  readonly signal?: AbortSignal | undefined;
  readonly watch?: DownloadWatcher | undefined;
}

/** What is here of a model of the Hub. */
export interface FetchedModel {
  readonly id: string;
  readonly commit: string;
  /** The folder, or the GGUF file. */
  readonly path: string;
  /** Of the weight files, and of those that are not here, bytes; null where only the Hub could tell, and was not asked. */
  readonly weights: { readonly bytes: number | null; readonly absent: number | null };
}

/** A download's object and circumstances. */
interface Task {
  readonly model: ModelId;
  /** As asked for: branch, tag or commit. */
  readonly revision: string;
  readonly cache: CachedRepository;
  readonly options: FetchOptions;
}

/**
 * Makes sure that the files of a model of the Hub are in the cache at the commit that the revision has now, and fetches those that are not.
 * A commit that is here whole asks for nothing. Where the Hub cannot be asked or reached, the commit that the revision last had does, if
 * it has what is needed.
 *
 * @throws {LayergradError} `model`: what is in the way and what to do; `output` where the cache cannot be written, or the disk is too small.
 */
export async function fetchModel(model: ModelId, options: FetchOptions): Promise<FetchedModel> {
  const task: Task = { model, revision: model.revision ?? "main", cache: new CachedRepository(model.id), options };
  const kept = keptFiles(task);
  if (isHubOffline()) return kept && isEnough(kept, options) ? fromCache(task, kept) : refuseOffline(task, kept);
  if (kept && isWhole(kept) && kept.open.length === 0 && isCommit(task.revision)) return fromCache(task, kept);
  let found: Found;
  try {
    found = await look(task, kept && isEnough(kept, options) ? 1 : undefined);
  } catch (error) {
    if (!kept || !isEnough(kept, options) || !isUnreachable(error)) throw error;
    options.watch?.note?.(`${(error as Error).message} Going on with ${model.id} at ${kept.commit} from the cache.`);
    return fromCache(task, kept);
  }
  return fetchFound(task, kept, found);
}

/** What is here of the commit that the cache last saw. */
interface Kept {
  readonly commit: string;
  readonly missing: Missing;
  /** Texts that are not here, but may be on the Hub. */
  readonly open: readonly string[];
}

const isWhole = ({ missing }: Kept): boolean => missing.texts.length + missing.weights.length === 0;

const isEnough = (kept: Kept, { weights }: FetchOptions): boolean => (weights ? isWhole(kept) : kept.missing.texts.length === 0);

function keptFiles({ model, revision, cache, options }: Task): Kept | undefined {
  const commit = cache.commitOf(revision);
  if (commit === undefined || !existsSync(cache.snapshot(commit))) return undefined;
  const has = (file: string): boolean => cache.has(commit, file);
  const open = possibleTexts(options.kind, model.file).filter((file) => !has(file) && !cache.isKnownAbsent(commit, file));
  if (options.kind === "adapter") return { commit, missing: missingAdapterFiles(has), open };
  if (model.file !== undefined) return { commit, missing: missingGgufFile(has, model.file), open };
  try {
    return { commit, missing: missingModelFiles(has, () => readShardIndex(cache.snapshot(commit)).keys()), open };
  } catch (error) {
    // A damaged index is fetched again.
    if (isHubOffline()) throw error;
    return undefined;
  }
}

/** What is here, without a word of the Hub. */
function fromCache({ model, cache, options }: Task, { commit, missing, open }: Kept): FetchedModel {
  if (open.length > 0)
    options.watch?.note?.(`${model.id} at ${commit} is used without ${open.join(", ")}, which the Hub may have and the cache has not.`);
  const absent = missing.weights.length === 0 ? 0 : null;
  return { id: model.id, commit, path: pathOf(cache, commit, model), weights: { bytes: null, absent } };
}

const pathOf = (cache: CachedRepository, commit: string, { file }: ModelId): string =>
  file === undefined ? cache.snapshot(commit) : cache.path(commit, file);

function refuseOffline({ model, revision }: Task, kept: Kept | undefined): never {
  const what = kept ? `without ${[...kept.missing.texts, ...kept.missing.weights].slice(0, 3).join(", ")}` : "not";
  throw new LayergradError(
    "model",
    `${model.id} at ${revision} is ${what} in the cache (${hubCache()}), and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE keeps it from being fetched; unset it once.`,
  );
}

/** What the Hub says of a model. */
interface Found {
  /** At the commit. */
  readonly repository: Repository;
  readonly files: Listing;
  readonly choice: Choice;
}

async function look({ model, revision, options }: Task, attempts: number | undefined): Promise<Found> {
  const { id, file } = model;
  const asked: Repository = { id, revision, signal: options.signal, attempts };
  const { commit, name } = await findCommit(asked);
  if (name !== id) options.watch?.note?.(`${id} is called ${name} on the Hub now`);
  const repository = { ...asked, revision: commit };
  const files = await filesOf(repository, file?.includes("/") ? posix.dirname(file) : "");
  const names = new Set(files.keys());
  const choice =
    options.kind === "adapter"
      ? chooseAdapterFiles(id, names)
      : file === undefined
        ? chooseModelFiles(id, names)
        : chooseGgufFile(id, names, file);
  return { repository, files, choice };
}

async function fetchFound(task: Task, kept: Kept | undefined, { repository, files, choice }: Found): Promise<FetchedModel> {
  const { model, cache, options, revision } = task;
  const commit = repository.revision;
  const listed = (file: string): HubFile => findFile(repository, files, file) ?? refuseMissing(model.id, file);
  const isIndexed = choice.weights === indexFile;
  await fetchFiles(task, repository, [...choice.texts, ...(isIndexed ? [indexFile] : [])].map(listed));
  for (const file of possibleTexts(options.kind, model.file)) if (!files.has(file)) cache.rememberAbsent(commit, file);
  // A copy without weights must not stand in the way of an older one that is whole.
  if (!kept || !isWhole(kept)) cache.remember(revision, commit);
  const weights = (isIndexed ? [...readShardIndex(cache.snapshot(commit)).keys()].sort() : [...choice.weights]).map(listed);
  const isAbsent = ({ path, bytes }: HubFile): boolean => !cache.has(commit, path, bytes);
  if (weights.some(isAbsent)) {
    if (model.file === undefined) options.check?.(cache.snapshot(commit));
    if (options.weights) await fetchFiles(task, repository, weights);
  }
  const absent = weights.filter(isAbsent);
  if (absent.length === 0) cache.remember(revision, commit);
  return { id: model.id, commit, path: pathOf(cache, commit, model), weights: { bytes: total(weights), absent: total(absent) } };
}

const total = (files: readonly HubFile[]): number => files.reduce((sum, { bytes }) => sum + bytes, 0);

function refuseMissing(id: string, file: string): never {
  throw new LayergradError("model", `${id}: its ${indexFile} names ${file}, which the repository does not have; try another revision.`);
}

async function fetchFiles({ model, cache, options }: Task, repository: Repository, files: readonly HubFile[]): Promise<void> {
  const commit = repository.revision;
  const absent = (): HubFile[] => files.filter(({ path, bytes }) => !cache.has(commit, path, bytes));
  if (absent().length === 0) return;
  cache.prepare();
  const lock = await takeLock(cache.lock, options);
  try {
    const left = absent();
    refuseFullDisk(model.id, cache, left);
    const size = total(left);
    let done = 0;
    for (const file of left) {
      const blob = cache.blob(file.etag);
      const isNew = sizeOf(blob) !== file.bytes;
      const here = (bytes: number): void => options.watch?.download?.({ name: model.id, bytes: done + bytes, total: size });
      if (isNew) await fetchBlob(fileRequest(repository, file.path), file, blob, here);
      cache.link(file.etag, commit, file.path, isNew);
      here(file.bytes);
      done += file.bytes;
    }
  } finally {
    lock.release();
  }
}

/** Waits for another process's download of the same repository, whose files will do. */
async function takeLock(path: string, { signal, watch }: FetchOptions): Promise<Lock> {
  for (let waits = 0; ; waits++) {
    try {
      return Lock.acquire(path);
    } catch (error) {
      // Of any other holder it cannot be told whether it will ever let go.
      if (!(error instanceof LockHeld)) throw error;
      if (waits === 0) watch?.note?.(`waiting for another download of the same model: ${error.message}`);
    }
    await pause(500, undefined, { signal }).catch(() => {});
    signal?.throwIfAborted();
  }
}

/** Counts what is still to come, pieces of earlier calls left out. */
function refuseFullDisk(id: string, cache: CachedRepository, files: readonly HubFile[]): void {
  const needed = files.reduce((sum, { etag, bytes }) => {
    const blob = cache.blob(etag);
    return sizeOf(blob) === bytes ? sum : sum + Math.max(0, bytes - (sizeOf(partialOf(blob)) ?? 0));
  }, 0);
  const { bavail, bsize } = statfsSync(cache.folder);
  const free = bavail * bsize;
  if (needed <= free) return;
  throw new LayergradError(
    "output",
    `${id} takes another ${inGigabytes(needed)} of disk, and ${inGigabytes(free)} are free in ${cache.folder}; free some, or let HF_HUB_CACHE name a folder on another disk.`,
  );
}

/** GB = 10⁹ bytes. */
const inGigabytes = (bytes: number): string => `${(bytes / 1e9).toPrecision(3)} GB`;
