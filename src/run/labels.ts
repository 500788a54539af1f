import { openRows } from "../data/open-rows.ts";
import { LayergradError } from "../errors.ts";
import type { ColumnOptions } from "../io/columns.ts";
import type { MeasuringEngine, SubsetRow } from "../runtime/engine.ts";
import { firstLabels, type LabelRule, labelRules, lastLabels, randomLabels, type SweepStep, sweepSteps } from "../runtime/label-subsets.ts";
import type { RowStatistics } from "../runtime/row-statistics.ts";
import type { LabelIdentity, LabelSubset, SweepEntry } from "../store/index.ts";
import type { EncodedRow, SkipReason } from "../text/encode-row.ts";
import { type Row, userText } from "../text/row.ts";

/** `--labels` as it was given: a rule, and for `first`, `last` and `random` how many labels, or the data whose rows say how many. */
export interface LabelChoice {
  readonly rule: LabelRule;
  readonly count?: number | { readonly twins: string };
}

/** How the labels of each row are chosen. */
export interface Labelling extends LabelChoice {
  /** Seed of `random` and `sweep`. */
  readonly seed: number;
  /** Random choices of each size in a sweep. */
  readonly draws: number;
  /** Labels that each row's twin counts, by row; of the rows that have a twin. */
  readonly twinLabels?: ReadonlyMap<number, number>;
}

/** Random choices of each size in a sweep, where the user does not say; fewer would leave the average too rough. */
export const LEAST_DRAWS = 8;

/**
 * Reads `all`, `first:K`, `last:K`, `random:K` or `sweep`; K is a number, or `@` and a data set.
 *
 * @throws {LayergradError} `usage` for anything else.
 */
export function parseLabels(text: string): LabelChoice {
  const fail = (found: string): LayergradError =>
    new LayergradError(
      "usage",
      `--labels must be all, first:K, last:K, random:K or sweep, with K a number above 0 or @<data>, as many labels as the row's twin there has; found ${JSON.stringify(found)}.`,
    );
  const [, name, , argument] = /^([a-z]+)(:(.+))?$/s.exec(text) ?? [];
  const rule = labelRules.find((known) => known === name);
  if (!rule || (argument === undefined) !== (rule === "all" || rule === "sweep")) throw fail(text);
  if (argument === undefined) return { rule };
  if (argument.startsWith("@") && argument.length > 1) return { rule, count: { twins: argument.slice(1) } };
  const count = Number(argument);
  if (!/^\d+$/.test(argument) || !Number.isSafeInteger(count) || count < 1) throw fail(text);
  return { rule, count };
}

/** What a choice of labels comes to for a set of rows. */
export interface ResolvedLabels {
  readonly labelling: Labelling;
  /** For the run's identity; absent where all labels count. */
  readonly identity?: LabelIdentity;
  /** The rows, with a reason to skip where none of their labels is chosen. */
  readonly encoded: readonly EncodedRow[];
}

/** Options that choose labels; the columns are those of the run's data and its twins alike. */
export interface LabelOptions extends ColumnOptions {
  readonly labels?: string | undefined;
  readonly labelSeed?: number | undefined;
  readonly draws?: number | undefined;
}

/**
 * Works out which labels each row counts; reads the data of the twins where there are any. A row's twin stands at the same position
 * and asks the same.
 *
 * @param rows - The whole data set; `encoded` are chosen ones of it.
 * @param encode - The run's own encoder, so that twins are cut alike.
 * @throws {LayergradError} `usage` for a choice that is none, `data` for twins that cannot be read or of which no row has one.
 */
