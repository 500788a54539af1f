import { excerpt, LayergradError } from "../errors.ts";
import { firstJsonError } from "../io/json-error.ts";

/** The version of manifest.json's own layout. */
export const MANIFEST_VERSION = 1;

/**
 * What decides every number of a run. A folder belongs to one identity; whoever comes with another is refused. All that may change
 * between two calls is in {@link RunOptions}.
 */
export interface Identity {
  /** {@link SCHEMA_VERSION} of the records. */
  schemaVersion: number;
  /** SHA-256 over config and weights, as `Checkpoint.hashes()` gives it. */
  weights: string;
  /** SHA-256 over tokenizer and template, as `Checkpoint.hashes()` gives it. */
  tokenizer: string;
  /** SHA-256 of the data file. */
  data: string;
  mode: "base" | "instruct";
  /** Cut on the right, tokens. */
  maxLength: number;
  /** Whether the second BOS that a template's own BOS causes is dropped. */
  singleBos: boolean;
  /** The date that a template's clock shows, `YYYY-MM-DD`: fixed when the run first starts. */
  date: string;
  /** Linear layers of a block that are measured, by name within the block: `self_attn.q_proj`, … */
  matrices: readonly string[];
  /** Whether `S_list` is recorded. */
  spectrum: boolean;
  /** Whether the cosine similarities are recorded. */
  cosines: boolean;
  /** Which labels the loss counts; absent where all. */
  labels?: LabelIdentity;
  /** How the data file's columns became rows; absent where they are named as ours. */
  columns?: Readonly<Record<string, string>>;
}

/** A choice of labels, with all that decides it. */
export interface LabelIdentity {
  rule: "first" | "last" | "random" | "sweep";
  /** How many, or SHA-256 of the data file whose rows say how many. */
  count?: number | { twins: string };
  /** Of the random choices. */
  seed?: number;
  /** Random choices of each size in a sweep. */
  draws?: number;
}

/** An identity as a caller states it: without a date the folder's own holds, or today's for a new run. */
export type IdentityRequest = Omit<Identity, "date"> & { date?: string | undefined };

/** The model, as far as it takes to find the same one again. */
export interface ModelDescription {
  /** The folder, file or id as it was given. */
  folder: string;
  /** Hub id, where known. */
  id?: string;
  /** Hub revision (commit), where known. */
  revision?: string;
  /** The adapter that was merged into the weights, where there is one. */
  adapter?: AdapterDescription;
  /** `model_type` of its configuration. */
  type?: string;
  /** SHA-256 by file name. */
  files: Readonly<Record<string, string>>;
}

/** An adapter, as far as it takes to find the same one again. */
export interface AdapterDescription {
  /** The folder or id as it was given. */
  folder: string;
  /** Hub id, where known. */
  id?: string;
  /** Hub revision (commit), where known. */
  revision?: string;
}

/** The data file. */
export interface DataDescription {
  /** Path as it was given. */
  path: string;
  sha256: string;
  /** Rows in the file. */
  rows: number;
}

/** Options that change how a run goes, not what it gives: rows, limit, threads, token budget, memory, device, … */
export type RunOptions = Readonly<Record<string, string | number | boolean | null | readonly (string | number)[]>>;

/** Versions of what computed the numbers: layergrad, node, onnxruntime, and the machine's architecture. */
export type Versions = Readonly<Record<string, string>>;

/** How a call ended. `"killed"` is written by the next call, for one that could not say goodbye. */
export type SessionStatus = "running" | "done" | "interrupted" | "failed" | "killed";

/** One call that worked on the folder. */
export interface Session {
  /** ISO 8601, UTC. */
  started: string;
  /** ISO 8601, UTC; null while running, and for a killed one. */
  ended: string | null;
  /** Rows recorded by this call. */
  rowsDone: number;
  /** Rows skipped by this call. */
  rowsSkipped: number;
  status: SessionStatus;
  /** The versions and options of this call. */
  versions: Versions;
  options: RunOptions;
}

