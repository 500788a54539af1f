import { rmSync } from "node:fs";
import { join } from "node:path";
import { type ErrorKind, LayergradError } from "../errors.ts";
import type { DownloadWatcher } from "../hub/fetch-model.ts";
import type { ModelReference } from "../run/locate-model.ts";
import { type Model, type OpenModelOptions, openModel } from "../run/open-model.ts";
import { type RunOptions, type RunSummary, type RunWatcher, run } from "../run/run.ts";
import { readManifest } from "../store/index.ts";
import { localDay } from "../text/strftime.ts";
import { type CheckedRun, checkRuns } from "./check.ts";
import { readStudyIndex, studyFiles, writeStudyFile } from "./index-file.ts";
import { chosenBy } from "./names.ts";
import { indexOf, type PlannedRun, planStudy } from "./plan.ts";
import type { StudySpec } from "./spec.ts";

/** Which runs of a study. */
export interface StudyChoice {
  /** A pattern of folders, `smollm2/base/**`; default all. */
  readonly only?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface RunStudyOptions extends StudyChoice {
  readonly watch?: StudyWatcher | undefined;
}

/** Told how a study goes on. Work is in floating-point operations. */
export interface StudyWatcher extends DownloadWatcher {
  /** Something worth a line. */
  note?(message: string): void;
  /** Before the first run: what all runs come to, and the rows that earlier calls have done. */
  start?(study: { readonly runs: number; readonly rows: number; readonly done: number; readonly work: number }): void;
  /** A run begins; numbers from one. */
  run?(run: { readonly number: number; readonly folder: string }): void;
  /** After each pack. */
  step?(step: { readonly rows: number; readonly skipped: number; readonly tokens: number; readonly work: number }): void;
  /** Rows that turn out to be done or given up beside those expected, and work that falls away with them; either may be below 0. */
  correct?(found: { readonly rows: number; readonly work: number }): void;
}

/** A run that failed for a reason of its own data. */
export interface StudyFailure {
  readonly folder: string;
  readonly kind: ErrorKind;
  readonly message: string;
}

/** How a study ended. */
export interface StudySummary {
  readonly name: string;
  readonly folder: string;
  /** Runs of this call that came to an end, in their order. */
  readonly finished: readonly (Pick<RunSummary, "folder" | "recorded" | "skipped" | "requested"> & { readonly computed: number })[];
  readonly failed: readonly StudyFailure[];
  readonly runs: number;
  readonly seconds: number;
  readonly interrupted: boolean;
}

/** The runs of a study that are asked for, checked, and the day that its chat templates show. */
export async function openStudy(
  spec: StudySpec,
  { only, ...opening }: StudyChoice & OpenModelOptions = {},
): Promise<{ runs: CheckedRun[]; date: string }> {
  const planned = chooseRuns(planStudy(spec), only);
  const earlier = readStudyIndex(spec.out);
  if (earlier && earlier.name !== spec.name)
    throw new LayergradError(
      "output",
      `${spec.out} holds the study ${JSON.stringify(earlier.name)}, not ${JSON.stringify(spec.name)}; choose another "out", or give this study that name.`,
    );
  const date = spec.options.date ?? earlier?.date ?? localDay(new Date());
  return { runs: await checkRuns(planned, spec.options, date, opening), date };
}

function chooseRuns(planned: readonly PlannedRun[], only: string | undefined): PlannedRun[] {
  const named = planned.map((run) => ({ name: run.attributes.folder, run }));
  const chosen = only === undefined ? named : chosenBy(only, named);
  if (chosen.length === 0)
    throw new LayergradError(
      "usage",
      `--only ${only}: no run of the study has such a folder; --dry-run lists them, ${named[0]!.name} is one.`,
    );
  return chosen.map(({ run }) => run);
}

/**
 * Runs a study, one run after another, each into a folder of its own; the same call again goes on where the last one stopped. Everything is
 * checked before the first run. A run that fails for its data is noted and passed over.
 *
 * @throws {LayergradError} With the kind of what is wrong, for all but a run's own data. Records written before stay.
 */
export async function runStudy(spec: StudySpec, options: RunStudyOptions = {}): Promise<StudySummary> {
  const { watch = {}, signal } = options;
  const began = performance.now();
  const { runs, date } = await openStudy(spec, options);
  writeStudyFile(spec.out, studyFiles.index, indexOf(spec, planStudy(spec), date));
  const left = runs.map(leftOf);
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  watch.start?.({
    runs: runs.length,
    rows: sum(runs.map((r) => r.rows)),
    done: sum(runs.map((r) => r.done)),
    work: sum(left.map((l) => l.work)),
  });
  const finished: RunSummary[] = [];
  const failed: StudyFailure[] = [];
  let interrupted = false;
  const models = new OpenModels();
  try {
    for (const [i, { run: planned, model: reference }] of runs.entries()) {
      const { folder } = planned.attributes;
      watch.run?.({ number: i + 1, folder });
      const account = new Account(left[i]!, watch, folder);
      try {
        const model = await models.open(reference, { signal, watch });
        const summary = await run({ ...runOptions(spec, planned, date), model, watch: account.watcher, signal });
        interrupted = summary.interrupted;
        if (interrupted) break;
        finished.push(summary);
      } catch (error) {
        if (!(error instanceof LayergradError && error.kind === "data")) throw error;
        failed.push({ folder: planned.out, kind: error.kind, message: error.message });
        writeStudyFile(spec.out, studyFiles.failures, failed);
        watch.note?.(`${folder} failed: ${error.message}`);
      }
      account.settle();
    }
  } catch (error) {
    // Between two runs or before a run's first row; what came later the run has told by its summary.
    if (!signal?.aborted || error !== signal.reason) throw error;
    interrupted = true;
  } finally {
    models.close();
  }
  if (failed.length === 0) rmSync(join(spec.out, studyFiles.failures), { force: true });
  return {
    name: spec.name,
    folder: spec.out,
    finished: finished.map(({ folder, recorded, skipped, requested, computed }) => ({
      folder,
      recorded,
      skipped,
      requested,
      computed: computed.rows,
    })),
    failed,
    runs: runs.length,
    seconds: (performance.now() - began) / 1000,
    interrupted,
  };
}

/** The model of the runs under way: opened once, so that its files are hashed once, and closed for the next. */
class OpenModels {
  #model: Model | undefined;
  #reference = "";

