import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { seeded } from "../analysis/random.ts";
import type { RunAttributes } from "../analysis/study-index.ts";
import { matrixKey, type Projection } from "../store/record.ts";
import { findingsFiles, judgeStudy } from "./findings.ts";

const folder = mkdtempSync(join(tmpdir(), "layergrad-findings-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface SmallRun {
  readonly condition: string;
  readonly labels?: string;
  readonly nLabels: number;
  readonly norm: number;
  readonly sweep?: true;
}

const small: readonly SmallRun[] = [
  { condition: "none", nLabels: 4, norm: 8 },
  { condition: "simplified", nLabels: 32, norm: 2 },
  { condition: "detailed", nLabels: 256, norm: 1 },
  { condition: "detailed", labels: "last:@sums/none", nLabels: 4, norm: 4 },
  { condition: "detailed", labels: "sweep", nLabels: 256, norm: 1, sweep: true },
];

const attributesOf = ({ condition, labels = "all" }: SmallRun): RunAttributes => ({
  folder: `tiny/base/sums-${condition}-${labels.replace(/\W+/g, "-")}`,
  model: { name: "tiny", kind: "base", family: null },
  mode: "base",
  data: { name: `sums/${condition}`, task: "cot", dataset: "sums", condition, irrelevant: false },
  labels,
});

const statistics = (norm: number) => ({
  M_mean: 0,
  M_max: norm,
  M_min: -norm,
  frobenius_norm: norm / 2,
  S_sum: norm,
  S_max: norm / 3,
  S_min: 0,
});

/** Six rows over three layers, with a noise of 10 %. */
function records(run: SmallRun): string {
  const random = seeded(attributesOf(run).folder);
  const lines = Array.from({ length: 6 }, (_, row) => {
    const record: Record<string, unknown> = { instruction: `question ${row}`, output: run.condition, loss: 1 };
    Object.assign(record, { row, n_tokens: run.nLabels + 9, label_start: 9, n_labels: run.nLabels });
    const norms = (["q", "k", "v", "o"] as const).map((projection: Projection, p) =>
      [1, 1.5, 1.2].map((factor, layer) => {
        const norm = run.norm * factor * (1 + p) * Math.exp(0.1 * random.normal());
        record[matrixKey(layer, projection)] = statistics(norm);
        return [`self_attn.${projection}_proj`, norm] as const;
      }),
    );
    if (run.sweep)
      record.sweep = [1, 2, 4, 16, 64, run.nLabels].map((k) => ({
        labels: "first",
        k,
        draws: 1,
        loss: 1,
        nuclear_norm: Object.fromEntries(
          norms.map((layers) => [layers[0]![0], layers.map(([, norm]) => norm * Math.sqrt(run.nLabels / k))]),
        ),
      }));
    return `${JSON.stringify(record)}\n`;
  });
  return lines.join("");
}

beforeAll(() => {
  for (const run of small) {
    const path = join(folder, attributesOf(run).folder);
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, "records.jsonl"), records(run));
  }
  const planned: SmallRun = { condition: "none", labels: "first:2", nLabels: 2, norm: 1 };
  writeFileSync(join(folder, "study.json"), JSON.stringify({ name: "a small study", runs: [...small, planned].map(attributesOf) }));
});

describe("a study's findings", () => {
  it("are written as JSON and Markdown; the table of verdicts and the numbers are the same in both", async () => {
    const findings = await judgeStudy(folder, { seed: 1, resamples: 500 });
    expect(JSON.parse(readFileSync(join(folder, findingsFiles.json), "utf8"))).toEqual(findings);
    const markdown = readFileSync(join(folder, findingsFiles.markdown), "utf8");
    for (const { id, title, judgements } of findings.claims)
      for (const { subject, published, controlled } of judgements)
        expect(markdown).toContain(`| (${id}) ${title} | ${subject} | **${published.verdict}** | **${controlled.verdict}** |`);
    await expect(markdown).toMatchFileSnapshot("../../test/fixtures/findings/small-study.md");
  });

  it("find what was planted: none over detailed is 8 with all labels, 2 with equally many", async () => {
    const { claims, runs, absent } = await judgeStudy(folder, { seed: 1, resamples: 500, claims: ["a"] });
    const [judgement] = claims[0]!.judgements;
    const detailed = judgement!.published.parts[0]!.lines[0]!.pooled;
    const held = judgement!.controlled.parts[0]!.lines.find(({ how }) => how === "last labels")!.pooled;
    // A noise of 10 % over 6 rows of 3 layers in each condition: 3 % of the ratio.
    expect(Math.abs(detailed.tests[0]!.value / 8 - 1)).toBeLessThan(0.12);
    expect(Math.abs(held.tests[0]!.value / 2 - 1)).toBeLessThan(0.12);
    expect(judgement!.sweeps[0]!.slopes[0]!.mean.value).toBeCloseTo(-0.5, 9);
    expect([runs, absent]).toEqual([5, [{ folder: "tiny/base/sums-none-first-2", reason: "it has not been run" }]]);
  });

  it("name a run whose records are no records, without the folder's place", async () => {
    const other = join(folder, "other");
    const attributes = [attributesOf(small[0]!), attributesOf(small[2]!)];
    for (const [i, { folder: run }] of attributes.entries()) {
      mkdirSync(join(other, run), { recursive: true });
      writeFileSync(join(other, run, "records.jsonl"), i === 0 ? "{}\n" : records(small[2]!));
    }
    writeFileSync(join(other, "study.json"), JSON.stringify({ name: "broken", runs: attributes }));
    const { absent, claims } = await judgeStudy(other, { seed: 1, resamples: 100, claims: ["a"] });
    expect(absent[0]!.reason).toMatch(/^tiny\/base\/sums-none-all\/records\.jsonl:1: /);
    expect(claims[0]!.judgements[0]!.published.verdict).toBe("not tested");
  });

  it("refuse a folder that is no study's, and one without records", async () => {
    await expect(judgeStudy(join(folder, "nowhere"), { seed: 1 })).rejects.toThrow("holds no study.json");
    const empty = join(folder, "empty");
    mkdirSync(empty);
    writeFileSync(join(empty, "study.json"), JSON.stringify({ name: "empty", runs: [attributesOf(small[0]!)] }));
    await expect(judgeStudy(empty, { seed: 1 })).rejects.toThrow("none of the study's 1 runs has records");
  });
});
