import { existsSync, statSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { Argument, Command } from "commander";
import { type CatalogueFile, catalogue, catalogueGroup, findCatalogueFile } from "../data/catalogue.ts";
import { dataFolder } from "../data/folder.ts";
import { isHubReference, pullHub } from "../data/hub.ts";
import { type OpenedRows, openRows } from "../data/open-rows.ts";
import { catalogueFilePath, catalogueFileUrl, type Pulled, pullFile } from "../data/pull.ts";
import { markCollisions, shuffleResponses } from "../data/shuffle.ts";
import { LayergradError } from "../errors.ts";
import type { ColumnOptions } from "../io/columns.ts";
import { selectRows } from "../io/rows.ts";
import { writeFileAtomically } from "../store/files.ts";
import { type Row, userText } from "../text/row.ts";
import { shared, withColumns } from "./options.ts";
import { printable } from "./progress.ts";
import { table } from "./table.ts";

const reference = (): Argument => new Argument("<data>", "a file, a name of the catalogue, or hf:owner/name#config/split");

export const dataCommand = (): Command => {
  const command = new Command("data").description("the papers' data sets and your own: what there is, fetching, looking, irrelevant twins");
  command.command("list").description("the data sets that have a name, and whether they are here").addOption(shared.json()).action(list);
  command
    .command("pull")
    .description("fetch data sets; what is here already is checked and left")
    .addArgument(new Argument("[names...]", "names, groups of them such as aqua or wiki, or hf:owner/name#config/split"))
    .option("--paper", "the 56 files of arXiv 2410.23743")
    .option("--all", "those, and the 32 of arXiv 2504.10766")
    .option("--from <folder>", "copy from a checkout of the papers' repositories, or their data folders, instead of downloading")
    .addOption(shared.quiet())
    .addOption(shared.json())
    .action(pull);
  withColumns(command.command("show"))
    .description("rows of a data set, how long they are, and where it is from")
    .addArgument(reference())
    .addOption(shared.rows().default("0:3"))
    .addOption(shared.json())
    .action(show);
  withColumns(command.command("shuffle"))
    .description("write an irrelevant twin: the same questions with each other's responses, as few as possible the same as before")
    .addArgument(reference())
    .option("--seed <seed>", "another seed gives another twin", "0")
    .option("--out <file>", "JSON file to write (default: beside the file, its name ending in _irrelevant.json)")
    .addOption(shared.json())
    .action(shuffle);
  return command;
};

/** Whether a file of the catalogue is here. By its size: its hash is checked when it is read. */
function presence(file: CatalogueFile): "bundled" | "pulled" | "no" {
  if (!file.collection.source) return "bundled";
  return statSync(catalogueFilePath(file), { throwIfNoEntry: false })?.size === file.bytes ? "pulled" : "no";
}

function list(flags: { readonly json?: boolean }): void {
  if (flags.json) {
    const entries = catalogue.map((file) => ({
      ...file.attributes,
      rows: file.rows,
      bytes: file.bytes,
      sha256: file.sha256,
      url: catalogueFileUrl(file) ?? null,
      here: presence(file),
      path: catalogueFilePath(file),
    }));
    process.stdout.write(`${JSON.stringify(entries)}\n`);
    return;
  }
  const rows = catalogue.map((file) => [
    file.name,
    file.attributes.task,
    file.attributes.condition,
    `${file.rows}`,
    megabytes(file.bytes),
    presence(file),
  ]);
  const pulled = catalogue.filter((file) => presence(file) === "pulled").length;
  const papers = catalogue.filter((file) => file.collection.source).length;
  process.stdout.write(
    `${table(["name", "task", "condition", "rows", "size", "here"], rows)}\n\n${pulled} of the papers' ${papers} files are in ${dataFolder()}; "layergrad data pull" fetches more.\n`,
  );
}

interface PullFlags {
  readonly paper?: boolean;
  readonly all?: boolean;
  readonly from?: string;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

/** What became of one file or data set. */
interface PullResult {
  readonly name: string;
  readonly state: Pulled;
  readonly paths: readonly string[];
  readonly bytes: number;
}

async function pull(names: readonly string[], flags: PullFlags): Promise<void> {
  const wanted = chosenForPull(names, flags);
  const results: PullResult[] = [];
  for (const [i, one] of wanted.entries()) {
    const result = typeof one === "string" ? await pullFromHub(one) : await pullFromCatalogue(one, flags.from);
    results.push(result);
    if (!flags.quiet)
      process.stderr.write(`${i + 1}/${wanted.length} ${result.name}: ${words[result.state]}, ${megabytes(result.bytes)}\n`);
  }
  process.stdout.write(flags.json ? `${JSON.stringify(results)}\n` : `${describePull(results)}\n`);
}

const words: Readonly<Record<Pulled, string>> = { downloaded: "downloaded", copied: "copied", here: "here already", bundled: "bundled" };

function chosenForPull(names: readonly string[], { paper, all, from }: PullFlags): (CatalogueFile | string)[] {
  const ofPapers = catalogue.filter(({ collection }) => (all && collection.source) || (paper && collection.name === "layer-gradient"));
  const named = names.flatMap((name): (CatalogueFile | string)[] => {
    if (isHubReference(name)) {
      if (from !== undefined)
        throw new LayergradError("usage", `${name} is of the Hub, and --from is for the papers' files; pull it in a call of its own.`);
      return [name];
    }
    const group = catalogueGroup(name);
    if (group.length === 0)
      throw new LayergradError(
        "usage",
        `${name} is no name of the catalogue, nor the first part of one; "layergrad data list" shows them.`,
      );
    return [...group];
  });
  const wanted = [...new Set([...ofPapers, ...named])];
  if (wanted.length === 0) throw new LayergradError("usage", "say what to pull: names, --paper for the 56 files of the paper, or --all.");
  return wanted;
}

async function pullFromCatalogue(file: CatalogueFile, from: string | undefined): Promise<PullResult> {
  const state = await pullFile(file, { from });
  return { name: file.name, state, paths: [catalogueFilePath(file)], bytes: file.bytes };
}

async function pullFromHub(name: string): Promise<PullResult> {
  const paths = await pullHub(name);
  return { name, state: "downloaded", paths, bytes: paths.reduce((sum, path) => sum + statSync(path).size, 0) };
}

function describePull(results: readonly PullResult[]): string {
  const counts = (Object.keys(words) as Pulled[]).flatMap((state) => {
    const bytes = results.filter((r) => r.state === state).map((r) => r.bytes);
    return bytes.length > 0 ? [`${bytes.length} ${words[state]} (${megabytes(bytes.reduce((a, b) => a + b))})`] : [];
  });
  return `${results.length} data set${results.length === 1 ? "" : "s"}: ${counts.join(", ")}; the data folder is ${dataFolder()}`;
}

async function show(name: string, flags: ColumnOptions & { readonly rows: string; readonly json?: boolean }): Promise<void> {
  const { rows: spec, json, ...columns } = flags;
  const data = await openRows(name, columns);
  const { start, end } = selectRows(data.rows.length, spec);
  const collisions = await collisionsWithTwin(data);
  const file = findCatalogueFile(data.name);
  const facts = {
    name: data.name,
    paths: data.paths,
    sha256: data.sha256,
    rows: data.rows.length,
    ...(data.columns ? { columns: data.columns } : {}),
    ...(data.attributes ? { attributes: data.attributes } : {}),
    ...(file ? { url: catalogueFileUrl(file) ?? null, terms: file.collection.terms } : {}),
    characters: { prompt: lengths(data.rows.map(userText)), response: lengths(data.rows.map((row) => row.output)) },
    ...(collisions === undefined ? {} : { collisions }),
  };
  const shown = data.rows.slice(start, end).map((row, i) => ({ row: start + i, ...row }));
  process.stdout.write(json ? `${JSON.stringify({ ...facts, shown })}\n` : `${printable(describeShow(facts, shown))}\n`);
}

/** Rows of an irrelevant file of the catalogue whose response is that of the correct one; undefined where there is no such pair here. */
async function collisionsWithTwin(data: OpenedRows): Promise<number | undefined> {
  if (!data.attributes?.irrelevant) return undefined;
  const correct = findCatalogueFile(data.name.replace(/\/irrelevant$/, ""))!;
  if (presence(correct) === "no") return undefined;
  return markCollisions((await openRows(correct.name)).rows, data.rows).filter(Boolean).length;
}

interface Lengths {
  readonly mean: number;
  readonly least: number;
  readonly most: number;
}

/** Lengths in characters (code points). */
function lengths(texts: readonly string[]): Lengths {
  const each = texts.map((text) => [...text].length);
  const [least, most] = each.reduce(([low, high], n) => [Math.min(low, n), Math.max(high, n)], [Number.POSITIVE_INFINITY, 0]);
  return { mean: each.reduce((a, b) => a + b, 0) / each.length, least: least!, most: most! };
}

interface ShowFacts {
  readonly name: string;
  readonly paths: readonly string[];
  readonly sha256: string;
  readonly rows: number;
  readonly columns?: object;
  readonly url?: string | null;
  readonly terms?: string;
  readonly characters: { readonly prompt: Lengths; readonly response: Lengths };
  readonly collisions?: number;
}

function describeShow(facts: ShowFacts, shown: readonly (Row & { readonly row: number })[]): string {
  const range = ({ mean, least, most }: Lengths): string => `${mean.toFixed(0)} characters on average (${least} to ${most})`;
  const columns = Object.entries(facts.columns ?? {}).map(([role, column]) => `${role} from ${column}`);
  const lines: [string, string | null | undefined][] = [
    ["file", facts.paths.join(", ")],
    ["SHA-256", facts.sha256],
    ["from", facts.url],
    ["terms", facts.terms],
    ["columns", columns.join(", ")],
    ["prompts", range(facts.characters.prompt)],
    ["responses", range(facts.characters.response)],
    [
      "collisions",
      facts.collisions === undefined ? null : `${facts.collisions} of ${facts.rows} responses are, letter for letter, the correct file's`,
    ],
  ];
  return [
    `${facts.name}: ${facts.rows} rows`,
    ...lines.flatMap(([label, value]) => (value ? [`${label.padEnd(12)}${value}`] : [])),
    ...shown.map((row) => `\n── row ${row.row} ──\n${userText(row)}\n── response ──\n${row.output}`),
  ].join("\n");
}

interface ShuffleFlags extends ColumnOptions {
  readonly seed: string;
  readonly out?: string;
  readonly json?: boolean;
}

async function shuffle(name: string, { seed, out, json, ...columns }: ShuffleFlags): Promise<void> {
  const data = await openRows(name, columns);
  const target = out ?? beside(data);
  if (existsSync(target))
    throw new LayergradError("output", `${target} is there already and is left alone; remove it or choose another file with --out.`);
  const shuffled = shuffleResponses(data.rows, seed);
  writeFileAtomically(target, [`${JSON.stringify(shuffled, null, 2)}\n`]);
  const collisions = shuffled.filter((row) => row.collision).length;
  const summary = { file: target, rows: shuffled.length, collisions, seed };
  const told =
    collisions === 0
      ? "every row has another response than its own"
      : `${collisions} rows cannot but have a response equal to their own and are marked "collision"`;
  process.stdout.write(json ? `${JSON.stringify(summary)}\n` : `${shuffled.length} rows in ${target}, seed ${seed}; ${told}\n`);
}

/** `rows_irrelevant.json` beside `rows.csv`; what is not a user's own file has no such place. */
function beside({ name, paths }: OpenedRows): string {
  if (paths[0] !== name)
    throw new LayergradError("usage", `${name} is not a file of yours to write beside; say where the twin goes with --out <file>.`);
  return join(dirname(name), `${basename(name, extname(name))}_irrelevant.json`);
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e5 ? 2 : 1)} MB`;
