import { LayergradError } from "../errors.ts";
import type { Estimate, Resampling } from "./bootstrap.ts";
import { type Claim, type Condition, type Control, claims, type Part, type Variant } from "./findings-claims.ts";
import { addCounts, type Measure, type Measured, type Stratum } from "./findings-measures.ts";
import {
  canonicalRuns,
  dataNames,
  experimentsOf,
  type Labels,
  modelsOf,
  pairsOf,
  type StudyRun,
  type Subject,
  strataOf,
  sweptRuns,
} from "./findings-runs.ts";
import {
  ALPHA,
  agreement,
  type Claimed,
  familyQ,
  type Judged,
  judgeFamily,
  list,
  type ProjectionTest,
  projections,
} from "./findings-verdict.ts";
import { fcrLevel } from "./multiplicity.ts";
import { type LeftOut, pairRows } from "./pairing.ts";
import { gapsAtSharedK, type SweepLabels, type SweepRow, withinRowSlope } from "./sweep.ts";

export type { StudyRun } from "./findings-runs.ts";

/** Four projections' tests of one contrast, pooled over data sets or of one, and the verdict on them. */
export interface Family extends Judged {
  readonly datasets: readonly string[];
  /** Of the pool: data sets that have been run but are not in it. */
  readonly datasetsLeftOut?: readonly { readonly dataset: string; readonly reason: string }[];
  /** Those that gave a number; empty where nothing was tested. */
  readonly tests: readonly ProjectionTest[];
  /** Questions in the smallest condition; below 30 the intervals are approximate. */
  readonly questions: number;
  readonly approximate: boolean;
  /** Rows of each condition that the numbers rest on, and those left out, by reason. */
  readonly rows: readonly { readonly condition: string; readonly used: number; readonly leftOut: LeftOut }[];
}

/** One way of measuring a part's contrast. */
export interface Line {
  /** `all labels`, `last labels`, `relative MAD`, … */
  readonly how: string;
  readonly effect: string;
  readonly scale: "ratio" | "difference";
  readonly nullValue: number;
  /** Whether the verdict rests on it; others are shown beside. */
  readonly decides: boolean;
  readonly pooled: Family;
  /** Of a line that decides. */
  readonly byDataset: readonly Family[];
}

/** One comparison of a claim in one judgement. */
export interface PartView extends Judged {
  readonly part: string;
  readonly text: string;
  readonly lines: readonly Line[];
}

/** One of the two judgements: as published, or controlled. */
export interface View extends Judged {
  readonly parts: readonly PartView[];
}

/** How norms fall within a row as its loss counts more labels, and the gap between conditions at equally many. */
export interface SweepFinding {
  /** The comparison; or, of slopes alone, the condition. */
  readonly text: string;
  /** The condition whose rows the slopes are of. */
  readonly condition: string;
  readonly labels: SweepLabels;
  /** By projection: slope of log norm per log k, of the mean loss (of the summed loss it is 1 more). */
  readonly slopes: readonly { readonly projection: string; readonly mean: Estimate; readonly summed: Estimate }[];
  /** By k: the ratio of the conditions' mean norms where both losses count k labels, the same for mean and summed loss. */
  readonly gaps: readonly {
    readonly k: number;
    readonly datasets: readonly string[];
    readonly ratios: readonly { readonly projection: string; readonly ratio: Estimate }[];
  }[];
}

/** A claim judged for one model in one mode (or one pair of models), twice. */
export interface Judgement {
  readonly subject: string;
  readonly published: View;
  readonly controlled: View;
  readonly sweeps: readonly SweepFinding[];
}

export interface ClaimFinding {
  readonly id: string;
  readonly title: string;
  readonly text: string;
  readonly judgements: readonly Judgement[];
}

/** What holds of the papers' claims in a study; plain JSON. */
export interface Findings {
  readonly study: string;
  readonly seed: string;
  readonly resamples: number;
  readonly alpha: number;
  readonly claims: readonly ClaimFinding[];
}

export interface FindingsOptions {
  /** Of the study, for the reader. */
  readonly study: string;
  readonly seed: string | number;
  /** Of each interval and permutation test, default 2000. */
  readonly resamples?: number;
  /** Letters of the claims to judge; all by default. */
  readonly claims?: readonly string[];
}

