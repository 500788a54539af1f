import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { encodeRow } from "./encode-row.ts";
import { createChatTemplate, type PromptMode } from "./prompt.ts";
import type { Row } from "./row.ts";
import { createTokenizer, type Tokenizer } from "./tokenizer.ts";

const shared = process.env.LAYERGRAD_SHARED;
const readJson = (file: string) =>
  JSON.parse(file.endsWith(".gz") ? gunzipSync(readFileSync(file)).toString() : readFileSync(file, "utf8"));

/** The text part of an entry of the expected records. */
interface Expected {
  row: number;
  text: string;
  max_length: number;
  input_ids: number[];
  n_tokens_untruncated: number;
  label_start: number;
  n_label_tokens: number;
  boundary_merged: boolean;
  status: "ok" | "nan";
}

/** Checks every entry of one expected file. */
function agrees(model: string, mode: PromptMode, rows: Row[], expected: Expected[]): void {
  const tokenizer = createTokenizer({ tokenizerJson: readJson(join(model, "tokenizer.json")) });
  const tokenizerConfig = readJson(join(model, "tokenizer_config.json"));
  const modelType: string = readJson(join(model, "config.json")).model_type;
  const template = mode === "base" ? undefined : createChatTemplate({ tokenizerConfig, modelType, date: "2025-01-31" });
  expect(expected.length).toBeGreaterThan(0);
  for (const entry of expected) {
    const row = { ...rows[entry.row]!, input: rows[entry.row]!.input ?? "" };
    const got = encodeRow(tokenizer, template, row, entry.row, { mode, maxLength: entry.max_length, singleBos: false });
    expect({
      row: got.row,
      text: got.text,
      max_length: entry.max_length,
      input_ids: [...got.inputIds],
      n_tokens_untruncated: got.nTokensUntruncated,
      label_start: got.labelStart,
      n_label_tokens: got.nLabels,
      boundary_merged: got.boundaryMerged,
      status: got.skip === undefined ? "ok" : "nan",
    }).toEqual({ ...entry, f32: undefined, f64: undefined });
  }
}

const ours = fileURLToPath(new URL("../../test/fixtures", import.meta.url));
for (const [title, folder] of [
  ["the project's fixtures", ours],
  ["all fixtures", shared && join(shared, "fixtures")],
] as const) {
  if (!folder) {
    it.skipIf(!folder)(`${title} agree token for token: skipped, LAYERGRAD_SHARED names no folder that holds them`, () => {});
    continue;
  }
  describe(`${title} agree token for token`, () => {
    for (const file of readdirSync(join(folder, "expected")).sort()) {
      const [, name, mode, set] = /^(\w+)\.(base|instruct)\.(\w+)\.json(?:\.gz)?$/.exec(file)!;
      it(`${name}, ${mode}, ${set}`, () => {
        agrees(
          join(folder, "models", name!),
          mode as PromptMode,
          readJson(join(folder, `data/${set}.json`)),
          readJson(join(folder, "expected", file)),
        );
      });
    }
  });
}

describe("the real model's rows agree token for token", () => {
  const folder = mkdtempSync(join(tmpdir(), "layergrad-real-model-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  it.skipIf(!shared).each(["base", "instruct"] as const)(`SmolLM2-135M-Instruct, %s${shared ? "" : " (set LAYERGRAD_SHARED)"}`, (mode) => {
    if (!existsSync(join(folder, "model.safetensors")))
      execFileSync(process.execPath, [join(shared!, "models/unpack.mjs"), folder], { stdio: "ignore" });
    const real = join(shared!, "models/smollm2-135m-instruct");
    agrees(folder, mode, readJson(join(real, "rows.json")), readJson(join(real, `expected/${mode}.json.gz`)));
  });
});

