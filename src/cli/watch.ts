import type { RunWatcher } from "../run/run.ts";
import { Progress, printable } from "./progress.ts";

/** A run's watcher that shows progress on standard error. `prefix` names the run where there are several. */
export function watchRun({
  quiet,
  prefix = "",
}: {
  readonly quiet: boolean;
  readonly prefix?: string;
}): Required<RunWatcher> & { finish(): void } {
  let progress: Progress | undefined;
  return {
    note: (message) => {
      if (progress) progress.log(prefix + message);
      else if (!quiet) process.stderr.write(`${printable(prefix + message)}\n`);
    },
    start: ({ rows, done, tokens }) => {
      progress = new Progress({ total: rows, done, totalTokens: tokens, quiet });
    },
    step: (step) => progress?.step(step),
    finish: () => progress?.finish(),
  };
}
