import type { RunAttributes } from "../analysis/study-index.ts";

/** What a run is of, without its place. */
export type RunOf = Omit<RunAttributes, "folder">;

/** The model of records without a manifest, which say neither model nor mode. */
export const UNKNOWN_MODEL = "model not stated";

/** The model in its mode: `SmolLM2-135M, base mode`. */
export const subjectOf = ({ model, mode }: RunOf): string => (model.name === UNKNOWN_MODEL ? model.name : `${model.name}, ${mode} mode`);

/** The data set, by its task and name: `cot/aqua`. */
export const datasetOf = ({ data }: RunOf): string => `${data.task}/${data.dataset}`;

/** The condition within its data set: `detailed`, `detailed, irrelevant`, `detailed, last labels as none`. A twin says so at the end. */
export function conditionOf({ data, labels }: RunOf): string {
  return [data.condition, ...(labels === "all" ? [] : [labelsInWords(labels)]), ...(data.irrelevant ? ["irrelevant"] : [])].join(", ");
}

/** `last:@aqua/none` as `last labels as none`, `first:32` as `first 32 labels`, `sweep` as `sweep`. */
export function labelsInWords(labels: string): string {
  const [, rule, twin, count] = /^(\w+):(?:@(.+)|(\d+))$/.exec(labels) ?? [];
  if (twin !== undefined) return `${rule} labels as ${twin.split("/").at(-1)}`;
  return count === undefined ? labels : `${rule} ${count} labels`;
}
