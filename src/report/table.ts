import { short } from "./format.ts";
import type { Value } from "./report-data.ts";

/** Text, a number, a number with its interval, or nothing. */
export type Cell = string | number | Value | null;

export interface Column {
  readonly label: string;
  /** `estimate`: a number with an interval, three columns in CSV. */
  readonly kind: "text" | "number" | "estimate";
}

/** A table of the report, for people and for programs. */
export interface ReportTable {
  /** Of its files. */
  readonly name: string;
  readonly title: string;
  /** What a reader must know of the numbers: units, intervals. */
  readonly note: string;
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Cell[])[];
}

/** The number that a cell is sorted by; null where it has none. */
export function cellNumber(cell: Cell): number | null {
  if (Array.isArray(cell)) return (cell as Value)[0];
  return typeof cell === "number" ? cell : null;
}

/** A cell as people read it: three digits, `1.46 [1.13, 1.94]`. */
export function cellText(cell: Cell): string {
  if (cell === null) return "–";
  if (typeof cell === "string") return cell;
  if (typeof cell === "number") return Number.isInteger(cell) ? String(cell) : short(cell);
  const [value, low, high] = cell;
  return low === null || high === null ? short(value) : `${short(value)} [${short(low)}, ${short(high)}]`;
}

/**
 * The table as CSV (RFC 4180): numbers to five digits, nothing where there is none, intervals in columns of their own. A field is quoted where
 * it holds a comma, a quote or a line break.
 */
export function csv({ columns, rows }: Pick<ReportTable, "columns" | "rows">): string {
  const head = columns.flatMap(({ label, kind }) => (kind === "estimate" ? [label, `${label} low`, `${label} high`] : [label]));
  const body = rows.map((row) => row.flatMap((cell, i) => csvCells(cell, columns[i]!.kind)));
  return [head, ...body].map((fields) => `${fields.map(csvField).join(",")}\r\n`).join("");
}

function csvCells(cell: Cell, kind: Column["kind"]): string[] {
  if (kind !== "estimate") return [cell === null ? "" : String(cell)];
  const value: readonly (number | null)[] = Array.isArray(cell) ? (cell as Value) : [cellNumber(cell), null, null];
  return value.map((number) => (number === null ? "" : String(number)));
}

/** One field of CSV. */
export const csvField = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** The table as Markdown, its title above and its note below. */
export function markdown({ title, note, columns, rows }: ReportTable): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replace(/\s+/g, " ")).join(" | ")} |`;
  return [
    `**${title}**`,
    "",
    line(columns.map(({ label }) => label)),
    line(columns.map(({ kind }) => (kind === "text" ? "---" : "---:"))),
    ...rows.map((row) => line(row.map(cellText))),
    "",
    note,
    "",
  ].join("\n");
}

/** Rows from which a LaTeX table runs over pages. */
const LONG = 40;

/** The table for LaTeX with booktabs; a longtable where it does not fit on a page. */
export function latex({ name, title, note, columns, rows }: ReportTable): string {
  const line = (cells: readonly string[]): string => `${cells.map(latexText).join(" & ")} \\\\`;
  const alignment = columns.map(({ kind }) => (kind === "text" ? "l" : "r")).join("");
  const head = line(columns.map(({ label }) => label));
  const body = rows.map((row) => line(row.map(cellText)));
  const caption = `\\caption{${latexText(`${title}. ${note}`)}}\\label{tab:${name}}`;
  const long = rows.length > LONG;
  return `${[
    `% \\usepackage{booktabs}${long ? " \\usepackage{longtable}" : ""}`,
    ...(long
      ? [
          `\\begin{longtable}{${alignment}}`,
          `${caption} \\\\`,
          "\\toprule",
          head,
          "\\midrule",
          "\\endfirsthead",
          "\\toprule",
          head,
          "\\midrule",
          "\\endhead",
          "\\bottomrule",
          "\\endlastfoot",
          ...body,
          "\\end{longtable}",
        ]
      : [
          "\\begin{table}",
          "\\centering",
          caption,
          `\\begin{tabular}{${alignment}}`,
          "\\toprule",
          head,
          "\\midrule",
          ...body,
          "\\bottomrule",
          "\\end{tabular}",
          "\\end{table}",
        ]),
  ].join("\n")}\n`;
}

/** What LaTeX reads as commands, and the signs of our tables that its oldest fonts lack. */
const latexSigns: Readonly<Record<string, string>> = {
  "\\": "\\textbackslash{}",
  "{": "\\{",
  "}": "\\}",
  $: "\\$",
  "&": "\\&",
  "#": "\\#",
  _: "\\_",
  "%": "\\%",
  "~": "\\textasciitilde{}",
  "^": "\\textasciicircum{}",
  "<": "\\textless{}",
  ">": "\\textgreater{}",
  "|": "\\textbar{}",
  '"': "\\textquotedbl{}",
  // A bracket after a line's \\ would be its optional argument.
  "[": "{[}",
  "]": "{]}",
  "–": "--",
  "—": "---",
  "−": "\\ensuremath{-}",
  "…": "\\ldots{}",
  "“": "``",
  "”": "''",
  "’": "'",
  "×": "\\ensuremath{\\times}",
  "±": "\\ensuremath{\\pm}",
  "≤": "\\ensuremath{\\leq}",
  "≥": "\\ensuremath{\\geq}",
  "→": "\\ensuremath{\\to}",
  σ: "\\ensuremath{\\sigma}",
  Σ: "\\ensuremath{\\Sigma}",
  "₁": "\\ensuremath{_1}",
  "²": "\\ensuremath{^2}",
  "‖": "\\ensuremath{\\|}",
};

/** Text for LaTeX: every character stands for itself. */
export const latexText = (text: string): string =>
  text.replace(/\s+/g, " ").replace(/[^\p{L}\p{N} .,;:!?()/'+=*@-]|[σΣ₁²]/gu, (sign) => latexSigns[sign] ?? sign);
