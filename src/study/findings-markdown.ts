import type { Estimate, Interval } from "../analysis/bootstrap.ts";
import type { ClaimFinding, Family, Findings, Judgement, Line, PartView, SweepFinding, View } from "../analysis/findings.ts";
import { type ProjectionTest, projections } from "../analysis/findings-verdict.ts";

/** A study's findings, and which of its runs they rest on. */
export interface StudyFindings extends Findings {
  readonly runs: number;
  /** Runs without numbers. */
  readonly absent: readonly { readonly folder: string; readonly reason: string }[];
}

/** A study's findings for people: a table of verdicts, then a section a claim. */
export function findingsMarkdown(findings: StudyFindings): string {
  return `${[
    `# Findings: ${findings.study}`,
    introduction(findings),
    verdictTable(findings.claims),
    ...findings.claims.flatMap(claimSection),
    "## How to read this",
    caveats(findings),
  ].join("\n\n")}\n`;
}

const introduction = ({ runs, absent, seed, resamples }: StudyFindings): string =>
  [
    `The papers' claims on ${count(runs, "run")}, each judged twice: as published, with all labels of a response in the loss; and controlled, with what else differs between the conditions held equal.`,
    `Seed ${seed}, ${resamples} resamples.`,
    ...(absent.length > 0
      ? [`${count(absent.length, "run")} of the study had no numbers: ${list(absent, ({ folder, reason }) => `${folder} (${reason})`)}.`]
      : []),
  ].join(" ");

const list = <T>(items: readonly T[], text: (item: T) => string): string =>
  `${items.slice(0, 8).map(text).join(", ")}${items.length > 8 ? ` and ${items.length - 8} more` : ""}`;

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;

/** The verdicts at one glance: a row for each claim and model, and for each of the claim's comparisons where it makes more than one. */
export function verdictRows(claims: readonly ClaimFinding[]): string[][] {
  return claims.flatMap(({ id, title, judgements }) =>
    judgements.flatMap(({ subject, published, controlled }, j) => {
      const parts = published.parts.length > 1 ? published.parts : [];
      return [
        [j === 0 ? `(${id}) ${title}` : `(${id})`, subject, published.verdict, controlled.verdict],
        ...parts.map(({ text, verdict }, i) => [`(${id}) … ${text}`, subject, verdict, controlled.parts[i]!.verdict]),
      ];
    }),
  );
}

function verdictTable(claims: readonly ClaimFinding[]): string {
  const rows = verdictRows(claims).map(([claim, subject, ...verdicts]) => {
    const whole = !claim!.includes(" … ");
    return [claim!, subject!, ...verdicts.map((verdict) => (whole ? `**${verdict}**` : verdict))];
  });
  return markdownTable(["claim", "model", "as published", "controlled"], rows);
}

function claimSection({ id, title, text, judgements }: ClaimFinding): string[] {
  return [`## (${id}) ${title}`, text, ...judgements.flatMap(judgementSection)];
}

function judgementSection({ subject, published, controlled, sweeps }: Judgement): string[] {
  return [
    `### ${subject}`,
    inWords(published, controlled),
    ...published.parts.flatMap((part, i) => partTables(part, controlled.parts[i]!)),
    ...sweeps.flatMap(sweepTables),
  ];
}

function inWords(published: View, controlled: View): string {
  const sentence = (name: string, { verdict, reason }: View) => `${name}: **${verdict}** (${reason}).`;
  if (published.verdict === controlled.verdict && published.reason === controlled.reason)
    return sentence("As published and controlled", published);
  return `${sentence("As published", published)} ${sentence("Controlled", controlled)}`;
}

function partTables(published: PartView, controlled: PartView): string[] {
  const lines = [
    ...published.lines.map((line) => ({ line, view: "as published" })),
    ...controlled.lines.map((line) => ({ line, view: "controlled" })),
  ];
  const tested = lines.filter(({ line }) => line.pooled.tests.length > 0);
  if (tested.length === 0) return [];
  const pooled = lines.map(({ line, view }) => [line.decides ? view : "beside", line.how, ...familyCells(line.pooled, line)]);
  const deciding = tested.filter(({ line }) => line.decides);
  const bySet = deciding.flatMap(({ line }) =>
    line.byDataset.map((family) => [line.how, family.datasets.at(-1)!, ...familyCells(family, line)]),
  );
  return [
    `**${capital(published.text)}.** ${capital(tested[0]!.line.effect)}${nullNote(tested[0]!.line)}, pooled over data sets:`,
    markdownTable(["", "how", ...header], pooled),
    `Rows: ${tested.map(({ line }) => rowsNote(line)).join(" ")}`,
    // One data set by itself is the pool.
    ...(bySet.length > deciding.length ? ["By data set:", markdownTable(["how", "data set", ...header], bySet)] : []),
  ];
}

const header = [...projections.map((projection) => projection.toUpperCase()), "questions", "verdict"];

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

const nullNote = ({ scale, nullValue }: Line): string =>
  scale === "ratio" ? " (1: no difference)" : nullValue === 0 ? "" : ` (margin ${nullValue})`;

function familyCells(family: Family, { decides }: Line): string[] {
  const cells = projections.map((projection) => {
    const test = family.tests.find((candidate) => candidate.projection === projection);
    return test === undefined ? "–" : testCell(test);
  });
  // A number without a test that decides nothing, such as a slope by itself, has no verdict.
  const judged = decides || family.tests.length === 0 || family.tests.some(({ q }) => q !== null);
  const verdict =
    family.verdict === "undecided" || family.verdict === "not tested" ? `${family.verdict}: ${family.reason}` : family.verdict;
  return [
    ...cells,
    `${family.questions}${family.approximate ? ", approximate" : ""}`,
    judged ? (decides ? `**${verdict}**` : verdict) : "",
  ];
}

