import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { RunAttributes, StudyIndex } from "../analysis/study-index.ts";
import { LayergradError } from "../errors.ts";
import { makeFolder } from "../io/folders.ts";
import { fsCode, fsReason } from "../io/fs-reason.ts";
import { outputError, writeFileAtomically } from "../store/files.ts";

/** Files of a study's folder beside its runs: what they are of, and which of them failed in the last call. */
export const studyFiles = { index: "study.json", failures: "failures.json" } as const;

/**
 * The index of a study's folder; undefined where there is none yet.
 *
 * @throws {LayergradError} `output` if it cannot be read or is no study's.
 */
export function readStudyIndex(folder: string): StudyIndex | undefined {
  const path = join(folder, studyFiles.index);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (fsCode(cause) === "ENOENT") return undefined;
    throw new LayergradError("output", `${path}: cannot be read: ${fsReason(cause)}.`, { cause });
  }
  let value: Partial<StudyIndex> | null;
  try {
    value = JSON.parse(text) as typeof value;
  } catch (cause) {
    throw new LayergradError("output", `${path}: is not valid JSON; remove it and run the study again, which writes it anew.`, { cause });
  }
  if (typeof value?.name !== "string" || !Array.isArray(value.runs) || !value.runs.every(isRun))
    throw new LayergradError("output", `${path}: was not written by layergrad study; choose another folder.`);
  return value as StudyIndex;
}

/** Whether an entry has what readers choose runs by. */
function isRun(entry: unknown): boolean {
  const { folder, model, mode, data, labels } = (entry ?? {}) as Partial<Record<keyof RunAttributes, unknown>>;
  const name = (of: unknown): unknown => (of as { name?: unknown } | null | undefined)?.name;
  return [folder, name(model), mode, name(data), labels].every((value) => typeof value === "string");
}

/**
 * Writes a file of a study's folder, which is made where it is missing; a reader finds the old or the new text whole.
 *
 * @throws {LayergradError} `output` where the disk fails.
 */
export function writeStudyFile(folder: string, name: string, value: unknown): void {
  try {
    makeFolder(folder);
  } catch (error) {
    throw outputError(folder, "the study's folder cannot be made", error);
  }
  writeFileAtomically(join(folder, name), [`${JSON.stringify(value, null, 2)}\n`]);
}
