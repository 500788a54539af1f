import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { fixtures } from "../../test/fixtures.ts";
import { createTokenizer } from "../text/tokenizer.ts";
import type { GgufValue } from "./gguf-file.ts";
import { tokenizerOf } from "./gguf-tokenizer.ts";

/** A vocabulary trained by SentencePiece, and the ids that transformers' conversion and SentencePiece itself give for texts. */
const trained: {
  readonly tokens: string[];
  readonly scores: number[];
  readonly types: number[];
  readonly texts: readonly { readonly text: string; readonly transformers: number[]; readonly sentencepiece: number[] }[];
} = JSON.parse(readFileSync(`${fixtures}gguf/sentencepiece.json`, "utf8"));

const metadataOf = (values: Readonly<Record<string, GgufValue>>) =>
  new Map(Object.entries(values).map(([key, value]) => [`tokenizer.ggml.${key}`, value]));

const sentencePiece = { model: "llama", tokens: trained.tokens, scores: trained.scores, token_type: trained.types, add_bos_token: false };
const build = (values: Readonly<Record<string, GgufValue>>) => tokenizerOf(metadataOf(values), "model.gguf");
const encoder = (values: Readonly<Record<string, GgufValue>>) => createTokenizer(build(values));

/** Byte-level: the letters of "ab" and their merge, a special token. */
const bytes = { model: "gpt2", pre: "gpt-2", tokens: ["a", "b", "ab", "<s>"], token_type: [1, 1, 1, 3], merges: ["a b"] };

describe("a SentencePiece vocabulary", () => {
  it("gives the ids of transformers' conversion of it, for every text", () => {
    const tokenizer = encoder(sentencePiece);
    expect(trained.texts.length).toBeGreaterThan(60);
    for (const { text, transformers } of trained.texts) expect([text, tokenizer.encode(text)]).toEqual([text, transformers]);
  });

  it("gives the ids of SentencePiece itself, but for texts that spell special tokens, which transformers finds and it does not", () => {
    const tokenizer = encoder(sentencePiece);
    const other = trained.texts.filter(({ text, sentencepiece }) => tokenizer.encode(text).join() !== sentencepiece.join());
    expect(other.map(({ text }) => text)).toEqual(["</s>", "x <unk> y <s>z"]);
  });

  it("begins with BOS unless it says otherwise, and ends with EOS where it says so", () => {
    const ids = { bos_token_id: 1, eos_token_id: 2 };
    const plain = encoder(sentencePiece).encode("it");
    const { add_bos_token: _, ...silent } = sentencePiece;
    expect(encoder({ ...silent, ...ids }).encode("it")).toEqual([1, ...plain]);
    expect(encoder({ ...sentencePiece, ...ids, add_eos_token: true }).encode("it")).toEqual([...plain, 2]);
  });

  it("without a space in front where it says so", () => {
    const tokenizer = encoder({ ...sentencePiece, add_space_prefix: false });
    expect(tokenizer.encode(" it")).toEqual(encoder(sentencePiece).encode("it"));
  });

  it("has a piece of characters beyond the basic plane made of its parts", () => {
    const tokens = ["<unk>", "\u{1F600}", "\u{1F601}", "\u{1F600}\u{1F601}"];
    const { tokenizerJson } = build({ model: "llama", tokens, scores: [0, 0, 0, -1], token_type: [2, 1, 1, 1], add_bos_token: false });
    expect((tokenizerJson.model as { merges: unknown }).merges).toEqual([["\u{1F600}", "\u{1F601}"]]);
  });

  it("with a piece, or pieces together, that would take for ever to split is refused", () => {
    const withPieces = (...pieces: string[]) =>
      build({
        ...sentencePiece,
        tokens: [...trained.tokens, ...pieces],
        scores: [...trained.scores, ...pieces.map(() => 0)],
        token_type: [...trained.types, ...pieces.map(() => 1)],
      });
    expect(() => withPieces("a".repeat(1001))).toThrow(/has the token "a{120}…" of 1001 characters, more than the 1000 allowed; put the/);
    expect(() => withPieces(...Array.from({ length: 8400 }, (_, i) => `${i}`.padStart(1000, "a")))).toThrow(
      "has tokens of more than the 8388608 characters allowed together",
    );
    expect(() => withPieces("ab".repeat(500))).not.toThrow();
  });

  it("with user-defined pieces, as Gemma's, is refused", () => {
    expect(() => build({ ...sentencePiece, token_type: trained.types.with(400, 4) })).toThrow(
      "has a SentencePiece vocabulary with user-defined pieces (as Gemma's), of whose merges the file does not say enough for exact tokens; put the original model's tokenizer.json",
    );
  });
});

describe("a byte-level vocabulary", () => {
  it("has special tokens found in the text and its own merges", () => {
    expect(encoder(bytes).encode("ab<s>ba")).toEqual([2, 3, 1, 0]);
  });

  it("has no token of unused places", () => {
    const { tokenizerJson } = build({ ...bytes, tokens: [...bytes.tokens, "[PAD4]"], token_type: [...bytes.token_type, 5] });
    expect(Object.keys((tokenizerJson.model as { vocab: object }).vocab)).toEqual(bytes.tokens);
  });

  it("hands on special tokens and template", () => {
    const values = metadataOf({ ...bytes, bos_token_id: 3, eos_token_id: 3 }).set("tokenizer.chat_template", "{{ bos_token }}");
    expect(tokenizerOf(values, "m.gguf").tokenizerConfig).toEqual({
      bos_token: "<s>",
      eos_token: "<s>",
      unk_token: null,
      pad_token: null,
      chat_template: "{{ bos_token }}",
    });
  });

  it.each<[string, Readonly<Record<string, GgufValue>>, string]>([
    ["of an unknown kind", { ...bytes, model: "bert" }, 'has a tokenizer of the kind "bert", of which only "gpt2" and "llama" are read'],
    ["split by a rule not known", { ...bytes, pre: "deepseek-coder" }, 'split by the rule "deepseek-coder" (tokenizer.ggml.pre)'],
    ["whose rule has the name of a method", { ...bytes, pre: "toString" }, 'split by the rule "toString"'],
    ["without a rule", { model: "gpt2", tokens: [], token_type: [] }, "split by the rule nothing"],
    ["without tokens", { model: "gpt2" }, "has no list of texts tokenizer.ggml.tokens"],
    ["with too few types", { ...bytes, token_type: [1] }, "has no list of 4 numbers tokenizer.ggml.token_type"],
    ["with a token twice", { ...bytes, tokens: ["a", "b", "ab", "a"] }, 'has the token "a" twice'],
    ["with a BOS that is none of its tokens", { ...bytes, bos_token_id: 9 }, "has the bos token 9, which is none of its 4"],
    ["with a BOS to add but none named", { ...bytes, add_bos_token: true }, "has add_bos_token but no bos_token_id"],
  ])("%s is refused", (_, values, message) => {
    expect(() => build(values)).toThrow(message);
    expect(() => build(values)).toThrow("put the original model's tokenizer.json (and tokenizer_config.json) beside the file.");
  });
});
