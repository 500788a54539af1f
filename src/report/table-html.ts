import type { Verdict } from "../analysis/findings-verdict.ts";
import { type Html, html } from "./html.ts";
import { type Cell, type Column, cellNumber, cellText, type ReportTable } from "./table.ts";

/** A verdict's sign, so that it is not told by colour alone. */
const signs: Readonly<Record<Verdict, string>> = {
  supported: "●",
  contradicted: "✕",
  undecided: "◐",
  "not tested": "–",
  "no control": "○",
};

export const badge = (verdict: Verdict): Html =>
  html`<span class="verdict ${verdict.replace(" ", "-")}"><span aria-hidden="true">${signs[verdict]}</span> ${verdict}</span>`;

/** A table whose columns the script makes sortable. */
export const tableHtml = ({
  title,
  columns,
  rows,
}: Pick<
  ReportTable,
  "title" | "columns" | "rows"
>): Html => html`<div class="scroll" tabindex="0" role="region" aria-label="${title}"><table class="sortable">
<caption class="hidden">${title}</caption>
<thead><tr>${columns.map(({ label, kind }) => html`<th scope="col" class="${kind}">${label}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${row.map((cell, i) => cellHtml(cell, i, columns[i]!.kind))}</tr>\n`)}</tbody>
</table></div>`;

const verdictNames = Object.keys(signs);

/** Longest text that is kept on one line, characters. */
const ONE_LINE = 32;

function cellHtml(cell: Cell, column: number, kind: Column["kind"]): Html {
  const number = cellNumber(cell);
  const sorted = number === null ? null : html` data-value="${number}"`;
  const text = typeof cell === "string" && verdictNames.includes(cell) ? badge(cell as Verdict) : cellText(cell);
  const style = kind === "text" && typeof cell === "string" && cell.length <= ONE_LINE ? "text line" : kind;
  return column === 0 ? html`<th scope="row" class="${style}"${sorted}>${text}</th>` : html`<td class="${style}"${sorted}>${text}</td>`;
}
