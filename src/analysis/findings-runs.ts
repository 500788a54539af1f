import type { Condition } from "./findings-claims.ts";
import type { Stratum } from "./findings-measures.ts";
import { noPartner, pairRows } from "./pairing.ts";
import type { RunAttributes } from "./study-index.ts";
import { keepRows, pickRows, type SweepLabels, type SweepRow, sweepTable } from "./sweep.ts";
import type { RunTable } from "./table.ts";

/** One run of a study with its numbers. */
export interface StudyRun {
  readonly attributes: RunAttributes;
  readonly table: RunTable;
  /** Of a run with `--labels sweep`. */
  readonly sweep?: readonly SweepRow[];
}

/** A model in a mode. */
export interface ModelInMode {
  readonly model: string;
  readonly mode: "base" | "instruct";
}

/** What a judgement is about: a model in a mode, or a base model and its family's instruct model. */
export interface Subject {
  readonly name: string;
  readonly base: ModelInMode;
  /** The same as `base` where one model is judged. */
  readonly instruct: ModelInMode;
}

const rules = ["last", "first", "random"] as const;

/**
 * Which labels the losses count: all; as many in one condition as in the other, by runs (`last:@…`) or by steps of sweeps; or `count` in all
 * conditions (`first:32`).
 */
export type Labels = "all" | { readonly rule: (typeof rules)[number]; readonly count?: number } | { readonly sweep: SweepLabels };

/** A way of holding the number of labels fixed by experiment. */
export interface Experiment {
  readonly how: string;
  readonly labels: Exclude<Labels, "all">;
}