function testCell({ value, interval, level, q, nullQuantile95 }: ProjectionTest): string {
  const chance = nullQuantile95 === undefined ? "" : `, chance < ${number(nullQuantile95)}`;
  return `${number(value)}${intervalText(interval, level)}${chance}${q === null ? "" : `, q ${probability(q)}`}`;
}

const intervalText = (interval: Interval | null, level: number): string => {
  if (interval === null) return "";
  const at = level === 0.95 ? "" : ` at ${Number((100 * level).toFixed(2))} %`;
  return ` [${number(interval.low)}, ${number(interval.high)}]${at}`;
};

const number = (x: number): string => {
  if (!Number.isFinite(x)) return "–";
  const size = Math.abs(x);
  return (size !== 0 && size < 1e-4) || size >= 1e5 ? x.toExponential(1) : String(Number(x.toPrecision(3)));
};

const probability = (q: number): string => (q < 0.001 ? "< 0.001" : String(Number(q.toPrecision(2))));

function rowsNote({ how, pooled }: Line): string {
  const rows = pooled.rows.map(({ condition, used, leftOut }) => {
    const reasons = Object.entries(leftOut).map(([reason, rows]) => `${rows} ${reason}`);
    return `${condition} ${used}${reasons.length > 0 ? ` (left out: ${reasons.join("; ")})` : ""}`;
  });
  const without = (pooled.datasetsLeftOut ?? []).map(({ dataset, reason }) => `; without ${dataset} (${reason})`);
  return `${how}, ${count(pooled.datasets.length, "data set")}: ${rows.join(", ")}${without.join("")}.`;
}

function sweepTables({ text, condition, labels, slopes, gaps }: SweepFinding): string[] {
  const estimate = ({ value, interval, level }: Estimate) => `${number(value)}${intervalText(interval, level)}`;
  const questions = ({ n, approximate }: Estimate) => `${n}${approximate ? ", approximate" : ""}`;
  const names = projections.map((projection) => projection.toUpperCase());
  const cells = (found: readonly { readonly projection: string; readonly estimate: Estimate }[]): string[] =>
    projections.map((projection) => {
      const entry = found.find((candidate) => candidate.projection === projection);
      return entry === undefined ? "–" : estimate(entry.estimate);
    });
  const slopeRows = (slopes.length > 0 ? (["mean", "summed"] as const) : []).map((loss) => [
    `${loss} loss`,
    ...cells(slopes.map((entry) => ({ projection: entry.projection, estimate: entry[loss] }))),
    questions(slopes[0]!.mean),
  ]);
  const gapRows = gaps.map(({ k, datasets, ratios }) => [
    `${k}`,
    ...cells(ratios.map(({ projection, ratio }) => ({ projection, estimate: ratio }))),
    questions(ratios[0]!.ratio),
    datasets.join(", "),
  ]);
  return [
    `**Sweep, ${labels} labels (${text}).**`,
    ...(slopes.length > 0
      ? [
          `Slope of log norm per log number of labels k within a row of ${condition}:`,
          markdownTable(["slope", ...names, "rows"], slopeRows),
        ]
      : []),
    ...(gapRows.length > 0
      ? [
          "Ratio of the conditions' norms where both losses count k labels, the same for mean and summed loss:",
          markdownTable(["k", ...names, "questions", "data sets"], gapRows),
        ]
      : []),
  ];
}

const caveats = ({ claims }: StudyFindings): string =>
  [
    "- **Supported**: all four projections (Q, K, V, O) differ as claimed, each with q ≤ 0.05 (Benjamini–Hochberg over the four). **Contradicted**: all four the other way. **Undecided**: anything else. **Not tested**: the study lacks the runs; the text says which. **No control**: nothing could stand in for the published comparison.",
    "- “Controlled” is the direct effect: what is left of a difference where both losses count equally many labels (or responses are of like length, or the size of the norm is divided out). It does not refute the published total effect: longer responses do have more labels, and a mean over more labels does give a smaller gradient.",
    "- Experiments (`last`, `first` and `random` labels, or steps of a sweep) decide the control where there are any, and all that there are must agree. Otherwise a regression on log n_labels does; where the conditions' numbers of labels hardly overlap it extrapolates, and is undecided whatever its number. With log loss beside it, it is the direct effect in a second sense: the loss is a mediator, through which the conditions act on the norm.",
    "- Intervals are at the level that keeps the false coverage rate among a comparison's significant projections at 5 %; where no level is written, 95 %. Ratios are of arithmetic means over questions, data sets weighing equally. With fewer than 30 questions, or fewer than 5 of a pooled data set, intervals are approximate.",
    "- Intervals and q of ratios of MADs, of ratios of ratios and of differences of RDs are a leave-one-question-out jackknife-t's, as are a regression's; `layergrad compare` shows basic bootstrap intervals of MADs and RDs, which are too narrow with few questions.",
    ...(claims.some(({ id }) => id === "d")
      ? [
          "- RD is compared with what chance gives by swapping correct and irrelevant responses within questions; q is that test's, and its interval is a basic bootstrap's, cut at 0.",
        ]
      : []),
    "- The method: docs/findings.md and docs/statistics.md.",
  ].join("\n");

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
