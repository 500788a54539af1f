import { existsSync } from "node:fs";
import { basename, dirname, extname, isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { RunAttributes } from "../analysis/study-index.ts";
import { catalogue, findCatalogueFile } from "../data/catalogue.ts";
import { isHubReference } from "../data/hub.ts";
import { isRevision, parseModelId } from "../hub/model-id.ts";
import { type ColumnOptions, chooseColumns } from "../io/columns.ts";
import { selectRows } from "../io/rows.ts";
import { type MatrixChoice, matrixChoices } from "../models/block.ts";
import { checkLabels, parseLabels } from "../run/labels.ts";
import type { ModelPlace, ModelReference } from "../run/locate-model.ts";
import type { Device } from "../runtime/device.ts";
import { parseSize } from "../runtime/size.ts";
import type { PromptMode } from "../text/prompt.ts";
import { parseDay } from "../text/strftime.ts";
import { chosenBy, isPattern, nearest } from "./names.ts";
import { type Entries, type Place, YamlFile } from "./yaml-file.ts";

/** A checkpoint of a study. */
export interface StudyModel extends Readonly<RunAttributes["model"]>, ModelReference {
  readonly model: ModelPlace;
  readonly adapter?: ModelPlace;
  /** The ways in which its instructions and responses are joined, a run each. */
  readonly modes: readonly PromptMode[];
}

/** Data of a study. */
export interface StudyData extends Readonly<RunAttributes["data"]> {
  /** What a run opens: a catalogue name or a path. */
  readonly reference: string;
  /** Which columns of own data hold what. */
  readonly columns?: ColumnOptions;
}

/** Which labels the losses of one data set's rows count. */
export interface StudyLabels {
  /** As the study's index has it: data by name, `last:@aqua/none`. */
  readonly name: string;
  /** As a run takes it: data by reference. */
  readonly choice: string;
}

/** Data and labels that are measured over the same rows. */
export interface StudyPart {
  readonly items: readonly { readonly data: StudyData; readonly labels: StudyLabels }[];
  /** Modes that it is measured in, where not all of the models'. */
  readonly modes?: readonly PromptMode[];
  /** `A:B`, as `--rows` takes it. */
  readonly rows?: string;
  readonly limit?: number;
}

/** What all runs of a study share. */
export interface StudyOptions {
  readonly maxLength?: number;
  readonly matrices?: MatrixChoice;
  readonly spectrum?: boolean;
  readonly cosines?: boolean;
  readonly singleBos?: boolean;
  readonly date?: string;
  readonly labelSeed?: number;
  readonly draws?: number;
  readonly batchTokens?: number;
  readonly threads?: number;
  /** Of the machine rather than the study, so not in a study.yaml. */
  readonly device?: Device;
  readonly memory?: number;
}

/** A study.yaml, checked as far as that needs no model and no data. */
export interface StudySpec {
  readonly name: string;
  /** Folder of the study's runs. */
  readonly out: string;
  readonly models: readonly StudyModel[];
  /** The data, then the controls. */
  readonly parts: readonly StudyPart[];
  readonly options: StudyOptions;
}

/** The keys of a study.yaml, by where they stand. */
export const studyKeys = {
  study: ["name", "out", "models", "data", "rows", "limit", "options", "controls"],
  model: ["name", "path", "model", "revision", "adapter", "kind", "family", "modes", "step"],
  data: ["file", "name", "task", "dataset", "condition", "irrelevant", "columns"],
  columns: ["instruction", "input", "output", "messages"],
  control: ["data", "labels", "modes", "rows", "limit"],
  options: [
    "max_length",
    "matrices",
    "spectrum",
    "cosines",
    "single_bos",
    "date",
    "label_seed",
    "draws",
    "batch_tokens",
    "threads",
    "memory",
  ],
} as const;

/** The bundled models, which need no folder of the user's. */
const bundled: readonly string[] = ["demo/base", "demo/instruct"];
const packageRoot = fileURLToPath(new URL("../../", import.meta.url));

/**
 * Reads a study.yaml. Paths in it are relative to its folder.
 *
 * @throws {LayergradError} `usage`, with file, line and column, for whatever is not as docs/study.md has it.
 */
export const readStudy = (path: string): StudySpec => toSpec(YamlFile.read(path));

/** {@link readStudy} of a text; `path` is where it would stand. */
export const parseStudy = (text: string, path: string): StudySpec => toSpec(YamlFile.parse(text, path));

function toSpec(yaml: YamlFile): StudySpec {
  const study = yaml.entries(yaml.root, "a study", studyKeys.study);
  const required = (key: "models" | "data"): Place => study[key] ?? missing(yaml, yaml.root, `a study needs "${key}"`);
  const name = study.name ? yaml.text(study.name, "name") : basename(yaml.path, extname(yaml.path));
  const out = yaml.text(study.out ?? missing(yaml, yaml.root, 'a study needs "out", the folder of its runs'), "out");
  const models = toModels(yaml, required("models"));
  const data = toData(yaml, required("data"));
  const options = toOptions(yaml, study.options ?? null);
  const rows = toRows(yaml, study);
  const all = { name: "all", choice: "all" };
  const parts: StudyPart[] = [{ items: data.map((set) => ({ data: set, labels: all })), ...rows }];
  for (const place of study.controls ? yaml.list(study.controls, "controls") : []) parts.push(toControl(yaml, place, data, parts, rows));
  return { name, out: beside(yaml, out), models, parts, options };
}

const missing = (yaml: YamlFile, place: Place, what: string): never => {
  throw yaml.fail(place, what);
};

const beside = (yaml: YamlFile, path: string): string => (isAbsolute(path) ? path : join(dirname(yaml.path), path));

/** A name that can be a folder's. */
function plainName(yaml: YamlFile, place: Place, what: string): string {
  const name = yaml.text(place, what);
  if (!/^[\p{L}\p{N}_][\p{L}\p{N}._-]*$/u.test(name))
    throw yaml.fail(place, `${what} names a folder, so it must be of letters, digits, ".", "_" and "-", found ${JSON.stringify(name)}`);
  return name;
}

function toModels(yaml: YamlFile, place: Place): StudyModel[] {
  const models: StudyModel[] = [];
  for (const entry of yaml.list(place, "models")) {
    const model = toModel(yaml, entry);
    if (models.some(({ name }) => name === model.name))
      throw yaml.fail(entry, `two of the models are called ${JSON.stringify(model.name)}; give one another name`);
    models.push(model);
  }
  return models;
}

function toModel(yaml: YamlFile, place: Place): StudyModel {
  // A text alone is an id of the Hub.
  const model: Entries<(typeof studyKeys.model)[number]> = yaml.isMap(place)
    ? yaml.entries(place, "a model", studyKeys.model)
    : place
      ? { model: place }
      : {};
  if (model.path && model.model) throw yaml.fail(model.path, 'a model has "path", a folder, or "model", an id of the Hub, and not both');
  const { reference, name } = model.model
    ? hubModel(yaml, model.model)
    : { reference: { path: modelFolder(yaml, place, model) }, name: undefined };
  if (model.revision && !model.model) throw yaml.fail(model.revision, 'a revision is of a model of the Hub, which is named by "model"');
  const revision = model.revision && yaml.text(model.revision, "revision");
  if (revision !== undefined && !isRevision(revision)) throw yaml.fail(model.revision, "revision must be a branch, a tag or a commit");
  const kind = model.kind ? yaml.choice(model.kind, "kind", ["base", "instruct"] as const) : null;
  const modes = model.modes ? toModes(yaml, model.modes) : [kind ?? "base"];
  return {
    name: model.name ? plainName(yaml, model.name, "a model's name") : (name ?? missing(yaml, place, 'a model needs "name"')),
    model: reference,
    ...(revision === undefined ? {} : { revision }),
    ...(model.adapter ? { adapter: adapterOf(yaml, model.adapter) } : {}),
    kind,
    family: model.family ? yaml.text(model.family, "family") : null,
    modes,
    ...(model.step ? { step: yaml.count(model.step, "step", 0) } : {}),
  };
}

function modelFolder(yaml: YamlFile, place: Place, model: Entries<"path">): string {
  const needs = 'a model needs "path", a folder, or "model", an id of the Hub';
  const path = yaml.text(model.path ?? missing(yaml, place, needs), "path");
  const folder = bundled.includes(path) ? join(packageRoot, path) : beside(yaml, path);
  if (existsSync(folder)) return folder;
  const hub = parseModelId(path) ? `, or write "model: ${path}" for one of the Hub` : "";
  throw yaml.fail(model.path, `there is no folder ${folder}; download the model or correct the path${hub}`);
}

/** A model of the Hub is called by the last part of its id where it has no other name. */
function hubModel(yaml: YamlFile, place: Place): { readonly reference: ModelPlace; readonly name: string } {
  const hub = yaml.text(place, "model");
  const id = parseModelId(hub);
  if (!id)
    throw yaml.fail(
      place,
      `model must be an id of the Hub such as Qwen/Qwen2-1.5B, found ${JSON.stringify(hub)}; a folder is given by "path"`,
    );
  return { reference: { hub }, name: basename(id.file ?? id.id, ".gguf") };
}

function adapterOf(yaml: YamlFile, place: Place): ModelPlace {
  const adapter = yaml.text(place, "adapter");
  const folder = beside(yaml, adapter);
  if (existsSync(folder)) return { path: folder };
  if (parseModelId(adapter)) return { hub: adapter };
  throw yaml.fail(place, `there is no folder ${folder}, and ${JSON.stringify(adapter)} is no id of the Hub; correct the path`);
}

function toModes(yaml: YamlFile, place: Place): PromptMode[] {
  const modes = yaml.list(place, "modes").map((mode) => yaml.choice(mode, "a mode", ["base", "instruct"] as const));
  if (new Set(modes).size < modes.length) throw yaml.fail(place, "modes has one twice; leave it out");
  return modes;
}

function toData(yaml: YamlFile, place: Place): StudyData[] {
  const found = new Map<string, StudyData>();
  const add = (entry: Place, data: StudyData): void => {
    const other = found.get(data.name);
    // Several patterns may match one name of the catalogue.
    if (other && (other.reference !== data.name || data.reference !== data.name))
      throw yaml.fail(entry, `two of the data are called ${JSON.stringify(data.name)}; give one another name`);
    const like = [...found.values()].find((one) => one.name !== data.name && isSameCondition(one, data));
    if (like)
      throw yaml.fail(
        entry,
        `${like.name} and ${data.name} are both ${conditionOf(data)}, and comparisons could not tell them apart; give one another "condition" or "dataset"`,
      );
    found.set(data.name, data);
  };
  for (const entry of yaml.list(place, "data")) {
    if (yaml.isMap(entry)) {
      add(entry, ownData(yaml, entry));
      continue;
    }
    const pattern = yaml.text(entry, "data");
    const matching = chosenBy(pattern, catalogue);
    if (matching.length === 0) throw yaml.fail(entry, unknownData(pattern));
    for (const { name, attributes } of matching) add(entry, { ...attributes, reference: name });
  }
  return [...found.values()];
}

const isSameCondition = (a: StudyData, b: StudyData): boolean =>
  a.task === b.task && a.dataset === b.dataset && a.condition === b.condition && a.irrelevant === b.irrelevant;

const conditionOf = ({ task, dataset, condition, irrelevant }: StudyData): string =>
  `the condition ${JSON.stringify(condition)} of the task ${JSON.stringify(task)} and the data set ${JSON.stringify(dataset)}, irrelevant ${irrelevant}`;

function unknownData(name: string): string {
  if (isPattern(name)) return `no data of the catalogue match ${JSON.stringify(name)}; "layergrad data list" shows the names`;
  if (/[.\\]/.test(name) || isHubReference(name))
    return `${JSON.stringify(name)} is no name of the catalogue; own data are written as "file: ${name}"`;
  const close = nearest(
    name,
    catalogue.map((entry) => entry.name),
  );
  const advice = close === undefined ? '"layergrad data list" shows the names' : `perhaps "${close}" is meant`;
  return `${JSON.stringify(name)} is no name of the catalogue; ${advice}`;
}

function ownData(yaml: YamlFile, place: Place): StudyData {
  const own = yaml.entries(place, "own data", studyKeys.data);
  const file = yaml.text(own.file ?? missing(yaml, place, 'own data need "file"'), "file");
  const onHub = isHubReference(file);
  const reference = onHub ? file : beside(yaml, file);
  if (!onHub && !existsSync(reference)) throw yaml.fail(own.file, `there is no file ${reference}; correct the path`);
  const name = own.name ? yaml.text(own.name, "name") : basename(file, extname(file));
  if (!/^[\p{L}\p{N}_][\p{L}\p{N}._-]*(\/[\p{L}\p{N}_][\p{L}\p{N}._-]*)*$/u.test(name))
    throw yaml.fail(
      own.name ?? own.file,
      `the name of own data must be of letters, digits, ".", "_", "-" and "/", found ${JSON.stringify(name)}; give it another "name"`,
    );
  const text = (key: "task" | "dataset" | "condition", fallback: string): string => (own[key] ? yaml.text(own[key], key) : fallback);
  return {
    name,
    task: text("task", "own"),
    dataset: text("dataset", "own"),
    condition: text("condition", name),
    irrelevant: own.irrelevant ? yaml.flag(own.irrelevant, "irrelevant") : false,
    reference,
    ...(own.columns ? { columns: toColumns(yaml, own.columns) } : {}),
  };
}

function toColumns(yaml: YamlFile, place: Place): ColumnOptions {
  const columns: Record<string, string> = {};
  for (const [name, column] of Object.entries(yaml.entries(place, "columns", studyKeys.columns)))
    columns[`${name}Column`] = yaml.text(column, name);
  yaml.checked(place, () => chooseColumns([], columns));
  return columns;
}

function toRows(yaml: YamlFile, { rows, limit }: Entries<"rows" | "limit">): Pick<StudyPart, "rows" | "limit"> {
  const range = rows && yaml.text(rows, "rows");
  // Of a file so long that only the form can be wrong.
  if (rows) yaml.checked(rows, () => selectRows(Number.MAX_SAFE_INTEGER, range));
  return { ...(range === undefined ? {} : { rows: range }), ...(limit ? { limit: yaml.count(limit, "limit") } : {}) };
}

function toControl(
  yaml: YamlFile,
  place: Place,
  data: readonly StudyData[],
  before: readonly StudyPart[],
  rows: Pick<StudyPart, "rows" | "limit">,
): StudyPart {
  const control = yaml.entries(place, "a control", studyKeys.control);
  const patterns = yaml.list(control.data ?? missing(yaml, place, 'a control needs "data", names of data of this study'), "data");
  const chosen = new Set<StudyData>();
  for (const pattern of patterns) {
    const text = yaml.text(pattern, "data");
    const matching = chosenBy(text, data);
    if (matching.length === 0)
      throw yaml.fail(pattern, `none of the study's data match ${JSON.stringify(text)}; list them under "data" too`);
    for (const set of matching) chosen.add(set);
  }
  const labels = yaml.list(control.labels ?? missing(yaml, place, 'a control needs "labels", such as last:@none'), "labels");
  const items = [...chosen].flatMap((set) => labels.map((label) => ({ data: set, labels: toLabels(yaml, label, set, data) })));
  const known = new Set(before.flatMap((part) => part.items.map((item) => `${item.labels.name} ${item.data.name}`)));
  for (const item of items) {
    const key = `${item.labels.name} ${item.data.name}`;
    if (known.has(key))
      throw yaml.fail(place, `${item.data.name} with the labels ${item.labels.name} is in this study twice; leave one out`);
    known.add(key);
  }
  const modes = control.modes ? { modes: toModes(yaml, control.modes) } : {};
  // Each of the two defaults to the study's by itself.
  return { items, ...modes, ...rows, ...toRows(yaml, control) };
}

/** A choice of labels for one data set: the condition or name behind an `@` becomes data. */
function toLabels(yaml: YamlFile, place: Place, set: StudyData, data: readonly StudyData[]): StudyLabels {
  const text = yaml.text(place, "labels");
  const { rule, count } = yaml.checked(place, () => parseLabels(text));
  if (count === undefined || typeof count === "number") return { name: text, choice: text };
  const twin = findTwin(yaml, place, count.twins, set, data);
  if (JSON.stringify(twin.columns) !== JSON.stringify(set.columns))
    throw yaml.fail(
      place,
      `${twin.name} would be read by the columns of ${set.name}, which are others; name the columns of both files alike`,
    );
  if (twin.name === set.name) throw yaml.fail(place, `${set.name} has as many labels as itself; leave it out of this control's data`);
  return { name: `${rule}:@${twin.name}`, choice: `${rule}:@${twin.reference}` };
}

/** A condition of the same data set, irrelevant where the data are; or data by name, of the study or the catalogue. */
function findTwin(
  yaml: YamlFile,
  place: Place,
  wanted: string,
  set: StudyData,
  data: readonly StudyData[],
): Pick<StudyData, "name" | "reference" | "columns"> {
  const siblings = data.filter((d) => d.task === set.task && d.dataset === set.dataset && d.irrelevant === set.irrelevant);
  const named = siblings.find((d) => d.condition === wanted) ?? data.find((d) => d.name === wanted);
  if (named) return named;
  if (findCatalogueFile(wanted)) return { name: wanted, reference: wanted };
  throw yaml.fail(
    place,
    `@${wanted} is neither a condition that ${set.name} has beside it in this study (${siblings.map((d) => d.condition).join(", ")}) nor a name of data`,
  );
}

function toOptions(yaml: YamlFile, place: Place): StudyOptions {
  if (place === null) return {};
  const found = yaml.entries(place, "options", studyKeys.options);
  const read = <T>(key: keyof typeof found, how: (place: Place, what: string) => T): T | undefined =>
    found[key] ? how(found[key], key) : undefined;
  const count = (at: Place, what: string) => yaml.count(at, what);
  const flag = (at: Place, what: string) => yaml.flag(at, what);
  const memory = (at: Place, what: string): number => {
    const bytes = parseSize(yaml.text(at, what));
    if (bytes === null) throw yaml.fail(at, `${what} must be a size such as 6GB or 800MB, found ${JSON.stringify(yaml.text(at, what))}`);
    return bytes;
  };
  const date = (at: Place, what: string): string => {
    const day = yaml.text(at, what);
    yaml.checked(at, () => parseDay(day));
    return day;
  };
  const options = {
    maxLength: read("max_length", count),
    matrices: read("matrices", (at, what) => yaml.choice(at, what, matrixChoices)),
    spectrum: read("spectrum", flag),
    cosines: read("cosines", flag),
    singleBos: read("single_bos", flag),
    date: read("date", date),
    labelSeed: read("label_seed", (at, what) => yaml.count(at, what, 0)),
    draws: read("draws", count),
    batchTokens: read("batch_tokens", count),
    threads: read("threads", count),
    memory: read("memory", memory),
  };
  if (options.cosines && options.matrices === "mlp")
    throw yaml.fail(found.cosines, "cosines are of attention matrices, and matrices: mlp leaves those out; drop one of the two");
  if (options.draws !== undefined) yaml.checked(found.draws ?? null, () => checkLabels({ labels: "sweep", draws: options.draws }));
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
