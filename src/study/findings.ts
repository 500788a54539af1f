import { existsSync } from "node:fs";
import { join } from "node:path";
import { type FindingsOptions, findings, type StudyRun } from "../analysis/findings.ts";
import type { RunAttributes } from "../analysis/study-index.ts";
import type { RunTable } from "../analysis/table.ts";
import { LayergradError } from "../errors.ts";
import { writeFileAtomically } from "../store/files.ts";
import { runFiles } from "../store/index.ts";
import { readSweeps } from "../store/sweep-reader.ts";
import { readTable } from "../store/table-reader.ts";
import { findingsMarkdown, type StudyFindings } from "./findings-markdown.ts";
import { readStudyIndex, writeStudyFile } from "./index-file.ts";

export type { StudyFindings } from "./findings-markdown.ts";

/** Files that {@link judgeStudy} writes into a study's folder. */
export const findingsFiles = { json: "findings.json", markdown: "findings.md" } as const;

/**
 * Judges the papers' claims on a study's folder as `layergrad study` makes it, and writes findings.json and findings.md there. Runs that have
 * not been done yet are left out, and named.
 *
 * @throws {LayergradError} `usage` if the folder is no study's, or for an unknown claim; `data` if none of its runs has numbers; `output` where
 * the files cannot be written.
 */
export async function judgeStudy(folder: string, options: Omit<FindingsOptions, "study">): Promise<StudyFindings> {
  const index = readStudyIndex(folder);
  if (index === undefined)
    throw new LayergradError("usage", `${folder}: holds no study.json; give the folder that layergrad study wrote its runs into.`);
  const runs: StudyRun[] = [];
  const absent: { folder: string; reason: string }[] = [];
  for (const attributes of index.runs) {
    const run = await readRun(folder, attributes);
    if (typeof run === "string") absent.push({ folder: attributes.folder, reason: run });
    else runs.push(run);
  }
  if (runs.length === 0) throw new LayergradError("data", whyNone(folder, absent));
  const result = { ...findings(runs, { ...options, study: index.name }), runs: runs.length, absent };
  writeStudyFile(folder, findingsFiles.json, result);
  writeFileAtomically(join(folder, findingsFiles.markdown), [findingsMarkdown(result)]);
  return result;
}

const NOT_RUN = "it has not been run";

/** The first reason, of runs that are there, why none of a study's has numbers. */
function whyNone(folder: string, absent: readonly { readonly reason: string }[]): string {
  const reason = absent.find((run) => run.reason !== NOT_RUN)?.reason;
  const none = `${folder}: none of the study's ${absent.length} runs has`;
  return reason === undefined ? `${none} records; run layergrad study first.` : `${none} numbers to judge by: ${reason}.`;
}

/** A run's numbers, or why there are none. */
async function readRun(study: string, attributes: RunAttributes): Promise<StudyRun | string> {
  const folder = join(study, attributes.folder);
  const records = join(folder, runFiles.records);
  if (!existsSync(records)) return NOT_RUN;
  try {
    const table = statisticsOf(await readTable(folder, { name: attributes.folder }));
    return attributes.labels === "sweep" ? { attributes, table, sweep: await readSweeps(records) } : { attributes, table };
  } catch (error) {
    // Findings are passed on: the study's place on this machine is no part of them.
    if (error instanceof LayergradError && error.kind === "data") return error.message.replaceAll(join(study, "/"), "").replace(/\.$/, "");
    throw error;
  }
}

/** The table with only what the claims use, so that a whole study fits into memory. */
function statisticsOf(table: RunTable): RunTable {
  const { nuclearNorm, effectiveRank } = table.values;
  return { ...table, values: { ...(nuclearNorm && { nuclearNorm }), ...(effectiveRank && { effectiveRank }) } };
}
