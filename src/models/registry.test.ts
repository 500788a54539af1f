import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { fixtureModel } from "../../test/fixtures.ts";
import { llamaConfig } from "../../test/specs.ts";
import { LayergradError } from "../errors.ts";
import { readModel, supportedModelTypes } from "./registry.ts";

function refusal(config: Readonly<Record<string, unknown>>): string {
  try {
    readModel(config);
  } catch (error) {
    expect(error).toBeInstanceOf(LayergradError);
    expect((error as LayergradError).kind).toBe("model");
    return (error as LayergradError).message;
  }
  return "accepted";
}
const without = (key: string) => Object.fromEntries(Object.entries(llamaConfig()).filter(([k]) => k !== key));
const config = (model: string) => JSON.parse(readFileSync(join(fixtureModel(model), "config.json"), "utf8")) as Record<string, unknown>;

describe("a configuration is read", () => {
  it("as the fixtures' models have it", () => {
    const { spec } = readModel(config("llama31"));
    expect(spec).toMatchObject({
      layers: 5,
      hidden: 64,
      intermediate: 160,
      heads: 4,
      keyValueHeads: 2,
      headDim: 16,
      vocabulary: 625,
      normEps: 1e-5,
      tiedEmbeddings: false,
    });
    expect([...spec.biases]).toEqual([]);
    expect([...readModel(config("qwen2")).spec.biases]).toEqual(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]);
    expect(readModel(config("qwen2")).spec.tiedEmbeddings).toBe(true);
  });
  it("with the families' defaults for what it leaves out", () => {
    const { num_key_value_heads: _, rms_norm_eps: __, ...rest } = llamaConfig();
    expect(readModel(rest).spec).toMatchObject({ keyValueHeads: 2, headDim: 4, normEps: 1e-6, tiedEmbeddings: false });
    expect(Array.from(readModel(rest).spec.rope.inverseFrequencies)).toEqual([1, 0.01]);
  });
  it("with a head dimension that is not hidden over heads, where it gives one", () => {
    expect(readModel(llamaConfig({ hidden_size: 9, head_dim: 6 })).spec).toMatchObject({ hidden: 9, headDim: 6 });
  });
  it("with biases on all of attention and the MLP, where it asks for them", () => {
    expect([...readModel(llamaConfig({ attention_bias: true, mlp_bias: true })).spec.biases].length).toBe(7);
  });
  it("where fields that change nothing are there, and null means absent", () => {
    expect(
      refusal(
        llamaConfig({
          sliding_window: 4096,
          hidden_act: "silu",
          rope_scaling: null,
          quantization_config: null,
          head_dim: null,
          pretraining_tp: 1,
        }),
      ),
    ).toBe("accepted");
    expect(refusal(llamaConfig({ model_type: "qwen2", use_sliding_window: false, sliding_window: 16 }))).toBe("accepted");
  });
});

describe("a configuration is refused, with the field and what was found,", () => {
  it.each<[string, Record<string, unknown>, string]>([
    [
      "for an unknown model_type",
      llamaConfig({ model_type: "mamba" }),
      `config.json: model_type "mamba" is not supported, only ${supportedModelTypes.join(", ")}.`,
    ],
    ["without a model_type", without("model_type"), "config.json: model_type must be a string, found nothing."],
    [
      "for quantised weights",
      llamaConfig({ quantization_config: { bits: 4 } }),
      "config.json: quantization_config is set: quantised weights and mixtures of experts are not supported.",
    ],
    [
      "for a mixture of experts",
      llamaConfig({ num_local_experts: 8 }),
      "config.json: num_local_experts is set: quantised weights and mixtures of experts are not supported.",
    ],
    [
      "for a mixture of experts by its other name",
      llamaConfig({ num_experts: 64 }),
      "config.json: num_experts is set: quantised weights and mixtures of experts are not supported.",
    ],
    ["for another activation", llamaConfig({ hidden_act: "gelu" }), 'config.json: hidden_act "gelu" is not supported, only "silu".'],
    [
      "for partly rotated heads",
      llamaConfig({ partial_rotary_factor: 0.5 }),
      "config.json: partial_rotary_factor 0.5 is not supported, only 1.",
    ],
    [
      "for a sliding window",
      llamaConfig({ model_type: "qwen2", use_sliding_window: true }),
      "config.json: use_sliding_window true is not supported, only false.",
    ],
    [
      "for heads that key/value heads do not divide",
      llamaConfig({ num_attention_heads: 4, num_key_value_heads: 3 }),
      "config.json: num_attention_heads 4 is not a multiple of num_key_value_heads 3.",
    ],
    [
      "for a hidden size that heads do not divide",
      llamaConfig({ hidden_size: 9 }),
      "config.json: hidden_size 9 is not a multiple of num_attention_heads 2.",
    ],
    ["for an odd head dimension", llamaConfig({ hidden_size: 6 }), "config.json: head_dim must be even for rotary embeddings, found 3."],
    ["for no layers", llamaConfig({ num_hidden_layers: 0 }), "config.json: num_hidden_layers must be an integer from 1 to 1000, found 0."],
    [
      "for a million layers",
      llamaConfig({ num_hidden_layers: 1e6 }),
      "config.json: num_hidden_layers must be an integer from 1 to 1000, found 1000000.",
    ],
    [
      "for half a head",
      llamaConfig({ num_attention_heads: 1.5 }),
      "config.json: num_attention_heads must be an integer from 1 to 1024, found 1.5.",
    ],
    [
      "for a size in words",
      llamaConfig({ hidden_size: "8" }),
      'config.json: hidden_size must be an integer from 1 to 10000000, found "8".',
    ],
    [
      "for a negative vocabulary",
      llamaConfig({ vocab_size: -1 }),
      "config.json: vocab_size must be an integer from 1 to 10000000, found -1.",
    ],
    ["without a hidden size", without("hidden_size"), "config.json: hidden_size must be an integer from 1 to 10000000, found nothing."],
    [
      "for an ε that is no number",
      llamaConfig({ rms_norm_eps: Number.NaN }),
      "config.json: rms_norm_eps must be a positive number, found NaN.",
    ],
    [
      "for an infinite ε",
      llamaConfig({ rms_norm_eps: Number.POSITIVE_INFINITY }),
      "config.json: rms_norm_eps must be a positive number, found Infinity.",
    ],
    ["for an ε of zero", llamaConfig({ rms_norm_eps: 0 }), "config.json: rms_norm_eps must be a positive number, found 0."],
    [
      "for a switch that is none",
      llamaConfig({ tie_word_embeddings: "yes" }),
      'config.json: tie_word_embeddings must be true or false, found "yes".',
    ],
    [
      "for another rope type",
      llamaConfig({ rope_scaling: { rope_type: "yarn", factor: 4 } }),
      'config.json: rope_scaling: rope type "yarn" is not supported, only "default" and "llama3".',
    ],
    [
      "for another rope type in the old spelling",
      llamaConfig({ rope_scaling: { type: "linear", factor: 2 } }),
      'config.json: rope_scaling: rope type "linear" is not supported',
    ],
    [
      "for another rope type in the new place",
      llamaConfig({ rope_parameters: { rope_type: "longrope" } }),
      'config.json: rope_parameters: rope type "longrope" is not supported',
    ],
    ["for a rope scaling that is no object", llamaConfig({ rope_scaling: [1] }), "config.json: rope_scaling must be an object, found [1]."],
  ])("%s", (_, fields, message) => expect(refusal(fields)).toContain(message));
});
