import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LayergradError } from "../errors.ts";
import { createTokenizer } from "./tokenizer.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const shared = process.env.LAYERGRAD_SHARED;

type Json = Record<string, unknown>;

/** What scripts/fixtures/rust_tokenizers.py records; see there. */
interface Recorded {
  characters: string[];
  byteCharacters: string[];
  strings: string[];
  variants: ({ name: string; bytes: boolean; drop: string; model: Json & { merges: string[] }; ids: number[][] } & Json)[];
  files: { path: string; sha256: string; ids: number[][] }[];
}
const rust: Recorded = JSON.parse(readFileSync(join(root, "test/fixtures/tokenizers/rust.json"), "utf8"));

/** The tokenizer.json of a made-up variant, with the vocabulary in the generator's order. */
function build(variant: Recorded["variants"][number]): Json {
  const known = (variant.bytes ? rust.byteCharacters : rust.characters).filter((c) => !variant.drop.includes(c));
  const { merges } = variant.model;
  const tokens = [
    "<unk>",
    "<s>",
    "</s>",
    ...known,
    ...merges.map((m) => m.replace(" ", "")),
    ...(merges.length ? [] : known.map((c) => `${c}</w>`)),
  ];
  const vocab = Object.fromEntries([...new Set(tokens)].map((token, id) => [token, id]));
  return {
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    ...variant,
    model: { ...variant.model, type: "BPE", vocab },
  };
}

/** A tokenizer of characters and their ends of words, with these stages. */
const tiny = (stages: Json = {}, model: Json = {}): Json => ({
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  model: { type: "BPE", unk_token: "?", vocab: { "?": 0, a: 1, b: 2, " ": 3, "▁": 4, ab: 5 }, merges: [["a", "b"]], ...model },
  ...stages,
});
const encode = (json: Json, text: string) => createTokenizer({ tokenizerJson: json }).encode(text);

describe("agreement with the Rust library's ids", () => {
  it.each(rust.variants.map((variant) => [variant.name, variant] as const))("made-up tokenizer: %s", (_, variant) => {
    const tokenizer = createTokenizer({ tokenizerJson: build(variant) });
    for (const [i, text] of rust.strings.entries()) expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids: variant.ids[i] });
  });

  for (const { path, sha256, ids } of rust.files) {
    const found = [join(root, "test", path), join(root, path), ...(shared ? [join(shared, path)] : [])].find((file) => existsSync(file));
    it.skipIf(!found)(`${path}${found ? "" : " (not in this checkout: set LAYERGRAD_SHARED)"}`, () => {
      const content = readFileSync(found!);
      expect(createHash("sha256").update(content).digest("hex")).toBe(sha256);
      const tokenizer = createTokenizer({ tokenizerJson: JSON.parse(content.toString()) });
      for (const [i, text] of rust.strings.entries()) expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids: ids[i] });
    });
  }
});

