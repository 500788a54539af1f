import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readRows } from "../../src/io/rows.ts";
import { buildBlock } from "../../src/models/block.ts";
import { readModel } from "../../src/models/registry.ts";
import type { Plan } from "../../src/runtime/planner.ts";
import { cliFile, refused, succeeds } from "../cli.ts";
import { fixtureModel } from "../fixtures.ts";
import { llamaConfig } from "../specs.ts";

/** 100 million parameters, 0.4 GB in float32: enough to tell what holds them from what does not. */
const config = llamaConfig({
  hidden_size: 512,
  intermediate_size: 2048,
  num_hidden_layers: 24,
  num_attention_heads: 8,
  num_key_value_heads: 8,
  vocab_size: 2048,
  tie_word_embeddings: true,
});

/** Half the bits of small numbers of both signs: what bf16 stores. */
const patterns = Uint16Array.from({ length: 65_521 }, (_, i) => (i % 2 === 0 ? 0x3c00 : 0xbc00) + ((i * 7919) % 512));

function writeModel(folder: string): void {
  const { family, spec } = readModel(config);
  const tensors: [string, readonly number[]][] = [
    ["model.embed_tokens.weight", [spec.vocabulary, spec.hidden]],
    ["model.norm.weight", [spec.hidden]],
  ];
  for (let i = 0; i < spec.layers; i++)
    for (const [name, shape] of buildBlock(family, spec).weights) tensors.push([`model.layers.${i}.${name}`, shape]);
  let end = 0;
  const header: Record<string, unknown> = {};
  const parts: Uint8Array[] = [];
  for (const [name, shape] of tensors) {
    const values = new Uint16Array(shape.reduce((a, b) => a * b));
    if (name.includes("norm")) values.fill(0x3f80);
    else for (let at = 0; at < values.length; at += patterns.length) values.set(patterns.subarray(0, values.length - at), at);
    parts.push(new Uint8Array(values.buffer));
    header[name] = { dtype: "BF16", shape, data_offsets: [end, end + values.byteLength] };
    end += values.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "model.safetensors"), Buffer.concat([length, json, ...parts]));
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) cpSync(join(fixtureModel("llama"), file), join(folder, file));
}

/** A run in a process of its own, with its largest resident set in bytes. */
async function measured(args: readonly string[]): Promise<{ readonly plan: Plan; readonly peak: number }> {
  const tell = 'process.on("exit", () => process.stderr.write("\\npeak " + process.resourceUsage().maxRSS * 1024));';
  const child = spawn(process.execPath, ["--import", `data:text/javascript,${encodeURIComponent(tell)}`, cliFile, "run", ...args]);
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (text) => {
    stdout += text;
  });
  child.stderr.on("data", (text) => {
    stderr += text;
  });
  const status = await new Promise((resolve) => child.on("close", resolve));
  expect(status, stderr).toBe(0);
  return { plan: JSON.parse(stdout).plan, peak: Number(/peak (\d+)/.exec(stderr)![1]) };
}

describe("a run with little memory", () => {
  const folder = mkdtempSync(join(tmpdir(), "layergrad-memory-"));
  const model = join(folder, "model");
  const data = join(folder, "rows.json");
  const options = (out: string) => [
    "--model",
    model,
    "--data",
    data,
    "--out",
    join(folder, out),
    "--quiet",
    "--json",
    "--batch-tokens",
    "128",
  ];
  const records = (out: string) =>
    readFileSync(join(folder, out, "records.jsonl"), "utf8")
      .trim()
      .split("\n");

  beforeAll(async () => {
    writeModel(model);
    const rows = Array.from({ length: 12 }, (_, i) => ({
      instruction: `What is ${i} + ${i * i}?`,
      output: `It is ${i + i * i}, as ${"one more ".repeat(i)}sum shows.`,
    }));
    writeFileSync(data, JSON.stringify(rows));
    expect((await readRows(data)).rows).toHaveLength(12);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it("streams the weights, keeps to the limit, and writes what it writes with plenty of memory, digit by digit", async () => {
    const limit = 550e6;
    const plenty = await measured([...options("plenty"), "--memory", "8GB"]);
    const little = await measured([...options("little"), "--memory", "550MB"]);
    expect(plenty.plan.weights).toBe("fed");
    expect(little.plan.weights).toBe("streamed");
    expect(little.plan.waveTokens).toBeGreaterThan(128);
    expect(records("little")).toEqual(records("plenty"));
    expect(little.peak).toBeLessThanOrEqual(limit);
    expect(little.peak).toBeLessThan(plenty.peak - 200e6);
  });

  it("is explained beforehand: what is streamed and kept, what each part takes, and what would be faster with more", async () => {
    const { stdout } = await succeeds("inspect", model, "--plan", "--memory", "550MB", "--threads", "1");
    expect(stdout).toContain("Plan for 100 rows of 85 tokens, 3 of them labels:\n  weights streamed, ");
    expect(stdout).toMatch(/ {2}0\.[456] GB of 0\.6 GB: .*kept for the backward pass 0\.1 GB, .*runtime 0\.4 GB\n/);
    expect(stdout).toMatch(/ {2}faster, but takes 0\.[6-9] GB: weights (streamed|held in memory), every product kept/);
    const { plans } = JSON.parse((await succeeds("inspect", model, "--plan", "--memory", "550MB", "--threads", "1", "--json")).stdout);
    for (const { plan, allowed } of plans) {
      expect(allowed).toBe(550e6);
      if (plan) expect(plan.memory).toBeLessThanOrEqual(550e6);
    }
  });

  it("is refused with what would do, where even that is too much", async () => {
    const sentence = await refused(6, "run", ...options("refused"), "--memory", "300MB");
    expect(sentence).toMatch(/needs at least 0\.[4-9] GB of memory and may use 0\.3 GB/);
  });
});
