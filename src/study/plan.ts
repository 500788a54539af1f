import { join } from "node:path";
import type { RunAttributes, StudyIndex } from "../analysis/study-index.ts";
import { LayergradError } from "../errors.ts";
import type { PromptMode } from "../text/prompt.ts";
import type { StudyData, StudyLabels, StudyModel, StudyPart, StudySpec } from "./spec.ts";

/** One run of a study, still to be done. */
export interface PlannedRun {
  /** Its entry in the study's index. */
  readonly attributes: RunAttributes;
  /** Folder of its records: the study's folder and `attributes.folder`. */
  readonly out: string;
  readonly model: StudyModel;
  readonly mode: PromptMode;
  readonly data: StudyData;
  readonly labels: StudyLabels;
  readonly range: Pick<StudyPart, "rows" | "limit">;
}

/**
 * The runs of a study: models × modes × (data, then controls), model by model, so that each is opened once.
 *
 * @throws {LayergradError} `usage` where two runs would share a folder, also on disks that do not tell upper from lower case.
 */
export function planStudy({ out, models, parts }: StudySpec): PlannedRun[] {
  const runs = models.flatMap((model) =>
    model.modes.flatMap((mode) =>
      parts.flatMap(({ items, modes = model.modes, ...range }) =>
        (modes.includes(mode) ? items : []).map(({ data, labels }): PlannedRun => {
          const attributes = attributesOf(model, mode, data, labels);
          return { attributes, out: join(out, attributes.folder), model, mode, data, labels, range };
        }),
      ),
    ),
  );
  const taken = new Map<string, PlannedRun>();
  for (const run of runs) {
    const key = run.attributes.folder.toLowerCase();
    const other = taken.get(key);
    if (other)
      throw new LayergradError(
        "usage",
        `The runs of ${describe(other)} and ${describe(run)} would share the folder ${run.attributes.folder}; rename one of them in the study.`,
      );
    taken.set(key, run);
  }
  return runs;
}

const describe = ({ model, data, labels }: PlannedRun): string => `${model.name} on ${data.name}, labels ${labels.name},`;

function attributesOf({ name, kind, family, step }: StudyModel, mode: PromptMode, data: StudyData, labels: StudyLabels): RunAttributes {
  const { reference: _, columns: __, ...dataAttributes } = data;
  return {
    folder: [name, mode, fileName(data.name) + labelSuffix(labels.name)].join("/"),
    model: { name, kind, family, ...(step === undefined ? {} : { step }) },
    mode,
    data: dataAttributes,
    labels: labels.name,
  };
}

const fileName = (name: string): string => name.replaceAll("/", "-");

/** `+last@aqua-none` of `last:@aqua/none`, `+first8` of `first:8`; nothing of `all`. */
const labelSuffix = (labels: string): string => (labels === "all" ? "" : `+${fileName(labels.replace(":", ""))}`);

/** The study's index: what its runs are of. */
export const indexOf = ({ name }: StudySpec, runs: readonly PlannedRun[], date: string): StudyIndex => ({
  name,
  date,
  runs: runs.map((run) => run.attributes),
});
