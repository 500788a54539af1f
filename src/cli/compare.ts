import { Argument, Command, InvalidArgumentError, Option } from "commander";
import type { Estimate } from "../analysis/bootstrap.ts";
import { type CompareOptions, comparer } from "../analysis/compare.ts";
import type { ComparedRun, Comparison, ModuleComparison, RowCount } from "../analysis/comparison.ts";
import type { Segments } from "../analysis/curves.ts";
import { matchChoices } from "../analysis/pooling.ts";
import { type StatisticName, statistics } from "../analysis/table.ts";
import { writeFileAtomically } from "../store/files.ts";
import { readTable } from "../store/table-reader.ts";
import { count, shared } from "./options.ts";
import { differences, findRun, runNames } from "./run-names.ts";
import { table } from "./table.ts";

interface Flags extends Omit<CompareOptions, "statistics" | "modules"> {
  readonly statistic: readonly StatisticName[];
  readonly module?: readonly string[];
  readonly asPublished?: boolean;
  readonly curves?: string;
  readonly json?: boolean;
}

export const compareCommand = (): Command =>
  new Command("compare")
    .description("compares runs: curves over layers, MAD, RD and their ratios, with intervals over questions")
    .addArgument(new Argument("<A>", "a run's folder or a file of records, ours or the authors'; for RD the correct condition"))
    .addArgument(new Argument("<B...>", "the runs that A is compared with, each by itself"))
    .addOption(
      new Option("--statistic <names>", `statistics, with commas between: ${statistics.map(kebab).join(", ")}`)
        .argParser(list(statisticOf))
        .default(["nuclearNorm"], "nuclear-norm"),
    )
    .addOption(
      new Option(
        "--module <names>",
        "modules, with commas between: q, k, v, o, or a name such as mlp.up_proj (default: q, k, v and o)",
      ).argParser(list(moduleOf)),
    )
    .addOption(new Option("--exclude-collisions", "leave out questions to which both runs have the same response"))
    .addOption(
      new Option("--match <number>", "compare rows of like size, one to one, nearest first, at most 10 % apart").choices([...matchChoices]),
    )
    .addOption(
      new Option("--adjust <number>", "add ratios with the number of labels (and the loss) held fixed by regression").choices(["n_labels"]),
    )
    .addOption(new Option("--as-published", "count rows without a loss as the published scripts do: their zeros enter the means"))
    .addOption(new Option("--seed <seed>", "of the resampling; one seed gives the same numbers again").default("0"))
    .addOption(new Option("--resamples <N>", "resamples, and permutations (default: 2000)").argParser(count))
    .addOption(new Option("--curves <file>", "write all curves with their intervals as CSV, a line a layer"))
    .addOption(shared.json())
    .action(async (first: string, others: readonly string[], flags: Flags) => {
      const comparisons: Comparison[] = [];
      for await (const comparison of compareWithEach(first, others, flags)) {
        if (!flags.json) process.stdout.write(`${comparisons.length > 0 ? "\n\n" : ""}${describe(comparison)}\n`);
        comparisons.push(comparison);
      }
      if (flags.curves !== undefined) writeFileAtomically(flags.curves, [curvesCsv(comparisons)]);
      if (flags.json) process.stdout.write(`${JSON.stringify({ comparisons })}\n`);
    });

/** Reads the first run once and the others one after another: two tables at a time are in memory. */
async function* compareWithEach(first: string, others: readonly string[], flags: Flags): AsyncGenerator<Comparison, void, undefined> {
  const { statistic, module, asPublished, json: _, curves: __, ...options } = flags;
  const runs = [first, ...others].map(findRun);
  const names = runNames(runs);
  const read = (index: number) =>
    readTable(runs[index]!.path, {
      name: names[index]!,
      ...(module && { modules: module }),
      ...(asPublished && { asPublished }),
    });
  const compare = comparer(await read(0), { ...options, statistics: statistic });
  for (let i = 1; i < runs.length; i++) {
    const comparison = compare(await read(i));
    yield { ...comparison, warnings: [...differences(runs[0]!, runs[i]!), ...comparison.warnings] };
  }
}

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const words = (name: string): string => kebab(name).replaceAll("-", " ");

