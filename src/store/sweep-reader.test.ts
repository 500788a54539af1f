import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { SweepEntry } from "./record.ts";
import { readSweeps } from "./sweep-reader.ts";

const folder = mkdtempSync(join(tmpdir(), "layergrad-sweep-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** As a run writes it. */
const step: SweepEntry = {
  labels: "first",
  k: 1,
  draws: 1,
  loss: 0.5,
  nuclear_norm: { "self_attn.q_proj": [1, 2] },
  frobenius_norm: { "self_attn.q_proj": [1, 1] },
  sigma_max: { "self_attn.q_proj": [1, 1] },
  effective_rank: { "self_attn.q_proj": [1, null] },
};
const record = { instruction: "a", output: "b", loss: 1, row: 3, n_tokens: 9, n_labels: 2, sweep: [step] };

const read = (...lines: readonly string[]) => {
  const path = join(folder, "records.jsonl");
  writeFileSync(path, lines.join("\n"));
  return readSweeps(path);
};

describe("the sweeps of a file of records", () => {
  it("are its rows' steps with their nuclear norms", async () => {
    expect(await read(JSON.stringify(record), "")).toEqual([
      {
        row: 3,
        instruction: "a",
        output: "b",
        nTokens: 9,
        nLabels: 2,
        steps: [{ labels: "first", k: 1, loss: 0.5, nuclearNorm: { "self_attn.q_proj": [1, 2] } }],
      },
    ]);
  });

  it("pass over rows without a sweep and a line that a killed run cut off", async () => {
    const { sweep: _, ...plain } = record;
    expect(await read(JSON.stringify(plain), JSON.stringify(record).slice(0, 50))).toEqual([]);
  });

  it("name file, line and step of what is wrong", async () => {
    const broken = { ...record, sweep: [step, { ...step, labels: "last" }] };
    await expect(read(JSON.stringify(record), JSON.stringify(broken))).rejects.toThrow(
      /records\.jsonl:2: sweep\[1\]\.labels is neither "first" nor "random"\.$/,
    );
    await expect(read("{", "")).rejects.toThrow(/:1: is not valid JSON/);
    await expect(read(JSON.stringify({ ...record, n_labels: undefined }))).rejects.toThrow("has a sweep but no n_labels");
    await expect(read(JSON.stringify({ ...record, sweep: [{ ...step, nuclear_norm: { q: ["1"] } }] }))).rejects.toThrow(
      "sweep[0].nuclear_norm is no object of arrays of numbers",
    );
  });
});
