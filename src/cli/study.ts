import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Argument, Command } from "commander";
import { exitStatus, LayergradError } from "../errors.ts";
import { fsCode, fsReason } from "../io/fs-reason.ts";
import { checkDevice, type Device } from "../runtime/device.ts";
import { gigabytes } from "../runtime/planner.ts";
import { estimateStudy, type StudyEstimate } from "../study/dry-run.ts";
import { findingsFiles, judgeStudy, type StudyFindings } from "../study/findings.ts";
import { verdictRows } from "../study/findings-markdown.ts";
import { runStudy, type StudySummary, type StudyWatcher } from "../study/run-study.ts";
import { readStudy, type StudySpec } from "../study/spec.ts";
import { studyTemplate, type TemplateName, templateNames } from "../study/templates.ts";
import { interruptible } from "./interrupt.ts";
import { shared } from "./options.ts";
import { duration, Progress, printable } from "./progress.ts";
import { size } from "./size.ts";
import { table } from "./table.ts";
import { watchDownload, watching } from "./watch.ts";

interface StudyFlags {
  readonly dryRun?: boolean;
  readonly only?: string;
  readonly threads?: number;
  readonly device: Device;
  readonly memory?: number;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

/** As `layergrad findings` has it by default. */
const FINDINGS_SEED = "1";

const DEFAULT_FILE = "study.yaml";

export const studyCommand = (): Command =>
  new Command("study")
    .description("run a study: models × data × modes, as a study.yaml has it; the same call again goes on where it stopped")
    .argument("[file]", "the study, as docs/study.md describes it; `layergrad study init` writes one", DEFAULT_FILE)
    .option("--dry-run", "check everything and print runs, rows, and about how much time, memory and disk they take")
    .option("--only <folders>", 'only the runs whose folders match, such as "smollm2/base/**"')
    .addOption(shared.threads())
    .addOption(shared.device())
    .addOption(shared.memory())
    .addOption(shared.quiet())
    .addOption(shared.json())
    .action(async (file: string, flags: StudyFlags) => {
      const { threads, device, memory, only } = flags;
      const read = readStudy(file);
      const options = {
        ...read.options,
        device,
        ...(threads === undefined ? {} : { threads }),
        ...(memory === undefined ? {} : { memory }),
      };
      const spec = { ...read, options };
      const print = (result: StudyEstimate | StudySummary, text: string): void => {
        process.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : `${printable(text)}\n`);
      };
      if (flags.dryRun) {
        const estimate = await watching((watch, signal) => estimateStudy(spec, { only, watch, signal }));
        print(estimate, describeEstimate(estimate));
        return;
      }
      await checkDevice(device);
      const summary = await runAll(spec, only, flags.quiet ?? false);
      print(summary, describeSummary(summary));
      const [failure] = summary.failed;
      if (summary.interrupted) process.exitCode = 130;
      else if (failure) process.exitCode = exitStatus[failure.kind];
      // What was measured is on the disk and reported by now, whatever becomes of this.
      if (!summary.interrupted && summary.finished.length > 0) {
        const findings = await findingsOf(spec.out);
        if (!flags.json) process.stdout.write(`${typeof findings === "string" ? findings : describeFindings(findings, spec.out)}\n`);
      }
    })
    .addCommand(initCommand());

/** The study's findings, or a line that says why there are none, such as records of other matrices than the attention's: no failure of the runs. */
async function findingsOf(folder: string): Promise<StudyFindings | string> {
  try {
    return await judgeStudy(folder, { seed: FINDINGS_SEED });
  } catch (error) {
    if (error instanceof LayergradError && error.kind === "data") return `\nno findings: ${error.message}`;
    throw error;
  }
}

async function runAll(spec: StudySpec, only: string | undefined, quiet: boolean): Promise<StudySummary> {
  const watcher = watchStudy(quiet);
  return interruptible((signal) => runStudy(spec, { only, signal, watch: watcher }), watcher.note).finally(watcher.finish);
}

/** A study's watcher that shows one line of progress over all runs on standard error. */
function watchStudy(quiet: boolean): Required<StudyWatcher> & { finish(): void } {
  const downloads = watchDownload({ quiet });
  let progress: Progress | undefined;
  let runs = 0;
  return {
    note: (message) => {
      if (progress) progress.log(message);
      else downloads.note(message);
    },
    download: downloads.download,
    start: ({ runs: total, rows, done, work }) => {
      runs = total;
      progress = new Progress({ total: rows, done, totalWork: work, quiet });
    },
    run: ({ number }) => progress?.label(`run ${number} of ${runs}`),
    step: (step) => progress?.step(step),
    correct: (found) => progress?.correct(found),
    finish: () => {
      downloads.finish();
      progress?.finish();
    },
  };
}

