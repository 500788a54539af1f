/** Makes a table's columns sortable: a button in each header, the direction said by `aria-sort`. */
export function makeSortable(table: HTMLTableElement): void {
  const headers = Array.from(table.tHead?.rows[0]?.cells ?? []);
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const ascending = header.getAttribute("aria-sort") !== "ascending";
      for (const other of headers) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortRows(table.tBodies[0]!, column, ascending);
    });
  });
}

/** By number where the cell has one, else by text; cells with nothing come last either way. */
function sortRows(body: HTMLTableSectionElement, column: number, ascending: boolean): void {
  const sign = ascending ? 1 : -1;
  const keyed = Array.from(body.rows, (row) => {
    const cell = row.cells[column];
    const text = cell?.textContent?.trim() ?? "";
    return { row, text: text === "–" ? "" : text, number: cell?.dataset.value === undefined ? null : Number(cell.dataset.value) };
  });
  keyed.sort((a, b) => {
    if (a.number !== null && b.number !== null) return sign * (a.number - b.number);
    if (a.text === "" || b.text === "") return Number(a.text === "") - Number(b.text === "");
    return sign * a.text.localeCompare(b.text, "en", { numeric: true });
  });
  body.append(...keyed.map(({ row }) => row));
}