const list =
  <T>(parse: (name: string) => T) =>
  (text: string): T[] =>
    text.split(",").map((name) => parse(name.trim()));

function statisticOf(name: string): StatisticName {
  const found = statistics.find((statistic) => kebab(statistic) === name);
  if (!found) throw new InvalidArgumentError(`There are ${statistics.map(kebab).join(", ")}.`);
  return found;
}

const moduleOf = (name: string): string => (/^[qkvo]$/.test(name) ? `self_attn.${name}_proj` : name);

/** A comparison for people. */
function describe(comparison: Comparison): string {
  const { a, b, design, modules, segments, warnings } = comparison;
  const chosen = [...new Set(modules.map(({ statistic }) => statistic))];
  return [
    `A  ${describeSide(a)}`,
    `B  ${describeSide(b)}`,
    ...chosen.flatMap((statistic) => [
      "",
      describeStatistic(
        modules.filter((module) => module.statistic === statistic),
        segments,
      ),
    ]),
    "",
    designs[design](Math.min(a.rows.used, b.rows.used)),
    ...restsOn(comparison),
    ...warnings,
  ].join("\n");
}

const designs: Readonly<Record<Comparison["design"], (rows: number) => string>> = {
  paired: (rows) => `${rows} questions, each in both runs; intervals of 95 % over questions.`,
  unpaired: () => "The runs share no question; intervals of 95 % over the rows of each.",
  matched: (rows) => `${rows} matched pairs of rows; intervals of 95 % over pairs.`,
};

const describeSide = ({ name, loss, nTokens, nLabels }: ComparedRun): string => {
  const means = [
    loss === null ? undefined : `loss ${short(loss)}`,
    nTokens === null ? undefined : `${short(nTokens)} tokens`,
    nLabels === null ? undefined : `${short(nLabels)} labels`,
  ].filter((text) => text !== undefined);
  return `${name}${means.length > 0 ? `: ${means.join(", ")} a row` : ""}`;
};

/** The sizes of the curves, then their shapes. */
function describeStatistic(modules: readonly ModuleComparison[], segments: Segments): string {
  const effect = modules[0]!.effect.kind;
  const sizes = columns(modules, words(modules[0]!.statistic), [
    estimates("mean of A", (m) => m.a.mean),
    estimates("mean of B", (m) => m.b.mean),
    estimates("A / B", (m) => m.ratio),
    texts(effect, (m) => short(m.effect.value)),
    texts("p of exchangeability", (m) => short(m.exchangeability.p)),
  ]);
  const shapes = columns(modules, "over layers", [
    estimates("MAD of A", (m) => m.a.mad),
    estimates("MAD of B", (m) => m.b.mad),
    texts("MAD / mean", (m) => `${short(m.a.relativeMad?.value)}, ${short(m.b.relativeMad?.value)}`),
    estimates("RD", (m) => m.relativeDifference),
    texts("largest in layers", (m) => m.relativeDifference.topLayers.join(" ")),
    texts("p of RD = 0", (m) => (m.relativeDifference.swap ? short(m.relativeDifference.swap.p) : "not paired")),
  ]);
  return [sizes, "", shapes, ...describeSegments(modules, segments), ...describeAdjusted(modules)].join("\n");
}

/** MADs of A and B over shallow, middle and deep layers, of those segments that have steps between layers. */
function describeSegments(modules: readonly ModuleComparison[], segments: Segments): string[] {
  const found = segments.flatMap(([from, to], s) =>
    to - from < 2
      ? []
      : [texts(`layers ${from} to ${to - 1}`, (m) => `${short(m.a.segmentMads[s]?.value)}, ${short(m.b.segmentMads[s]?.value)}`)],
  );
  return found.length > 0 ? ["", columns(modules, "MAD of A, B by segment", found)] : [];
}