/**
 * Judges the papers' claims on a study's runs, each for every model and mode, as published and controlled: see docs/findings.md.
 *
 * The order of runs and rows does not matter, and a seed fixes every number to the bit.
 *
 * @throws {LayergradError} `usage` for a claim that there is not.
 */
export function findings(runs: readonly StudyRun[], { study, seed, resamples = 2000, claims: chosen }: FindingsOptions): Findings {
  const unknown = chosen?.find((id) => !claims.some((claim) => claim.id === id));
  if (unknown !== undefined)
    throw new LayergradError("usage", `There is no claim ${unknown}: the claims are ${claims.map(({ id }) => id).join(", ")}.`);
  const ordered: Study = { runs: canonicalRuns(runs), seed: String(seed), resamples };
  return {
    study,
    seed: String(seed),
    resamples,
    alpha: ALPHA,
    claims: claims.filter(({ id }) => chosen?.includes(id) ?? true).map((claim) => judgeClaim(ordered, claim)),
  };
}

/** What all judgements share. */
interface Study {
  readonly runs: readonly StudyRun[];
  readonly seed: string;
  readonly resamples: number;
}

/** A claim about one subject. */
interface Case {
  readonly study: Study;
  readonly claim: Claim;
  readonly subject: Subject;
}

function judgeClaim(study: Study, claim: Claim): ClaimFinding {
  const { id, title, text } = claim;
  const subjects = claim.of === "models" ? modelsOf(study.runs) : pairsOf(study.runs);
  const judgements = subjects.map((subject) => judge({ study, claim, subject }));
  return { id, title, text, judgements: judgements.length > 0 ? judgements : [noSubject(claim)] };
}

function noSubject({ of }: Claim): Judgement {
  const reason =
    of === "models"
      ? "the study has no finished run"
      : "it needs two models of one family, one of kind base and one of kind instruct; one checkpoint in two modes says nothing about it";
  const view: View = { verdict: "not tested", reason, parts: [] };
  return { subject: of === "models" ? "no model" : "no pair of models", published: view, controlled: view, sweeps: [] };
}

function judge(of: Case): Judgement {
  const { parts } = of.claim;
  return {
    subject: of.subject.name,
    published: toView(
      of,
      parts.map((part) => published(of, part)),
    ),
    controlled: toView(
      of,
      parts.map((part) => controlled(of, part)),
    ),
    sweeps: parts.flatMap((part) => sweepFindings(of, part)).filter(isFirst),
  };
}

/** Whether a sweep's finding is the first of its text: parts share conditions. */
const isFirst = (finding: SweepFinding, i: number, all: readonly SweepFinding[]): boolean =>
  all.findIndex(({ text, labels }) => text === finding.text && labels === finding.labels) === i;

function toView({ claim }: Case, parts: readonly PartView[]): View {
  const judged = parts.map((part, i) => ({ ...part, name: part.text, irrefutable: claim.parts[i]!.claimed === "detected" }));
  return { ...agreement(judged), parts };
}

function published(of: Case, part: Part): PartView {
  const all: Variant = { how: "all labels", measure: part.measure, role: "decides" };
  const lines = [all, ...(part.beside ?? [])].map((variant) => lineOf(of, part, variant, "all"));
  return { ...agreement([named(lines[0]!)]), part: part.id, text: part.text, lines };
}

const named = ({ how, pooled: { verdict, reason } }: Line) => ({ name: how, verdict, reason });

/**
 * The part with the number of labels held fixed. Experiments decide, those by runs before those by sweeps, and all that exist must agree; without
 * any the fallback (a regression) does.
 */
