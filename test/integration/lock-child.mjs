// Takes and releases a lock over and over for a while, and reports how often it found another process inside (never, if the lock holds).
// Arguments: folder, milliseconds, chance of a SIGKILL with the lock held. Used by store-kill.test.ts.
import { closeSync, openSync, renameSync, unlinkSync, writeFileSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { Lock } from "../../dist/store/index.js";

const [folder, milliseconds, chance] = process.argv.slice(2);
const inside = join(folder, "inside");
const path = join(folder, "run.lock");
const until = Date.now() + Number(milliseconds);
const count = { taken: 0, refused: 0, broken: 0, died: 0, other: "" };

/** Leaves the lock as a killed process would, without the price of a new process: pids end far below 2³¹ − 1. */
function die() {
  const dead = join(folder, `dead-${process.pid}`);
  writeFileSync(
    dead,
    JSON.stringify({ token: `dead-${process.pid}-${count.died++}`, pid: 2 ** 31 - 1, hostname: hostname(), process: null, started: "" }),
  );
  renameSync(dead, path);
}

const report = () => writeSync(1, `${JSON.stringify(count)}\n`);

while (Date.now() < until) {
  let lock;
  try {
    lock = Lock.acquire(path);
  } catch (error) {
    if (/works in this folder/.test(error.message)) count.refused++;
    else count.other = error.stack;
    continue;
  }
  count.taken++;
  try {
    closeSync(openSync(inside, "wx"));
    for (const end = performance.now() + Math.random() / 4; performance.now() < end; );
    unlinkSync(inside);
  } catch {
    count.broken++;
  }
  if (Math.random() < Number(chance)) {
    report();
    process.kill(process.pid, "SIGKILL");
  }
  if (Math.random() < 0.8) die();
  else lock.release();
}
report();