describe("encodeRow", () => {
  // One token a character, a fused "\nx", and a BOS (0) before every text that "^" writes as well.
  const characters = [..."^ab\nxyz"].map((c, i) => [c, i] as const);
  const tokenizer: Tokenizer = createTokenizer({
    tokenizerJson: {
      model: { type: "BPE", vocab: { ...Object.fromEntries(characters), "\nx": 7 }, merges: ["\n x"] },
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: { id: "^" } }, { Sequence: { id: "A" } }],
        special_tokens: { "^": { ids: [0] } },
      },
    },
  });
  const template = createChatTemplate({
    tokenizerConfig: { bos_token: "^", chat_template: "{{ bos_token }}{{ messages[-1].content + '\\n' }}" },
    modelType: "llama",
    date: "2025-01-31",
  });
  const row = (instruction: string, output: string, input = "") => ({ instruction, input, output });
  const base = { mode: "base", maxLength: 16, singleBos: false } as const;

  it("labels the tokens after the prompt's own", () => {
    expect(encodeRow(tokenizer, undefined, row("ab", "yz"), 3, base)).toEqual({
      row: 3,
      text: "ab\nyz",
      inputIds: Int32Array.of(0, 1, 2, 3, 5, 6),
      labelStart: 4,
      nLabels: 2,
      nTokensUntruncated: 6,
      boundaryMerged: false,
    });
  });

  it("appends a non-empty input after a newline", () =>
    expect(encodeRow(tokenizer, undefined, row("a", "y", "b"), 0, base).text).toBe("a\nb\ny"));

  it("lets the prompt's token count decide where tokens merge across the border", () => {
    const got = encodeRow(tokenizer, undefined, row("a", "xy"), 0, base);
    expect([...got.inputIds]).toEqual([0, 1, 7, 5]);
    expect(got).toMatchObject({ labelStart: 3, nLabels: 1, boundaryMerged: true });
  });

  it.each([
    ["empty response", row("a", ""), 16],
    ["response truncated away", row("abab", "y"), 4],
    ["response truncated away", row("abab", "y"), 6],
    ["no label left after merging", row("a", "x"), 16],
  ] as const)("skips a row for %j", (skip, given, maxLength) => {
    expect(encodeRow(tokenizer, undefined, given, 0, { ...base, maxLength })).toMatchObject({ skip, nLabels: 0 });
  });

  it("cuts a response on the right", () => {
    const got = encodeRow(tokenizer, undefined, row("a", "yzyzyz"), 0, { ...base, maxLength: 5 });
    expect(got).toMatchObject({ nLabels: 2, nTokensUntruncated: 9 });
    expect(got.inputIds).toHaveLength(5);
    expect(got).not.toHaveProperty("skip");
  });

  it("keeps the template's BOS beside the tokenizer's, and drops one of the two on demand", () => {
    const doubled = encodeRow(tokenizer, template, row("a", "y"), 0, { ...base, mode: "instruct" });
    expect([...doubled.inputIds]).toEqual([0, 0, 1, 3, 5]);
    expect(doubled).toMatchObject({ text: "^a\ny", labelStart: 4 });
    const single = encodeRow(tokenizer, template, row("a", "y"), 0, { ...base, mode: "instruct", singleBos: true });
    expect([...single.inputIds]).toEqual([0, 1, 3, 5]);
    expect(single).toMatchObject({ labelStart: 3, nLabels: 1, nTokensUntruncated: 4 });
  });

  it("leaves a BOS that the user wrote in base mode alone", () => {
    const got = encodeRow(tokenizer, undefined, row("^a", "y"), 0, { ...base, singleBos: true });
    expect([...got.inputIds]).toEqual([0, 0, 1, 3, 5]);
  });

  it("never labels position 0, which nothing comes before", () => {
    const bare = createTokenizer({ tokenizerJson: { model: { type: "BPE", vocab: { y: 0 }, merges: [] } } });
    expect(encodeRow(bare, undefined, row("", "yy"), 0, base)).toMatchObject({ labelStart: 0, nLabels: 1, nTokensUntruncated: 2 });
  });

  it("refuses instruct mode without a template", () => {
    expect(() => encodeRow(tokenizer, undefined, row("a", "y"), 0, { ...base, mode: "instruct" })).toThrow("use --mode base");
  });
});