/** A line a layer of each run's curves; the first run's stand once for each run that it is compared with, as the rows may differ. */
function curvesCsv(comparisons: readonly Comparison[]): string {
  const header = ["run", "compared_with", "statistic", "module", "layer", "mean", "low", "high", "rows"];
  const lines = comparisons.flatMap(({ a, b, modules }) =>
    modules.flatMap((m) =>
      [
        { run: a.name, other: b.name, of: m.a },
        { run: b.name, other: a.name, of: m.b },
      ].flatMap(({ run, other, of }) =>
        of.curve.map(({ value, interval }, layer) =>
          [run, other, m.statistic, m.module, layer, value, interval?.low ?? "", interval?.high ?? "", of.rows.used].map(csvCell).join(","),
        ),
      ),
    ),
  );
  return `${[header.join(","), ...lines].join("\n")}\n`;
}

const csvCell = (value: string | number): string => {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

function describeAdjusted(modules: readonly ModuleComparison[]): string[] {
  const [first] = modules;
  if (!first?.adjusted) return [];
  const of = (k: number) => (module: ModuleComparison) => module.adjusted![k]!;
  const notes = modules.flatMap(({ module, adjusted }) =>
    adjusted!.flatMap(({ reason, rows, covariates, marks }) => {
      const held = `A / B with ${covariates.join(" and ")} held fixed`;
      return [
        ...marks.map((mark) => `${held}: ${mark}.`),
        ...(reason ? [`${module}: ${held}: ${reason}`] : []),
        ...leftOutOf(`${module}: ${held}`, rows),
      ];
    }),
  );
  return [
    "",
    columns(modules, "by regression", [
      estimates("A / B", (m) => m.ratio),
      ...first.adjusted.map(({ covariates }, k) => estimates(`${covariates.join(" and ")} held fixed`, (m) => of(k)(m).ratio)),
      texts("slope on log n_labels", (m) => short(of(0)(m).slopes[0]?.value)),
    ]),
    ...new Set(notes),
  ];
}

/** On how many rows the numbers rest, and what was left out. Modules that rest on fewer rows than the runs have lines of their own. */
function restsOn({ a, b, modules }: Comparison): string[] {
  const sides = [
    { label: "A", run: a, of: (m: ModuleComparison) => m.a.rows },
    { label: "B", run: b, of: (m: ModuleComparison) => m.b.rows },
  ];
  return sides.flatMap(({ label, run, of }) => [
    `${label}: ${rowsAndLeftOut(run.rows)}.`,
    ...modules
      .filter((module) => of(module).used < run.rows.used)
      .map((module) => `${label}, ${words(module.statistic)} of ${module.module}: ${rowsAndLeftOut(of(module))}.`),
  ]);
}

function rowsAndLeftOut({ used, leftOut }: RowCount): string {
  const reasons = Object.entries(leftOut).map(([reason, rows]) => `${rows} left out (${reason})`);
  return [`${used} ${used === 1 ? "row" : "rows"}`, ...reasons].join(", ");
}

const leftOutOf = (what: string, rows: RowCount): string[] =>
  Object.keys(rows.leftOut).length > 0 ? [`${what}: ${rowsAndLeftOut(rows)}.`] : [];

/** A column of a table: its header, and the cell of each module. */
interface Column {
  readonly header: string;
  readonly cells: readonly string[];
}

type ColumnOf = (modules: readonly ModuleComparison[]) => Column;

const texts =
  (header: string, cell: (module: ModuleComparison) => string): ColumnOf =>
  (modules) => ({ header, cells: modules.map(cell) });

/** Numbers with their intervals; the word "approximate" stands in the header where it holds of one of them. */
const estimates =
  (header: string, of: (module: ModuleComparison) => Estimate | null): ColumnOf =>
  (modules) => {
    const all = modules.map(of);
    return {
      header: all.some((estimate) => estimate?.approximate) ? `${header} [approximate]` : header,
      cells: all.map((estimate) => {
        if (estimate === null) return "–";
        const { value, interval } = estimate;
        return interval ? `${short(value)} [${short(interval.low)}, ${short(interval.high)}]` : `${short(value)} [no interval]`;
      }),
    };
  };

function columns(modules: readonly ModuleComparison[], title: string, of: readonly ColumnOf[]): string {
  const all = of.map((column) => column(modules));
  return table(
    [title, ...all.map(({ header }) => header)],
    modules.map(({ module }, row) => [module, ...all.map(({ cells }) => cells[row]!)]),
  );
}

/** Three digits; none of a number that there is not. */
function short(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1);
  return size >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}
