import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { LayergradError } from "../errors.ts";
import { makeFolder, syncFolder } from "../io/folders.ts";
import { fsCode, fsReason } from "../io/fs-reason.ts";

/**
 * Where pulled files lie: `LAYERGRAD_DATA`, else `layergrad/data` in the system's folder for caches (`XDG_CACHE_HOME`, on Windows
 * `LOCALAPPDATA`).
 */
export function dataFolder(environment: NodeJS.ProcessEnv = process.env, platform: NodeJS.Platform = process.platform): string {
  if (environment.LAYERGRAD_DATA) return environment.LAYERGRAD_DATA;
  const stated = platform === "win32" ? environment.LOCALAPPDATA : environment.XDG_CACHE_HOME;
  const usual = { win32: ["AppData", "Local"], darwin: ["Library", "Caches"] }[platform as string] ?? [".cache"];
  // The XDG specification has relative paths ignored.
  const caches = stated && isAbsolute(stated) ? stated : join(homedir(), ...usual);
  return join(caches, "layergrad", "data");
}

/** Size and hash of a file's bytes. */
export interface Digest {
  readonly bytes: number;
  /** In hexadecimal. */
  readonly sha256: string;
}

/** The digest of a file, or undefined where there is none that can be read. */
export async function digestOf(path: string): Promise<Digest | undefined> {
  const hash = createHash("sha256");
  let bytes = 0;
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Uint8Array>) {
      hash.update(chunk);
      bytes += chunk.length;
    }
  } catch {
    return undefined;
  }
  return { bytes, sha256: hash.digest("hex") };
}

/**
 * Writes a stream of bytes to a file, so that the file is there whole or not at all: under a name of its own, flushed, then renamed.
 *
 * @param accept - Told the digest before the file gets its name; where it throws, there is no file.
 * @throws {LayergradError} `output` where the file cannot be written. What the source throws passes through.
 */
export async function saveWhole(
  path: string,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  accept: (digest: Digest) => void = () => {},
): Promise<Digest> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  const writing = async <T>(step: () => Promise<T> | T): Promise<T> => {
    try {
      return await step();
    } catch (error) {
      throw writeError(path, error);
    }
  };
  await writing(() => makeFolder(dirname(path)));
  const file = await writing(() => open(temporary, "wx"));
  try {
    const hash = createHash("sha256");
    let bytes = 0;
    try {
      for await (const chunk of source) {
        hash.update(chunk);
        bytes += chunk.length;
        await writing(() => file.writeFile(chunk));
      }
      await writing(() => file.sync());
    } finally {
      await file.close();
    }
    const digest = { bytes, sha256: hash.digest("hex") };
    accept(digest);
    await writing(() => rename(temporary, path));
    syncFolder(dirname(path));
    return digest;
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function writeError(path: string, error: unknown): unknown {
  const code = fsCode(error);
  if (code === undefined) return error;
  const advice = code === "ENOSPC" || code === "EDQUOT" ? "free some space" : "set LAYERGRAD_DATA to a folder that can be written";
  return new LayergradError("output", `${path} cannot be written: ${fsReason(error)}; ${advice} and run the same command again.`, {
    cause: error,
  });
}
