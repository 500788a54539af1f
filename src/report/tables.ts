import type { Family, Line } from "../analysis/findings.ts";
import { projections } from "../analysis/findings-verdict.ts";
import { moduleLabel } from "../figures/theme.ts";
import { rounded } from "./format.ts";
import type { ReportData, ReportRun, Value } from "./report-data.ts";
import { conditionOf, datasetOf, subjectOf } from "./runs.ts";
import type { Cell, Column, ReportTable } from "./table.ts";

const text = (label: string): Column => ({ label, kind: "text" });
const number = (label: string): Column => ({ label, kind: "number" });
const estimate = (label: string): Column => ({ label, kind: "estimate" });

const INTERVALS = "Brackets hold 95 % intervals over questions";

/** All tables of a report; those without a row are left out. */
export const tablesOf = (data: ReportData): ReportTable[] =>
  [verdicts(data), effects(data), sweeps(data), runsTable(data), norms(data), comparisons(data)].filter(({ rows }) => rows.length > 0);

/** Of each claim and model, what it comes to. */
export function verdicts({ findings }: ReportData): ReportTable {
  return {
    name: "verdicts",
    title: "Verdicts",
    note: "As published: all labels of a response in the loss. Controlled: labels, lengths or the size of the norm held equal, the direct effect; it does not refute the published total effect.",
    columns: [text("Claim"), text("Comparison"), text("Model"), text("As published"), text("Controlled")],
    rows: findings.flatMap(({ claims }) =>
      claims.flatMap(({ id, title, judgements }) =>
        judgements.flatMap(({ subject, published, controlled }) => [
          [`(${id}) ${title}`, "all", subject, published.verdict, controlled.verdict],
          ...(published.parts.length > 1
            ? published.parts.map((part, i) => [`(${id})`, part.text, subject, part.verdict, controlled.parts[i]!.verdict])
            : []),
        ]),
      ),
    ),
  };
}

/** Every number that the verdicts rest on. */
function effects({ findings }: ReportData): ReportTable {
  const rows = findings.flatMap(({ claims }) =>
    claims.flatMap(({ id, judgements }) =>
      judgements.flatMap(({ subject, published, controlled }) =>
        (["as published", "controlled"] as const).flatMap((view) =>
          (view === "controlled" ? controlled : published).parts.flatMap((part) =>
            part.lines.flatMap((line) => [
              ...familyRows([`(${id}) ${part.text}`, subject, view, line.how], "all pooled", line, line.pooled),
              ...line.byDataset.flatMap((family) =>
                familyRows([`(${id}) ${part.text}`, subject, view, line.how], family.datasets.at(-1) ?? "", line, family),
              ),
            ]),
          ),
        ),
      ),
    ),
  );
  return {
    name: "effects",
    title: "Effects behind the verdicts",
    note: "Brackets hold intervals at the level that keeps the false coverage rate among a comparison's significant projections at 5 %. q: Benjamini–Hochberg over the four projections. Below 30 questions intervals are approximate.",
    columns: [
      text("Comparison"),
      text("Model"),
      text("Judgement"),
      text("How"),
      text("Data set"),
      text("Effect"),
      text("Projection"),
      estimate("Estimate"),
      number("q"),
      number("Questions"),
      text("Verdict"),
    ],
    rows,
  };
}

function familyRows(head: readonly string[], dataset: string, { effect, decides }: Line, family: Family): Cell[][] {
  return family.tests.map(({ projection, value, interval, q, n }) => [
    ...head,
    dataset,
    effect,
    projection.toUpperCase(),
    [rounded(value), rounded(interval?.low), rounded(interval?.high)] satisfies Value,
    rounded(q),
    n,
    decides ? family.verdict : `beside (${family.verdict})`,
  ]);
}

/** Slopes within rows, and gaps at equal numbers of labels. */
function sweeps({ findings }: ReportData): ReportTable {
  const rows = findings.flatMap(({ claims }) =>
    claims.flatMap(({ id, judgements }) =>
      judgements.flatMap(({ subject, sweeps: all }) =>
        all.flatMap(({ text: comparison, labels, slopes, gaps }): Cell[][] => {
          const head = [`(${id}) ${comparison}`, subject, labels];
          const cells = (of: (projection: string) => Cell): Cell[] => projections.map((projection) => of(projection));
          return [
            ...(slopes.length === 0
              ? []
              : (["mean", "summed"] as const).map((loss) => [
                  ...head,
                  `slope, ${loss} loss`,
                  ...cells((projection) => {
                    const found = slopes.find((slope) => slope.projection === projection)?.[loss];
                    return found ? [rounded(found.value), rounded(found.interval?.low), rounded(found.interval?.high)] : null;
                  }),
                  slopes[0]!.mean.n,
                ])),
            ...gaps.map(({ k, ratios }) => [
              ...head,
              `ratio at ${k} labels`,
              ...cells((projection) => {
                const found = ratios.find((ratio) => ratio.projection === projection)?.ratio;
                return found ? [rounded(found.value), rounded(found.interval?.low), rounded(found.interval?.high)] : null;
              }),
              ratios[0]!.ratio.n,
            ]),
          ];
        }),
      ),
    ),
  );
  return {
    name: "sweeps",
    title: "Sweeps over the number of labels",
    note: `Slope of log norm per log number of labels within a row; ratio of two conditions' norms where both losses count equally many. ${INTERVALS}.`,
    columns: [
      text("Comparison"),
      text("Model"),
      text("Labels"),
      text("What"),
      ...projections.map((projection) => estimate(projection.toUpperCase())),
      number("Questions"),
    ],
    rows,
  };
}

