/** Three significant digits; an en dash for a number that there is not. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1);
  return size >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

/** Rounded to five significant digits: what the page and the tables hold of a number. Null where it is not finite. */
export function rounded(value: number | null | undefined): number | null {
  return value === null || value === undefined || !Number.isFinite(value) ? null : Number(value.toPrecision(5));
}

/** `effectiveRank` as `effective-rank`, the way options write it. */
export const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** `1 row`, `2 rows`. */
export const count = (n: number, what: string): string => `${n.toLocaleString("en-GB")} ${what}${n === 1 ? "" : "s"}`;

/** Letters and digits with hyphens between them, for names of files. */
export const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