export async function resolveLabels(
  options: LabelOptions,
  rows: readonly Row[],
  encoded: readonly EncodedRow[],
  encode: (row: Row, index: number) => EncodedRow,
): Promise<ResolvedLabels> {
  const { choice, seed, draws } = checkLabels(options);
  const { rule, count } = choice;
  if (rule === "all") return { labelling: { ...choice, seed, draws }, encoded };
  const random = rule === "random" || rule === "sweep" ? { seed } : {};
  if (typeof count !== "object") {
    const identity = { rule, ...(count === undefined ? {} : { count }), ...random, ...(rule === "sweep" ? { draws } : {}) };
    return { labelling: { ...choice, seed, draws }, identity, encoded };
  }
  const twins = await openRows(count.twins, options);
  const twinLabels = new Map<number, number>();
  for (const { row } of encoded) {
    const twin = twins.rows[row];
    if (twin && userText(twin) === userText(rows[row]!)) twinLabels.set(row, encode(twin, row).nLabels);
  }
  if (twinLabels.size === 0) {
    throw new LayergradError(
      "data",
      `--labels ${options.labels}: no row of ${count.twins} has the instruction of the chosen row at its position; both files must hold the same questions in the same order.`,
    );
  }
  const skip = ({ row }: EncodedRow): SkipReason | undefined =>
    twinLabels.has(row) ? (twinLabels.get(row) === 0 ? "no label in its twin" : undefined) : "no twin with its instruction";
  return {
    labelling: { ...choice, seed, draws, twinLabels },
    identity: { rule, count: { twins: twins.sha256 }, ...random },
    encoded: encoded.map((e) => {
      const reason = e.skip ?? skip(e);
      return reason ? { ...e, skip: reason } : e;
    }),
  };
}

/** The choice, checked as far as it can be without data. */
export function checkLabels({ labels = "all", labelSeed = 0, draws = LEAST_DRAWS }: LabelOptions): {
  readonly choice: LabelChoice;
  readonly seed: number;
  readonly draws: number;
} {
  if (!Number.isSafeInteger(labelSeed) || labelSeed < 0)
    throw new LayergradError("usage", `--label-seed must be a whole number from 0 on, found ${labelSeed}.`);
  if (!Number.isSafeInteger(draws) || draws < LEAST_DRAWS)
    throw new LayergradError("usage", `--draws must be a whole number of at least ${LEAST_DRAWS}, found ${draws}.`);
  return { choice: parseLabels(labels), seed: labelSeed, draws };
}

/** What was measured of a row under a labelling. */
export interface Measured extends RowStatistics {
  /** Labels that the loss counts. */
  readonly nLabels: number;
  /** Which labels they are, where not all. */
  readonly labels?: LabelSubset;
  readonly sweep?: readonly SweepEntry[];
}

/**
 * Measures waves of packs, each row under its own choice of labels, as many waves at a time as the engine takes; yields each wave's rows with
 * what was measured of them, in their order. Leaving early gives up the waves in hand.
 *
 * @param signal - Looked at before each layer and pack; all is then given up with the signal's reason.
 */
export async function* measureLabelled(
  engine: MeasuringEngine,
  waves: readonly (readonly (readonly EncodedRow[])[])[],
  labelling: Labelling,
  signal?: AbortSignal,
): AsyncGenerator<{ readonly rows: readonly EncodedRow[]; readonly results: readonly Measured[] }, void, undefined> {
  const leaving = new AbortController();
  const given = signal ? AbortSignal.any([signal, leaving.signal]) : leaving.signal;
  const inHand: Promise<Measured[]>[] = [];
  try {
    for (const [i, wave] of waves.entries()) {
      signal?.throwIfAborted();
      for (const ahead of waves.slice(i + inHand.length, i + engine.wavesAtOnce)) {
        const measuring = measureWave(engine, ahead, labelling, given);
        // Whoever takes the wave hears of a failure; if it is given up, nobody need.
        measuring.catch(() => {});
        inHand.push(measuring);
      }
      yield { rows: wave.flat(), results: await inHand.shift()! };
    }
  } finally {
    leaving.abort();
  }
}

