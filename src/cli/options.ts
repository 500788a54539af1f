import { type Command, InvalidArgumentError, Option } from "commander";
import { matrixChoices } from "../models/block.ts";
import { devices } from "../runtime/device.ts";
import { parseSize } from "../runtime/size.ts";

/** A whole number above zero. */
export function count(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError("It must be a whole number above 0.");
  return value;
}

/** A whole number from zero on. */
export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text))) throw new InvalidArgumentError("It must be a whole number from 0 on.");
  return Number(text);
}

/** Bytes from `6GB`, `800 MB` or a plain number; a GB is 10⁹ bytes. */
export function bytes(text: string): number {
  const size = parseSize(text);
  if (size === null) throw new InvalidArgumentError('It must be a size such as "6GB" or "800MB".');
  return size;
}

/** Options that several commands share, in one wording. */
export const shared = {
  model: () =>
    new Option("--model <model>", "model folder, GGUF file, or id of the Hugging Face Hub such as Qwen/Qwen2-1.5B").makeOptionMandatory(),
  revision: () => new Option("--revision <revision>", "branch, tag or commit of a model of the Hub (default: main)"),
  adapter: () => new Option("--adapter <adapter>", "LoRA adapter to merge into the weights: a PEFT folder, or an id of the Hub"),
  data: () =>
    new Option(
      "--data <data>",
      "rows {instruction, input?, output}: a file, a name of the catalogue, or hf:owner/name#config/split",
    ).makeOptionMandatory(),
  mode: () =>
    new Option("--mode <mode>", "how instruction and response are joined: a newline, or the chat template")
      .choices(["base", "instruct"])
      .default("base"),
  maxLength: () => new Option("--max-length <tokens>", "longest row; the rest is cut off on the right").argParser(count).default(1024),
  rows: () => new Option("--rows <A:B>", "rows A up to B (not included); with a decimal point a fraction of the file, 0:0.1"),
  limit: () => new Option("--limit <N>", "at most N of those rows").argParser(count),
  singleBos: () => new Option("--single-bos", "drop the second BOS that a template's own BOS causes (the paper's figures keep it)"),
  date: () => new Option("--date <YYYY-MM-DD>", "the date that a template's clock shows (default: the day of the run's first call)"),
  matrices: () =>
    new Option("--matrices <choice>", "weight matrices: reference (square, or in attention), attention, mlp, or all of the blocks")
      .choices([...matrixChoices])
      .default("reference"),
  labels: () =>
    new Option(
      "--labels <choice>",
      "which labels the loss counts: all, first:K, last:K, random:K (K a number, or @<data>: as many as the row's twin there has), sweep",
    ).default("all"),
  labelSeed: () => new Option("--label-seed <N>", "seed of random labels").argParser(wholeNumber).default(0),
  draws: () => new Option("--draws <N>", "random choices of each size in a sweep (default 8, the least)").argParser(count),
  batchTokens: () =>
    new Option("--batch-tokens <tokens>", "most tokens that go through the model together (default: by memory)").argParser(count),
  threads: () => new Option("--threads <N>", "threads (default: the machine's cores)").argParser(count),
  device: () =>
    new Option("--device <device>", "where float32 is computed, docs/devices.md; float64 is always computed on the CPU")
      .choices([...devices])
      .default("cpu"),
  memory: () =>
    new Option("--memory <size>", "memory the run may take, such as 6GB (default: nine tenths of what is free)").argParser(bytes),
  overwrite: () => new Option("--overwrite", "start anew in a folder that holds another run"),
  quiet: () => new Option("--quiet", "no progress, only the result"),
  json: () => new Option("--json", "the result as JSON"),
} as const;

/** Adds the options that say which columns of a data file hold what. */
export const withColumns = (command: Command): Command =>
  command
    .addOption(new Option("--instruction-column <name>", "column of the instruction (default: instruction)"))
    .addOption(new Option("--input-column <name>", "column of the input, added to the instruction on a line of its own (default: input)"))
    .addOption(new Option("--output-column <name>", "column of the response (default: output)"))
    .addOption(
      new Option("--messages-column <name>", "column of conversations instead (default: messages, where there is no instruction)"),
    );
