import { existsSync, statSync } from "node:fs";
import { basename, isAbsolute, join, normalize, relative } from "node:path";
import type { RunAttributes } from "../analysis/study-index.ts";
import { catalogue } from "../data/catalogue.ts";
import { LayergradError } from "../errors.ts";
import { type LabelIdentity, type Manifest, readManifest, runFiles } from "../store/index.ts";
import { readStudyIndex } from "../study/index-file.ts";
import { subjectOf, UNKNOWN_MODEL } from "./runs.ts";

/** A run that the report is about, not yet read. */
export interface SourceRun {
  /** Tells it from every other run. */
  readonly name: string;
  /** Its folder, or its file of records. */
  readonly path: string;
  /** The same for readers: relative, without what is the machine's own. */
  readonly shownPath: string;
  readonly attributes: Omit<RunAttributes, "folder">;
  readonly manifest: Manifest | undefined;
  /** The study that it is one of, which may not have come to it yet; for readers, as {@link shownPath}. */
  readonly study: string | undefined;
}

type UnnamedRun = Omit<SourceRun, "name">;

/** What is given to the report. */
export interface Sources {
  readonly title: string;
  /** Studies' folders. */
  readonly studies: readonly string[];
  readonly runs: readonly SourceRun[];
  /** The given paths for readers. */
  readonly shownPaths: readonly string[];
}

/** Which runs are wanted; what is not named is. */
export interface RunFilter {
  readonly model?: string;
  readonly mode?: string;
  readonly dataset?: string;
}

/**
 * Finds the runs under the given paths: studies' folders, runs' folders, files of records. What a run is of is known from its study; else from
 * its manifest, whose data the catalogue may know by hash; a file of the authors' says nothing, and is a condition by itself.
 *
 * @throws {LayergradError} `usage` for a path that is none of these, or if the filter leaves nothing.
 */
