import type { DownloadWatcher } from "../hub/fetch-model.ts";
import type { RunWatcher } from "../run/run.ts";
import { DownloadProgress } from "./download-progress.ts";
import { interruptible } from "./interrupt.ts";
import { Progress, printable } from "./progress.ts";

/** A watcher of downloads that shows them on standard error. */
export function watchDownload({ quiet }: { readonly quiet: boolean }): Required<DownloadWatcher> & { finish(): void } {
  const downloading = new DownloadProgress();
  return {
    note: (message) => {
      downloading.finish();
      if (!quiet) process.stderr.write(`${printable(message)}\n`);
    },
    download: (state) => {
      if (!quiet) downloading.show(state);
    },
    finish: () => downloading.finish(),
  };
}

/** A run's watcher that shows progress on standard error. `prefix` names the run where there are several. */
export function watchRun({
  quiet,
  prefix = "",
}: {
  readonly quiet: boolean;
  readonly prefix?: string;
}): Required<RunWatcher> & { finish(): void } {
  const downloads = watchDownload({ quiet });
  let progress: Progress | undefined;
  return {
    note: (message) => {
      if (progress) progress.log(prefix + message);
      else downloads.note(prefix + message);
    },
    download: downloads.download,
    start: ({ rows, done, tokens }) => {
      progress = new Progress({ total: rows, done, totalTokens: tokens, quiet });
    },
    step: (step) => progress?.step(step),
    finish: () => {
      downloads.finish();
      progress?.finish();
    },
  };
}

/** Work that may download first, with its progress on standard error, and that Ctrl-C ends cleanly. */
export function watching<T>(work: (watch: DownloadWatcher, signal: AbortSignal) => Promise<T>): Promise<T> {
  const watcher = watchDownload({ quiet: false });
  return interruptible((signal) => work(watcher, signal), watcher.note).finally(watcher.finish);
}
