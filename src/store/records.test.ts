import { spawnSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { LayergradError } from "../errors.ts";
import { contentHash, type GradientRecord, matrixKey, type SkippedRow, serialise } from "./record.ts";
import { type OpenRunOptions, type RunDescription, RunFolder, readManifest } from "./records.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-store-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const description: RunDescription = {
  identity: {
    schemaVersion: 1,
    weights: "a".repeat(64),
    tokenizer: "b".repeat(64),
    data: "c".repeat(64),
    mode: "base",
    maxLength: 1024,
    singleBos: false,
    matrices: ["q", "k", "v", "o"],
    spectrum: false,
    cosines: false,
  },
  model: { folder: "m", files: {} },
  data: { path: "d.json", sha256: "c".repeat(64), rows: 10 },
  options: { threads: 2 },
  versions: { layergrad: "0" },
};
const statistics = {
  M_mean: 0,
  M_max: 1,
  M_min: -1,
  frobenius_norm: 1,
  S_sum: 2,
  S_max: 1,
  S_min: 0,
  effective_rank: 2,
  stable_rank: 1,
  rank: 2,
};
const record = (row: number): GradientRecord => {
  const fields: GradientRecord = {
    instruction: `i${row}`,
    output: "ö",
    loss: 1 / 3,
    row,
    n_tokens: 3,
    label_start: 1,
    n_labels: 2,
  };
  fields[matrixKey(0, "q")] = statistics;
  return fields;
};
const skip = (row: number, reason = "no label is left"): SkippedRow => ({ row, instruction: `i${row}`, output: "ö", reason });

const file = (name: string) => join(folder, name);
const text = (name: string) => readFileSync(file(name), "utf8");
const open = (options?: OpenRunOptions, changes: Partial<RunDescription["identity"]> = {}) =>
  RunFolder.open(folder, { ...description, identity: { ...description.identity, ...changes } }, options);

/** A folder with these rows, closed. */
async function run(rows: number[], skipped: number[] = []): Promise<void> {
  const store = await open();
  store.appendRecords(rows.map(record));
  store.appendSkipped(skipped.map((row) => skip(row)));
  store.close("done");
}

describe("RunFolder", () => {
  it("holds what was appended, one line a row, and gives it back when opened again", async () => {
    await run([2, 0], [1]);
    expect(text("records.jsonl")).toBe(serialise(record(2)) + serialise(record(0)));
    expect(text("skipped.jsonl")).toBe(serialise(skip(1)));
    expect(readdirSync(folder).sort()).toEqual(["manifest.json", "records.jsonl", "skipped.jsonl"]);
    const store = await open();
    expect([...store.done]).toEqual([
      [2, contentHash(record(2))],
      [0, contentHash(record(0))],
    ]);
    expect([...store.skipped]).toEqual([[1, skip(1)]]);
    expect(store.notes).toEqual([]);
    expect([store.has(0, record(0)), store.has(1, skip(1)), store.has(3, record(3))]).toEqual([true, true, false]);
    store.close("done");
  });

  it("makes the folder, with those above it", async () => {
    const store = await RunFolder.open(join(folder, "a", "b"), description);
    store.close("done");
    expect(existsSync(file("a/b/manifest.json"))).toBe(true);
  });

  it("knows rows by position and content: another content at a known position is an error", async () => {
    await run([0], [1]);
    const store = await open();
    expect(() => store.has(0, { instruction: "i0", output: "other" })).toThrow(/row 0 was computed from another instruction or output/);
    expect(() => store.has(1, { instruction: "i0", output: "ö" })).toThrow(/row 1/);
    store.close("done");
  });

  it("keeps rows that share their instruction", async () => {
    const store = await open();
    store.appendRecords([record(0), { ...record(0), row: 1 }]);
    store.close("done");
    const again = await open();
    expect([...again.done.keys()]).toEqual([0, 1]);
    again.close("done");
  });

  it("refuses a row twice and a number that is not finite, and writes nothing of the batch", async () => {
    const store = await open();
    store.appendRecords([record(0)]);
    expect(() => store.appendRecords([record(1), record(0)])).toThrow("row 0 is recorded already");
    expect(() => store.appendRecords([record(1), record(1)])).toThrow("row 1 is recorded already");
    expect(() => store.appendSkipped([skip(0)])).toThrow("row 0 is recorded already");
    expect(() => store.appendRecords([record(1), { ...record(2), loss: Number.NaN }])).toThrow("record of row 2: loss is NaN");
    store.appendRecords([]);
    store.close("done");
    expect(text("records.jsonl")).toBe(serialise(record(0)));
    expect(() => store.appendRecords([record(3)])).toThrow("after close()");
  });

  it("takes a skipped row that is computed after all out of the skipped ones", async () => {
    await run([0], [1, 2]);
    const store = await open();
    store.appendRecords([record(1)]);
    store.appendSkipped([skip(2, "another reason"), skip(3)]);
    store.appendSkipped([skip(4)]);
    store.close("done");
    expect(text("records.jsonl")).toBe(serialise(record(0)) + serialise(record(1)));
    expect(text("skipped.jsonl")).toBe(serialise(skip(2, "another reason")) + serialise(skip(3)) + serialise(skip(4)));
    expect(store.manifest.times.sessions[1]).toMatchObject({ rowsDone: 1, rowsSkipped: 2 });
  });

  it("keeps a second opening out while it is open", async () => {
    const store = await open();
    await expect(open()).rejects.toThrow(`run.lock: process ${process.pid} works in this folder`);
    store.close("done");
    (await open()).close("done");
  });
});

