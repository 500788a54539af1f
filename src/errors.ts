/**
 * What went wrong, as far as the caller must act differently. The command line maps a kind to its exit status:
 * usage 2, model 3, data 4, output 5 (output folder, disk or lock), resource 6 (memory or device).
 * Anything that is not a {@link LayergradError} is a bug of ours and exits 1 with its stack.
 */
export type ErrorKind = "usage" | "model" | "data" | "output" | "resource";

/** Exit status of the command line for each {@link ErrorKind}. */
export const exitStatus: Readonly<Record<ErrorKind, number>> = { usage: 2, model: 3, data: 4, output: 5, resource: 6 };

/**
 * An error the user can act on: one sentence that says what is wrong, where, and what to do.
 * `cause` keeps the original error where there is one.
 */
export class LayergradError extends Error {
  override readonly name = "LayergradError";

  constructor(
    readonly kind: ErrorKind,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * A stranger's value for a message: as JSON, control characters escaped, cut to a line. Numbers as they are, since JSON has no NaN, and
 * `nothing` for undefined.
 */
export function excerpt(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "number" || typeof value === "bigint") return `${value}`;
  if (typeof value === "string") return JSON.stringify(value.length > 120 ? `${value.slice(0, 120)}…` : value);
  try {
    const text = JSON.stringify(value) ?? String(value);
    return text.length > 120 ? `${text.slice(0, 120)}…` : text;
  } catch {
    // Nested deeper than the stack: JSON.parse takes such a value, JSON.stringify does not.
    return "(deeply nested)";
  }
}
