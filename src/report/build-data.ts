import { existsSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import type { Estimate } from "../analysis/bootstrap.ts";
import { compareRuns, describeRun } from "../analysis/compare.ts";
import { isComplete, layersOf, mean } from "../analysis/curves.ts";
import type { RunTable, StatisticName } from "../analysis/table.ts";
import { LayergradError } from "../errors.ts";
import { excerpt } from "../figures/text.ts";
import { type Manifest, readRecords, runFiles } from "../store/index.ts";
import { readSweeps } from "../store/sweep-reader.ts";
import { readTable } from "../store/table-reader.ts";
import { rounded } from "./format.ts";
import type {
  Provenance,
  ReportComparison,
  ReportCurve,
  ReportData,
  ReportModuleComparison,
  ReportPoints,
  ReportRun,
  ReportSpectrum,
  ReportSweepRow,
  Value,
} from "./report-data.ts";
import { conditionOf, subjectOf } from "./runs.ts";
import { labelsText, modelName, type SourceRun } from "./sources.ts";

/** What of the runs is computed, and how. */
export interface BuildOptions {
  /** Curves; the nuclear norm is always among them. */
  readonly statistics: readonly StatisticName[];
  readonly seed: string;
  /** Default: 2000 for runs of fewer than 100 rows, else 500, where a quantile of t is steadier and a resample takes longer. */
  readonly resamples?: number;
  /** Is told how many of the runs have been read. */
  readonly progress?: (done: number, total: number) => void;
}

/** The part of {@link ReportData} that comes from runs. */
export type RunsData = Pick<ReportData, "runs" | "comparisons" | "texts" | "absent">;

/** A data set with more conditions than this has each compared with the first only. */
const MANY_CONDITIONS = 6;
/** Rows and values of a spectrum that the page holds; smaller values than this share of the largest are left out. */
const [SPECTRUM_ROWS, SPECTRUM_VALUES, SPECTRUM_FLOOR] = [3, 400, 1e-7];

/**
 * Reads the runs one by one and computes what the report shows of them. Memory holds the nuclear norms of one data set's runs, which are
 * compared with each other, and the numbers of the report.
 *
 * @throws {LayergradError} `data` if a run cannot be read, unless a study has not come to it; if no run is left.
 */
export async function buildRunsData(sources: readonly SourceRun[], options: BuildOptions): Promise<RunsData> {
  const texts = new Texts();
  const runs: (ReportRun | undefined)[] = sources.map(() => undefined);
  const absent: { name: string; reason: string }[] = [];
  const comparisons: ReportComparison[] = [];
  let done = 0;
  for (const group of groups(sources)) {
    const tables = new Map<number, RunTable>();
    for (const index of group) {
      const source = sources[index]!;
      const table = await readSource(source);
      options.progress?.(++done, sources.length);
      if (typeof table === "string") {
        absent.push({ name: source.name, reason: table });
        continue;
      }
      runs[index] = await reportRun(source, table, texts, options);
      const { nuclearNorm } = table.values;
      tables.set(index, { ...table, values: nuclearNorm ? { nuclearNorm } : {} });
    }
    comparisons.push(...compareGroup([...tables.keys()], sources, tables, options));
  }
  const there = runs.flatMap((run, index) => (run === undefined ? [] : [index]));
  if (there.length === 0) throw new LayergradError("data", "None of the runs has records; run layergrad study first.");
  const position = new Map(there.map((index, i) => [index, i]));
  return {
    runs: there.map((index) => runs[index]!),
    comparisons: comparisons.map((comparison) => ({
      ...comparison,
      a: position.get(comparison.a)!,
      b: position.get(comparison.b)!,
    })),
    texts: texts.all,
    absent,
  };
}

/** Positions of the runs of each model, mode and data set, which are compared with each other. */
function groups(sources: readonly SourceRun[]): number[][] {
  const all = new Map<string, number[]>();
  sources.forEach(({ attributes }, index) => {
    const key = JSON.stringify([subjectOf(attributes), attributes.data.task, attributes.data.dataset]);
    all.set(key, [...(all.get(key) ?? []), index]);
  });
  return [...all.values()];
}

/** A run's numbers; why there are none, where a study has not come to them. */
async function readSource({ path, name, study }: SourceRun): Promise<RunTable | string> {
  if (!existsSync(recordsOf(path))) return "it has not been run";
  try {
    return await readTable(path, { name });
  } catch (error) {
    if (study !== undefined && error instanceof LayergradError && error.kind === "data")
      return error.message.replaceAll(path, basename(path)).replace(/\.$/, "");
    throw error;
  }
}

const recordsOf = (path: string): string => (statSync(path, { throwIfNoEntry: false })?.isFile() ? path : join(path, runFiles.records));

/** Texts of rows, each once. */
class Texts {
  readonly all: string[] = [];
  readonly #positions = new Map<string, number>();

  add(text: string): number {
    // Far more than the beginning, but not all of a long text.
    const beginning = excerpt(text.slice(0, 4000));
    const known = this.#positions.get(beginning);
    if (known !== undefined) return known;
    this.#positions.set(beginning, this.all.length);
    return this.all.push(beginning) - 1;
  }
}

async function reportRun(source: SourceRun, table: RunTable, texts: Texts, options: BuildOptions): Promise<ReportRun> {
  const statistics = options.statistics.filter((statistic) => table.values[statistic] !== undefined);
  const { run, segments: _, modules, layers } = describeRun(table, { statistics, ...resampling(options, table.rows.length) });
  const curves = modules.map(
    ({ statistic, module, rows, curve, mean, mad, segmentMads, relativeMad }): ReportCurve => ({
      statistic,
      module,
      n: rows.used,
      leftOut: table.rows.length - rows.used,
      layers: curve.map(asValue),
      mean: asValue(mean),
      mad: orNull(mad),
      segmentMads: segmentMads.map(orNull),
      relativeMad: orNull(relativeMad),
    }),
  );
  return {
    name: source.name,
    path: source.shownPath,
    attributes: source.attributes,
    rows: run.rows,
    loss: rounded(run.loss),
    nTokens: rounded(run.nTokens),
    nLabels: rounded(run.nLabels),
    layers,
    modules: table.modules,
    curves,
    points: pointsOf(table, texts),
    sweep: await sweepOf(source, table.modules, texts),
    spectra: await spectraOf(source, table, texts),
    provenance: source.manifest === undefined ? null : provenanceOf(source.manifest),
  };
}

const resampling = ({ seed, resamples }: BuildOptions, rows: number) => ({ seed, resamples: resamples ?? (rows < 100 ? 2000 : 500) });

const asValue = ({ value, interval }: Estimate): Value => [rounded(value), rounded(interval?.low), rounded(interval?.high)];

const orNull = (estimate: Estimate | null): Value | null => estimate && asValue(estimate);

function pointsOf(table: RunTable, texts: Texts): ReportPoints {
  const { rows, modules, values } = table;
  const means = (statistic: "nuclearNorm" | "effectiveRank") =>
    values[statistic] && modules.map((module) => rows.map((_, row) => meanOf(layersOf(table, statistic, module, row))));
  const [nuclearNorm, effectiveRank] = [means("nuclearNorm"), means("effectiveRank")];
  return {
    row: rows.map(({ row }) => row),
    instruction: rows.map(({ instruction }) => texts.add(instruction)),
    response: rows.map(({ output }) => texts.add(output)),
    nTokens: rows.map(({ nTokens }) => nTokens),
    nLabels: rows.map(({ nLabels }) => nLabels),
    loss: rows.map(({ loss }) => rounded(loss)),
    ...(nuclearNorm && { nuclearNorm }),
    ...(effectiveRank && { effectiveRank }),
  };
}

/** Mean over layers; null where one of them has no value. */
const meanOf = (layers: ArrayLike<number>): number | null => (isComplete(layers) ? rounded(mean(layers)) : null);

async function sweepOf({ path, attributes, manifest }: SourceRun, modules: readonly string[], texts: Texts): Promise<ReportSweepRow[]> {
  if (attributes.labels !== "sweep" && manifest?.identity.labels?.rule !== "sweep") return [];
  const rows = await readSweeps(recordsOf(path));
  return rows.map(({ row, instruction, output, nLabels, steps }) => ({
    row,
    nLabels,
    instruction: texts.add(instruction),
    response: texts.add(output),
    steps: steps.map(({ labels, k, loss, nuclearNorm }) => ({
      labels,
      k,
      loss: rounded(loss),
      nuclearNorm: modules.map((module) => rounded(mean(nuclearNorm[module] ?? []))),
    })),
  }));
}

/** Singular values of the first, the middle and the last layer, of the first rows. */
async function spectraOf({ path }: SourceRun, { modules, layers }: RunTable, texts: Texts): Promise<ReportSpectrum[]> {
  const chosen = [...new Set([0, Math.floor(layers / 2), layers - 1])];
  const spectra: ReportSpectrum[] = [];
  let rows = 0;
  for await (const { row = null, instruction, output, matrices } of readRecords(recordsOf(path), { tornTail: "ignore" })) {
    const held = matrices.filter(
      ({ layer, module, statistics }) => statistics.S_list && chosen.includes(layer) && modules.includes(module),
    );
    if (held.length === 0) break;
    for (const { layer, module, statistics } of held)
      spectra.push({
        row,
        instruction: texts.add(instruction),
        response: texts.add(output),
        layer,
        module,
        sigma: statistics
          .S_list!.slice(0, SPECTRUM_VALUES)
          .filter((sigma) => sigma > SPECTRUM_FLOOR * statistics.S_max)
          .map((sigma) => rounded(sigma)!),
      });
    if (++rows === SPECTRUM_ROWS) break;
  }
  return spectra;
}

/** Pairs of one data set's runs worth comparing: conditions with each other, also where labels are held equal, and with their twins. */
export function pairsOf(runs: readonly { readonly attributes: SourceRun["attributes"] }[]): {
  readonly a: number;
  readonly b: number;
  readonly kind: ReportComparison["kind"];
}[] {
  const indices = [...runs.keys()];
  const at = (index: number) => runs[index]!.attributes;
  const correct = indices.filter((index) => !at(index).data.irrelevant);
  const whole = correct.filter((index) => at(index).labels === "all");
  const first = whole.length > MANY_CONDITIONS ? whole.slice(0, 1) : whole;
  const conditions = first.flatMap((a) => whole.filter((b) => b > a).map((b) => ({ a, b, kind: "conditions" as const })));
  const controlled = whole.flatMap((a) =>
    correct.filter((b) => at(b).labels.endsWith(`:@${at(a).data.name}`)).map((b) => ({ a, b, kind: "conditions" as const })),
  );
  const twins = correct.flatMap((a) =>
    indices
      .filter((b) => at(b).data.irrelevant && at(b).data.condition === at(a).data.condition && at(b).labels === at(a).labels)
      .map((b) => ({ a, b, kind: "irrelevant" as const })),
  );
  return [...conditions, ...controlled, ...twins];
}

function compareGroup(
  group: readonly number[],
  sources: readonly SourceRun[],
  tables: ReadonlyMap<number, RunTable>,
  options: BuildOptions,
): ReportComparison[] {
  return pairsOf(group.map((index) => sources[index]!)).flatMap((pair): ReportComparison[] => {
    const [a, b] = [group[pair.a]!, group[pair.b]!];
    const [first, second] = [tables.get(a)!, tables.get(b)!];
    if (first.layers !== second.layers || !first.values.nuclearNorm || !second.values.nuclearNorm) return [];
    const modules = first.modules.filter((module) => second.modules.includes(module));
    const n = Math.min(first.rows.length, second.rows.length);
    const { design, warnings, modules: compared } = compareRuns(first, second, { modules, ...resampling(options, n) });
    return [
      {
        a,
        b,
        kind: pair.kind,
        design: design === "paired" ? "paired" : "unpaired",
        questions: compared[0]!.difference.n,
        modules: compared.map(
          ({ module, ratio, madDifference, relativeDifference: rd }): ReportModuleComparison => ({
            module,
            ratio: asValue(ratio),
            madDifference: orNull(madDifference),
            relativeDifference: asValue(rd),
            relativeDifferenceByLayer: rd.byLayer.map(rounded),
            topLayers: rd.topLayers,
            chance: rd.swap && { p: rounded(rd.swap.p)!, quantile95: rounded(rd.swap.nullQuantile95)! },
          }),
        ),
        // Names are those of the tables: conditions, as the page has them, are enough beside the data set.
        warnings: warnings.map((warning) =>
          warning.replaceAll(first.name, conditionOf(sources[a]!.attributes)).replaceAll(second.name, conditionOf(sources[b]!.attributes)),
        ),
      },
    ];
  });
}

function provenanceOf(manifest: Manifest): Provenance {
  const { identity, model, data, versions, options, times } = manifest;
  const { weights, tokenizer, data: dataHash, labels, columns, ...rest } = identity;
  const settings = {
    ...rest,
    labels: labels ? labelsText(labels) : "all",
    ...(columns && { columns: JSON.stringify(columns) }),
    ...options,
  };
  return {
    model: modelName(manifest),
    revision: model.revision ?? null,
    type: model.type ?? null,
    hashes: { weights, tokenizer, data: dataHash, ...model.files },
    data: { file: basename(data.path), rows: data.rows },
    options: Object.fromEntries(
      Object.entries(settings).map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : String(value)]),
    ),
    versions,
    started: times.firstStarted,
    ended: times.sessions.at(-1)?.ended ?? null,
  };
}
