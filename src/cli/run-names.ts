import { statSync } from "node:fs";
import { basename, dirname, resolve, sep } from "node:path";
import { type Manifest, readManifest, runFiles } from "../store/index.ts";

/** A run to be compared: where it lies, and its manifest if it is one of ours. */
export interface NamedRun {
  /** As it was given: a run's folder or a file of records. */
  readonly path: string;
  readonly manifest: Manifest | undefined;
}

/** Finds a run's manifest, in its folder or beside its records; a file of the authors' has none. */
export function findRun(path: string): NamedRun {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return { path, manifest: readManifest(path) };
  return { path, manifest: basename(path) === runFiles.records ? readManifest(dirname(path)) : undefined };
}

/**
 * Names that tell runs apart, as short as that allows: the data file, with model, mode and labels where some of the runs differ in them. Where
 * that is not enough, or nothing is known of a run, the last parts of each path.
 */
export function runNames(runs: readonly NamedRun[]): string[] {
  const parts = runs.flatMap(({ manifest }) => (manifest ? [partsOf(manifest)] : []));
  const differing = [0, 1, 2, 3].filter((part) => part === 0 || new Set(parts.map((all) => all[part])).size > 1);
  const names = parts.map((all) => differing.map((part) => all[part]).join(", "));
  return new Set(names).size === runs.length ? names : shortPaths(runs.map(({ path }) => path));
}

/** The fewest last parts of each path, without the records' own usual name, that tell all paths apart. */
function shortPaths(paths: readonly string[]): string[] {
  const split = paths.map((path) => resolve(path).split(sep));
  const longest = Math.max(...split.map((parts) => parts.length));
  for (let length = 1; length <= longest; length++) {
    const short = split.map((parts) => (parts.at(-1) === runFiles.records ? parts.slice(0, -1) : parts).slice(-length).join("/"));
    if (new Set(short).size === short.length) return short;
  }
  return [...paths];
}

/** Data, model, mode and labels. */
function partsOf({ identity, model, data }: Manifest): string[] {
  return [basename(data.path).replace(/\.(jsonl?|csv|parquet)$/i, ""), basename(model.folder), identity.mode, labelsOf(identity)];
}

function labelsOf({ labels }: Manifest["identity"]): string {
  if (!labels) return "all labels";
  const { rule, count } = labels;
  if (count === undefined) return rule;
  return typeof count === "number" ? `${rule} ${count} labels` : `${rule} labels, as many as the twin's`;
}

/** {@link labelsOf} with the hash of the twins' file. */
function labelsAndTwins(identity: Manifest["identity"]): string {
  const count = identity.labels?.count;
  return typeof count === "object" ? `${labelsOf(identity)} (${count.twins.slice(0, 8)})` : labelsOf(identity);
}

/** What two runs differ in beside their data, one sentence each: whatever else decides a run's numbers. */
export function differences(a: NamedRun, b: NamedRun): string[] {
  if (!a.manifest || !b.manifest) return [];
  const [x, y] = [a.manifest, b.manifest];
  const compared: readonly (readonly [string, string, string])[] = [
    ["models", ...both(x, y, ({ identity, model }) => `${basename(model.folder)} (${identity.weights.slice(0, 8)})`)],
    ["tokenizers", ...both(x, y, ({ identity }) => identity.tokenizer.slice(0, 8))],
    ["modes", ...both(x, y, ({ identity }) => identity.mode)],
    ["maximum lengths", ...both(x, y, ({ identity }) => String(identity.maxLength))],
    ["rules for BOS", ...both(x, y, ({ identity }) => (identity.singleBos ? "one" : "as the template has it"))],
    ["labels", ...both(x, y, ({ identity }) => labelsAndTwins(identity))],
  ];
  return compared.filter(([, ofA, ofB]) => ofA !== ofB).map(([what, ofA, ofB]) => `The runs have different ${what}: ${ofA} and ${ofB}.`);
}

const both = (a: Manifest, b: Manifest, of: (manifest: Manifest) => string): [string, string] => [of(a), of(b)];
