/**
 * Parses JSON as Python's `json` module writes it: bare `NaN`, `Infinity` and `-Infinity` are numbers.
 * Strings that spell them stay strings. Everything else is strict JSON.
 *
 * @throws {SyntaxError} As `JSON.parse` does.
 */
export function parsePythonJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const replaced = replaceBareNumbers(text);
    if (replaced === undefined) throw error;
    return restoreNaN(JSON.parse(replaced));
  }
}

/** Stands for NaN, which no JSON number can (infinities can: 1e999). Private-use characters, so that no text spells it by accident. */
const nanMark = "\uE000layergrad:NaN\uE001";

/** The text with its bare tokens, those outside strings, made JSON; undefined where there are none. */
function replaceBareNumbers(text: string): string | undefined {
  const parts: string[] = [];
  let found = false;
  let at = 0;
  while (at < text.length) {
    const quote = text.indexOf('"', at);
    const end = quote < 0 ? text.length : quote;
    parts.push(
      text.slice(at, end).replace(/-?\bInfinity\b|\bNaN\b/g, (token) => {
        found = true;
        return token === "NaN" ? JSON.stringify(nanMark) : token === "Infinity" ? "1e999" : "-1e999";
      }),
    );
    if (quote < 0) break;
    const close = stringEnd(text, quote);
    parts.push(text.slice(quote, close));
    at = close;
  }
  return found ? parts.join("") : undefined;
}

/**
 * The position after the string literal whose opening quote is at `open`, or the text's end if it is not closed.
 * By hand, since a regular expression backtracks its way out of memory on strings of some megabytes.
 */
export function stringEnd(text: string, open: number): number {
  let at = open + 1;
  for (;;) {
    const quote = text.indexOf('"', at);
    if (quote < 0) return text.length;
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === 92) backslashes++;
    if (backslashes % 2 === 0) return quote + 1;
    at = quote + 1;
  }
}

/** Puts NaN back, in place. A stack instead of recursion, since the depth of a stranger's file is unknown. */
function restoreNaN(root: unknown): unknown {
  if (root === nanMark) return Number.NaN;
  const pending: object[] = [];
  const push = (value: unknown): void => {
    if (typeof value === "object" && value !== null) pending.push(value);
  };
  push(root);
  for (let holder = pending.pop(); holder; holder = pending.pop()) {
    for (const [key, value] of Object.entries(holder)) {
      if (value === nanMark)
        Object.defineProperty(holder, key, { value: Number.NaN, writable: true, enumerable: true, configurable: true });
      else push(value);
    }
  }
  return root;
}
