/**
 * Runs work that Ctrl-C or SIGTERM ends cleanly: the first signal aborts, so that what is finished is kept; a second one
 * exits at once, with status 130.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>, note: (message: string) => void): Promise<T> {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(130);
    note("interrupted: ending cleanly; once more exits at once");
    controller.abort();
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  try {
    return await work(controller.signal);
  } finally {
    // After an interrupt the process is about to end: a last impatient signal must not change the status that it ends with.
    if (!controller.signal.aborted) process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}
