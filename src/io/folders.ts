import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Makes a folder and those above it. By hand, since Node's own recursive `mkdirSync` never returns where the system answers "no such
 * folder" below a folder that exists, as /proc does.
 */
export function makeFolder(path: string): void {
  if (isFolder(path)) return;
  const parent = dirname(path);
  // A file in its place is left to the error below, which names what is in the way.
  if (parent !== path && !existsSync(parent)) makeFolder(parent);
  try {
    mkdirSync(path);
  } catch (error) {
    // Another process may have made it in this moment.
    if (!isFolder(path)) throw error;
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** Flushes a folder's list of names, without which a new or renamed file may be gone after a power cut. */
export function syncFolder(folder: string): void {
  let fd: number | undefined;
  try {
    fd = openSync(folder, "r");
    fsyncSync(fd);
  } catch {
    // Windows cannot open folders, and some network file systems cannot flush them; there is nothing else to do there.
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
