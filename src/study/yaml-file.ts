import { readFileSync } from "node:fs";
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLMap } from "yaml";
import { LayergradError } from "../errors.ts";
import { fsReason } from "../io/fs-reason.ts";
import { nearest } from "./names.ts";

/** A value of a YAML file: a node with its place. Null where a key has none. */
export type Place = Node | null;

/** The entries of a map by key: the value, or the key itself where there is none. */
export type Entries<K extends string> = Partial<Readonly<Record<K, Node>>>;

/**
 * A YAML file whose values are read one by one and checked where they stand: every error is a `usage` error that names file, line and column.
 */
export class YamlFile {
  private constructor(
    readonly path: string,
    private readonly lines: LineCounter,
    private readonly document: ReturnType<typeof parseDocument>,
  ) {}

  /** @throws {LayergradError} `usage` for a file that cannot be read or is no YAML. */
  static read(path: string): YamlFile {
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (cause) {
      throw new LayergradError("usage", `${path} cannot be read: ${fsReason(cause)}; "layergrad study init" writes one.`, { cause });
    }
    try {
      return YamlFile.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes), path);
    } catch (cause) {
      if (cause instanceof LayergradError) throw cause;
      throw new LayergradError("usage", `${path} is not UTF-8; convert it.`, { cause });
    }
  }

  static parse(text: string, path: string): YamlFile {
    const lines = new LineCounter();
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
    const file = new YamlFile(path, lines, document);
    const [problem] = document.errors;
    if (problem)
      throw file.failAt(problem.pos[0], `${problem.message.replace(/\.$/, "")}; correct it there, or put the text into quotes`, problem);
    return file;
  }

  get root(): Place {
    return this.document.contents;
  }

  /** An error at a value; `what` is a clause without its full stop. */
  fail(place: Place | undefined, what: string, cause?: unknown): LayergradError {
    return this.failAt(place?.range?.[0] ?? 0, what, cause);
  }

  private failAt(offset: number, what: string, cause?: unknown): LayergradError {
    const { line, col } = this.lines.linePos(offset);
    return new LayergradError(
      "usage",
      `${this.path}:${Math.max(1, line)}:${Math.max(1, col)}: ${shortened(what)}.`,
      cause === undefined ? undefined : { cause },
    );
  }

  /** What a check of another part of the project says of a value, at the value's place. */
  checked<T>(place: Place, check: () => T): T {
    try {
      return check();
    } catch (error) {
      if (!(error instanceof LayergradError)) throw error;
      throw this.fail(place, error.message.replace(/\.$/, ""), error);
    }
  }

  private resolve(place: Place): Place {
    if (!isAlias(place)) return place;
    const target = place.resolve(this.document) as Node | undefined;
    if (!target) throw this.fail(place, `*${place.source} is an alias to nothing; put a pattern that begins with * into quotes`);
    return target;
  }

  /** The entries of a map with these keys alone; those without a value (`rows:`) are left out. */
  entries<K extends string>(place: Place, what: string, known: readonly K[]): Entries<K> {
    const map = this.map(place, what);
    const entries: Partial<Record<K, Node>> = {};
    for (const { key, value } of map.items) {
      const name = isScalar(key) ? String(key.value) : "";
      if (!known.includes(name as K)) {
        const close = nearest(name, known);
        const advice = close === undefined ? `it has ${known.join(", ")}` : `perhaps "${close}" is meant`;
        throw this.fail(key as Node, `${what} has no key ${JSON.stringify(name)}; ${advice}`);
      }
      if (value !== null && !(isScalar(value) && value.value === null)) entries[name as K] = value as Node;
    }
    return entries;
  }

  private map(place: Place, what: string): YAMLMap {
    const map = this.resolve(place);
    if (!isMap(map)) throw this.fail(place, `${what} must be a map of keys and values, found ${describe(map)}`);
    return map;
  }

  isMap(place: Place): boolean {
    return isMap(this.resolve(place));
  }

  /** The values of a list that is not empty; a single value is a list of one. */
  list(place: Place, what: string): Place[] {
    const list = this.resolve(place);
    if (isSeq(list)) {
      if (list.items.length === 0) throw this.fail(place, `${what} is an empty list; put at least one value into it`);
      return list.items as Place[];
    }
    return [place];
  }

  /** A text that is not empty; a number or date is taken as it is written. */
  text(place: Place, what: string): string {
    const scalar = this.resolve(place);
    const text = isScalar(scalar) && scalar.value !== null ? (typeof scalar.value === "string" ? scalar.value : scalar.source) : undefined;
    if (text === undefined || text.trim() === "") throw this.fail(place, `${what} must be a text, found ${describe(scalar)}`);
    return text;
  }

  /** A whole number of at least `least`. */
  count(place: Place, what: string, least = 1): number {
    const scalar = this.resolve(place);
    const value = isScalar(scalar) ? scalar.value : undefined;
    if (!(Number.isSafeInteger(value) && (value as number) >= least))
      throw this.fail(place, `${what} must be a whole number from ${least} on, found ${describe(scalar)}`);
    return value as number;
  }

  flag(place: Place, what: string): boolean {
    const scalar = this.resolve(place);
    if (!isScalar(scalar) || typeof scalar.value !== "boolean")
      throw this.fail(place, `${what} must be true or false, found ${describe(scalar)}`);
    return scalar.value;
  }

  choice<T extends string>(place: Place, what: string, choices: readonly T[]): T {
    const text = this.text(place, what);
    if (!choices.includes(text as T)) throw this.fail(place, `${what} must be ${either(choices)}, found ${JSON.stringify(text)}`);
    return text as T;
  }
}

/** A clause of a length that is read, whatever a file's words have. */
const shortened = (what: string): string => what.replace(/\S{160,}/g, (word) => `${word.slice(0, 100)}…`).slice(0, 1000);

/** `a, b or c` */
export const either = (choices: readonly string[]): string =>
  choices.length > 1 ? `${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}` : choices.join("");

function describe(node: Place): string {
  if (isMap(node)) return "a map";
  if (isSeq(node)) return "a list";
  if (isScalar(node) && node.value !== null) return JSON.stringify(node.source ?? node.value);
  return "nothing";
}