describe("createTokenizer", () => {
  it("gives an added token that the model lacks the next free id, whatever the file says, as the original does", () => {
    const added_tokens = [
      { id: 40, content: "<x>", special: true },
      { id: 9, content: "a", special: true },
      { id: 30, content: "<y>", special: true },
    ];
    const tokenizer = createTokenizer({ tokenizerJson: tiny({ added_tokens }) });
    expect(tokenizer.encode("b<x>a<y>")).toEqual([2, 6, 1, 7]);
  });

  it("tells the id that stands before every text", () => {
    const single = [{ SpecialToken: { id: "<s>" } }, { Sequence: { id: "A" } }];
    const post_processor = { type: "TemplateProcessing", single, special_tokens: { "<s>": { ids: [4] } } };
    const tokenizer = createTokenizer({ tokenizerJson: tiny({ post_processor }) });
    expect(tokenizer.bosId).toBe(4);
    expect(tokenizer.encode("")).toEqual([4]);
    expect(createTokenizer({ tokenizerJson: tiny() }).bosId).toBeUndefined();
  });

  it("refuses half a surrogate pair, which the original refuses too", () => {
    expect(() => encode(tiny(), "a\ud83d")).toThrow("half of a surrogate pair");
    expect(encode(tiny(), "a👍")).toEqual([1, 0]);
  });

  it.each([
    [{}, { type: "Unigram", vocab: [["a", -1]] }, 'model of type "Unigram" is not supported'],
    [{}, { type: "WordPiece" }, 'model of type "WordPiece" is not supported'],
    [{}, { dropout: 0.1 }, "dropout is not supported"],
    [{}, { continuing_subword_prefix: "##" }, "continuing_subword_prefix is not supported"],
    [{ normalizer: { type: "Precompiled" } }, {}, 'normalizer of type "Precompiled" is not supported'],
    [{ normalizer: { type: "Sequence", normalizers: [{ type: "Nmt" }] } }, {}, 'normalizer.normalizers[0] of type "Nmt"'],
    [{ pre_tokenizer: { type: "UnicodeScripts" } }, {}, 'pre_tokenizer of type "UnicodeScripts" is not supported'],
    [{ pre_tokenizer: { type: "Split", pattern: { Regex: "(?i:straße)" }, behavior: "Isolated" } }, {}, "case-insensitive group"],
    [{ pre_tokenizer: { type: "Split", pattern: { Regex: "(a)\\1" }, behavior: "Removed" } }, {}, "back-reference"],
    [{ pre_tokenizer: { type: "Split", pattern: { String: "a" }, behavior: "Sideways" } }, {}, 'the behavior "Sideways"'],
    [{ pre_tokenizer: { type: "Metaspace", replacement: "▁", add_prefix_space: false } }, {}, "contradiction"],
    [{ post_processor: { type: "Mystery" } }, {}, 'post_processor of type "Mystery"'],
  ])("refuses what it cannot follow: %j %j", (stages, model, message) => {
    expect(() => encode(tiny(stages, model), "a")).toThrow(message);
  });

  it.each([
    [null, "the file must be an object, found null"],
    [[], "the file must be an object, found a list"],
    [{}, "model must be an object, found nothing"],
    [tiny({}, { vocab: ["a"] }), "model.vocab must be an object, found a list"],
    [tiny({}, { vocab: { a: "1" } }), 'model.vocab["a"] must be a whole number from 0 to 2147483647, found a string'],
    [tiny({}, { merges: 3 }), "model.merges must be a list, found a number"],
    [tiny({ added_tokens: [{}] }), "added_tokens[0].content must be a string"],
    [tiny({ added_tokens: 1 }), "added_tokens must be a list"],
    [tiny({ pre_tokenizer: { type: "FixedLength", length: "1}|(" } }), "pre_tokenizer.length must be a whole number"],
    [
      tiny({ pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" } }),
      "cannot be used: Invalid regular expression",
    ],
    [tiny({ post_processor: { type: "TemplateProcessing", single: [] } }), "without the text"],
  ])("names the place in a malformed file: %#", (tokenizerJson, message) => {
    expect(() => createTokenizer({ tokenizerJson })).toThrow(
      expect.objectContaining({ kind: "model", message: expect.stringContaining(message) }),
    );
  });

  it("throws nothing but a LayergradError at whatever JSON it is given", () => {
    const stage = fc.record({
      type: fc.constantFrom("Sequence", "Split", "Metaspace", "ByteLevel", "Replace", "TemplateProcessing", "NFC"),
      pattern: fc.jsonValue(),
    });
    const file = fc.record({
      model: fc.oneof(fc.constant(tiny().model), fc.jsonValue()),
      normalizer: stage,
      pre_tokenizer: stage,
      post_processor: stage,
      added_tokens: fc.jsonValue(),
    });
    fc.assert(
      fc.property(fc.oneof(file, fc.jsonValue()), (tokenizerJson) => {
        try {
          createTokenizer({ tokenizerJson }).encode("a b");
        } catch (error) {
          expect(error).toBeInstanceOf(LayergradError);
        }
      }),
      { seed: 1 },
    );
  });

  // Generous against a busy machine: a quadratic pass over 200,000 characters takes minutes.
  it.each([
    ["one word", "a".repeat(200_000)],
    ["spaces", " ".repeat(200_000)],
    ["new lines", "\n".repeat(200_000)],
    ["spaces within a line", `a${" ".repeat(200_000)}b`],
    ["digits", "7".repeat(200_000)],
    ["emoji", "👍🏽".repeat(50_000)],
    ["words", "word ".repeat(40_000)],
    ["left angle brackets", "<".repeat(200_000)],
  ])("takes seconds at most for 200 kB of %s", (_, text) => {
    for (const name of ["llama", "llama2", "qwen2"]) {
      const tokenizer = createTokenizer({
        tokenizerJson: JSON.parse(readFileSync(join(root, `test/fixtures/models/${name}/tokenizer.json`), "utf8")),
      });
      const begun = performance.now();
      expect(tokenizer.encode(text).length).toBeGreaterThan(1000);
      expect(performance.now() - begun).toBeLessThan(10_000);
    }
  });

  it("splits a long text without a match of a merging pattern in linear time", () => {
    const pre_tokenizer = { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious", invert: false };
    const begun = performance.now();
    expect(encode(tiny({ pre_tokenizer }), "a".repeat(200_000))).toHaveLength(200_000);
    expect(performance.now() - begun).toBeLessThan(10_000);
  });
});
