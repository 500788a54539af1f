import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { matrixKey } from "../store/record.ts";
import { findingsCommand } from "./findings.ts";

const folder = mkdtempSync(join(tmpdir(), "layergrad-findings-cli-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Bare answers with about twelve times the norm of detailed chains, eight rows of two layers. */
beforeAll(() => {
  const runs = Object.entries({ none: 12, detailed: 1 }).map(([condition, norm]) => {
    mkdirSync(join(folder, condition));
    const lines = [0, 1, 2, 3, 4, 5, 6, 7].map((row) => {
      const record: Record<string, unknown> = { instruction: `question ${row}`, output: condition, loss: 1, row, n_tokens: 9, n_labels: 2 };
      for (const projection of ["q", "k", "v", "o"] as const)
        for (const layer of [0, 1]) {
          const sum = norm * (1 + layer + row / 10) + 0.01 * row ** 2;
          record[matrixKey(layer, projection)] = { M_mean: 0, M_max: 1, M_min: -1, frobenius_norm: 1, S_sum: sum, S_max: 1, S_min: 0 };
        }
      return `${JSON.stringify(record)}\n`;
    });
    writeFileSync(join(folder, condition, "records.jsonl"), lines.join(""));
    const data = { name: `sums/${condition}`, task: "cot", dataset: "sums", condition, irrelevant: false };
    return { folder: condition, model: { name: "tiny", kind: null, family: null }, mode: "base", data, labels: "all" };
  });
  writeFileSync(join(folder, "study.json"), JSON.stringify({ name: "two runs", runs }));
});

let printed = "";
beforeEach(() => {
  printed = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed += text;
    return true;
  });
  return () => vi.restoreAllMocks();
});

const call = (...flags: readonly string[]) =>
  findingsCommand()
    .exitOverride()
    .parseAsync([folder, ...flags], { from: "user" });

describe("layergrad findings", () => {
  it("prints the table of verdicts, and where the rest is", async () => {
    await call("--claims", "a");
    const [header, , ...rows] = printed.split("\n");
    expect(header!.split(/\s{2,}/)).toEqual(["claim", "model", "as published", "controlled"]);
    expect(rows[0]!.split(/\s{2,}/).slice(0, 3)).toEqual([
      "(a) Fast thinking has larger nuclear norms than slow thinking",
      "tiny, base mode",
      "undecided",
    ]);
    expect(rows[1]!.split(/\s{2,}/).slice(0, 3)).toEqual(["(a) … none against detailed", "tiny, base mode", "supported"]);
    expect(printed).toContain("From 2 runs.");
    expect(printed).toContain(join(folder, "findings.md"));
  });

  it("prints what findings.json holds, with the seed that was given", async () => {
    await call("--json", "--claims", "a,f", "--seed", "other");
    const findings = JSON.parse(printed);
    expect(findings).toEqual(JSON.parse(readFileSync(join(folder, "findings.json"), "utf8")));
    expect([findings.seed, findings.claims.map(({ id }: { id: string }) => id)]).toEqual(["other", ["a", "f"]]);
    const { tests } = findings.claims[0].judgements[0].published.parts[0].lines[0].pooled;
    // Means over layers and rows, 12 · (1.5 + 0.35) + 0.01 · 17.5 over 1.85 + 0.175.
    for (const { value } of tests) expect(value).toBeCloseTo(22.375 / 2.025, 12);
  });

  it("names the claims there are where another is asked for", async () => {
    await expect(call("--claims", "a,z")).rejects.toThrow("There is no claim z: the claims are a, b, c, d, e, f, g.");
  });
});
