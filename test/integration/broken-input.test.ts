import { spawnSync } from "node:child_process";
import {
  closeSync,
  cpSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exitStatus, LayergradError } from "../../src/errors.ts";
import { type RunOptions, run } from "../../src/run/run.ts";
import { recordsOf, refused, succeeds } from "../cli.ts";
import { fixtureModel, fixtures } from "../fixtures.ts";
import { type Case, cases } from "./broken-input-cases.ts";

const root = mkdtempSync(join(tmpdir(), "layergrad-broken-"));
/** What a run of the call that is in order leaves after two of its four rows. */
const recorded = join(root, "recorded");
const basic = join(fixtures, "data", "basic.json");
const inOrder = { model: fixtureModel("llama"), data: basic, threads: 2 };

beforeAll(async () => {
  await run({ ...inOrder, out: recorded, limit: 2 });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

let count = 0;
/** A folder of a test's own, with a run's folder in it that holds two rows. */
function newPlace(): { folder: string; out: string } {
  const folder = join(root, `${++count}`);
  mkdirSync(folder);
  cpSync(recorded, join(folder, "out"), { recursive: true });
  return { folder, out: join(folder, "out") };
}

/** Every file below a folder; undefined where there is no such folder. */
function contentOf(folder: string): Record<string, string> | undefined {
  if (!existsSync(folder)) return undefined;
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(files.map(({ parentPath, name }) => [join(parentPath, name), readFileSync(join(parentPath, name), "latin1")]));
}

async function failureOf(options: RunOptions): Promise<LayergradError> {
  const error = await run(options).then(
    (summary) => summary,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(LayergradError);
  return error as LayergradError;
}

/** A call's options as the command line takes them. */
const flags = (options: Partial<RunOptions>): string[] =>
  Object.entries(options).flatMap(([name, value]) => [
    `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
    name === "memory" ? `${Number(value) / 1e6}MB` : String(value),
  ]);

/** One sentence, of a length that is read, without control characters. */
const isSentence = /^\S[^\p{Cc}]{20,600}\.$/u;

describe("broken input of a run", () => {
  it.each(cases)("$title: $kind, one sentence, nothing lost", async ({ kind, sentence, arrange, cli, leavesReasons }: Case) => {
    const place = newPlace();
    const change = arrange(place);
    const before = contentOf(place.out);
    const call = { ...inOrder, out: place.out, ...change };
    const error = await failureOf(leavesReasons ? { ...call, out: join(place.folder, "new") } : call);
    expect(error.message).toMatch(sentence);
    expect(error.message).toMatch(isSentence);
    expect(error.kind).toBe(kind);
    expect(contentOf(place.out)).toEqual(before);

    // Where the output folder is not what is wrong, none is begun.
    const fresh = join(place.folder, "new");
    if (kind !== "output") {
      if (!leavesReasons) await failureOf({ ...call, out: fresh });
      expect(
        contentOf(fresh) &&
          Object.keys(contentOf(fresh)!)
            .map((path) => path.slice(fresh.length + 1))
            .sort(),
      ).toEqual(leavesReasons ? ["manifest.json", "records.jsonl", "skipped.jsonl"] : undefined);
    }
    if (cli) {
      const told = await refused(exitStatus[kind], "run", ...flags({ ...call, out: leavesReasons ? fresh : call.out }));
      expect(told).toBe(`layergrad: ${error.message}`);
      expect(contentOf(place.out)).toEqual(before);
    }
  });

  it("covers every kind through the command line", () =>
    expect([...new Set(cases.filter(({ cli }) => cli).map(({ kind }) => kind))].sort()).toEqual(Object.keys(exitStatus).sort()));
});

describe("input that is odd, but in order,", () => {
  const rows = JSON.parse(readFileSync(basic, "utf8")) as Record<string, string>[];
  const cell = (text = ""): string => `"${text.replaceAll('"', '""')}"`;
  it.each<[string, string, string]>([
    ["a byte order mark", "bom.json", `\ufeff${JSON.stringify(rows)}`],
    ["lines that end in CR LF, and empty ones", "crlf.jsonl", `\r\n${rows.map((row) => JSON.stringify(row)).join("\r\n\r\n")}`],
    [
      "CSV with both",
      "rows.csv",
      `\ufeffinstruction,input,output\r\n${rows.map((r) => [r.instruction, r.input, r.output].map(cell).join(",")).join("\r\n")}\r\n`,
    ],
  ])("%s, gives the same records", async (_, name, text) => {
    const { folder } = newPlace();
    writeFileSync(join(folder, name), text);
    await run({ ...inOrder, data: join(folder, name), out: join(folder, "new"), limit: 2 });
    expect(recordsOf(join(folder, "new"))).toEqual(recordsOf(recorded));
  });

  it("records torn at the end or damaged in the middle are made whole, and what was whole is not computed again", async () => {
    for (const damage of [(text: string) => text.slice(0, -50), (text: string) => text.replace('"loss"', '"lo\0ss')]) {
      const { out } = newPlace();
      const path = join(out, "records.jsonl");
      writeFileSync(path, damage(readFileSync(path, "utf8")));
      const { computed } = await run({ ...inOrder, out, limit: 2 });
      expect(computed.rows).toBe(1);
      expect(recordsOf(out)).toEqual(recordsOf(recorded));
    }
  });

  it("the lock of a process that is dead is taken over", async () => {
    const { out } = newPlace();
    const { pid } = spawnSync(process.execPath, ["-e", ""]);
    const lock = { token: "t", pid, hostname: hostname(), process: null, started: "2026-01-01T00:00:00Z" };
    writeFileSync(join(out, "run.lock"), JSON.stringify(lock));
    expect((await run({ ...inOrder, out })).recorded).toBe(4);
  });
});

/** Fills a disk but for some pages: as many as the lock and a new manifest take, not the records. */
function fillDisk(path: string, pages: number): void {
  const page = Buffer.alloc(4096);
  const fd = openSync(path, "w");
  let size = 0;
  try {
    for (;;) size += writeSync(fd, page);
  } catch {
    ftruncateSync(fd, size - pages * page.length);
  } finally {
    closeSync(fd);
  }
}

const isRoot = process.getuid?.() === 0;

describe("a system that refuses", () => {
  it.skipIf(isRoot)("paths that may not be read (skipped for root, who may read anything)", async () => {
    const { folder, out } = newPlace();
    writeFileSync(join(folder, "rows.json"), "[]", { mode: 0 });
    const error = await failureOf({ ...inOrder, data: join(folder, "rows.json"), out });
    expect(error).toMatchObject({ kind: "data", message: expect.stringMatching(/rows\.json cannot be read: permission denied/) });
  });

  it("a disk that is full keeps what was recorded, and the same call goes on when there is space (skipped where no tmpfs can be mounted)", async ({
    skip,
  }) => {
    const disk = join(root, "disk");
    mkdirSync(disk);
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=256k", "layergrad", disk]).status !== 0) return skip("no tmpfs can be mounted");
    try {
      const out = join(disk, "out");
      cpSync(recorded, out, { recursive: true });
      fillDisk(join(disk, "ballast"), 2);
      const told = await refused(exitStatus.output, "run", "--quiet", ...flags({ ...inOrder, out }));
      expect(told).toMatch(/the disk is full \(ENOSPC\); free some space and run the same command again/);
      expect(recordsOf(out)).toEqual(recordsOf(recorded));
      rmSync(join(disk, "ballast"));
      await succeeds("run", ...flags({ ...inOrder, out }));
      expect(recordsOf(out).length).toBe(4);
    } finally {
      spawnSync("umount", [disk]);
    }
  });
});
