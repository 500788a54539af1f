import { closeSync, constants, openSync, read, readSync } from "node:fs";
import { promisify } from "node:util";
import { webAssembly } from "../spectra/web-assembly.ts";
import { fsCode } from "./fs-reason.ts";

/** What addresses, positions and lengths of direct reads are multiples of: as much as any disk asks for. */
const BLOCK = 4096;

/** Bytes of one read: with 2 MB it took nearly twice as long. */
const PIECE = 8 * 2 ** 20;

const readAsync = promisify(read);

let memory: readonly Uint8Array[] | undefined;

/** Memory for two pieces, one to read into while the other is taken. Of all that can be had here, only WebAssembly's is sure to begin at a page. */
function pieceMemory(): readonly Uint8Array[] {
  memory ??= [0, 1].map(() => new Uint8Array(new webAssembly.Memory({ initial: PIECE / 65_536 }).buffer));
  return memory;
}

/** Reads take turns, as they share that memory. */
let lastRead: Promise<unknown> = Promise.resolve();

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
      readSync(fd, pieceMemory()[0]!, 0, BLOCK, 0);
      return new DirectFile(fd);
    } catch (error) {
      if (fd !== undefined) closeSync(fd);
      if (fsCode(error) === undefined) throw error;
      return undefined;
    }
  }

  /**
   * Reads `length` bytes from `position` on: the next piece while the last one is taken.
   *
   * @param take - Handed one piece after another, good until it returns, with its distance from `position`. Pieces begin at multiples of 4,096
   * in the file, but for the first.
   * @returns The bytes there were: less than `length` where the file ends before.
   */
  read(position: number, length: number, take: (bytes: Uint8Array, at: number) => void): Promise<number> {
    const reading = lastRead.then(() => this.readPieces(position, length, take));
    lastRead = reading.catch(() => {});
    return reading;
  }

  /** Closes the file, after the reads that were asked for. */
  close(): void {
    lastRead = lastRead.then(() => closeSync(this.fd));
  }

  private async readPieces(position: number, length: number, take: (bytes: Uint8Array, at: number) => void): Promise<number> {
    const end = position + length;
    let pieces = 0;
    const begin = async (from: number) => {
      const bytes = pieceMemory()[pieces++ % 2]!;
      const wanted = Math.min(PIECE, Math.ceil((end - from) / BLOCK) * BLOCK);
      return { from, bytes, got: (await readAsync(this.fd, bytes, 0, wanted, from)).bytesRead };
    };
    let next = length > 0 ? begin(position - (position % BLOCK)) : undefined;
    let done = 0;
    while (next) {
      const { from, bytes, got } = await next;
      const more = got > 0 && got % BLOCK === 0 && from + got < end;
      next = more ? begin(from + got) : undefined;
      // Should taking fail, the read under way is waited for: others will want its memory.
      next?.catch(() => {});
      const [start, stop] = [Math.max(from, position), Math.min(from + got, end)];
      try {
        if (stop > start) take(bytes.subarray(start - from, stop - from), start - position);
      } catch (error) {
        await next?.catch(() => {});
        throw error;
      }
      done = Math.max(done, stop - position);
    }
    return done;
  }
}
