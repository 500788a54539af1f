import type { Findings } from "../analysis/findings.ts";
import type { StatisticName } from "../analysis/table.ts";
import type { ReportData, ReportRun } from "./report-data.ts";
import { conditionOf, datasetOf, subjectOf } from "./runs.ts";

/** What the figures show. */
export interface Choice {
  /** Model and mode, as {@link subjectOf} has it. */
  readonly subject: string;
  /** As {@link datasetOf} has it; {@link ALL} for all together, a dot a row. */
  readonly dataset: string;
  /** Those shown, in the order of the study. */
  readonly conditions: readonly string[];
  readonly statistic: StatisticName;
  /** {@link ALL} or one. */
  readonly module: string;
  /** Whether curves are drawn as the paper does: its colours and limits, the two ratios below the nuclear norm. */
  readonly paperStyle: boolean;
}

export const ALL = "all";

/** All models and modes, in the order of the runs. */
export const subjectsOf = ({ runs }: ReportData): string[] => unique(runs, (run) => subjectOf(run.attributes));

/** Data sets of a subject. */
export const datasetsOf = ({ runs }: ReportData, subject: string): string[] =>
  unique(
    runs.filter(({ attributes }) => subjectOf(attributes) === subject),
    ({ attributes }) => datasetOf(attributes),
  );

/** Positions of the runs of a subject and data set (or {@link ALL}). */
export const runsOf = ({ runs }: ReportData, subject: string, dataset: string): number[] =>
  [...runs.keys()].filter((index) => {
    const { attributes } = runs[index]!;
    return subjectOf(attributes) === subject && (dataset === ALL || datasetOf(attributes) === dataset);
  });

/** Conditions of a subject and data set: a condition, then its twin, in the order of the runs. */
export function conditionsOf(data: ReportData, subject: string, dataset: string): string[] {
  const runs = runsOf(data, subject, dataset).map((index) => data.runs[index]!);
  return unique(runs, ({ attributes }) => conditionOf(attributes));
}

/** Conditions that are shown at first: all that count all labels of their own responses, where there are any. */
export function firstConditions(data: ReportData, subject: string, dataset: string): string[] {
  const runs = runsOf(data, subject, dataset).map((index) => data.runs[index]!);
  const plain = runs.filter(({ attributes }) => !attributes.data.irrelevant && attributes.labels === "all");
  return unique(plain.length > 0 ? plain : runs, ({ attributes }) => conditionOf(attributes));
}

/** Modules of a subject's runs. */
export const modulesOf = (data: ReportData, subject: string): string[] => [
  ...new Set(runsOf(data, subject, ALL).flatMap((index) => data.runs[index]!.modules)),
];

const unique = (runs: readonly ReportRun[], of: (run: ReportRun) => string): string[] => [...new Set(runs.map(of))];

/** Models that a study's claims are judged for, one by one; a claim about two models is shown with each of them. */
export function forestSubjects({ claims }: Findings): string[] {
  // Where there is none to judge, a judgement has no parts.
  const judged = claims.flatMap(({ judgements }) => judgements.filter(({ published }) => published.parts.length > 0));
  const subjects = [...new Set(judged.map(({ subject }) => subject))];
  const single = subjects.filter((subject) => !subject.includes(" → "));
  return single.length > 0 ? single : subjects;
}
