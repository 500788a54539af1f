const reasons: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  ENOENT: "no such file or folder",
  ENOTDIR: "a part of the path is a file, not a folder",
  EEXIST: "a file of that name is there already",
  EISDIR: "it is a folder, not a file",
  EROFS: "the file system is read-only",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EFBIG: "the file would be larger than the file system or the limit allows",
  EMFILE: "too many files are open",
  ENFILE: "too many files are open on this machine",
  ELOOP: "too many symbolic links",
  ENAMETOOLONG: "the name is too long",
  EIO: "the device reports an input/output error",
  ESTALE: "the network file system has lost the file",
};

/** The code of a system error (`ENOSPC`), or undefined for any other value. */
export function fsCode(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : undefined;
}

/** A system error as a clause for a sentence: words for the common codes, the system's own message for the rest. */
export function fsReason(error: unknown): string {
  const code = fsCode(error);
  const words = code === undefined ? undefined : reasons[code];
  if (words) return `${words} (${code})`;
  return error instanceof Error ? error.message : String(error);
}
