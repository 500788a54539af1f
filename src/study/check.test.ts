import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { demoData, demoModel } from "../../test/measure.ts";
import { seeded } from "../analysis/random.ts";
import { openModel, rowEncoder } from "../run/open-model.ts";
import type { Row } from "../text/row.ts";
import { checkRuns } from "./check.ts";
import { planStudy } from "./plan.ts";
import { parseStudy } from "./spec.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-check-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const rowsOf = (name: string): Row[] => JSON.parse(readFileSync(demoData(name), "utf8"));

describe("what a run of many rows is estimated to take", () => {
  it("comes from 64 of them: tokens within two standard errors, the longest row always among them, rows without labels counted as rows", async () => {
    // Short and long rows, mixed, every eighth without a response.
    const mixed = ["sums_none", "sums_detailed", "wiki_popular_500", "wiki_unpopular"].flatMap(rowsOf);
    const rows = seeded("rows").shuffle([...mixed, ...mixed.map((row) => ({ ...row, instruction: `Well. ${row.instruction}` }))]);
    for (let i = 0; i < rows.length; i += 8) rows[i] = { ...rows[i]!, output: "" };
    rows[11] = { ...rows[11]!, output: `${rows[11]!.output} `.repeat(9) };
    writeFileSync(join(folder, "rows.json"), JSON.stringify(rows));
    const text = "out: out\nmodels: [{ name: base, path: demo/base }]\ndata: [{ file: rows.json }]";
    const check = async (more: string) => {
      const spec = parseStudy(`${text}\n${more}`, join(folder, "study.yaml"));
      return (await checkRuns(planStudy(spec), spec.options, "2026-01-01"))[0]!;
    };
    const model = await openModel(demoModel("base"));
    model.checkpoint.close();
    const encode = rowEncoder(model, { mode: "base", maxLength: 1024, singleBos: false, date: "2026-01-01" });
    const lengths = rows.map(encode).map((row) => (row.skip ? 0 : row.inputIds.length));
    const mean = lengths.reduce((a, b) => a + b, 0) / 512;
    const deviation = Math.sqrt(lengths.reduce((sum, length) => sum + (length - mean) ** 2, 0) / 511);
    const whole = await check("");
    expect(whole.rows).toBe(512);
    expect(Math.abs(whole.tokens / 512 - mean)).toBeLessThan((2 * deviation) / Math.sqrt(64));
    const without = await check('rows: "12:"');
    expect(whole.memory).toBeGreaterThan(without.memory);
    expect(without.rows).toBe(500);
  });

  it("follows the rows that are asked for and the cut", async () => {
    const check = async (more: string) => {
      const spec = parseStudy(`out: out\nmodels: [{ name: base, path: demo/base }]\ndata: demo/wiki/unpopular\n${more}`, "study.yaml");
      return (await checkRuns(planStudy(spec), spec.options, "2026-01-01"))[0]!;
    };
    const [whole, half, short] = [await check(""), await check("limit: 32"), await check("options: { max_length: 50 }")];
    expect([whole.rows, half.rows, short.rows]).toEqual([64, 32, 64]);
    for (const key of ["tokens", "flops", "gradients", "bytes"] as const) expect(half[key] / whole[key]).toBeCloseTo(0.5, 1);
    expect(short.tokens).toBe(64 * 50);
    expect(short.flops).toBeLessThan(whole.flops / 3);
  });
});
