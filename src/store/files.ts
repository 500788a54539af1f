import { closeSync, constants, fsyncSync, ftruncateSync, openSync, renameSync, unlinkSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { LayergradError } from "../errors.ts";
import { syncFolder } from "../io/folders.ts";
import { fsCode, fsReason } from "../io/fs-reason.ts";

/** A failed file operation of an output folder as an error the user can act on. Errors that are no system errors come back as they are. */
export function outputError(path: string, doing: string, error: unknown): Error {
  const code = fsCode(error);
  if (code === undefined || error instanceof LayergradError) return error as Error;
  const advice: Readonly<Record<string, string>> = {
    ENOSPC: "free some space and run the same command again, it goes on where it stopped",
    EDQUOT: "free some space and run the same command again, it goes on where it stopped",
    EACCES: "make the folder writable or choose another",
    EPERM: "make the folder writable or choose another",
    EROFS: "choose a folder on a writable disk",
    ENOTDIR: "choose another folder",
    EISDIR: "choose another folder",
    EEXIST: "choose another folder",
  };
  return new LayergradError(
    "output",
    `${path}: ${doing}: ${fsReason(error)}; ${advice[code] ?? "check the disk and run the same command again"}.`,
    {
      cause: error,
    },
  );
}

/** Writes all of `bytes` at `position`; one call where the system takes it whole. */
export function writeFully(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}

/**
 * Replaces a file so that whoever reads it, or comes back after a kill or a power cut, finds the old or the new text whole:
 * a temporary file beside it, flushed, renamed over it, the folder flushed. The caller holds the folder's lock, so the
 * temporary name is fixed and a leftover of a kill is used again.
 */
export function writeFileAtomically(path: string, pieces: Iterable<Uint8Array | string>): void {
  const temporary = `${path}.tmp`;
  try {
    const fd = openSync(temporary, "w");
    try {
      let position = 0;
      for (const piece of pieces) {
        const bytes = typeof piece === "string" ? Buffer.from(piece) : piece;
        writeFully(fd, bytes, position);
        position += bytes.length;
      }
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    try {
      unlinkSync(temporary);
    } catch {
      // It may never have been made; the first error is the one to tell.
    }
    throw outputError(path, "cannot be written", error);
  }
  syncFolder(dirname(path));
}

/**
 * A file that only grows, by whole lines. What {@link LineFile.append} returned from is on the disk; what it threw from is not in
 * the file.
 */
export class LineFile {
  #fd: number;
  #size: number;
  #broken = false;

  /** @param size - Bytes of the whole lines that the file holds; what follows is cut off. */
  constructor(
    readonly path: string,
    size: number,
  ) {
    this.#fd = openForWriting(path);
    this.#size = size;
    try {
      ftruncateSync(this.#fd, size);
      fsyncSync(this.#fd);
    } catch (error) {
      closeSync(this.#fd);
      throw outputError(path, "cannot be written", error);
    }
  }

  /** Bytes of the lines in the file. */
  get size(): number {
    return this.#size;
  }

  /**
   * Appends whole lines by one write and flushes them.
   *
   * @throws {LayergradError} `"output"`; the file then holds what it held before.
   */
  append(lines: string): void {
    if (this.#broken)
      throw new LayergradError("output", `${this.path}: an earlier write failed and could not be undone; run the same command again.`);
    const bytes = Buffer.from(lines);
    try {
      writeFully(this.#fd, bytes, this.#size);
      fsyncSync(this.#fd);
      this.#size += bytes.length;
    } catch (error) {
      try {
        ftruncateSync(this.#fd, this.#size);
        fsyncSync(this.#fd);
      } catch {
        // The next open cuts the torn part off.
        this.#broken = true;
      }
      throw outputError(this.path, "cannot be written", error);
    }
  }

  /** Replaces all lines, atomically. */
  replace(lines: readonly string[]): void {
    writeFileAtomically(this.path, lines);
    closeSync(this.#fd);
    this.#fd = openForWriting(this.path);
    this.#size = lines.reduce((sum, line) => sum + Buffer.byteLength(line), 0);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Opens or creates, without O_APPEND: with that flag the system ignores positions, and a write after a failed cut would go behind the torn part. */
function openForWriting(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_CREAT, 0o666);
  } catch (error) {
    throw outputError(path, "cannot be opened for writing", error);
  }
}