const about = [text("Model"), text("Data set"), text("Condition")];
const aboutRun = ({ attributes }: ReportRun): string[] => [subjectOf(attributes), datasetOf(attributes), conditionOf(attributes)];

/** What was run. */
function runsTable({ runs }: ReportData): ReportTable {
  return {
    name: "runs",
    title: "Runs",
    note: "Tokens, labels and loss are means over rows; loss is the mean cross-entropy over a row's labels, in nats.",
    columns: [...about, number("Layers"), number("Rows"), text("Left out"), number("Tokens"), number("Labels"), number("Loss")],
    rows: runs.map((run) => [
      ...aboutRun(run),
      run.layers,
      run.rows.used,
      Object.entries(run.rows.leftOut)
        .map(([reason, rows]) => `${rows} ${reason}`)
        .join("; "),
      run.nTokens,
      run.nLabels,
      run.loss,
    ]),
  };
}

/** Sizes and unevenness of every curve of the nuclear norm. */
function norms({ runs }: ReportData): ReportTable {
  return {
    name: "norms",
    title: "Nuclear norm, MAD and MAD by segment",
    note: `Mean over layers and rows; mean absolute difference of neighbouring layers, of all layers and of the shallow, middle and deep ones; MAD over the mean. ${INTERVALS}; below 30 rows they are approximate.`,
    columns: [
      ...about,
      text("Projection"),
      estimate("Nuclear norm"),
      estimate("MAD"),
      estimate("Shallow"),
      estimate("Middle"),
      estimate("Deep"),
      estimate("MAD / mean"),
      number("Rows"),
    ],
    rows: runs.flatMap((run) =>
      run.curves
        .filter(({ statistic }) => statistic === "nuclearNorm")
        .map(({ module, mean, mad, segmentMads, relativeMad, n }) => [
          ...aboutRun(run),
          moduleLabel(module),
          mean,
          mad,
          ...[0, 1, 2].map((segment) => segmentMads[segment] ?? null),
          relativeMad,
          n,
        ]),
    ),
  };
}

/** Two conditions of a data set, or a correct one and its twin. */
function comparisons({ runs, comparisons: all }: ReportData): ReportTable {
  return {
    name: "comparisons",
    title: "Comparisons within data sets, nuclear norm",
    note: `A / B is the ratio of arithmetic means over layers and rows; RD the mean of |A − B| / |A| over layers, with the five layers where it is largest; chance is, in RD's unit, how far apart the curves lie at most in 95 of 100 random swaps of paired responses. ${INTERVALS}; below 30 questions they are approximate.`,
    columns: [
      text("Model"),
      text("Data set"),
      text("A"),
      text("B"),
      text("Projection"),
      estimate("A / B"),
      estimate("MAD A − B"),
      estimate("RD"),
      number("Chance"),
      number("p of RD = 0"),
      text("Largest in layers"),
      number("Questions"),
    ],
    rows: all.flatMap(({ a, b, questions, modules }) =>
      modules.map(({ module, ratio, madDifference, relativeDifference, topLayers, chance }) => [
        subjectOf(runs[a]!.attributes),
        datasetOf(runs[a]!.attributes),
        conditionOf(runs[a]!.attributes),
        conditionOf(runs[b]!.attributes),
        moduleLabel(module),
        ratio,
        madDifference,
        relativeDifference,
        chance?.quantile95 ?? null,
        chance?.p ?? null,
        topLayers.join(" "),
        questions,
      ]),
    ),
  };
}

/** The curves, a row a layer: for programs. */
export const curvesTable = (runs: readonly ReportRun[]): Pick<ReportTable, "columns" | "rows"> => ({
  columns: [...about, text("Statistic"), text("Projection"), number("Layer"), estimate("Mean"), number("Rows")],
  rows: runs.flatMap((run) =>
    run.curves.flatMap(({ statistic, module, layers, n }) =>
      layers.map((value, layer): Cell[] => [...aboutRun(run), statistic, moduleLabel(module), layer, value, n]),
    ),
  ),
});

/** The rows, one a line: for programs. */
export const rowsTable = (runs: readonly ReportRun[], texts: readonly string[]): Pick<ReportTable, "columns" | "rows"> => {
  const modules = [...new Set(runs.flatMap((run) => run.modules))];
  return {
    columns: [
      ...about,
      number("Row"),
      number("Tokens"),
      number("Labels"),
      number("Loss"),
      ...modules.map((module) => number(`Nuclear norm ${moduleLabel(module)}`)),
      ...modules.map((module) => number(`Effective rank ${moduleLabel(module)}`)),
      text("Instruction"),
      text("Response"),
    ],
    rows: runs.flatMap((run) => {
      const { points } = run;
      const of = (values: readonly (readonly (number | null)[])[] | undefined, row: number): Cell[] =>
        modules.map((module) => values?.[run.modules.indexOf(module)]?.[row] ?? null);
      return points.loss.map((loss, row): Cell[] => [
        ...aboutRun(run),
        points.row[row]!,
        points.nTokens[row]!,
        points.nLabels[row]!,
        loss,
        ...of(points.nuclearNorm, row),
        ...of(points.effectiveRank, row),
        texts[points.instruction[row]!]!,
        texts[points.response[row]!]!,
      ]);
    }),
  };
};