function controlled(of: Case, part: Part): PartView {
  const { id, text, control } = part;
  if (control === null) return { part: id, text, verdict: "no control", reason: "nothing else could stand in for it", lines: [] };
  const groups = part.groups.map((conditions) => strataOf(of.study.runs, of.subject, conditions, "all"));
  if (groups.some((strata) => strata.length === 0))
    return { part: id, text, verdict: "not tested", reason: howToTest(of, part, groups), lines: [] };
  const { experiment, variants = [] } = control;
  const byExperiment = experiment === undefined ? [] : experimentLines(of, part, control);
  const decided = byExperiment.some(({ decides, pooled }) => decides && pooled.verdict !== "not tested");
  const others = variants.map((variant) =>
    lineOf(of, part, variant.role === "fallback" ? { ...variant, role: decided ? "beside" : "decides" } : variant, "all"),
  );
  const lines = [...byExperiment, ...others];
  const judged = judgeLines(lines.filter(({ decides }) => decides));
  const advice =
    experiment === "decides" && byExperiment.length === 0 && (judged.verdict === "undecided" || judged.verdict === "not tested")
      ? `; an experiment would tell: run ${howToControl(of, part, groups)}`
      : "";
  return {
    part: id,
    text,
    verdict: judged.verdict,
    reason: `${judged.reason}${advice}`,
    // Runs that were made and gave nothing are told of; a regression that could not be done is not.
    lines: lines.filter((line) => line.pooled.tests.length > 0 || byExperiment.includes(line)),
  };
}

/** What the lines that were tested agree on. */
function judgeLines(lines: readonly Line[]): Judged {
  const tested = lines.filter(({ pooled }) => pooled.verdict !== "not tested");
  if (tested.length > 0) return agreement(tested.map(named));
  return { verdict: "not tested", reason: lines[0]?.pooled.reason ?? "the study lacks runs that hold the number of labels fixed" };
}

function experimentLines(of: Case, part: Part, { experiment, requires }: Control): Line[] {
  const role = experiment === "decides" ? "decides" : "beside";
  const lines = experimentsOf(of.study.runs).flatMap(({ how, labels }) => {
    if (part.groups.some((conditions) => strataOf(of.study.runs, of.subject, conditions, labels).length === 0)) return [];
    const line = lineOf(of, part, { how, measure: part.measure, role }, labels);
    if (requires === undefined || line.pooled.tests.length === 0) return { labels, lines: [line] };
    const required = lineOf(of, part, { how: `${how}: ${requires.how}`, measure: requires.measure, role: "beside" }, labels);
    return { labels, lines: [required.pooled.verdict === "supported" ? line : saysNothing(line, requires.otherwise), required] };
  });
  const byRuns = lines.some(({ labels, lines: [line] }) => "rule" in labels && line!.pooled.verdict !== "not tested");
  return lines.flatMap(({ labels, lines: ofExperiment }) =>
    ofExperiment.map((line) => ({ ...line, decides: line.decides && !("sweep" in labels && byRuns) })),
  );
}

/** The line undecided for a reason, with each data set's. */
function saysNothing(line: Line, reason: string): Line {
  const undecided = (family: Family): Family => (family.tests.length === 0 ? family : { ...family, verdict: "undecided", reason });
  return { ...line, pooled: undecided(line.pooled), byDataset: line.byDataset.map(undecided) };
}

/** Measures a part in one way, pooled and for each data set. */
function lineOf(of: Case, part: Part, { how, measure, role }: Variant, labels: Labels): Line {
  const groups = part.groups.map((conditions) => strataOf(of.study.runs, of.subject, conditions, labels));
  const seed = [of.study.seed, of.claim.id, part.id, how, of.subject.name].join("/");
  const family = (strata: readonly (readonly Stratum[])[]) =>
    testFamily(strata, measure, part.claimed, { seed, resamples: of.study.resamples, level: 1 - ALPHA });
  // Where two kinds of data sets are compared, each of the last kind with all of the first.
  const last = groups.at(-1)!;
  const withOnly = (strata: readonly Stratum[]) => [...groups.slice(0, -1), strata];
  const complete = groups.every((strata) => strata.length > 0);
  const unusable = complete ? last.map((stratum) => whyUnusable(withOnly([stratum]), measure)) : [];
  const usable = last.filter((_, s) => unusable[s] === null);
  const byDataset = role === "decides" && complete ? last.map((stratum) => family(withOnly([stratum]))) : [];
  const leftOut = last.flatMap(({ dataset }, s) => (typeof unusable[s] === "string" ? { dataset, reason: unusable[s] } : []));
  const pooled =
    usable.length > 0
      ? { ...family(withOnly(usable)), datasetsLeftOut: leftOut }
      : untested(leftOut[0]?.reason ?? howToTest(of, part, groups), groups);
  return {
    how,
    effect: measure.effect,
    scale: measure.scale,
    nullValue: measure.nullValue,
    decides: role === "decides",
    pooled,
    byDataset,
  };
}

