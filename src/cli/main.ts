#!/usr/bin/env node
import { createRequire } from "node:module";
import { Command, CommanderError } from "commander";
import { exitStatus, LayergradError } from "../errors.ts";
import { keepFreedMemory } from "./allocator.ts";
import { compareCommand } from "./compare.ts";
import { dataCommand } from "./data.ts";
import { demoCommand } from "./demo.ts";
import { findingsCommand } from "./findings.ts";
import { inspectCommand } from "./inspect.ts";
import { printable } from "./progress.ts";
import { reportCommand } from "./report.ts";
import { runCommand } from "./run.ts";
import { selftestCommand } from "./selftest.ts";
import { studyCommand } from "./study.ts";
import { tokensCommand } from "./tokens.ts";

/** Commands that compute for minutes or hours. */
const long = ["run", "study", "demo"];
if (long.includes(process.argv[2] ?? "")) keepFreedMemory();

const { version } = createRequire(import.meta.url)("../../package.json") as { version: string };

const program = new Command("layergrad")
  .description("Layer-wise gradient statistics of language models: what training on a row would do to each layer.")
  .version(version)
  .addCommand(runCommand())
  .addCommand(tokensCommand())
  .addCommand(inspectCommand())
  .addCommand(dataCommand())
  .addCommand(studyCommand())
  .addCommand(compareCommand())
  .addCommand(findingsCommand())
  .addCommand(reportCommand())
  .addCommand(demoCommand())
  .addCommand(selftestCommand());

const withAll = (command: Command): Command[] => [command, ...command.commands.flatMap(withAll)];
for (const command of withAll(program)) command.exitOverride().showHelpAfterError("(--help shows the options)");

// A reader that has seen enough (`| head`) is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

/** Tells the user what is wrong in one sentence, or shows a bug of ours whole; gives the exit status. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitStatus.usage;
  if (error instanceof LayergradError) {
    process.stderr.write(`layergrad: ${printable(error.message)}\n`);
    return exitStatus[error.kind];
  }
  if (error instanceof Error && error.name === "AbortError") {
    process.stderr.write("layergrad: interrupted before anything was computed\n");
    return 130;
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const cause =
    error instanceof Error && error.cause ? `\ncaused by ${error.cause instanceof Error ? error.cause.message : String(error.cause)}` : "";
  process.stderr.write(`layergrad: this is a bug, please report it with what follows\n${stack}${cause}\n`);
  return 1;
}
