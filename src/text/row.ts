/**
 * One row of a data set: what the model is asked, and the response whose gradients are studied.
 * A row is known by its position in the file and by these three strings; other fields are ignored.
 */
export interface Row {
  readonly instruction: string;
  /** Appended to the instruction after a newline; empty where the file has none. */
  readonly input: string;
  readonly output: string;
}

/** What the user asks: the instruction, and the input on lines of its own where there is one. Also the `instruction` of a record. */
export function userText(row: Row): string {
  return row.input === "" ? row.instruction : `${row.instruction}\n${row.input}`;
}
