import { closeSync, constants, openSync, readSync } from "node:fs";
import { webAssembly } from "../spectra/web-assembly.ts";
import { fsCode } from "./fs-reason.ts";

/** What addresses, positions and lengths of direct reads are multiples of: as much as any disk asks for. */
const BLOCK = 4096;

/** Bytes of one read: with 2 MB it took nearly twice as long. */
const PIECE = 8 * 2 ** 20;

let memory: Uint8Array | undefined;

/** Memory for one piece. Of all that can be had here, only WebAssembly's is sure to begin at a page. */
function pieceMemory(): Uint8Array {
  memory ??= new Uint8Array(new webAssembly.Memory({ initial: PIECE / 65_536 }).buffer);
  return memory;
}

/**
 * A file that is read past the system's page cache. What is read again and again, and is too large to stay in the cache, gains nothing from
 * it: there each page is found, filled, copied and dropped again, which takes the system forty times as much processor time as the disk's own transfer.
 */
export class DirectFile {
  private constructor(private readonly fd: number) {}

  /** Undefined where the system or the file's file system does not read so. */
  static open(path: string): DirectFile | undefined {
    const direct = constants.O_DIRECT as number | undefined;
    if (direct === undefined) return undefined;
    let fd: number | undefined;
    try {
      fd = openSync(path, constants.O_RDONLY | direct);
      // Some file systems refuse the first read only.
      readSync(fd, pieceMemory(), 0, BLOCK, 0);
      return new DirectFile(fd);
    } catch (error) {
      if (fd !== undefined) closeSync(fd);
      if (fsCode(error) === undefined) throw error;
      return undefined;
    }
  }

  /**
   * Reads `length` bytes from `position` on, and holds the event loop meanwhile.
   *
   * @param take - Handed one piece after another, good until it returns, with its distance from `position`. Pieces begin at multiples of 4,096
   * in the file, but for the first.
   * @returns The bytes there were: less than `length` where the file ends before.
   */
  read(position: number, length: number, take: (bytes: Uint8Array, at: number) => void): number {
    const piece = pieceMemory();
    const end = position + length;
    let from = position - (position % BLOCK);
    while (from < end) {
      const wanted = Math.min(PIECE, Math.ceil((end - from) / BLOCK) * BLOCK);
      const got = readSync(this.fd, piece, 0, wanted, from);
      const start = Math.max(from, position);
      const stop = Math.min(from + got, end);
      if (stop > start) take(piece.subarray(start - from, stop - from), start - position);
      if (stop === end || got === 0 || got % BLOCK !== 0) return Math.max(0, stop - position);
      from += got;
    }
    return length;
  }

  close(): void {
    closeSync(this.fd);
  }
}
