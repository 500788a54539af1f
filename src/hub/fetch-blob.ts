import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { LayergradError } from "../errors.ts";
import { ask, Failed, insist, type Request } from "../io/download.ts";
import { syncFolder } from "../io/folders.ts";
import { outputError } from "../store/files.ts";
import type { HubFile } from "./repository.ts";

/** Name of a file that is not yet whole, beside its own. Not Python's `.incomplete`, to which another process may be adding without our lock. */
export const partialOf = (blob: string): string => `${blob}.layergrad.incomplete`;

/**
 * Downloads a file to its place among the blobs, where it is there whole or not at all. What an earlier call left of it is gone on with. The
 * caller holds the repository's lock.
 *
 * @param here - Told how many bytes of the file are here.
 * @throws {LayergradError} `model` where it cannot be had, or its bytes are not those that the Hub announced; `output` where it cannot be
 * written. What came so far is kept, unless it was wrong.
 */
export async function fetchBlob(request: Request, file: HubFile, blob: string, here: (bytes: number) => void): Promise<void> {
  const part = await Part.open(partialOf(blob), file);
  try {
    const found = part.bytes;
    here(found);
    await complete(part, request, file, here);
    // A piece of an earlier call may have been damaged since.
    if (!part.isRight() && found > 0) {
      await part.restart();
      await complete(part, request, file, here);
    }
    if (!part.isRight()) {
      await part.restart();
      throw new LayergradError(
        "model",
        `${request.url} sends other bytes than the Hub announces (hash ${file.etag.slice(0, 12)}…); try again, and if it stays so, look for a proxy or mirror that changes files.`,
      );
    }
    await part.rename(blob);
  } finally {
    await part.close();
  }
}

const complete = (part: Part, request: Request, file: HubFile, here: (bytes: number) => void): Promise<void> =>
  insist(request, () => goOn(part, request, file, here), { progress: () => part.bytes });

/** One request for what is missing. */
async function goOn(part: Part, request: Request, file: HubFile, here: (bytes: number) => void): Promise<void> {
  if (part.bytes === file.bytes) return;
  const asked = part.bytes;
  const headers = { ...request.headers, ...(asked > 0 ? { range: `bytes=${asked}-` } : {}) };
  const take = async (body: AsyncIterable<Uint8Array>, answer: Response): Promise<void> => {
    if (/^text\/html\b/.test(answer.headers.get("content-type") ?? ""))
      throw new LayergradError(
        "model",
        `${request.url} answers with a web page in place of the file; a network's login page or a proxy does so: open it in a browser, and try again.`,
      );
    // A server may send the whole where a part was asked for.
    if (answer.status !== 206) await part.restart();
    else if (!answer.headers.get("content-range")?.startsWith(`bytes ${asked}-`)) {
      await part.restart();
      throw new Failed("sends another part of the file than was asked for");
    }
    for await (const piece of body) {
      if (part.bytes + piece.length > file.bytes) {
        await part.restart();
        throw new Failed(`sends more than the ${file.bytes} bytes that the Hub announces`);
      }
      await part.append(piece);
      here(part.bytes);
    }
    if (part.bytes < file.bytes) throw new Failed(`ended after ${part.bytes} of ${file.bytes} bytes`);
  };
  try {
    await ask({ ...request, headers }, take);
  } catch (error) {
    if (!(error instanceof Failed && error.status === 416)) throw error;
    // There is no such range of the file any more, whatever the reason.
    await part.restart();
    throw new Failed(error.message);
  }
}

/** The beginning of a file, with its hash so far. */
class Part {
  #bytes = 0;
  #hash: Hash;

  private constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
    private readonly file: HubFile,
  ) {
    this.#hash = newHash(file);
  }

  static async open(path: string, file: HubFile): Promise<Part> {
    const handle = await writing(path, () => open(path, "a+"));
    const part = new Part(path, handle, file);
    try {
      await writing(path, () => part.#readIn());
      return part;
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  get bytes(): number {
    return this.#bytes;
  }

  async append(piece: Uint8Array): Promise<void> {
    await writing(this.path, () => this.handle.appendFile(piece));
    this.#hash.update(piece);
    this.#bytes += piece.length;
  }

  async restart(): Promise<void> {
    await writing(this.path, () => this.handle.truncate(0));
    this.#hash = newHash(this.file);
    this.#bytes = 0;
  }

  isRight(): boolean {
    return this.#hash.copy().digest("hex") === this.file.etag;
  }

  async rename(path: string): Promise<void> {
    await writing(this.path, () => this.handle.sync());
    await writing(path, () => rename(this.path, path));
    syncFolder(dirname(path));
  }

  /** An empty one leaves no file behind. */
  async close(): Promise<void> {
    // A write that failed may have brought some of its bytes to the disk.
    const { size } = await this.handle.stat();
    await this.handle.close();
    if (size === 0) await rm(this.path, { force: true });
  }

  async #readIn(): Promise<void> {
    const { size } = await this.handle.stat();
    if (size > this.file.bytes) return this.restart();
    for await (const piece of createReadStream(this.path) as AsyncIterable<Uint8Array>) this.#hash.update(piece);
    this.#bytes = size;
  }
}

/** The hash that the Hub knows a file by: of its bytes, or as git has that of a blob. */
const newHash = ({ etag, bytes }: HubFile): Hash =>
  etag.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${bytes}\0`);

async function writing<T>(path: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw outputError(path, "the download cannot be written (HF_HUB_CACHE names another folder)", error);
  }
}