/** The ways that a study's runs may offer: each rule held to another condition, each fixed number of labels, each kind of sweep. */
export function experimentsOf(runs: readonly StudyRun[]): Experiment[] {
  const counts = (rule: string): number[] =>
    runs.flatMap(({ attributes }) => {
      const [, chosen, count] = /^(\w+):(\d+)$/.exec(attributes.labels) ?? [];
      return chosen === rule ? Number(count) : [];
    });
  return [
    ...rules.map((rule): Experiment => ({ how: `${rule} labels`, labels: { rule } })),
    ...rules.flatMap((rule) =>
      [...new Set(counts(rule))]
        .toSorted((a, b) => a - b)
        .map((count): Experiment => ({ how: `${rule} ${count} labels`, labels: { rule, count } })),
    ),
    ...(["first", "random"] as const).map((sweep): Experiment => ({ how: `${sweep} labels of the sweep`, labels: { sweep } })),
  ];
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** A data set within its task. */
const datasetOf = ({ data }: RunAttributes): string => `${data.task}/${data.dataset}`;

/** Runs and their rows in one order, whatever the order in which they come: what is drawn at random then falls on the same rows. */
export function canonicalRuns(runs: readonly StudyRun[]): StudyRun[] {
  return runs
    .map((run) => ({ ...run, table: sortedRows(run.table) }))
    .toSorted((a, b) => compare(a.attributes.folder, b.attributes.folder));
}

/** By position, then by text; where positions are not known, occurrences of one instruction stay in their order. */
function sortedRows(table: RunTable): RunTable {
  const order = [...table.rows.keys()].toSorted((i, j) => {
    const [a, b] = [table.rows[i]!, table.rows[j]!];
    return (a.row ?? 0) - (b.row ?? 0) || compare(a.instruction, b.instruction);
  });
  return order.every((index, i) => index === i) ? table : pickRows(table, order);
}

/** Each model in each of its modes. */
export function modelsOf(runs: readonly StudyRun[]): Subject[] {
  const subjects = new Map(
    runs.map(({ attributes: { model, mode } }) => [`${model.name}, ${mode} mode`, { model: model.name, mode }] as const),
  );
  return [...subjects].toSorted(([a], [b]) => compare(a, b)).map(([name, subject]) => ({ name, base: subject, instruct: subject }));
}

/**
 * Base and instruct models of one family: each in its own mode, as the paper has them, and both in one mode, where only the checkpoint differs.
 */
export function pairsOf(runs: readonly StudyRun[]): Subject[] {
  const attributes = (subject: Subject) => runsOf(runs, subject.base)[0]!.attributes.model;
  const models = modelsOf(runs);
  const ofKind = (kind: "base" | "instruct") => models.filter((subject) => attributes(subject).kind === kind);
  return ofKind("base").flatMap((base) =>
    ofKind("instruct")
      .filter((instruct) => {
        const [a, b] = [attributes(base), attributes(instruct)];
        return a.family !== null && a.family === b.family && !(base.base.mode === "instruct" && instruct.base.mode === "base");
      })
      .map((instruct) => ({ name: `${base.name} → ${instruct.name}`, base: base.base, instruct: instruct.base })),
  );
}

const runsOf = (runs: readonly StudyRun[], { model, mode }: ModelInMode): StudyRun[] =>
  runs.filter(({ attributes }) => attributes.model.name === model && attributes.mode === mode);

function conditionName({ condition, irrelevant, of }: Condition): string {
  const marks = [irrelevant && "irrelevant", of].filter((mark) => typeof mark === "string");
  return marks.length === 0 ? condition : `${condition} (${marks.join(", ")})`;
}

/** Of each condition its runs on one data set. */
type Candidates = readonly (readonly StudyRun[])[];

/**
 * The data sets on which a claim's conditions have been run, with as many labels as `labels` says. A data set that lacks a condition is left
 * out, but for optional ones.
 */
export function strataOf(runs: readonly StudyRun[], subject: Subject, conditions: readonly Condition[], labels: Labels): Stratum[] {
  const sides = { base: runsOf(runs, subject.base), instruct: runsOf(runs, subject.instruct) };
  const datasets = new Set([...sides.base, ...sides.instruct].map(({ attributes }) => datasetOf(attributes)));
  return [...datasets].toSorted(compare).flatMap((dataset) => {
    const candidates = conditions.map(({ condition, irrelevant = false, of = "base" }) =>
      sides[of].filter(({ attributes }) => {
        const { data } = attributes;
        return datasetOf(attributes) === dataset && data.condition === condition && data.irrelevant === irrelevant;
      }),
    );
    const whole = candidates.map(
      (ofCondition) =>
        ofCondition.find(({ attributes }) => attributes.labels === "all") ?? ofCondition.find(({ sweep }) => sweep !== undefined),
    );
    const tables = chooseTables(candidates, whole, conditions, labels);
    const present = [...conditions.keys()].filter((c) => tables[c] !== undefined);
    if (present.length < 2 || conditions.some(({ optional }, c) => !optional && tables[c] === undefined)) return [];
    return {
      dataset,
      conditions: present.map((c) => conditionName(conditions[c]!)),
      tables: present.map((c) => tables[c]!),
      whole: present.map((c) => whole[c]?.table ?? tables[c]!),
    };
  });
}

type Tables = readonly (RunTable | undefined)[];

function chooseTables(
  candidates: Candidates,
  whole: readonly (StudyRun | undefined)[],
  conditions: readonly Condition[],
  labels: Labels,
): Tables {
  if (labels === "all") return whole.map((run) => run?.table);
  if ("count" in labels) return withCount(candidates, labels.rule, labels.count!);
  return conditions.map(({ labelsLike }, c) => {
    if (labelsLike === undefined) return whole[c]?.table;
    const anchor = whole[labelsLike];
    if (anchor === undefined) return undefined;
    if ("sweep" in labels) return sweptLike(candidates[c]!, labels.sweep, anchor.table);
    const run = withLabels(candidates[c]!, `${labels.rule}:@${anchor.attributes.data.name}`);
    return run && heldTo(run.table, anchor.table);
  });
}

const withLabels = (runs: readonly StudyRun[], labels: string): StudyRun | undefined =>
  runs.find(({ attributes }) => attributes.labels === labels);

/** The rows that count as many labels as the anchor's row of the same question: a row with fewer labels than that counted all it had. */
function heldTo(table: RunTable, anchor: RunTable): RunTable {
  const inBoth = labelsByRow(table, anchor);
  const asked = keepRows(table, (_, i) => inBoth.has(i), noPartner);
  const wanted = labelsByRow(asked, anchor);
  return keepRows(asked, (row, i) => row.nLabels !== null && row.nLabels === wanted.get(i), "counts fewer labels than the other condition");
}

/** Of each row with a partner in the anchor the partner's number of labels. */
const labelsByRow = (table: RunTable, anchor: RunTable): Map<number, number | null> =>
  new Map(pairRows(table, anchor).pairs.map(([row, inAnchor]) => [row, anchor.rows[inAnchor]!.nLabels]));

/** The steps of a run's sweep with as many labels as the anchor's rows have. */
function sweptLike(runs: readonly StudyRun[], labels: SweepLabels, anchor: RunTable): RunTable | undefined {
  const run = runs.find(({ sweep }) => sweep?.some(({ steps }) => steps.some((step) => step.labels === labels)));
  if (run === undefined) return undefined;
  // A sweep's rows may be fewer than the table's, and in another order.
  const asTable: RunTable = { ...run.table, rows: run.sweep!.map((row) => ({ ...row, loss: Number.NaN })), values: {} };
  const wanted = labelsByRow(asTable, anchor);
  const position = new Map(run.sweep!.map((row, i) => [row, i]));
  return sortedRows(sweepTable(run.table, run.sweep!, labels, (row) => wanted.get(position.get(row)!) ?? undefined));
}

/** All conditions under one rule with one fixed number, such as `first:32`. */
const withCount = (candidates: Candidates, rule: string, count: number): Tables =>
  candidates.map((ofCondition) => {
    const run = withLabels(ofCondition, `${rule}:${count}`);
    return run && keepRows(run.table, (row) => row.nLabels === count, `counts fewer than ${count} labels`);
  });

/** A data set's runs of two conditions of which one at least has been swept. */
export interface SweptConditions {
  readonly dataset: string;
  /** Each its sweep, else its run with all labels, else none. */
  readonly runs: readonly [StudyRun | undefined, StudyRun | undefined];
}

/** The data sets of which one of two conditions has been swept, or both. */
export function sweptRuns(runs: readonly StudyRun[], subject: Subject, conditions: readonly [Condition, Condition]): SweptConditions[] {
  const ofModel = runsOf(runs, subject.base).filter(({ attributes }) => !attributes.data.irrelevant);
  const having = (dataset: string, { condition }: Condition) =>
    ofModel.filter(({ attributes }) => datasetOf(attributes) === dataset && attributes.data.condition === condition);
  const datasets = new Set(ofModel.map(({ attributes }) => datasetOf(attributes)));
  return [...datasets].toSorted(compare).flatMap((dataset) => {
    const best = (condition: Condition) => {
      const candidates = having(dataset, condition);
      return candidates.find(({ sweep }) => sweep) ?? candidates.find(({ attributes }) => attributes.labels === "all");
    };
    const [first, second] = conditions;
    const pair = [best(first), best(second)] as const;
    return pair.some((run) => run?.sweep) ? { dataset, runs: pair } : [];
  });
}

/** What the data of each condition are called in the first data set that has them all; where there is none, the conditions themselves. */
export function dataNames(runs: readonly StudyRun[], subject: Subject, conditions: readonly Condition[]): string[] {
  const [stratum] = strataOf(runs, subject, conditions, "all");
  return conditions.map(({ condition, irrelevant = false, of = "base" }) => {
    const run = runsOf(runs, subject[of]).find(({ attributes }) => {
      const { data } = attributes;
      return datasetOf(attributes) === stratum?.dataset && data.condition === condition && data.irrelevant === irrelevant;
    });
    return run?.attributes.data.name ?? `${condition}${irrelevant ? "/irrelevant" : ""}`;
  });
}