/** manifest.json: what it takes to run the folder's run again. */
export interface Manifest {
  tool: "layergrad";
  manifestVersion: number;
  identity: Identity;
  model: ModelDescription;
  data: DataDescription;
  /** Those of the latest call; each session has its own. */
  options: RunOptions;
  /** Those of the latest call; each session has its own. */
  versions: Versions;
  times: {
    /** ISO 8601, UTC. */
    firstStarted: string;
    sessions: Session[];
  };
}

/**
 * Names the fields in which two identities differ, with both values, in the order of {@link Identity}; empty where they agree.
 * Fields that only one of them has differ too.
 */
export function identityDifferences(recorded: Readonly<Record<string, unknown>>, requested: Readonly<Record<string, unknown>>): string[] {
  const keys = new Set([...Object.keys(requested), ...Object.keys(recorded)]);
  const order = [
    "schemaVersion",
    "mode",
    "maxLength",
    "singleBos",
    "date",
    "matrices",
    "spectrum",
    "cosines",
    "labels",
    "weights",
    "tokenizer",
    "data",
    "columns",
  ];
  const rank = (key: string): number => (order.includes(key) ? order.indexOf(key) : order.length);
  return [...keys]
    .sort((a, b) => rank(a) - rank(b))
    .filter((key) => JSON.stringify(recorded[key]) !== JSON.stringify(requested[key]))
    .map((key) => `${key.slice(0, 60)} (recorded ${show(recorded[key])}, now ${show(requested[key])})`);
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value.join(",").slice(0, 200);
  const text = typeof value === "string" ? value : excerpt(value);
  // A hash is told from another by its first digits.
  return /^[0-9a-f]{40,}$/.test(text) ? `${text.slice(0, 12)}…` : text.slice(0, 60);
}

/**
 * Parses and checks the text of a manifest.json.
 *
 * @param path - Its path, for messages.
 * @throws {LayergradError} `"output"` if it is no manifest of ours, or one of a newer version.
 */
export function parseManifest(text: string, path: string): Manifest {
  const fail = (what: string, cause?: unknown): LayergradError =>
    new LayergradError("output", `${path}: ${what}; choose another folder.`, cause === undefined ? undefined : { cause });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const { line, found } = firstJsonError(text, { bareNumbers: false });
    throw fail(`is not valid JSON in line ${line}, ${found}, so the folder cannot be told to be a run's`, error);
  }
  if (!isObject(value) || value.tool !== "layergrad") throw fail("was not written by layergrad");
  if (value.manifestVersion !== MANIFEST_VERSION) {
    throw fail(`has the version ${show(value.manifestVersion)}, this layergrad reads ${MANIFEST_VERSION}`);
  }
  const { identity, model, data, options, versions, times } = value;
  if (![identity, model, data, options, versions, times].every(isObject)) {
    throw fail("lacks a part that every manifest has (identity, model, data, options, versions or times)");
  }
  // Deeper than any of ours, and than JSON.stringify can follow.
  if (!isShallow(value, 8)) throw fail("is nested more deeply than any manifest");
  if (!/^\d{4}-\d{2}-\d{2}$/.test(String((identity as Partial<Identity>).date))) throw fail("has no date in its identity");
  const { sessions } = times as { sessions?: unknown };
  if (!Array.isArray(sessions) || !sessions.every(isSession)) throw fail("has a session without a status or its numbers of rows");
  return value as unknown as Manifest;
}

const statuses: readonly unknown[] = ["running", "done", "interrupted", "failed", "killed"] satisfies SessionStatus[];
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;

const isSession = (value: unknown): boolean =>
  isObject(value) && statuses.includes(value.status) && isCount(value.rowsDone) && isCount(value.rowsSkipped);

const isShallow = (value: unknown, levels: number): boolean =>
  typeof value !== "object" || value === null || (levels > 0 && Object.values(value).every((entry) => isShallow(entry, levels - 1)));

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