export function findSources(given: readonly string[], filter: RunFilter = {}): Sources {
  const paths = [...new Set(given)];
  const studies = paths.flatMap((path) => {
    const index = isFolder(path) ? readStudyIndex(path) : undefined;
    return index === undefined ? [] : [{ path, index }];
  });
  const runs = paths.flatMap((path): UnnamedRun[] => {
    const study = studies.find((candidate) => candidate.path === path);
    if (study === undefined) return [singleRun(path)];
    return study.index.runs.map(({ folder, ...attributes }) => ({
      path: join(path, folder),
      shownPath: join(shown(path), folder),
      attributes,
      manifest: readManifest(join(path, folder)),
      study: shown(path),
    }));
  });
  const wanted = toldApart(runs).filter(
    ({ attributes: { model, mode, data } }) =>
      (filter.model ?? model.name) === model.name && (filter.mode ?? mode) === mode && (filter.dataset ?? data.dataset) === data.dataset,
  );
  if (wanted.length === 0) throw new LayergradError("usage", nothingLeft(runs));
  const title = studies.length > 0 ? studies.map(({ index }) => index.name).join(", ") : paths.map(shown).join(" and ");
  return {
    title: studies.length === 0 && paths.length > 2 ? `${wanted.length} runs` : title,
    studies: studies.map(({ path }) => path),
    runs: named(wanted),
    shownPaths: paths.map(shown),
  };
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

function nothingLeft(runs: readonly UnnamedRun[]): string {
  const all = (of: (run: UnnamedRun) => string): string => [...new Set(runs.map(of))].join(", ");
  return `No run is of that model, mode and data set: there are the models ${all((r) => r.attributes.model.name)}, the modes ${all((r) => r.attributes.mode)} and the data sets ${all((r) => r.attributes.data.dataset)}.`;
}

function singleRun(path: string): UnnamedRun {
  const file = isFolder(path) ? join(path, runFiles.records) : path;
  if (!existsSync(file))
    throw new LayergradError(
      "usage",
      `${path}: is no study's folder, no run's, and no file of records; give one that holds study.json or ${runFiles.records}.`,
    );
  const folder = isFolder(path) ? path : basename(path) === runFiles.records ? join(path, "..") : undefined;
  const manifest = folder === undefined ? undefined : readManifest(folder);
  return { path, shownPath: shown(path), attributes: attributesOf(manifest, shown(path)), manifest, study: undefined };
}

/** Of a run that no study knows. */
function attributesOf(manifest: Manifest | undefined, path: string): Omit<RunAttributes, "folder"> {
  const own = { name: path, task: "own", dataset: "own data", condition: withoutEnding(path), irrelevant: false };
  if (manifest === undefined) return { model: { name: UNKNOWN_MODEL, kind: null, family: null }, mode: "base", data: own, labels: "all" };
  const { identity, data } = manifest;
  const known = catalogue.find(({ sha256 }) => sha256 === identity.data);
  return {
    model: { name: modelName(manifest), kind: null, family: null },
    mode: identity.mode,
    data: known?.attributes ?? { ...own, condition: withoutEnding(basename(data.path)) },
    labels: identity.labels === undefined ? "all" : labelsText(identity.labels),
  };
}

const withoutEnding = (name: string): string => name.replace(/\.\w+$/, "");

/** The model's name on the Hub, else its folder's. */
export const modelName = ({ model }: Manifest): string => model.id ?? basename(model.folder);

/** As `--labels` takes it; twins' data by their name in the catalogue, else by their hash. */
export function labelsText({ rule, count }: LabelIdentity): string {
  if (count === undefined) return rule;
  if (typeof count === "number") return `${rule}:${count}`;
  return `${rule}:@${catalogue.find(({ sha256 }) => sha256 === count.twins)?.name ?? count.twins.slice(0, 8)}`;
}

/** A path for readers: relative where it lies below here, else its last part. */
function shown(path: string): string {
  const below = relative(process.cwd(), path);
  return isAbsolute(below) || below.startsWith("..") ? basename(path) : normalize(below === "" ? "." : below);
}

/**
 * Runs that are of the very same would be one line in a figure. Those of several studies get their study's name behind the model's, those of one
 * study their data's behind the condition's, others their path.
 */
function toldApart(runs: readonly UnnamedRun[]): UnnamedRun[] {
  const key = ({ attributes: { model, mode, data, labels } }: UnnamedRun): string =>
    JSON.stringify([model.name, mode, data.task, data.dataset, data.condition, data.irrelevant, labels]);
  const alike = new Map<string, UnnamedRun[]>();
  for (const run of runs) alike.set(key(run), [...(alike.get(key(run)) ?? []), run]);
  const clashing = new Set(
    [...alike.values()]
      .filter((group) => new Set(group.map(({ study }) => study)).size > 1)
      .flatMap((group) => group.map(({ study }) => study)),
  );
  return runs.map((run) => {
    const { attributes, study, shownPath } = run;
    const { model, data } = attributes;
    const same = alike.get(key(run))!;
    const name = study !== undefined && clashing.has(study) ? `${model.name} (${study})` : model.name;
    const beside = study === undefined ? shownPath : data.name;
    const told = study === undefined ? same.length === 1 : same.filter((other) => other.study === study).length === 1;
    const condition = told ? data.condition : `${data.condition} (${beside})`;
    return { ...run, attributes: { ...attributes, model: { ...model, name }, data: { ...data, condition } } };
  });
}

/** Names by what runs are of; by their paths as well where that is not enough. */
function named(runs: readonly UnnamedRun[]): SourceRun[] {
  const plain = runs.map(({ attributes: { model, mode, data, labels } }) =>
    [subjectOf({ model, mode, data, labels }), data.name, ...(labels === "all" ? [] : [`labels ${labels}`])].join(", "),
  );
  const uses = new Map<string, number>();
  for (const name of plain) uses.set(name, (uses.get(name) ?? 0) + 1);
  return runs.map((run, i) => ({ ...run, name: uses.get(plain[i]!) === 1 ? plain[i]! : `${plain[i]} (${run.shownPath})` }));
}
