import { describe, expect, it } from "vitest";
import { readModel } from "../models/registry.ts";
import { configOf, type GgufFacts, shortest } from "./gguf-config.ts";
import type { GgufValue } from "./gguf-file.ts";

const sizes = {
  block_count: 6,
  context_length: 2048,
  embedding_length: 64,
  feed_forward_length: 128,
  "attention.head_count": 4,
  "attention.head_count_kv": 2,
  "attention.layer_norm_rms_epsilon": Math.fround(1e-5),
};

function facts(architecture: string, own: Readonly<Record<string, GgufValue>> = {}, change: Partial<GgufFacts> = {}): GgufFacts {
  const metadata = new Map<string, GgufValue>([["general.architecture", architecture]]);
  for (const [key, value] of Object.entries({ ...sizes, ...own })) metadata.set(`${architecture}.${key}`, value);
  return { path: "m.gguf", metadata, names: new Set(["output.weight"]), vocabulary: 100, ropeFactors: undefined, ...change };
}

const specOf = (...args: Parameters<typeof facts>) => readModel(configOf(facts(...args))).spec;

describe("config.json of a GGUF file", () => {
  it("has the sizes, and decimals in place of their float32", () => {
    const spec = specOf("llama", { "rope.freq_base": 500_000 });
    expect(spec).toMatchObject({ modelType: "llama", layers: 6, hidden: 64, headDim: 16, keyValueHeads: 2, vocabulary: 100 });
    expect(spec.normEps).toBe(1e-5);
    expect(spec.tiedEmbeddings).toBe(false);
    expect(specOf("llama", {}, { names: new Set() }).tiedEmbeddings).toBe(true);
  });

  it("takes a list of equal numbers, one a layer, for that number", () => {
    expect(specOf("llama", { "attention.head_count_kv": [2, 2, 2] }).keyValueHeads).toBe(2);
    expect(() => specOf("llama", { "attention.head_count_kv": [2, 4] })).toThrow("has attention.head_count_kv [2,4], expected a number");
  });

  it("of Llama's architecture with a window is Mistral's", () => {
    const spec = specOf("llama", { "attention.sliding_window": 24 });
    expect(spec.modelType).toBe("mistral");
    expect(spec.attention.map(({ window }) => window)).toEqual(Array(6).fill(24));
  });

  it("of Gemma 3 has a window on five layers of six, and a rotary base of theirs", () => {
    const spec = specOf("gemma3", { "attention.sliding_window": 512, "rope.freq_base": 1e6, "attention.key_length": 24 });
    expect(spec.attention.map(({ window }) => window)).toEqual([512, 512, 512, 512, 512, Number.POSITIVE_INFINITY]);
    expect(spec.attention[0]!.rope.inverseFrequencies[1]).toBe(10_000 ** (-2 / 24));
    expect(spec.attention[5]!.rope.inverseFrequencies[1]).toBe(1e6 ** (-2 / 24));
    expect(spec.scoreScale).toBe(1 / Math.sqrt(24));
  });

  it("of the Gemmas of 27B divides scores by the hidden size over the heads, as their own config.json does", () => {
    const gemma2 = { block_count: 46, embedding_length: 4608, "attention.head_count": 32, "attention.key_length": 128 };
    expect(configOf(facts("gemma2", gemma2)).query_pre_attn_scalar).toBe(144);
    const gemma3 = { block_count: 62, embedding_length: 5376, "attention.head_count": 32, "attention.key_length": 128 };
    expect(configOf(facts("gemma3", { ...gemma3, "attention.sliding_window": 1024 })).query_pre_attn_scalar).toBe(168);
  });

  describe("from rope_freqs.weight", () => {
    const llama3 = (factor: number, context: number): Float32Array =>
      Float32Array.from({ length: 32 }, (_, i) => {
        const turns = (context * 500_000 ** (-i / 32)) / (2 * Math.PI);
        const share = Math.min(1, Math.max(0, (turns - 1) / 3));
        return 1 / ((1 - share) / factor + share);
      });
    const heads = { embedding_length: 256, "rope.freq_base": 500_000 };

    it.each([
      [8, 8192],
      [32, 8192],
    ])("has Llama 3's scaling by %i over a context of %i", (factor, context) => {
      const { rope_scaling } = configOf(facts("llama", heads, { ropeFactors: llama3(factor, context) }));
      const expected = { rope_type: "llama3", factor, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: context };
      expect(rope_scaling).toEqual(expected);
    });

    it("is refused where the factors are of another rule", () => {
      const other = llama3(8, 8192).with(20, 3);
      for (const ropeFactors of [other, new Float32Array(32).fill(1), llama3(8, 8192).subarray(0, 16)])
        expect(() => configOf(facts("llama", heads, { ropeFactors }))).toThrow("holds rope_freqs.weight of another scaling than Llama 3's");
      expect(() => configOf(facts("qwen2", heads, { ropeFactors: other }))).toThrow("is read in Llama's architecture only");
    });
  });

  it.each<[string, string, Readonly<Record<string, GgufValue>>, string]>([
    ["an architecture that is not read", "mamba", {}, 'is of the architecture "mamba", of which GGUF is not read, only llama, qwen2'],
    ["an architecture with the name of a method", "valueOf", {}, 'is of the architecture "valueOf"'],
    ["a mixture of experts", "llama", { expert_count: 8 }, 'has "llama.expert_count" 8, which is not supported'],
    ["a key that is not known", "llama", { "attention.scale": 0.5 }, 'has "llama.attention.scale" 0.5, which is not supported'],
    ["an encoder", "llama", { "attention.causal": false }, "so it is no causal language model"],
    ["YaRN", "qwen2", { "rope.scaling.type": "yarn" }, 'has the rope.scaling.type "yarn", which is not supported'],
    ["heads rotated in part", "phi3", { "rope.dimension_count": 8 }, "has rope.dimension_count 8 with heads of 16"],
    ["OLMo 3, which has the name of OLMo 2", "olmo2", { "attention.sliding_window": 4096 }, 'has "olmo2.attention.sliding_window" 4096'],
  ])("refuses %s", (_, architecture, own, message) => {
    expect(() => configOf(facts(architecture, own))).toThrow(message);
  });

  it("refuses a size that is missing", () => {
    const { metadata, ...rest } = facts("llama");
    const fewer = new Map([...metadata].filter(([key]) => key !== "llama.block_count"));
    expect(() => configOf({ metadata: fewer, ...rest })).toThrow("has block_count nothing, expected a number");
  });
});

describe("the shortest decimal of a float32", () => {
  it.each([1e-5, 1e-6, 0.1, 10_000, 500_000, 1e6, 50, 8.00001, 123456.78])("gives %f back", (value) => {
    expect(shortest(Math.fround(value))).toBe(value);
  });
});