describe("the manifest", () => {
  it("says what, with what and when, and how each call ended", async () => {
    let time = Date.UTC(2026, 0, 1, 12);
    const now = () => {
      time += 1000;
      return new Date(time);
    };
    const first = await open({ now });
    first.appendRecords([record(0)]);
    first.close("interrupted");
    const second = await RunFolder.open(folder, { ...description, options: { threads: 8 }, versions: { layergrad: "1" } }, { now });
    second.appendSkipped([skip(1)]);
    second.updateManifest({ model: { folder: "m", revision: "abc", files: {} } });
    second.close("done");
    second.close("done");
    const manifest = readManifest(folder)!;
    expect(manifest).toMatchObject({
      tool: "layergrad",
      model: { revision: "abc" },
      options: { threads: 8 },
      versions: { layergrad: "1" },
    });
    expect(manifest.times.firstStarted).toBe("2026-01-01T12:00:02.000Z");
    expect(manifest.times.sessions).toEqual([
      {
        started: "2026-01-01T12:00:02.000Z",
        ended: "2026-01-01T12:00:03.000Z",
        rowsDone: 1,
        rowsSkipped: 0,
        status: "interrupted",
        versions: { layergrad: "0" },
        options: { threads: 2 },
      },
      {
        started: "2026-01-01T12:00:05.000Z",
        ended: "2026-01-01T12:00:06.000Z",
        rowsDone: 0,
        rowsSkipped: 1,
        status: "done",
        versions: { layergrad: "1" },
        options: { threads: 8 },
      },
    ]);
  });

  it("fixes the date at the first start, and keeps it until another is asked for, which is another identity", async () => {
    const first = await open({ now: () => new Date(2026, 1, 3, 23, 59) });
    expect(first.manifest.identity.date).toBe("2026-02-03");
    first.close("done");
    const later = await open({ now: () => new Date(2027, 1, 1) });
    expect(later.manifest.identity.date).toBe("2026-02-03");
    later.close("done");
    (await open({}, { date: "2026-02-03" })).close("done");
    await expect(open({}, { date: "2026-02-04" })).rejects.toThrow("another date (recorded 2026-02-03, now 2026-02-04)");
  });

  it("of another identity is refused with the fields that differ, and nothing is changed", async () => {
    await run([0]);
    const before = readdirSync(folder).map((name) => [name, text(name)]);
    const error = await open({}, { mode: "instruct", maxLength: 160, matrices: ["q"], cosines: true }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(LayergradError);
    expect((error as LayergradError).kind).toBe("output");
    expect((error as LayergradError).message).toBe(
      `${folder}: holds a run of another mode (recorded base, now instruct), maxLength (recorded 1024, now 160), matrices (recorded q,k,v,o, now q) and 1 more; choose another folder, or pass --overwrite to remove its records.`,
    );
    expect(readdirSync(folder).map((name) => [name, text(name)])).toEqual(before);
  });

  it("marks a call that was killed, with the rows it left behind", async () => {
    await run([0]);
    // What a killed call leaves: a running session, and records that no session counts.
    const manifest = readManifest(folder)!;
    manifest.times.sessions.push({ ...manifest.times.sessions[0]!, status: "running", ended: null, rowsDone: 0 });
    writeFileSync(file("manifest.json"), JSON.stringify(manifest));
    appendFileSync(file("records.jsonl"), serialise(record(1)) + serialise(record(2)));
    appendFileSync(file("skipped.jsonl"), serialise(skip(3)));
    const store = await open();
    expect(store.manifest.times.sessions.map(({ status, rowsDone, rowsSkipped }) => [status, rowsDone, rowsSkipped])).toEqual([
      ["done", 1, 0],
      ["killed", 2, 1],
      ["running", 0, 0],
    ]);
    store.close("failed");
  });

  it("is undefined of a folder without one", () => expect(readManifest(folder)).toBeUndefined());
});

describe("--overwrite", () => {
  it("removes the records of a run, of any identity, and leaves every other file", async () => {
    await run([0], [1]);
    writeFileSync(file("figure.svg"), "mine");
    const store = await open({ overwrite: true }, { mode: "instruct" });
    expect([store.done.size, store.skipped.size, text("records.jsonl"), text("skipped.jsonl"), text("figure.svg")]).toEqual([
      0,
      0,
      "",
      "",
      "mine",
    ]);
    expect(store.manifest.identity.mode).toBe("instruct");
    expect(store.notes[0]).toMatch(/the records of the run that was there \(\d+ bytes\) were removed/);
    store.close("done");
  });

  it.each(["records.jsonl", "skipped.jsonl"])("or not, leaves a %s alone that no manifest tells to be ours", async (name) => {
    writeFileSync(file(name), "mine");
    for (const overwrite of [false, true]) await expect(open({ overwrite })).rejects.toThrow(`${name}: is there without a manifest.json`);
    expect(text(name)).toBe("mine");
    expect(readdirSync(folder)).toEqual([name]);
  });

  it("or not, leaves another program's manifest.json alone", async () => {
    writeFileSync(file("manifest.json"), '{"name":"my app"}');
    for (const overwrite of [false, true])
      await expect(open({ overwrite })).rejects.toThrow("manifest.json: was not written by layergrad; choose another folder");
    expect(readdirSync(folder)).toEqual(["manifest.json"]);
  });

  it("in an empty folder is nothing special", async () => (await open({ overwrite: true })).close("done"));
});

describe("repair", () => {
  it("keeps exactly the whole lines, wherever the file is cut", async () => {
    await run([0, 1, 2]);
    const whole = readFileSync(file("records.jsonl"));
    const lines = [0, 1, 2].map((row) => Buffer.byteLength(serialise(record(row))));
    for (let cut = 0; cut <= whole.length; cut += 7) {
      writeFileSync(file("records.jsonl"), whole.subarray(0, cut));
      const store = await open();
      const kept = [0, 1, 2].filter((row) => lines.slice(0, row + 1).reduce((a, b) => a + b) <= cut);
      expect([...store.done.keys()]).toEqual(kept);
      const torn = cut !== lines.slice(0, kept.length).reduce((a, b) => a + b, 0);
      expect(store.notes.length).toBe(torn ? 1 : 0);
      store.appendRecords([0, 1, 2].filter((row) => !kept.includes(row)).map(record));
      store.close("done");
      expect(readFileSync(file("records.jsonl")).equals(whole)).toBe(true);
    }
  });

  it("says so, and cuts a torn line of skipped.jsonl too", async () => {
    await run([], [0]);
    appendFileSync(file("skipped.jsonl"), '{"row":1,"instr');
    const store = await open();
    expect(store.notes).toEqual([
      `${file("skipped.jsonl")}: a torn or damaged line was removed; rows without a record are computed again.`,
    ]);
    expect(text("skipped.jsonl")).toBe(serialise(skip(0)));
    store.close("done");
  });

  it("takes out lines that a power cut has damaged before whole ones, and rows that are there twice", async () => {
    await run([0]);
    const [a, b, c] = [0, 1, 2].map((row) => serialise(record(row)));
    writeFileSync(file("records.jsonl"), `${"\0".repeat(100)}\n${a}${b!.slice(5)}${a}\n\xff\n${b}${c}${b}{"torn`, "latin1");
    // latin1 wrote each "ö" as one byte, which is no UTF-8: those lines are damaged too.
    const store = await open();
    expect([...store.done.keys()]).toEqual([]);
    store.close("done");
    writeFileSync(file("records.jsonl"), `${"\0".repeat(100)}\n${a}${b!.slice(5)}${a}\n${b}${c}${b}{"torn`);
    const again = await open();
    expect([...again.done.keys()]).toEqual([0, 1, 2]);
    expect(again.notes[0]).toContain("4 torn or damaged lines were removed");
    expect(again.notes[1]).toContain("2 lines were removed whose row was there before");
    again.appendRecords([record(3)]);
    again.close("done");
    expect(text("records.jsonl")).toBe(`${a}${b}${c}${serialise(record(3))}`);
  });

  it("leaves valid lines of another shape to the user", async () => {
    await run([0]);
    appendFileSync(file("records.jsonl"), '{"instruction":"a","output":"b","loss":1}\n');
    const before = text("records.jsonl");
    await expect(open()).rejects.toThrow("records.jsonl:2: has no row, instruction or output, so layergrad did not write it");
    expect(text("records.jsonl")).toBe(before);
    expect(existsSync(file("run.lock"))).toBe(false);
  });

  it("takes a row that is recorded and skipped (killed between the two) for recorded", async () => {
    await run([0, 1], [2]);
    appendFileSync(file("skipped.jsonl"), serialise(skip(1)));
    const store = await open();
    expect([[...store.done.keys()], [...store.skipped.keys()]]).toEqual([[0, 1], [2]]);
    expect(text("skipped.jsonl")).toBe(serialise(skip(2)));
    store.close("done");
  });

  it("ignores what a kill left of a manifest that was being written", async () => {
    await run([0]);
    writeFileSync(file("manifest.json.tmp"), "{");
    const store = await open();
    store.close("done");
    expect(readdirSync(folder)).not.toContain("manifest.json.tmp");
  });
});

describe("a disk that does not take it", () => {
  it("names a path that is a file, or leads through one", async () => {
    writeFileSync(file("f"), "");
    await expect(RunFolder.open(file("f"), description)).rejects.toThrow(/the output folder cannot be made: .*choose another/);
    await expect(RunFolder.open(file("f/g"), description)).rejects.toThrow(
      /a part of the path is a file, not a folder \(ENOTDIR\); choose another folder/,
    );
    await expect(RunFolder.open("/proc/none/run", description)).rejects.toBeInstanceOf(LayergradError);
  });

  it("names a folder where a file should be", async () => {
    await run([0]);
    rmSync(file("records.jsonl"));
    mkdirSync(file("records.jsonl"));
    await expect(open()).rejects.toThrow("records.jsonl: is not a regular file");
  });

  // A file system of 1 MB in memory, to be filled. Mounting one takes root on Linux.
  const small = mkdtempSync(join(tmpdir(), "layergrad-tmpfs-"));
  const mounted =
    process.platform === "linux" && spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", small], { stdio: "ignore" }).status === 0;
  afterAll(() => {
    if (mounted) spawnSync("umount", [small]);
    rmSync(small, { recursive: true, force: true });
  });

  it.skipIf(!mounted)(
    "that is full (tmpfs of 1 MB; skipped where none can be mounted) is an output error, and the file keeps its whole lines",
    async () => {
      const target = join(small, "run");
      const store = await RunFolder.open(target, description);
      const big = (row: number) => ({ ...record(row), output: "x".repeat(150_000) });
      let row = 0;
      let error: unknown;
      try {
        for (; row < 20; row += 2) store.appendRecords([big(row), big(row + 1)]);
      } catch (reason) {
        error = reason;
      }
      expect(error).toBeInstanceOf(LayergradError);
      expect((error as LayergradError).kind).toBe("output");
      expect((error as LayergradError).message).toMatch(
        /records\.jsonl: cannot be written: the disk is full \(ENOSPC\); free some space and run the same command again/,
      );
      expect(row).toBeGreaterThan(0);
      const size = serialise(big(0)).length;
      expect(statSync(join(target, "records.jsonl")).size).toBe(size * row);
      expect(store.done.size).toBe(row);
      // What fits can still be appended: nothing of the failed batch is in the way.
      store.appendRecords([record(row)]);
      store.close("failed");
      expect(readdirSync(target).sort()).toEqual(["manifest.json", "records.jsonl", "skipped.jsonl"]);

      writeFileSync(join(small, "filler"), "");
      expect(() => {
        for (;;) appendFileSync(join(small, "filler"), Buffer.alloc(4096));
      }).toThrow("ENOSPC");
      await expect(RunFolder.open(target, description)).rejects.toThrow(/the disk is full/);
      expect(readManifest(target)!.times.sessions.length).toBe(1);
      rmSync(join(small, "filler"));
      const again = await RunFolder.open(target, description);
      expect([...again.done.keys()]).toEqual(Array.from({ length: row + 1 }, (_, i) => i));
      expect(again.notes).toEqual([]);
      again.close("done");
    },
  );

  it.skipIf(!mounted)("that is read-only (skipped where no tmpfs can be mounted) is an output error", async () => {
    expect(spawnSync("mount", ["-o", "remount,ro", small]).status).toBe(0);
    try {
      await expect(RunFolder.open(join(small, "new"), description)).rejects.toThrow(
        /the file system is read-only \(EROFS\); choose a folder on a writable disk/,
      );
      await expect(RunFolder.open(join(small, "run"), description)).rejects.toThrow(
        /run\.lock: the lock cannot be taken: the file system is read-only/,
      );
    } finally {
      spawnSync("mount", ["-o", "remount,rw", small]);
    }
  });
});
