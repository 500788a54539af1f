import { readlinkSync } from "node:fs";
import { constants, setPriority } from "node:os";
import { basename } from "node:path";

/**
 * Gives the calling thread the lowest priority there is, so that it works in the gaps that the engine leaves. A product is dealt out to
 * the cores in equal parts and waits for the last of them: where one core is shared half and half, it takes twice as long on all. Linux
 * alone has priorities of single threads; elsewhere, and where they may not be set, nothing happens.
 */
export function giveWay(): void {
  if (process.platform !== "linux") return;
  try {
    setPriority(Number(basename(readlinkSync("/proc/thread-self"))), constants.priority.PRIORITY_LOW);
  } catch {
    // A system without /proc, or one that forbids it: all threads stay equal, and only time is lost.
  }
}
