import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Lock, LockHeld } from "./lock.ts";

let folder = "";
let path = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-lock-"));
  path = join(folder, "run.lock");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A process that has just ended, and been waited for. */
const deadPid = () => spawnSync(process.execPath, ["-e", ""]).pid;
const holder = (fields: object) =>
  JSON.stringify({ token: "t", pid: 1, hostname: hostname(), process: null, started: "2026-01-01T00:00:00Z", ...fields });

describe("Lock", () => {
  it("is a file with pid, host and start, and leaves nothing behind", () => {
    const lock = Lock.acquire(path);
    expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ pid: process.pid, hostname: hostname() });
    expect(readdirSync(folder)).toEqual(["run.lock"]);
    lock.release();
    lock.release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("is refused while a live process holds it, this one included, naming its pid", () => {
    const lock = Lock.acquire(path);
    expect(() => Lock.acquire(path)).toThrow(`process ${process.pid} works in this folder`);
    lock.release();
    Lock.acquire(path).release();
    writeFileSync(path, holder({ pid: process.ppid }));
    expect(() => Lock.acquire(path)).toThrow(`process ${process.ppid} works in this folder since 2026-01-01T00:00:00Z; wait until it ends`);
    expect(() => Lock.acquire(path)).toThrow(LockHeld);
    expect(readdirSync(folder)).toEqual(["run.lock"]);
  });

  it("is taken over from a dead process", () => {
    writeFileSync(path, holder({ pid: deadPid() }));
    const lock = Lock.acquire(path);
    expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ pid: process.pid });
    expect(readdirSync(folder)).toEqual(["run.lock"]);
    lock.release();
  });

  it.skipIf(!existsSync("/proc/self/stat"))("is taken over where the pid belongs to a later process (needs /proc)", () => {
    writeFileSync(path, holder({ pid: process.ppid, process: "another-boot 1" }));
    Lock.acquire(path).release();
    writeFileSync(path, holder({ pid: process.pid, process: "another-boot 1" }));
    Lock.acquire(path).release();
  });

  it("is taken over where the pid is our own and the lock is not", () => {
    writeFileSync(path, holder({ pid: process.pid }));
    Lock.acquire(path).release();
  });

  it("is taken over where processes were killed while they took it over", () => {
    for (const suffix of ["", ".takeover", ".takeover.takeover"]) writeFileSync(path + suffix, holder({ pid: deadPid() }));
    const lock = Lock.acquire(path);
    expect(readdirSync(folder)).toEqual(["run.lock"]);
    lock.release();
  });

  it("is refused while a live process takes it over", () => {
    writeFileSync(path, holder({ pid: deadPid() }));
    writeFileSync(`${path}.takeover`, holder({ pid: process.ppid }));
    expect(() => Lock.acquire(path)).toThrow(`process ${process.ppid} works in this folder`);
  });

  it("of another machine is refused, and the message says how to go on", () => {
    writeFileSync(path, holder({ hostname: "elsewhere", pid: 77 }));
    expect(() => Lock.acquire(path)).toThrow(
      "process 77 on elsewhere works in this folder since 2026-01-01T00:00:00Z; if it is gone, remove this file",
    );
    expect(() => Lock.acquire(path)).not.toThrow(LockHeld);
  });

  it.each(["", "{", "null", '{"pid":-1}', '{"token":"t","pid":"1"}'])(
    "that is damaged (%j) is refused, and the message says how to go on",
    (content) => {
      writeFileSync(path, content);
      expect(() => Lock.acquire(path)).toThrow(
        "is damaged, so it cannot be told who works in this folder; if nobody does, remove this file",
      );
    },
  );

  it("that someone removed and another took is not released by us", () => {
    const lock = Lock.acquire(path);
    writeFileSync(path, holder({ token: "other" }));
    lock.release();
    expect(existsSync(path)).toBe(true);
  });

  it("sweeps the temporary files of killed processes, and no other", () => {
    writeFileSync(`${path}.1.tmp`, holder({ pid: deadPid() }));
    writeFileSync(`${path}.2.tmp`, holder({ pid: process.ppid }));
    writeFileSync(`${path}.3.tmp`, "");
    writeFileSync(`${path}.4.tmp`, "");
    utimesSync(`${path}.4.tmp`, 0, 0);
    writeFileSync(join(folder, "mine.tmp"), "");
    Lock.acquire(path).release();
    expect(readdirSync(folder).sort()).toEqual(["mine.tmp", "run.lock.2.tmp", "run.lock.3.tmp"]);
  });

  it("says so where the folder is gone or cannot be written", () => {
    expect(() => Lock.acquire(join(folder, "none", "run.lock"))).toThrow(/the lock cannot be taken: no such file/);
    if (process.getuid?.() === 0) return; // Root writes everywhere.
    chmodSync(folder, 0o500);
    expect(() => Lock.acquire(path)).toThrow(/permission denied \(EACCES\); make the folder writable/);
    chmodSync(folder, 0o700);
  });
});
