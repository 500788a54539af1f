import { LayergradError } from "../errors.ts";

/** A model, an adapter or one GGUF file of the Hugging Face Hub. */
export interface ModelId {
  /** `owner/name` */
  readonly id: string;
  /** Branch, tag or commit; undefined where none is named, which is the branch `main`. */
  readonly revision: string | undefined;
  /** Path of a GGUF file in the repository; undefined for the repository's own model. */
  readonly file: string | undefined;
}

/** A commit's whole hash, whose files never change. */
export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);

/** Names as the Hub allows them: letters, digits, `-`, `_`, `.`, the last two neither at an end nor doubled. */
const pattern = /^(\w(?:[\w.-]*\w)?\/\w(?:[\w.-]*\w)?)(?:@([^/]+))?(?:\/(.+\.gguf))?$/i;

/**
 * Reads `owner/name`, `owner/name@revision` and `owner/name/path/file.gguf`, with a slash in a revision written `%2F`; undefined for
 * anything else, such as a path. Nothing that could lead out of a folder passes.
 */
export function parseModelId(text: string): ModelId | undefined {
  const [, id, at, file] = pattern.exec(text) ?? [];
  const revision = at?.replaceAll(/%2f/gi, "/");
  if (
    id === undefined ||
    /--|\.\./.test(id) ||
    (revision !== undefined && !isRevision(revision)) ||
    (file !== undefined && !isPlainPath(file))
  )
    return undefined;
  return { id, revision, file };
}

/** As git has names of branches and tags, as far as the cache's folders need it. */
export const isRevision = (text: string): boolean => /^[\w][\w./+@-]*$/.test(text) && isPlainPath(text);

/** Whether a path stays in its folder on any system, part by part. */
export const isPlainPath = (path: string): boolean =>
  path.split("/").every((part) => part !== "" && !/^\.+$/.test(part) && !/[\p{C}\\:]/u.test(part));

/**
 * The id with the revision that an option names beside it. A commit may stand beside a branch, which it then pins.
 *
 * @throws {LayergradError} `usage` for a revision that is none, or another than the id itself has.
 */
export function withRevision(parsed: ModelId, revision: string | undefined): ModelId {
  if (revision === undefined) return parsed;
  if (!isRevision(revision))
    throw new LayergradError("usage", `${JSON.stringify(revision)} is no revision; give a branch, a tag or a commit of ${parsed.id}.`);
  const isPinned = isCommit(revision) && !isCommit(parsed.revision ?? "");
  if (parsed.revision !== undefined && parsed.revision !== revision && !isPinned)
    throw new LayergradError("usage", `${parsed.id} is asked for at ${parsed.revision} and at ${revision}; name one revision.`);
  return { ...parsed, revision };
}
