import { randomUUID } from "node:crypto";
import { copyFileSync, existsSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { makeFolder } from "../io/folders.ts";
import { fsCode } from "../io/fs-reason.ts";
import { hubCache, isWithoutLinks } from "../io/hub-settings.ts";
import { outputError } from "../store/files.ts";
import { isCommit } from "./model-id.ts";

/**
 * A model repository in the cache that Python's `huggingface_hub` keeps, in its layout, so that either finds what the other has fetched:
 *
 * ```text
 * models--owner--name/blobs/<etag>                        the bytes, once
 * models--owner--name/refs/<revision>                     the commit that a branch or tag pointed at
 * models--owner--name/snapshots/<commit>/<path>           a link to the blob, relative; where links cannot be made, the file itself
 * models--owner--name/.no_exist/<commit>/<path>           empty: the commit is known to have no such file
 * .locks/models--owner--name/                             locks
 * ```
 */
export class CachedRepository {
  readonly folder: string;
  /** Ours, for all downloads of this repository. */
  readonly lock: string;

  constructor(readonly id: string) {
    const name = `models--${id.replaceAll("/", "--")}`;
    this.folder = join(hubCache(), name);
    this.lock = join(hubCache(), ".locks", name, "layergrad.lock");
  }

  /** The commit of a revision as it was last seen, or undefined. */
  commitOf(revision: string): string | undefined {
    if (isCommit(revision)) return revision;
    try {
      const commit = readFileSync(this.#ref(revision), "utf8").trim();
      return isCommit(commit) ? commit : undefined;
    } catch {
      return undefined;
    }
  }

  /** Keeps the commit of a revision for {@link CachedRepository.commitOf}, where the cache takes it. */
  remember(revision: string, commit: string): void {
    if (this.commitOf(revision) !== commit) this.#note(this.#ref(revision), commit);
  }

  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  /** Where a file of a commit is found. */
  path(commit: string, file: string): string {
    return join(this.snapshot(commit), ...file.split("/"));
  }

  /**
   * Whether a file of a commit is here, whole: it gets its name when it is.
   *
   * @param bytes - Its size where that is known: one of another has been damaged since.
   */
  has(commit: string, file: string, bytes?: number): boolean {
    const size = sizeOf(this.path(commit, file));
    return size !== undefined && (bytes === undefined || size === bytes);
  }

  /** Whether a commit is known to have no such file. */
  isKnownAbsent(commit: string, file: string): boolean {
    return existsSync(this.#absence(commit, file));
  }

  /** Keeps that a commit has no such file, where the cache takes it. */
  rememberAbsent(commit: string, file: string): void {
    if (!this.isKnownAbsent(commit, file)) this.#note(this.#absence(commit, file), "");
  }

  blob(etag: string): string {
    return join(this.folder, "blobs", etag);
  }

  /** Makes the folders that a download needs. */
  prepare(): void {
    for (const folder of [join(this.folder, "blobs"), dirname(this.lock)]) this.#makeFolder(folder);
  }

  /** Gives a blob its name in a commit. Where links cannot be made, a new blob moves there, and one that was here before is copied. */
  link(etag: string, commit: string, file: string, isNew: boolean): void {
    const [blob, path] = [this.blob(etag), this.path(commit, file)];
    this.#makeFolder(dirname(path));
    try {
      // What is there is a link whose blob is gone.
      rmSync(path, { force: true });
      if (isWithoutLinks() || !linked(blob, path)) (isNew ? renameSync : copyFileSync)(blob, path);
    } catch (error) {
      throw outputError(path, "the model's file cannot be put into the cache", error);
    }
  }

  #ref(revision: string): string {
    return join(this.folder, "refs", ...revision.split("/"));
  }

  #absence(commit: string, file: string): string {
    return join(this.folder, ".no_exist", commit, ...file.split("/"));
  }

  /** Writes what only saves questions later on, so that a cache which does not take it ends no run. */
  #note(path: string, text: string): void {
    const temporary = `${path}.${randomUUID()}.tmp`;
    try {
      makeFolder(dirname(path));
      writeFileSync(temporary, text);
      renameSync(temporary, path);
    } catch (error) {
      if (fsCode(error) === undefined) throw error;
    }
  }

  #makeFolder(path: string): void {
    try {
      makeFolder(path);
    } catch (error) {
      throw outputError(path, "the cache's folder cannot be made (HF_HUB_CACHE names another)", error);
    }
  }
}

/** Bytes of the file that a path leads to; undefined where there is none. */
export const sizeOf = (path: string): number | undefined =>
  existsSync(path) ? statSync(path, { throwIfNoEntry: false })?.size : undefined;

function linked(blob: string, path: string): boolean {
  try {
    symlinkSync(relative(dirname(path), blob), path);
    return true;
  } catch (error) {
    // Python, which does not know our lock, may have made the same link in this moment.
    if (fsCode(error) === "EEXIST") return true;
    if (["EPERM", "EACCES", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL"].includes(fsCode(error) ?? "")) return false;
    throw error;
  }
}
