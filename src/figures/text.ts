/**
 * Advance widths of Inter's ASCII characters from space to tilde, in hundredths of the font size: the larger one of its regular and
 * semi-bold weights.
 */
const ascii = [
  29, 33, 53, 65, 66, 101, 67, 33, 38, 38, 54, 68, 32, 47, 32, 38, 66, 43, 63, 64, 67, 62, 64, 58, 65, 64, 32, 33, 68, 68, 68, 55, 100, 73,
  66, 74, 73, 61, 60, 75, 75, 28, 58, 71, 57, 93, 76, 77, 65, 78, 66, 66, 67, 75, 73, 103, 72, 72, 66, 38, 38, 38, 49, 47, 36, 58, 63, 59,
  63, 60, 39, 63, 62, 27, 27, 57, 27, 91, 62, 61, 63, 63, 40, 55, 36, 62, 59, 84, 57, 59, 57, 46, 36, 46, 68,
];

/** Width of a text, px: what Inter takes, or a little more. Other characters count as wide as its widest signs of their kind. */
export function textWidth(text: string, size: number): number {
  let width = 0;
  for (const character of text) {
    const code = character.codePointAt(0)!;
    width += character === "\u00a0" ? ascii[0]! : (ascii[code - 32] ?? (code < 0x2010 ? 75 : 105));
  }
  return (width / 100) * size;
}

/** Breaks a text into lines no wider than `width` px, at spaces, not at non-breaking ones; a longer word gets a line of its own, cut short. */
export function wrapText(text: string, size: number, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (line !== "" && textWidth(longer, size) > width) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  return [...lines, line].map((each) => shorten(each, size, width));
}

/** The text, or as much of it as fits, with an ellipsis. */
export function shorten(text: string, size: number, width: number): string {
  if (textWidth(text, size) <= width) return text;
  const characters = [...text];
  while (characters.length > 0 && textWidth(`${characters.join("")}…`, size) > width) characters.pop();
  return `${characters.join("").trimEnd()}…`;
}

/** Text for people: 160 characters of a row at most, on one line. */
export function excerpt(text: string, length = 160): string {
  // Characters that XML does not know, such as lone surrogates, become the replacement character.
  const characters = [
    ...text
      .replace(/\s+/g, " ")
      .replace(/[\p{Cc}\p{Cs}\ufffe\uffff]/gu, "\ufffd")
      .trim(),
  ];
  return characters.length <= length ? characters.join("") : `${characters.slice(0, length).join("")}…`;
}

const superscripts = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** A number with three significant digits, as people write it: 12,300, 0.0123, 1.2×10⁻⁴, −3. */
export function formatNumber(value: number, digits = 3): string {
  if (value === 0) return "0";
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  if (size >= 1e-3 && size < 1e6) {
    const [whole, fraction] = String(Number(size.toPrecision(digits))).split(".") as [string, string?];
    const grouped = whole.length > 3 ? whole.replace(/\B(?=(\d{3})+$)/g, ",") : whole;
    return `${sign}${grouped}${fraction === undefined ? "" : `.${fraction}`}`;
  }
  const [mantissa, exponent] = size.toExponential(digits - 1).split("e") as [string, string];
  const power = [...String(Math.abs(Number(exponent)))].map((digit) => superscripts[Number(digit)]).join("");
  const factor = Number(mantissa) === 1 ? "" : `${Number(mantissa)}×`;
  return `${sign}${factor}10${Number(exponent) < 0 ? "⁻" : ""}${power}`;
}

/** `3.2 [2.1, 4.4]`, or the number alone where it has no interval. */
export function formatPoint({ value, low, high }: { value: number | null; low: number | null; high: number | null }): string {
  if (value === null) return "no value";
  return low === null || high === null ? formatNumber(value) : `${formatNumber(value)} [${formatNumber(low)}, ${formatNumber(high)}]`;
}

/** `a, b and c`. */
export const list = (items: readonly string[]): string =>
  items.length < 2 ? (items[0] ?? "") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