/** What a dry run prints. */
function describeEstimate({ name, folder, runs, left, download, freeCache, freeDisk }: StudyEstimate): string {
  const whole = (n: number): string => String(Math.round(n));
  const rows = runs.map((run) => [
    run.folder,
    whole(run.rows),
    whole(run.done),
    whole(run.tokens),
    duration(run.seconds),
    gigabytes(run.memory),
    size(run.disk),
  ]);
  const total = ["still to do", whole(left.rows), "", whole(left.tokens), duration(left.seconds), gigabytes(left.memory), size(left.disk)];
  const room = left.disk > freeDisk ? "that is not enough" : "that is enough";
  return [
    table(["run", "rows", "done", "tokens", "about", "memory", "disk"], [...rows, total]),
    "",
    `Study ${name}: ${runs.length} runs into ${folder}, about ${duration(left.seconds)} on this machine; ${size(freeDisk)} of disk are free, ${room}.`,
    ...(download === 0 ? [] : [describeDownload(download, freeCache)]),
    "Time and disk are estimates from a sample of rows and this machine's matrix product rate; nothing was run or written.",
  ].join("\n");
}

function describeDownload(bytes: number | null, free: number): string {
  const amount = bytes === null ? "whose size cannot be asked now" : size(bytes);
  const room = bytes !== null && bytes > free ? ", that is not enough" : "";
  return `Weights on the Hub that are not here yet, ${amount}, are downloaded first, into the Hub's cache, whose disk has ${size(free)} free${room}.`;
}

/** A study's end in a few lines. */
function describeSummary({ name, folder, runs, finished, failed, seconds, interrupted }: StudySummary): string {
  const sum = (of: (run: StudySummary["finished"][number]) => number): number => finished.reduce((total, run) => total + of(run), 0);
  const lines = [
    `Study ${name}: ${finished.length} of ${runs} runs done in ${folder}`,
    `${sum((run) => run.recorded)} rows recorded, ${sum((run) => run.skipped)} skipped; ${sum((run) => run.computed)} rows in this call, ${duration(seconds)}`,
  ];
  for (const failure of failed) lines.push(`failed: ${failure.folder}: ${failure.message}`);
  if (interrupted) lines.push("interrupted: the same call goes on from here");
  return lines.join("\n");
}

/** What the runs say of the papers' claims. */
function describeFindings({ claims }: StudyFindings, folder: string): string {
  const files = [findingsFiles.markdown, findingsFiles.json].map((name) => join(folder, name));
  return `\n${table(["claim", "model", "as published", "controlled"], verdictRows(claims))}\n\nWhat that rests on: ${files.join(", ")}`;
}

const initCommand = (): Command =>
  new Command("init")
    .description("write a commented study.yaml to start from")
    .addArgument(new Argument("[template]", "which").choices([...templateNames]).default("miniature"))
    .option("--data <files...>", "own data for the templates own and controls; for controls first that of the shortest responses")
    .option("--out <file>", "where to", DEFAULT_FILE)
    .option("--force", "replace a file that is there")
    .exitOverride()
    .showHelpAfterError("(--help shows the options)")
    .action((template: TemplateName, flags: { data?: string[]; out: string; force?: boolean }) => {
      writeNew(flags.out, studyTemplate(template, flags.data), flags.force ?? false);
      const file = flags.out === DEFAULT_FILE ? "" : ` ${flags.out}`;
      process.stdout.write(
        `${flags.out} written; edit it, then\n  layergrad study${file} --dry-run   what it takes\n  layergrad study${file}             run it\n`,
      );
    });

function writeNew(path: string, text: string, force: boolean): void {
  try {
    writeFileSync(path, text, { flag: force ? "w" : "wx" });
  } catch (cause) {
    const advice = fsCode(cause) === "EEXIST" ? "--force replaces it, --out writes elsewhere" : "choose another --out";
    throw new LayergradError("output", `${path} cannot be written: ${fsReason(cause)}; ${advice}.`, { cause });
  }
}
