import { excerpt, LayergradError } from "../errors.ts";
import type { Row } from "../text/row.ts";

/** Which columns of a file hold what. Those not named are called what they are: `instruction`, `input`, `output`. */
export interface ColumnOptions {
  readonly instructionColumn?: string | undefined;
  /** May be missing, null or empty in a row. */
  readonly inputColumn?: string | undefined;
  readonly outputColumn?: string | undefined;
  /** A list of turns, in place of the other three. */
  readonly messagesColumn?: string | undefined;
}

/** Columns that rows are made from: three texts, or one list of turns. */
export type Columns = { readonly instruction: string; readonly input: string; readonly output: string } | { readonly messages: string };

/** A row as a file holds it: usually an object of its columns. */
export interface RawRow {
  /** File and place, as errors name them. */
  readonly where: string;
  readonly value: unknown;
}

/** A file's rows before their columns are chosen. */
export interface RawTable {
  /** Names of the columns; of a JSON file those of its first row. */
  readonly columns: readonly string[];
  /** Rows with at least the wanted columns, as far as the file has them. */
  read(wanted: readonly string[]): readonly RawRow[] | Promise<readonly RawRow[]>;
}

/** Columns in which chat data sets keep their turns, where nothing is said. */
const CHAT_COLUMNS = ["messages", "conversations"];

/** Names of the turns that a model wrote: OpenAI's, ShareGPT's, Gemini's. */
const ASSISTANT_ROLES: ReadonlySet<unknown> = new Set(["assistant", "gpt", "chatgpt", "model", "bot"]);

/**
 * The columns that rows are made from: those that the options name, else `instruction`, `input` and `output`; else, where a file lacks
 * `instruction` or `output` and has `messages` or `conversations`, that.
 *
 * @throws {LayergradError} `usage` where the options name a list of turns and single columns at once.
 */
export function chooseColumns(present: readonly string[], options: ColumnOptions): Columns {
  const { instructionColumn, inputColumn, outputColumn, messagesColumn } = options;
  const named = [instructionColumn, inputColumn, outputColumn].some((column) => column !== undefined);
  if (messagesColumn !== undefined) {
    if (named)
      throw new LayergradError(
        "usage",
        "--messages-column takes the whole row from a list of turns; drop it, or --instruction-column, --input-column and --output-column.",
      );
    return { messages: messagesColumn };
  }
  if (!named && !(present.includes("instruction") && present.includes("output"))) {
    const messages = CHAT_COLUMNS.find((column) => present.includes(column));
    if (messages !== undefined) return { messages };
  }
  return { instruction: instructionColumn ?? "instruction", input: inputColumn ?? "input", output: outputColumn ?? "output" };
}

/** Whether these are the columns of a file that needs no mapping. */
export const areDefault = (columns: Columns): boolean =>
  "instruction" in columns && columns.instruction === "instruction" && columns.input === "input" && columns.output === "output";

/**
 * Reads a table's rows by their columns.
 *
 * Of a list of turns, the last one that a model wrote is the output; the turns before it, the system's included, are the instruction,
 * joined by newlines; those after it are left out.
 *
 * @throws {LayergradError} `data`, with the place, the column and what was found there.
 */
export async function readColumns(path: string, table: RawTable, columns: Columns, options: ColumnOptions): Promise<Row[]> {
  const raws = await table.read(Object.values(columns));
  const wantedInput = options.inputColumn;
  // A row may go without an input, but an input that no row has is a mistyped name.
  if (wantedInput !== undefined && raws.length > 0 && !raws.some(({ value }) => isObject(value) && Object.hasOwn(value, wantedInput)))
    throw new LayergradError("data", `${path}: no row has ${excerpt(wantedInput)}; ${choice(table, "input")}.`);
  return raws.map((raw) => {
    if (!isObject(raw.value))
      throw new LayergradError(
        "data",
        `${raw.where}: a row must be an object {"instruction", "input", "output"}, found ${describe(raw.value)}; correct the row or remove it.`,
      );
    const cells = raw.value;
    if ("messages" in columns) {
      const turns = cell(cells, columns.messages);
      if (!Array.isArray(turns)) throw wrongCell(raw.where, columns.messages, "messages", "a list of turns", turns, table);
      return fromTurns(turns, `${raw.where}: ${excerpt(columns.messages)}`);
    }
    const textAt = (role: "instruction" | "input" | "output"): string => {
      const column = columns[role];
      const found = cell(cells, column) ?? (role === "input" ? "" : undefined);
      if (typeof found !== "string") throw wrongCell(raw.where, column, role, "a text", found, table);
      return whole(found, `${raw.where}: ${excerpt(column)}`);
    };
    return { instruction: textAt("instruction"), input: textAt("input"), output: textAt("output") };
  });
}