/**
 * Why a data set cannot be in the pool; null where it can. Found by a trial with the fewest resamples that give an interval. A single question
 * has no variation to estimate, and would take the pool's interval with it.
 */
function whyUnusable(groups: readonly (readonly Stratum[])[], measure: Measure): string | null {
  const trial = { seed: 0, resamples: 39, level: 1 - ALPHA };
  const results = projections.map((projection) => attempt(() => measure.measure(groups, moduleOf(projection), trial)));
  const measured = results.find((result) => typeof result !== "string");
  if (measured === undefined) return results[0] as string;
  return measured.estimate.n < 2 ? "a single question" : null;
}

const untested = (reason: string, groups: readonly (readonly Stratum[])[]): Family => ({
  verdict: "not tested",
  reason,
  datasets: groups.flat().map(({ dataset }) => dataset),
  tests: [],
  questions: 0,
  approximate: false,
  rows: [],
});

const moduleOf = (projection: string): string => `self_attn.${projection}_proj`;

/** Tests one contrast in all four projections. The intervals are at the level at which false coverage among the significant ones is controlled. */
function testFamily(groups: readonly (readonly Stratum[])[], measure: Measure, claimed: Claimed, resampling: Required<Resampling>): Family {
  const results = projections.map((projection) => attempt(() => measure.measure(groups, moduleOf(projection), resampling)));
  const measured = projections.flatMap((projection, i) => {
    const result = results[i]!;
    return typeof result === "string" ? [] : { projection, result };
  });
  if (measured.length === 0) return untested(results.find((result) => typeof result === "string")!, groups);
  const q = familyQ(measured.map(({ result }) => result.estimate.p));
  const selected = q.filter((value) => value !== null && value <= ALPHA).length;
  const level = selected === 0 ? 1 - ALPHA : fcrLevel(selected, projections.length, ALPHA);
  const tests = measured.map(({ projection, result }, i): ProjectionTest => {
    const module = moduleOf(projection);
    const shown = level === 1 - ALPHA ? result : measure.measure(groups, module, { ...resampling, level });
    const { value, p, method, n } = result.estimate;
    return {
      projection,
      value,
      interval: shown.estimate.interval,
      level,
      p,
      q: q[i]!,
      method,
      n,
      ...(result.nullQuantile95 === undefined ? {} : { nullQuantile95: result.nullQuantile95 }),
    };
  });
  const extrapolated = measured.some(({ result }) => result.extrapolated === true);
  return {
    ...withhold(judgeFamily(tests, claimed, measure.nullValue), extrapolated),
    datasets: groups.flat().map(({ dataset }) => dataset),
    tests,
    questions: Math.min(...tests.map(({ n }) => n)),
    approximate: measured.some(({ result }) => result.estimate.approximate),
    rows: countRows(
      groups,
      measured.map(({ result }) => result),
    ),
  };
}

/** What the data do not give, such as no shared question, is a reason not to test; anything else is a bug. */
function attempt(measure: () => Measured): Measured | string {
  try {
    return measure();
  } catch (error) {
    if (error instanceof LayergradError && error.kind === "data") return error.message.replace(/\.$/, "");
    throw error;
  }
}

/** An extrapolated effect decides nothing: the conditions' numbers of labels hardly overlap. */
function withhold(judged: Judged, extrapolated: boolean): Judged {
  if (!extrapolated) return judged;
  const would = judged.verdict === "undecided" ? judged.reason : `else ${judged.verdict}`;
  return { verdict: "undecided", reason: `extrapolated, ${would}` };
}

/** Rows by condition over all data sets; of the projections the one that rests on the fewest. */
function countRows(groups: readonly (readonly Stratum[])[], measured: readonly Measured[]): Family["rows"] {
  const total = ({ rows }: Measured) => rows.flat(2).reduce((sum, { used }) => sum + used, 0);
  const { rows } = measured.reduce((fewest, next) => (total(next) < total(fewest) ? next : fewest));
  const counts = groups.flatMap((strata, g) =>
    strata.flatMap(({ conditions }, s) => conditions.map((condition, c) => ({ condition, count: rows[g]?.[s]?.[c] }))),
  );
  return [...new Set(counts.map(({ condition }) => condition))].flatMap((condition) => {
    const ofCondition = counts.flatMap((entry) => (entry.condition === condition && entry.count ? entry.count : []));
    if (ofCondition.length === 0) return [];
    return {
      condition,
      used: ofCondition.reduce((sum, { used }) => sum + used, 0),
      leftOut: addCounts(ofCondition.map(({ leftOut }) => leftOut)),
    };
  });
}

