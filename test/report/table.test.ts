import { describe, expect, it } from "vitest";
import { csv, csvField, latex, latexText, markdown, type ReportTable } from "../../src/report/table.ts";

const table: ReportTable = {
  name: "norms",
  title: "Norms of 50 % & more",
  note: "Brackets hold intervals",
  columns: [
    { label: "Condition", kind: "text" },
    { label: "A / B", kind: "estimate" },
    { label: "Rows", kind: "number" },
  ],
  rows: [
    ['none, "bare"', [1.4612, 1.1299, 1.9401], 500],
    ["a|b_c", [12.3, null, null], null],
  ],
};

describe("csv", () => {
  it("gives an interval columns of its own, and leaves fields without a number empty", () => {
    expect(csv(table)).toBe('Condition,A / B,A / B low,A / B high,Rows\r\n"none, ""bare""",1.4612,1.1299,1.9401,500\r\na|b_c,12.3,,,\r\n');
  });
  it("quotes a field just where it holds a comma, a quote or a line break", () => {
    expect(["plain", "a,b", 'say "x"', "two\nlines", "semi;colon", ""].map(csvField)).toEqual([
      "plain",
      '"a,b"',
      '"say ""x"""',
      '"two\nlines"',
      "semi;colon",
      "",
    ]);
  });
});

describe("markdown", () => {
  it("keeps a cell's bar from ending the cell, and sets numbers to the right", () => {
    const lines = markdown(table).split("\n");
    expect(lines.slice(2)).toEqual([
      "| Condition | A / B | Rows |",
      "| --- | ---: | ---: |",
      '| none, "bare" | 1.46 [1.13, 1.94] | 500 |',
      "| a\\|b_c | 12.3 | – |",
      "",
      "Brackets hold intervals",
      "",
    ]);
  });
});

describe("latex", () => {
  it("escapes each of the ten characters that LaTeX reads as commands", () => {
    expect(latexText("\\ { } $ & # _ % ~ ^")).toBe("\\textbackslash{} \\{ \\} \\$ \\& \\# \\_ \\% \\textasciitilde{} \\textasciicircum{}");
  });
  it("writes the signs of our tables as mathematics, and letters of any script as they are", () => {
    expect(latexText("σ₁ ≥ 2 × Σ − µ é 数")).toBe(
      "\\ensuremath{\\sigma}\\ensuremath{_1} \\ensuremath{\\geq} 2 \\ensuremath{\\times} \\ensuremath{\\Sigma} \\ensuremath{-} µ é 数",
    );
  });
  it("sets a table with booktabs' three rules, a column a cell, every brace closed", () => {
    const text = latex(table);
    for (const rule of ["\\toprule", "\\midrule", "\\bottomrule"]) expect(text.split(rule).length).toBe(2);
    expect(text).toContain("\\begin{tabular}{lrr}");
    expect(text).toContain("none, \\textquotedbl{}bare\\textquotedbl{} & 1.46 {[}1.13, 1.94{]} & 500 \\\\");
    expect(text).toContain("\\caption{Norms of 50 \\% \\& more. Brackets hold intervals}\\label{tab:norms}");
    const unescaped = text.replace(/\\[{}]/g, "");
    expect(unescaped.split("{").length).toBe(unescaped.split("}").length);
  });
  it("lets a long table run over pages, its head on each", () => {
    const text = latex({ ...table, rows: Array.from({ length: 41 }, () => table.rows[0]!) });
    expect(text).toContain("\\begin{longtable}{lrr}");
    expect(text.match(/Condition & A \/ B & Rows/g)).toHaveLength(2);
    expect(text).not.toContain("tabular");
  });
});
