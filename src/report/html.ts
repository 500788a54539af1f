/** Markup that is safe to stand in a page as it is. */
export class Html {
  constructor(readonly text: string) {}
  toString(): string {
    return this.text;
  }
}

type Part = Html | string | number | null | undefined | readonly Part[];

/** A template whose inserted values are escaped, unless they are markup themselves; arrays are joined, null is nothing. */
export const html = (strings: TemplateStringsArray, ...parts: readonly Part[]): Html =>
  new Html(strings.map((string, i) => string + (i < parts.length ? markup(parts[i]) : "")).join(""));

function markup(part: Part): string {
  if (part === null || part === undefined) return "";
  if (Array.isArray(part)) return part.map(markup).join("");
  return part instanceof Html ? part.text : escapeHtml(String(part));
}

const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (sign) => entities[sign]!);

/**
 * JSON for a script element: `<` is escaped, so that no text in it ends the element.
 */
export const jsonForScript = (value: unknown): Html => new Html(JSON.stringify(value).replaceAll("<", "\\u003c"));
