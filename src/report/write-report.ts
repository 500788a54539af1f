import { existsSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Findings } from "../analysis/findings.ts";
import type { StatisticName } from "../analysis/table.ts";
import { LayergradError } from "../errors.ts";
import { makeFolder } from "../io/folders.ts";
import { builtFile } from "../runtime/built-file.ts";
import { outputError, writeFileAtomically } from "../store/files.ts";
import { runFiles } from "../store/index.ts";
import { findingsFiles, judgeStudy } from "../study/findings.ts";
import { readStudyIndex, studyFiles } from "../study/index-file.ts";
import { buildRunsData } from "./build-data.ts";
import type { CommandOptions } from "./commands.ts";
import { kebab } from "./format.ts";
import { type PageParts, pageHtml } from "./page.ts";
import type { ReportData } from "./report-data.ts";
import { findSources, type RunFilter } from "./sources.ts";
import { csv, latex, markdown } from "./table.ts";
import { curvesTable, rowsTable, tablesOf } from "./tables.ts";
import { writeFigures } from "./write-figures.ts";

/** What {@link writeReport} is about, and where it goes. */
export interface ReportOptions extends RunFilter {
  readonly out: string;
  /** The first is that of the figures' files. */
  readonly statistics: readonly StatisticName[];
  readonly seed: string;
  readonly resamples?: number;
  /** Draws the files' curves as the paper does. */
  readonly paperStyle?: boolean;
  /** Whether figures are written as PNG, too. */
  readonly png: boolean;
  /** Is told what is under way: runs read, figures drawn. */
  readonly progress?: (what: "runs" | "figures", done: number, total: number) => void;
}

/** What a report came to. */
export interface ReportSummary {
  readonly page: string;
  readonly bytes: number;
  readonly runs: number;
  readonly rows: number;
  readonly figures: number;
  readonly tables: number;
  readonly absent: ReportData["absent"];
}

/** Seed of findings where a study has none yet, as `layergrad findings` has it. */
const FINDINGS_SEED = "1";

const { version } = createRequire(import.meta.url)("../../package.json") as { version: string };

/**
 * Writes report.html, figures/ and tables/ about the runs under `paths` (studies' folders, runs' folders, files of records).
 *
 * @throws {LayergradError} `usage`, `data` as {@link findSources} and {@link buildRunsData}; `output` where files cannot be written.
 */
export async function writeReport(paths: readonly string[], options: ReportOptions): Promise<ReportSummary> {
  const sources = findSources(paths, options);
  const folders = { figures: join(options.out, "figures"), tables: join(options.out, "tables") };
  for (const folder of Object.values(folders)) makeReportFolder(folder);
  const { seed, resamples } = options;
  const statistics = [...new Set(["nuclearNorm", ...options.statistics] as const)];
  const runs = await buildRunsData(sources.runs, {
    statistics,
    seed,
    ...(resamples !== undefined && { resamples }),
    progress: (done, total) => options.progress?.("runs", done, total),
  });
  const data: ReportData = {
    title: sources.title,
    made: new Date().toISOString(),
    version,
    paths: sources.shownPaths,
    options: commandOptions(options),
    seed,
    resamples:
      resamples === undefined ? "2000 resamples an interval, 500 for runs of 100 rows and more" : `${resamples} resamples an interval`,
    statistics,
    ...runs,
    findings: await Promise.all(sources.studies.map(findingsOf)),
  };

  const tables = tablesOf(data);
  const write = (name: string, text: string | Uint8Array): void => writeFileAtomically(join(options.out, name), [text]);
  for (const table of tables) {
    write(`tables/${table.name}.csv`, csv(table));
    write(`tables/${table.name}.md`, markdown(table));
    write(`tables/${table.name}.tex`, latex(table));
  }
  write("tables/curves.csv", csv(curvesTable(data.runs)));
  write("tables/rows.csv", csv(rowsTable(data.runs, data.texts)));

  const images = await writeFigures(data, {
    statistic: options.statistics[0] ?? "nuclearNorm",
    paperStyle: options.paperStyle ?? false,
    png: options.png,
    write,
    progress: (done, total) => options.progress?.("figures", done, total),
  });
  const page = pageHtml({ data, tables, images, script: builtText("web/report.js"), style: builtText("web/report.css"), fonts: fonts() });
  write("report.html", page);
  return {
    page: join(options.out, "report.html"),
    bytes: Buffer.byteLength(page),
    runs: data.runs.length,
    rows: data.runs.reduce((sum, run) => sum + run.rows.used, 0),
    figures: images.length,
    tables: tables.length,
    absent: data.absent,
  };
}

function makeReportFolder(folder: string): void {
  try {
    makeFolder(folder);
  } catch (error) {
    throw outputError(folder, "the report's folder cannot be made", error);
  }
}

function builtText(path: string): string {
  const file = builtFile(path);
  if (!existsSync(file)) throw new Error(`dist/${path} is missing: the build is not complete`);
  return readFileSync(file, "utf8");
}

/** The bundled face, as the figures are laid out for it. */
const fonts = (): PageParts["fonts"] =>
  [
    { weight: 400, name: "Inter-Regular.ttf" },
    { weight: 600, name: "Inter-SemiBold.ttf" },
  ].map(({ weight, name }) => ({ weight, bytes: readFileSync(new URL(`../../assets/fonts/${name}`, import.meta.url)) }));

/** The options that make the report again; those that are at their default are left out. */
const commandOptions = ({ model, mode, dataset, statistics, seed, resamples, paperStyle }: ReportOptions): CommandOptions => ({
  model,
  mode,
  dataset,
  statistic: statistics.map(kebab).join(","),
  seed: seed === "0" ? undefined : seed,
  resamples: resamples === undefined ? undefined : String(resamples),
  "paper-style": paperStyle || undefined,
});

/** A study's findings: those in its folder where none of its records is newer, else judged anew. */
async function findingsOf(folder: string): Promise<Findings> {
  const file = join(folder, findingsFiles.json);
  const judged = statSync(file, { throwIfNoEntry: false })?.mtimeMs;
  const newest = Math.max(
    ...[join(folder, studyFiles.index), ...readStudyIndex(folder)!.runs.map((run) => join(folder, run.folder, runFiles.records))].map(
      (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0,
    ),
  );
  if (judged === undefined || judged < newest) return judgeStudy(folder, { seed: FINDINGS_SEED });
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Findings;
  } catch (cause) {
    throw new LayergradError("data", `${file}: is not valid JSON; remove it, and the report judges the study anew.`, { cause });
  }
}
