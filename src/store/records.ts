import { closeSync, openSync, readFileSync, readSync, statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { LayergradError } from "../errors.ts";
import { makeFolder, syncFolder } from "../io/folders.ts";
import { fsCode } from "../io/fs-reason.ts";
import { localDay } from "../text/strftime.ts";
import { LineFile, outputError, writeFileAtomically } from "./files.ts";
import { Lock } from "./lock.ts";
import {
  type DataDescription,
  type Identity,
  type IdentityRequest,
  identityDifferences,
  MANIFEST_VERSION,
  type Manifest,
  type ModelDescription,
  parseManifest,
  type RunOptions,
  type Session,
  type SessionStatus,
  type Versions,
} from "./manifest.ts";
import { contentHash, type GradientRecord, type SkippedRow, serialise } from "./record.ts";
import { type Line, readLines } from "./records-reader.ts";

/** Names of the files in a run's folder. */
export const runFiles = { manifest: "manifest.json", records: "records.jsonl", skipped: "skipped.jsonl", lock: "run.lock" } as const;

/** What a call brings to a run's folder. */
export interface RunDescription {
  identity: IdentityRequest;
  model: ModelDescription;
  data: DataDescription;
  options: RunOptions;
  versions: Versions;
}

/** Options of {@link RunFolder.open}. */
export interface OpenRunOptions {
  /** Starts anew: removes the records of the run that the folder holds, whatever its identity. Files that are not ours stay. */
  overwrite?: boolean;
  /** The clock, for tests. */
  now?: () => Date;
}

/**
 * The folder of one run, open for writing by this process alone.
 *
 * The records are the truth; the manifest's counts follow them. At any kill or power cut the folder holds whole lines, at most one torn
 * tail, and an old or new manifest whole, and {@link RunFolder.open} brings it to a state without torn lines or rows that are there twice.
 * A row that was killed before its line was flushed is not done, and is computed again.
 */
export class RunFolder {
  /** What opening had to repair or take over, one sentence each, for the user. */
  readonly notes: readonly string[];
  readonly #done: Map<number, string>;
  readonly #skipped: Map<number, SkippedRow>;
  readonly #session: Session;
  #closed = false;

  private constructor(
    readonly folder: string,
    private readonly lock: Lock,
    private readonly now: () => Date,
    private readonly manifestObject: Manifest,
    private readonly recordsFile: LineFile,
    private readonly skippedFile: LineFile,
    contents: { done: Map<number, string>; skipped: Map<number, SkippedRow>; session: Session; notes: readonly string[] },
  ) {
    this.#done = contents.done;
    this.#skipped = contents.skipped;
    this.#session = contents.session;
    this.notes = contents.notes;
  }

  /**
   * Opens a run's folder, or makes one: takes the lock, compares the identity, repairs what a kill left, and writes the manifest.
   *
   * @throws {LayergradError} `"output"` if another process works there, the folder belongs to another identity or is no run's,
   * or the disk fails.
   */
  static async open(folder: string, description: RunDescription, options: OpenRunOptions = {}): Promise<RunFolder> {
    const now = options.now ?? (() => new Date());
    try {
      makeFolder(folder);
    } catch (error) {
      throw outputError(folder, "the output folder cannot be made", error);
    }
    const lock = Lock.acquire(join(folder, runFiles.lock));
    const opened: LineFile[] = [];
    try {
      const notes: string[] = [];
      const earlier = options.overwrite ? clear(folder, notes) : readManifest(folder);
      if (!earlier) refuseStrangers(folder);
      const identity = resolveIdentity(folder, description.identity, earlier?.identity, now());

      const records = await scan(join(folder, runFiles.records), notes, contentHash);
      const skippedRows = await scan(join(folder, runFiles.skipped), notes, (line) => line as SkippedRow);
      // A row skipped by one call and recorded by a later one, which was killed before it took the first line away.
      const done = records.rows;
      const skipped = skippedRows.rows;
      const both = [...skipped.keys()].filter((row) => done.has(row));
      for (const row of both) skipped.delete(row);

      const sessions = settleSessions(earlier?.times.sessions ?? [], done.size, skipped.size);
      const started = now().toISOString();
      const session: Session = {
        started,
        ended: null,
        rowsDone: 0,
        rowsSkipped: 0,
        status: "running",
        versions: description.versions,
        options: description.options,
      };
      const manifest: Manifest = {
        tool: "layergrad",
        manifestVersion: MANIFEST_VERSION,
        identity,
        model: description.model,
        data: description.data,
        options: description.options,
        versions: description.versions,
        times: { firstStarted: earlier?.times.firstStarted ?? started, sessions: [...sessions, session] },
      };
      // Before the first record: records without a manifest are nobody's.
      writeManifest(folder, manifest);
      opened.push(new LineFile(join(folder, runFiles.records), records.size));
      opened.push(new LineFile(join(folder, runFiles.skipped), skippedRows.size));
      if (both.length > 0) opened[1]!.replace([...skipped.values()].map(serialise));
      syncFolder(folder);
      return new RunFolder(folder, lock, now, manifest, opened[0]!, opened[1]!, { done, skipped, session, notes });
    } catch (error) {
      for (const file of opened) file.close();
      lock.release();
      throw error;
    }
  }

  /** The manifest as it stands. Its identity holds the run's date. */
  get manifest(): Readonly<Manifest> {
    return this.manifestObject;
  }

  /** Recorded rows: position in the data → {@link contentHash}. */
  get done(): ReadonlyMap<number, string> {
    return this.#done;
  }

  /** Skipped rows by position. A caller may compute one again (its reason may have been this machine's memory) and append its record. */
  get skipped(): ReadonlyMap<number, SkippedRow> {
    return this.#skipped;
  }

  /**
   * Whether a row is recorded or skipped.
   *
   * @param row - Its position in the data.
   * @param content - Its instruction (as a record holds it) and output.
   * @throws {LayergradError} `"output"` if the folder holds another content at that position.
   */
  has(row: number, content: { readonly instruction: string; readonly output: string }): boolean {
    const skipped = this.#skipped.get(row);
    const known = this.#done.get(row) ?? (skipped && contentHash(skipped));
    if (known === undefined) return false;
    if (known !== contentHash(content)) {
      throw new LayergradError(
        "output",
        `${this.folder}: row ${row} was computed from another instruction or output than the data hold now; choose another folder or pass --overwrite.`,
      );
    }
    return true;
  }

  /**
   * Appends records by one write and flushes them to the disk. A row skipped before is no longer.
   *
   * @throws {LayergradError} `"output"` if the disk fails; none of these records is then in the file.
   * @throws {RangeError} If a number is not finite, or a row is recorded already (a bug of the caller); nothing is written.
   */
  appendRecords(records: readonly GradientRecord[]): void {
    this.#assertOpen();
    if (records.length === 0) return;
    this.#assertNew(records);
    this.recordsFile.append(records.map(serialise).join(""));
    let formerlySkipped = false;
    for (const record of records) {
      this.#done.set(record.row, contentHash(record));
      if (this.#skipped.delete(record.row)) formerlySkipped = true;
      this.#session.rowsDone++;
    }
    // After the record is safe: a kill in between leaves the row in both files, and the next open takes it out of this one.
    if (formerlySkipped) this.skippedFile.replace([...this.#skipped.values()].map(serialise));
  }

  /** Appends rows that have no record, with their reasons. A row skipped before has its line replaced. Otherwise as {@link appendRecords}. */
  appendSkipped(rows: readonly SkippedRow[]): void {
    this.#assertOpen();
    if (rows.length === 0) return;
    this.#assertNew(rows);
    if (rows.some((row) => this.#skipped.has(row.row))) {
      const all = new Map([...this.#skipped, ...rows.map((row): [number, SkippedRow] => [row.row, row])]);
      this.skippedFile.replace([...all.values()].map(serialise));
    } else {
      this.skippedFile.append(rows.map(serialise).join(""));
    }
    for (const row of rows) {
      if (!this.#skipped.has(row.row)) this.#session.rowsSkipped++;
      this.#skipped.set(row.row, row);
    }
  }

  /** Changes parts of the manifest that are known late, and writes it. The identity cannot change. */
  updateManifest(changes: Partial<Pick<Manifest, "model" | "data" | "options" | "versions">>): void {
    this.#assertOpen();
    Object.assign(this.manifestObject, changes);
    writeManifest(this.folder, this.manifestObject);
  }

  /**
   * Notes in the manifest how the call ended, closes the files and gives the lock back. Runs to its end synchronously, so that
   * it can be called from a signal's or the process's exit handler; does nothing the second time.
   *
   * @throws {LayergradError} `"output"` if the manifest cannot be written; the lock is given back all the same.
   */
  close(status: Exclude<SessionStatus, "running" | "killed">): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#session.status = status;
    this.#session.ended = this.now().toISOString();
    try {
      writeManifest(this.folder, this.manifestObject);
    } catch (error) {
      // The error that made the call fail is the one to tell, and a full disk would only repeat itself here.
      if (status !== "failed") throw error;
    } finally {
      this.recordsFile.close();
      this.skippedFile.close();
      this.lock.release();
    }
  }

  #assertOpen(): void {
    if (this.#closed) throw new Error(`run folder ${this.folder}: used after close()`);
  }

  #assertNew(rows: readonly { readonly row: number }[]): void {
    const batch = new Set<number>();
    for (const { row } of rows) {
      if (!Number.isSafeInteger(row) || row < 0) throw new RangeError(`row is ${row}, expected a non-negative integer`);
      if (this.#done.has(row) || batch.has(row)) throw new RangeError(`row ${row} is recorded already`);
      batch.add(row);
    }
  }
}

/**
 * The manifest of a run's folder, without taking its lock; undefined where there is none.
 *
 * @throws {LayergradError} `"output"` if it cannot be read or is no manifest of ours.
 */
export function readManifest(folder: string): Manifest | undefined {
  const path = join(folder, runFiles.manifest);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const code = fsCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw outputError(path, "cannot be read", error);
  }
  return parseManifest(text, path);
}

function writeManifest(folder: string, manifest: Manifest): void {
  writeFileAtomically(join(folder, runFiles.manifest), [`${JSON.stringify(manifest, null, 2)}\n`]);
}

/** Removes a run's own files, the manifest last, so that a kill in between leaves a folder that is still known to be ours. */
function clear(folder: string, notes: string[]): undefined {
  if (!readManifest(folder)) return undefined;
  let bytes = 0;
  for (const name of [runFiles.records, runFiles.skipped, runFiles.manifest]) {
    const path = join(folder, name);
    try {
      bytes += statSync(path).size;
      unlinkSync(path);
      syncFolder(folder);
    } catch (error) {
      if (fsCode(error) !== "ENOENT") throw outputError(path, "cannot be removed", error);
    }
  }
  notes.push(`${folder}: the records of the run that was there (${bytes} bytes) were removed.`);
  return undefined;
}

/** Without a manifest of ours, files of our names are someone else's: neither written to nor removed, --overwrite or not. */
function refuseStrangers(folder: string): void {
  for (const name of [runFiles.records, runFiles.skipped]) {
    const path = join(folder, name);
    try {
      statSync(path);
    } catch (error) {
      if (fsCode(error) === "ENOENT") continue;
      throw outputError(path, "cannot be read", error);
    }
    throw new LayergradError(
      "output",
      `${path}: is there without a ${runFiles.manifest}, so it is not known to be layergrad's and is left alone; choose another folder.`,
    );
  }
}

function resolveIdentity(folder: string, request: IdentityRequest, recorded: Identity | undefined, now: Date): Identity {
  const identity: Identity = { ...request, date: request.date ?? recorded?.date ?? localDay(now) };
  if (!recorded) return identity;
  const differences = identityDifferences({ ...recorded }, { ...identity });
  if (differences.length > 0) {
    const rest = differences.length > 3 ? ` and ${differences.length - 3} more` : "";
    throw new LayergradError(
      "output",
      `${folder}: holds a run of another ${differences.slice(0, 3).join(", ")}${rest}; choose another folder, or pass --overwrite to remove its records.`,
    );
  }
  return identity;
}

/** Gives sessions that never ended the end they had: killed, with the rows that they left behind. */
function settleSessions(sessions: readonly Session[], done: number, skipped: number): Session[] {
  const ended = sessions.filter((session) => session.status !== "running");
  const sum = (field: "rowsDone" | "rowsSkipped"): number => ended.reduce((total, session) => total + session[field], 0);
  let restDone = Math.max(0, done - sum("rowsDone"));
  let restSkipped = Math.max(0, skipped - sum("rowsSkipped"));
  return sessions.map((session) => {
    if (session.status !== "running") return session;
    const settled: Session = { ...session, status: "killed", rowsDone: restDone, rowsSkipped: restSkipped };
    restDone = 0;
    restSkipped = 0;
    return settled;
  });
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The fields that every line of ours has. */
type OwnLine = Pick<SkippedRow, "row" | "instruction" | "output">;

/**
 * Reads what a file of ours holds, and makes it whole: a torn tail is left to be cut off, at the returned size; damaged lines before it
 * and rows that are there twice, which no kill of ours leaves but a power cut or another hand may, are taken out by rewriting the file.
 *
 * @param keep - What to keep of a line: the records of a long run do not fit into memory.
 */
async function scan<T>(path: string, notes: string[], keep: (line: OwnLine) => T): Promise<{ rows: Map<number, T>; size: number }> {
  const rows = new Map<number, T>();
  try {
    if (!statSync(path).isFile()) throw new LayergradError("output", `${path}: is not a regular file; choose another folder.`);
  } catch (error) {
    if (fsCode(error) === "ENOENT") return { rows, size: 0 };
    throw outputError(path, "cannot be read", error);
  }
  const good: Range[] = [];
  let damaged = 0;
  let twice = 0;
  for await (const line of readLines(path, "output")) {
    const parsed = line.terminated ? parseLine(line, path) : undefined;
    if (!parsed || rows.has(parsed.row)) {
      if (parsed) twice++;
      else damaged++;
      continue;
    }
    rows.set(parsed.row, keep(parsed));
    const last = good.at(-1);
    if (last?.end === line.start) last.end = line.end;
    else good.push({ start: line.start, end: line.end });
  }
  if (damaged > 0) {
    const lines = damaged === 1 ? "a torn or damaged line was" : `${damaged} torn or damaged lines were`;
    notes.push(`${path}: ${lines} removed; rows without a record are computed again.`);
  }
  if (twice > 0) notes.push(`${path}: ${twice === 1 ? "a line was" : `${twice} lines were`} removed whose row was there before.`);
  const size = good.reduce((sum, { start, end }) => sum + end - start, 0);
  const isPrefix = good.length === 0 || (good.length === 1 && good[0]!.start === 0);
  if (!isPrefix) writeFileAtomically(path, readRanges(path, good));
  return { rows, size };
}

function parseLine(line: Line, path: string): OwnLine | undefined {
  let value: Partial<OwnLine> | null;
  try {
    value = JSON.parse(utf8.decode(line.bytes)) as Partial<OwnLine> | null;
  } catch {
    return undefined;
  }
  const ours =
    typeof value === "object" &&
    value !== null &&
    Number.isSafeInteger(value.row) &&
    typeof value.instruction === "string" &&
    typeof value.output === "string";
  if (!ours) {
    // No kill makes valid JSON of another shape: someone else wrote it, and removing it is not ours to do.
    throw new LayergradError(
      "output",
      `${path}:${line.number}: has no row, instruction or output, so layergrad did not write it; remove the line, or choose another folder.`,
    );
  }
  return value as OwnLine;
}

/** A part of a file, from its byte `start` to before its byte `end`. */
interface Range {
  start: number;
  end: number;
}

/** The bytes of some parts of a file, one after the other, in pieces. */
function* readRanges(path: string, ranges: readonly Range[]): Generator<Uint8Array, void, undefined> {
  const fd = openSync(path, "r");
  try {
    const buffer = Buffer.allocUnsafe(1 << 20);
    for (const { start, end } of ranges) {
      for (let position = start; position < end; ) {
        const got = readSync(fd, buffer, 0, Math.min(buffer.length, end - position), position);
        if (got === 0) throw new LayergradError("output", `${path}: became shorter while it was repaired; run the same command again.`);
        yield buffer.subarray(0, got);
        position += got;
      }
    }
  } finally {
    closeSync(fd);
  }
}