/** What to run so that a part can be tested as published. */
function howToTest({ study, subject }: Case, part: Part, groups: readonly (readonly Stratum[])[]): string {
  const missing = part.groups.filter((_, g) => groups[g]!.length === 0);
  const wanted = missing.map((conditions) =>
    list(
      dataNames(
        study.runs,
        subject,
        conditions.filter(({ optional }) => !optional),
      ),
    ),
  );
  return `it needs runs of one data set's ${wanted.join(", and of one data set's ")}`;
}

/**
 * What to run so that a part can be controlled by experiment: where conditions share no questions, a fixed number of labels. Groups that have
 * been controlled need not be run again.
 */
function howToControl({ study, subject }: Case, part: Part, groups: readonly (readonly Stratum[])[]): string {
  const experiments = experimentsOf(study.runs);
  const isControlled = part.groups.map((conditions) =>
    experiments.some(({ labels }) => strataOf(study.runs, subject, conditions, labels).length > 0),
  );
  const runs = part.groups.flatMap((conditions, g) => {
    if (isControlled[g] && !isControlled.every(Boolean)) return [];
    const names = dataNames(study.runs, subject, conditions);
    const [first, second] = groups[g]![0]!.tables;
    if (part.unpaired || !pairRows(first!, second!).paired) return `${list(names)} with --labels first:K, K a number`;
    return conditions.flatMap(({ labelsLike }, c) =>
      labelsLike === undefined ? [] : `${names[c]} with --labels last:@${names[labelsLike]} (and first:, random:)`,
    );
  });
  return [...new Set(runs)].join(", ");
}

/** Within-row slopes and gaps, of parts that an experiment on labels controls and of whose conditions one at least has been swept. */
function sweepFindings({ study, claim, subject }: Case, part: Part): SweepFinding[] {
  if (claim.of !== "models" || part.groups.length > 1 || part.control?.experiment !== "decides") return [];
  const conditions = part.groups[0] as readonly [Condition, Condition];
  const strata = sweptRuns(study.runs, subject, conditions);
  const pairs = strata.flatMap(({ dataset, runs: [a, b] }) => (a && b ? { dataset, runs: [a, b] as const } : []));
  return (["first", "random"] as const).flatMap((labels) => {
    const resampling = (what: string) => ({ seed: `${study.seed}/sweep/${what}/${labels}/${subject.name}`, resamples: study.resamples });
    const slopes = conditions.map(({ condition }, c) =>
      slopesOf(
        strata.flatMap(({ runs }) => (runs[c]?.sweep ? [runs[c].sweep] : [])),
        labels,
        resampling(condition),
      ),
    );
    if (slopes.every(({ length }) => length === 0)) return [];
    const gaps = gapsAtSharedK(pairs, labels, projections.map(moduleOf), resampling(part.id)).map(({ k, datasets, ratios }) => ({
      k,
      datasets,
      ratios: projections.flatMap((projection, i) => (ratios[i] ? { projection, ratio: ratios[i] } : [])),
    }));
    const [other, swept] = conditions.map(({ condition }) => condition);
    return [
      { text: part.text, condition: swept!, labels, slopes: slopes[1]!, gaps },
      ...(slopes[0]!.length > 0 ? [{ text: other!, condition: other!, labels, slopes: slopes[0]!, gaps: [] }] : []),
    ];
  });
}

function slopesOf(strata: readonly (readonly SweepRow[])[], labels: SweepLabels, resampling: Resampling): SweepFinding["slopes"] {
  if (!strata.flat().some(({ steps }) => steps.some((step) => step.labels === labels))) return [];
  return projections.flatMap((projection) => {
    const found = withinRowSlope(strata, labels, moduleOf(projection), resampling);
    return found === null ? [] : { projection, mean: found.mean, summed: found.summed };
  });
}