/** Measures the packs of one wave; results in the order of the rows. */
async function measureWave(
  engine: MeasuringEngine,
  wave: readonly (readonly EncodedRow[])[],
  labelling: Labelling,
  signal: AbortSignal,
): Promise<Measured[]> {
  const rows = wave.flat();
  const steps = new Map(rows.map((row) => [row, stepsOf(row, labelling)]));
  const inPacks = await engine.measureWave(
    wave.map((pack) =>
      pack.map((row) =>
        upToLastLabel(
          row,
          steps.get(row)!.flatMap((step) => step.subsets),
        ),
      ),
    ),
    signal,
  );
  const measured = inPacks.flat();
  return rows.map((row, i) => measuredRow(row, steps.get(row)!, measured[i]!, labelling));
}

/** What a row's steps came to. */
function measuredRow(row: EncodedRow, steps: readonly Step[], measured: readonly RowStatistics[], { rule }: Labelling): Measured {
  const last = steps.at(-1)!;
  const statistics = measured.at(-1)!;
  const problem = measured.find((m) => m.problem);
  if (problem) return { ...problem, nLabels: last.k };
  if (rule === "sweep") return { ...statistics, nLabels: last.k, sweep: sweepEntries(steps, measured) };
  const subset = rule === "all" ? {} : { labels: { rule, k: last.k, of: row.nLabels } };
  return { ...statistics, nLabels: last.k, ...subset };
}

/** A row with its subsets, cut behind the last label that any of them counts: no token after it can move a loss before it. */
function upToLastLabel(row: EncodedRow, subsets: readonly Int32Array[]): SubsetRow {
  const last = subsets.reduce((latest, subset) => Math.max(latest, subset.at(-1)!), 0);
  return { ...row, inputIds: row.inputIds.subarray(0, Math.max(row.labelStart, 1) + last + 1), subsets };
}

type Step = Pick<SweepStep, "k" | "subsets"> & { readonly rule: LabelRule };

/** The subsets of a row's labels, the one that its record is of last. */
function stepsOf({ row, nLabels }: EncodedRow, { rule, count, seed, draws, twinLabels }: Labelling): Step[] {
  if (rule === "sweep") return sweepSteps(nLabels, { seed, row }, draws);
  const wanted = typeof count === "number" ? count : (twinLabels?.get(row) ?? nLabels);
  const k = Math.min(wanted, nLabels);
  const subset = {
    all: () => firstLabels(nLabels),
    first: () => firstLabels(k),
    last: () => lastLabels(nLabels, k),
    random: () => randomLabels(nLabels, k, { seed, row, draw: 0 }),
  }[rule]();
  return [{ rule, k: subset.length, subsets: [subset] }];
}

/** Averages each step over its subsets. */
function sweepEntries(steps: readonly Step[], measured: readonly RowStatistics[]): SweepEntry[] {
  let next = 0;
  return steps.map(({ rule, k, subsets }) => {
    const draws = measured.slice(next, next + subsets.length);
    next += subsets.length;
    const names = Object.keys(draws[0]!.matrices);
    const modules = [...new Set(names.map((name) => name.split(".").slice(3, -1).join(".")))];
    const average = (values: readonly (number | null)[]): number | null =>
      values.includes(null) ? null : values.reduce<number>((sum, v) => sum + v!, 0) / values.length;
    const byModule = (statistic: "S_sum" | "S_max" | "frobenius_norm" | "effective_rank") =>
      Object.fromEntries(
        modules.map((module) => [
          module,
          names.filter((name) => name.endsWith(`.${module}.weight`)).map((name) => average(draws.map((d) => d.matrices[name]![statistic]))),
        ]),
      );
    return {
      labels: rule as SweepEntry["labels"],
      k,
      draws: draws.length,
      loss: average(draws.map((d) => d.loss))!,
      nuclear_norm: byModule("S_sum") as SweepEntry["nuclear_norm"],
      frobenius_norm: byModule("frobenius_norm") as SweepEntry["frobenius_norm"],
      sigma_max: byModule("S_max") as SweepEntry["sigma_max"],
      effective_rank: byModule("effective_rank"),
    };
  });
}
