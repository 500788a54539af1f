// Breaks files of every kind that layergrad reads, at random but repeatably, and looks for whatever is neither a clear refusal nor a right answer.
//
//     npm run fuzz -- [--seconds 60 | --cases 1000] [--seed 1] [--target config,data,…] [--case N] [--sentences]
//
// Seconds and cases are of each target. A case is fixed by seed, target and number, and runs in a process of its own kind, which is ended
// after 10 seconds or at 1 GB. Fails with status 1, tells the command that repeats the case, and keeps its input. --case N repeats one;
// --sentences prints one message of each sort that the cases were refused with.
import { fork } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { targets } from "./fuzz-targets.mjs";

const CASE_SECONDS = 10;
const MEMORY_BYTES = 1e9;

const { values: options } = parseArgs({
  options: {
    seconds: { type: "string", default: "10" },
    cases: { type: "string" },
    seed: { type: "string", default: String(Date.now() % 1e6) },
    target: { type: "string", default: Object.keys(targets).join(",") },
    case: { type: "string" },
    sentences: { type: "boolean", default: false },
  },
});
const names = options.target.split(",");
const unknown = names.find((name) => !(name in targets));
if (unknown !== undefined) {
  console.error(`there is no target ${unknown}, only ${Object.keys(targets).join(", ")}`);
  process.exit(2);
}

// Cases write a file each, and some flush it: in memory where the system has such a disk.
const work = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "layergrad-fuzz-"));
process.on("exit", () => rmSync(work, { recursive: true, force: true }));
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(130));

/** A process that runs cases. */
class Worker {
  static #count = 0;

  constructor() {
    this.folder = join(work, `${Worker.#count++}`);
    mkdirSync(this.folder);
    // A heap below the limit, so that garbage alone does not reach it.
    const execArgv = ["--max-old-space-size=600"];
    this.child = fork(fileURLToPath(new URL("fuzz-worker.mjs", import.meta.url)), [this.folder], {
      execArgv,
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    this.stderr = "";
    this.child.stderr.on("data", (text) => {
      this.stderr = (this.stderr + text).slice(-4000);
    });
  }

  /** Runs a case; a worker that had to be ended, or ended by itself, is `spent`. */
  run(job) {
    return new Promise((resolve) => {
      const { child } = this;
      const finish = (outcome) => {
        clearTimeout(timer);
        clearInterval(watch);
        child.off("message", onMessage).off("exit", onExit);
        if (this.spent) child.kill("SIGKILL");
        resolve(outcome);
      };
      const spend = (problem) => {
        this.spent = true;
        finish({ problem, spent: true });
      };
      const onMessage = ({ outcome }) => finish(outcome);
      const onExit = (status, signal) => spend(`the process ended by itself (${signal ?? status}): ${this.stderr}`);
      const timer = setTimeout(() => spend(`not finished after ${CASE_SECONDS} s`), CASE_SECONDS * 1000);
      const watch = setInterval(() => {
        const bytes = residentBytes(child.pid);
        if (bytes > MEMORY_BYTES) spend(`takes ${(bytes / 1e9).toFixed(2)} GB of memory`);
      }, 50);
      child.on("message", onMessage).on("exit", onExit);
      child.send(job);
    });
  }

  end() {
    this.child.kill("SIGKILL");
  }
}

/** Memory that a process holds; 0 where the system does not say (no /proc) or the process is gone. */
function residentBytes(pid) {
  try {
    return 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

let worker = new Worker();

/** Runs a case; time, memory and crashes, which cases before it may have a part in, count where they are the same in a fresh process. */
async function runCase(job) {
  let outcome = await worker.run(job);
  if (outcome.spent) {
    worker = new Worker();
    outcome = await worker.run(job);
  }
  if (outcome.problem) keep(job, outcome.problem);
  if (outcome.spent) worker = new Worker();
  return outcome;
}

/** Tells of a failure and keeps its input, outside the folder that is removed. */
function keep({ name, seed, index }, problem) {
  const folder = join(tmpdir(), "layergrad-fuzz-failures", `${name}-${seed}-${index}`);
  cpSync(join(worker.folder, "current"), folder, { recursive: true });
  console.error(`${name}: ${problem}\n  repeat: npm run fuzz -- --target ${name} --seed ${seed} --case ${index}\n  input: ${folder}`);
}

/** A message without what differs from case to case. */
const sortOf = (message) =>
  message
    .replace(/"(?:[^"\\]|\\.)*"/g, '"…"')
    .replace(/\[[^\]]*\]/g, "[…]")
    .replace(/-?\d+(\.\d+)?(e[+-]?\d+)?/g, "N");

let failures = 0;
const { seed } = options;
const start = options.case === undefined ? 0 : Number(options.case);
for (const name of names) {
  const end = options.case !== undefined ? start + 1 : options.cases !== undefined ? Number(options.cases) : Number.POSITIVE_INFINITY;
  const began = performance.now();
  const isOver = () =>
    options.case === undefined && options.cases === undefined && performance.now() - began > Number(options.seconds) * 1000;
  const counts = { accepted: 0, refused: 0, failed: 0 };
  const sentences = new Map();
  for (let index = start; index < end && !isOver() && counts.failed < 5; index++) {
    const job = { name, seed, index };
    const outcome = await runCase(job);
    if (outcome.accepted) counts.accepted++;
    else if (outcome.refused) {
      counts.refused++;
      sentences.set(sortOf(outcome.refused), outcome.refused);
    } else counts.failed++;
  }
  failures += counts.failed;
  const seconds = (performance.now() - began) / 1000;
  const total = counts.accepted + counts.refused + counts.failed;
  console.log(
    `${name.padEnd(12)} ${total} cases, ${(total / seconds).toFixed(0)} a second: ${counts.refused} refused, ${counts.accepted} accepted, ${counts.failed} failed`,
  );
  if (options.sentences) for (const sentence of [...sentences.values()].sort()) console.log(`  ${sentence.slice(0, 400)}`);
}
worker.end();
console.log(`seed ${seed}`);
process.exit(failures > 0 ? 1 : 0);