/** What a value is, as the end of a sentence. */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "bigint") return `the number ${value}`;
  return typeof value === "object" ? "an object" : `the ${typeof value} ${JSON.stringify(value)?.slice(0, 40)}`;
}

function fromTurns(turns: readonly unknown[], where: string): Row {
  const last = turns.findLastIndex((turn) => isObject(turn) && ASSISTANT_ROLES.has(roleOf(turn)));
  if (last < 0) {
    const roles = [...new Set(turns.map((turn) => (isObject(turn) ? describe(roleOf(turn)) : describe(turn))))];
    throw new LayergradError(
      "data",
      `${where} has no turn of the role "assistant" to be the response, found ${roles.join(", ") || "no turn at all"}; remove the row.`,
    );
  }
  const texts = turns.slice(0, last + 1).map((turn, i) => turnText(turn, `${where}, turn ${i}`));
  return { instruction: texts.slice(0, last).join("\n"), input: "", output: texts[last]! };
}

const roleOf = (turn: Readonly<Record<string, unknown>>): unknown => cell(turn, "role") ?? cell(turn, "from");

function turnText(turn: unknown, where: string): string {
  if (!isObject(turn))
    throw new LayergradError("data", `${where}: a turn must be an object {"role", "content"}, found ${describe(turn)}; correct the row.`);
  const content = Object.hasOwn(turn, "content") ? turn.content : cell(turn, "value");
  // Content in parts, as APIs for text and images take it.
  const parts = Array.isArray(content) ? content.map((part) => (isObject(part) ? cell(part, "text") : part)) : [content];
  const wrong = parts.findIndex((part) => typeof part !== "string");
  if (wrong >= 0)
    throw new LayergradError("data", `${where}: "content" must be a text, found ${describe(parts[wrong])}; correct the row or remove it.`);
  return whole(parts.join(""), `${where}: "content"`);
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const cell = (cells: Readonly<Record<string, unknown>>, column: string): unknown =>
  Object.hasOwn(cells, column) ? cells[column] : undefined;

// With the u flag a whole pair is one code point, so that only halves are left to match.
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Longest text of a row, in UTF-16 units: about a million tokens, far more than any context. A word of 50 MB would fill the tokenizer's memory. */
export const MAX_TEXT_LENGTH = 4_000_000;

/** The text, if it is Unicode throughout and not endless. */
function whole(text: string, where: string): string {
  if (text.length > MAX_TEXT_LENGTH)
    throw new LayergradError(
      "data",
      `${where} has ${text.length} characters, more than the ${MAX_TEXT_LENGTH} that a text may have; shorten the row or remove it.`,
    );
  if (LONE_SURROGATE.test(text))
    throw new LayergradError("data", `${where} holds half of a surrogate pair, which no tokenizer accepts; correct the row or remove it.`);
  return text;
}

function wrongCell(where: string, column: string, role: string, expected: string, found: unknown, table: RawTable): LayergradError {
  const advice = table.columns.includes(column) ? "correct the row or remove it" : choice(table, role);
  return new LayergradError("data", `${where}: ${excerpt(column)} must be ${expected}, found ${describe(found)}; ${advice}.`);
}

/** What the columns are, and how to say which one holds what. */
const choice = ({ columns }: RawTable, role: string): string =>
  `the columns are ${list(columns)}, and --${role}-column says which of them to take`;

/** The first columns of a file by name: one that was made wrong may have thousands. */
const list = (columns: readonly string[]): string =>
  `${columns.slice(0, 12).map(excerpt).join(", ") || "none"}${columns.length > 12 ? " and more" : ""}`;
