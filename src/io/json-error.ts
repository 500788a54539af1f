/** A place in a text that should be JSON, and what is wrong there. */
export interface JsonError {
  /** From one. */
  readonly line: number;
  /** A clause: `which ends too early`, `which cannot go on with "}"`. */
  readonly found: string;
}

/**
 * Where a text stops being JSON. `JSON.parse` tells the place in some versions of Node and for some mistakes only, and quotes several lines.
 *
 * @param text - What `JSON.parse` has refused.
 * @param bareNumbers - Whether NaN and Infinity pass outside of strings, as they do with Python.
 */
export function firstJsonError(text: string, { bareNumbers }: { readonly bareNumbers: boolean }): JsonError {
  const blank = /[ \t\r\n]*/y;
  const json = "-?(?:0|[1-9]\\d*)(?:\\.\\d+)?(?:[eE][+-]?\\d+)?|true|false|null";
  const scalar = new RegExp(bareNumbers ? `${json}|NaN|-?Infinity` : json, "y");
  let at = 0;
  const skip = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    const matched = pattern.test(text);
    if (matched) at = pattern.lastIndex;
    return matched;
  };
  /** Steps over a string; stays where it is not one, or goes to the character that breaks it. */
  const string = (): boolean => {
    if (text[at] !== '"') return false;
    for (at++; at < text.length; at++) {
      const char = text[at]!;
      if (char === '"') {
        at++;
        return true;
      }
      if (char < " ") return false;
      if (char === "\\") {
        const escaped = /["\\/bfnrt]|u[0-9a-fA-F]{4}/y;
        escaped.lastIndex = at + 1;
        if (!escaped.test(text)) return false;
        at = escaped.lastIndex - 1;
      }
    }
    return false;
  };
  const open: string[] = [];
  /** What may come: a value, a key, or what follows a value; in a fresh list or object also its end. */
  let expected: "value" | "key" | "more" = "value";
  let fresh = false;
  for (;;) {
    skip(blank);
    const char = text[at];
    if (expected === "more" && open.length === 0) break;
    const closes = char !== undefined && char === open.at(-1) && (fresh || expected === "more");
    fresh = false;
    if (closes) {
      at++;
      open.pop();
      expected = "more";
    } else if (expected === "more") {
      if (char !== ",") break;
      at++;
      expected = open.at(-1) === "}" ? "key" : "value";
    } else if (expected === "key") {
      if (!string()) break;
      skip(blank);
      if (text[at] !== ":") break;
      at++;
      expected = "value";
    } else if (char === "[" || char === "{") {
      at++;
      open.push(char === "[" ? "]" : "}");
      expected = char === "[" ? "value" : "key";
      fresh = true;
    } else {
      if (!(char === '"' ? string() : skip(scalar))) break;
      expected = "more";
    }
  }
  const line = text.slice(0, at).split("\n").length;
  const rest = text.slice(at, at + 20).split("\n")[0]!;
  return { line, found: at >= text.length ? "which ends too early" : `which cannot go on with ${JSON.stringify(rest || "\n")}` };
}
