import { randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  copyFileSync,
  fsyncSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { LayergradError } from "../errors.ts";
import { fsCode } from "../io/fs-reason.ts";
import { outputError } from "./files.ts";

/** What a lock file says of its holder. */
interface Holder {
  /** Tells this lock from every other. */
  token: string;
  pid: number;
  hostname: string;
  /** Boot of the machine and start of the process in it, which tell the process from a later one of the same pid; null where /proc is absent. */
  process: string | null;
  /** ISO 8601, UTC, for people. */
  started: string;
}

/** A live process of this machine holds the lock: it may be waited for. */
export class LockHeld extends LayergradError {}

/** Locks of this process, for where the system does not tell one process from a later one of the same pid. */
const held = new Set<string>();

/**
 * A lock that one process at a time holds. It is a file with the holder's pid, which stays behind when the holder is killed and
 * is then taken over.
 *
 * How a second holder is kept out, at every moment: the file appears with its whole content at once (a temporary file is linked to the lock's
 * name, which fails if the name exists). A dead holder's lock is replaced by a rename, never removed first, and only by whoever
 * holds the lock's own lock (`<path>.takeover`, by the same rules) and has looked again: since the dead cannot change the file, what was
 * seen under that second lock still holds at the rename. A kill at any point leaves a dead holder's file, which the next process takes over.
 *
 * Whether a holder lives is known on its own machine only. A lock from another host name is taken to be alive, and its message says
 * how to go on. On a file system without hard links the file is copied into place, and a lock torn by a kill within that copy has to be removed by hand.
 */
export class Lock {
  #held = true;

  private constructor(
    readonly path: string,
    private readonly token: string,
  ) {}

  /**
   * Takes the lock, or a dead process's.
   *
   * @param path - The lock file; its folder exists.
   * @throws {LayergradError} `"output"` if it cannot be told that the holder is dead, or the file cannot be made; a {@link LockHeld} if a live process of
   * this machine holds it (names its pid).
   */
  static acquire(path: string): Lock {
    const holder: Holder = {
      token: randomUUID(),
      pid: process.pid,
      hostname: hostname(),
      process: processIdentity(process.pid) ?? null,
      started: new Date().toISOString(),
    };
    const temporary = `${path}.${holder.token}.tmp`;
    try {
      writeNew(temporary, `${JSON.stringify(holder)}\n`);
      takePath(path, temporary, 0);
      held.add(holder.token);
    } catch (error) {
      throw outputError(path, "the lock cannot be taken", error);
    } finally {
      remove(temporary);
    }
    const lock = new Lock(path, holder.token);
    sweep(path);
    return lock;
  }

  /** Gives the lock back. Does nothing the second time, or where someone removed the file by hand and took the lock. */
  release(): void {
    if (!this.#held) return;
    this.#held = false;
    if (readHolder(this.path)?.token === this.token) remove(this.path);
    held.delete(this.token);
  }
}

/** More levels than any sequence of kills makes: a level is needed for each process killed within a take-over of the one above. */
const maxDepth = 8;

/** Puts `temporary`, a whole lock file of ours, at `path`. */
function takePath(path: string, temporary: string, depth: number): void {
  if (depth > maxDepth)
    throw new LayergradError(
      "output",
      `${path}: is one of a chain of locks of dead processes; remove the files ${basename(path)}* and try again.`,
    );
  // Each further turn means that another process let go, or took over, between two looks.
  for (let turn = 0; turn < 1000; turn++) {
    if (linkNew(temporary, path)) return;
    const before = readRaw(path);
    if (before === undefined) continue;
    refuseIfAlive(path, before);
    const guard = `${path}.takeover`;
    const guardTemporary = `${temporary}.takeover`;
    copyFileSync(temporary, guardTemporary);
    try {
      takePath(guard, guardTemporary, depth + 1);
      try {
        if (readRaw(path) !== before) continue;
        renameSync(temporary, path);
        return;
      } finally {
        remove(guard);
      }
    } finally {
      remove(guardTemporary);
    }
  }
  throw new LayergradError("output", `${path}: other processes keep taking this lock; try again later.`);
}

function refuseIfAlive(path: string, text: string): void {
  const holder = parseHolder(text);
  if (!holder) {
    throw new LayergradError(
      "output",
      `${path}: is damaged, so it cannot be told who works in this folder; if nobody does, remove this file and try again.`,
    );
  }
  if (holder.hostname !== hostname()) {
    throw new LayergradError(
      "output",
      `${path}: process ${holder.pid} on ${holder.hostname} works in this folder since ${holder.started}; if it is gone, remove this file and try again.`,
    );
  }
  if (isAlive(holder)) {
    throw new LockHeld(
      "output",
      `${path}: process ${holder.pid} works in this folder since ${holder.started}; wait until it ends, or choose another folder.`,
    );
  }
}

function isAlive(holder: Holder): boolean {
  if (held.has(holder.token)) return true;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    // EPERM: it lives and is another user's.
    if (fsCode(error) === "ESRCH") return false;
  }
  const now = processIdentity(holder.pid);
  if (holder.process !== null && now !== undefined) return now === holder.process;
  // Without /proc: a lock of our own pid that is not ours is an earlier process's.
  return holder.pid !== process.pid;
}

/**
 * What tells a process from every other of its pid: the boot and the start time in clock ticks since it. `"gone"` for a zombie, which answers
 * signals but is dead; undefined where there is no /proc, or no such process.
 */
function processIdentity(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is the command's name in parentheses and may itself hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (fields[0] === "Z" || fields[0] === "X") return "gone";
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim()} ${fields[19]}`;
  } catch {
    return undefined;
  }
}

/** Makes `path` a name of the file `from`, unless it exists: then false. */
function linkNew(from: string, path: string): boolean {
  try {
    linkSync(from, path);
    return true;
  } catch (error) {
    const code = fsCode(error);
    if (code === "EEXIST") return false;
    if (code !== "EPERM" && code !== "ENOTSUP" && code !== "EOPNOTSUPP" && code !== "ENOSYS" && code !== "EMLINK") throw error;
  }
  try {
    copyFileSync(from, path, constants.COPYFILE_EXCL);
    return true;
  } catch (error) {
    if (fsCode(error) === "EEXIST") return false;
    throw error;
  }
}

function writeNew(path: string, text: string): void {
  const fd = openSync(path, "wx");
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function readRaw(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (fsCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function readHolder(path: string): Holder | undefined {
  try {
    return parseHolder(readRaw(path) ?? "");
  } catch {
    return undefined;
  }
}

function parseHolder(text: string): Holder | undefined {
  let value: Partial<Holder> | null;
  try {
    value = JSON.parse(text) as Partial<Holder> | null;
  } catch {
    return undefined;
  }
  const { token, pid, hostname: host, started } = value ?? {};
  const valid =
    typeof token === "string" && Number.isSafeInteger(pid) && pid! > 0 && typeof host === "string" && typeof started === "string";
  return valid
    ? { token, pid: pid!, hostname: host, started, process: typeof value?.process === "string" ? value.process : null }
    : undefined;
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Gone already (renamed into place), or the folder has become read-only: then the file is a dead process's in a moment.
  }
}

/** Removes temporary files that killed processes left beside the lock. A live process's, which is about to be refused, is left to it. */
function sweep(path: string): void {
  try {
    const folder = dirname(path);
    for (const name of readdirSync(folder)) {
      if (!name.startsWith(`${basename(path)}.`) || !/\.tmp(\.takeover)*$/.test(name)) continue;
      const file = join(folder, name);
      const holder = readHolder(file);
      // A file without a holder was torn by a kill, or is being written this moment.
      const dead = holder ? holder.hostname === hostname() && !isAlive(holder) : Date.now() - statSync(file).mtimeMs > 60_000;
      if (dead) remove(file);
    }
  } catch {
    // Litter, not a reason to fail.
  }
}