  async open(reference: ModelReference, options: OpenModelOptions): Promise<Model> {
    const key = JSON.stringify(reference);
    if (!this.#model || this.#reference !== key) {
      this.close();
      this.#model = await openModel(reference, options);
      this.#reference = key;
    }
    return this.#model;
  }

  close(): void {
    this.#model?.checkpoint.close();
    this.#model = undefined;
  }
}

/** A planned run as `run` takes it. One that was begun by itself keeps its own date. */
function runOptions({ options }: StudySpec, { mode, data, labels, range, out }: PlannedRun, date: string): Omit<RunOptions, "model"> {
  return {
    ...options,
    ...range,
    ...data.columns,
    mode,
    data: data.reference,
    labels: labels.choice,
    out,
    date: options.date ?? (readManifest(out) ? undefined : date),
  };
}

/** Rows and work of a run. */
interface Amount {
  readonly rows: number;
  readonly work: number;
}

/** What a run still has to do. */
const leftOf = ({ rows, done, flops }: CheckedRun): Amount => ({ rows: rows - done, work: rows > 0 ? (flops * (rows - done)) / rows : 0 });

/** Keeps the watcher's totals right while a run finds out what is truly left of it. */
class Account {
  #rows: number;
  #work: number;
  /** Operations a token, by the run's own count of what is left. */
  #workPerToken = 0;

  constructor(
    left: Amount,
    private readonly watch: StudyWatcher,
    private readonly folder: string,
  ) {
    this.#rows = left.rows;
    this.#work = left.work;
  }

  readonly watcher: RunWatcher = {
    note: (message) => this.watch.note?.(`${this.folder}: ${message}`),
    start: ({ rows, done, tokens }) => {
      const left = rows - done;
      const share = this.#rows > 0 ? 1 - left / this.#rows : 0;
      this.#give({ rows: this.#rows - left, work: this.#work * share });
      this.#workPerToken = tokens > 0 ? this.#work / tokens : 0;
    },
    step: ({ rows = 0, skipped = 0, tokens = 0 }) => {
      const work = tokens * this.#workPerToken;
      this.#rows -= rows + skipped;
      this.#work -= work;
      this.watch.step?.({ rows, skipped, tokens, work });
    },
  };

  /** The run is at its end: what is left of it will not come. */
  settle(): void {
    this.#give({ rows: this.#rows, work: this.#work });
  }

  #give(found: Amount): void {
    this.#rows -= found.rows;
    this.#work -= found.work;
    if (found.rows !== 0 || found.work !== 0) this.watch.correct?.(found);
  }
}
