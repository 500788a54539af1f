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
    for (const { window, rope } of readModel(rest).spec.attention) {
      expect(window).toBe(Number.POSITIVE_INFINITY);
      expect(Array.from(rope.inverseFrequencies)).toEqual([1, 0.01]);
    }
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

/** Windows and the slowest rotary frequencies, layer by layer. */
const layersOf = (fields: Record<string, unknown>) =>
  readModel(fields).spec.attention.map(({ window, rope }) => [window, rope.inverseFrequencies.at(-1)]);
const all = Number.POSITIVE_INFINITY;

describe("how layers attend", () => {
  it("Mistral: every layer in the window, or none where it is null", () => {
    const mistral = config("mistral");
    expect(layersOf(mistral).map(([window]) => window)).toEqual([24, 24, 24, 24]);
    expect(layersOf({ ...mistral, sliding_window: null }).map(([window]) => window)).toEqual([all, all, all, all]);
    const { sliding_window: _, ...left } = mistral;
    expect(layersOf(left).map(([window]) => window)).toEqual([4096, 4096, 4096, 4096]);
  });
  it("Gemma 2: the even layers in the window, or those that layer_types names", () => {
    const gemma2 = config("gemma2");
    expect(layersOf(gemma2).map(([window]) => window)).toEqual([16, all, 16, all]);
    const types = ["full_attention", "full_attention", "full_attention", "sliding_attention"];
    expect(layersOf({ ...gemma2, layer_types: types }).map(([window]) => window)).toEqual([all, all, all, 16]);
  });
  it("Gemma 3: a window, a rotary base and a scaling for each type of layer, the same in every spelling", () => {
    const old = config("gemma3_text");
    const local = [16, 10_000 ** (-18 / 20)];
    const global = [all, 1_000_000 ** (-18 / 20) / 8];
    expect(layersOf(old)).toEqual([local, local, global, local, local, global]);
    const { layer_types: _, ...byPattern } = old;
    expect(layersOf({ ...byPattern, sliding_window_pattern: 3 })).toEqual(layersOf(old));
    expect(layersOf(byPattern)).toEqual([local, local, local, local, local, global]);
    const { rope_theta, rope_local_base_freq, rope_scaling, ...rest } = old;
    const rope_parameters = {
      full_attention: { ...(rope_scaling as object), rope_theta },
      sliding_attention: { rope_type: "default", rope_theta: rope_local_base_freq },
    };
    expect(layersOf({ ...rest, rope_parameters })).toEqual(layersOf(old));
  });
  it("Qwen3: alike, in the older spelling of the configuration as well", () => {
    const { rope_parameters, layer_types: _, dtype: __, ...rest } = config("qwen3");
    const old = { ...rest, ...(rope_parameters as object), torch_dtype: "bfloat16" };
    expect(readModel(old)).toEqual(readModel(config("qwen3")));
    expect(layersOf(old)).toEqual(Array(4).fill([all, 1_000_000 ** (-22 / 24)]));
  });
  it("layers that rotate alike share one table", () => {
    expect(new Set(readModel(config("gemma3_text")).spec.attention.map((a) => a.rope)).size).toBe(2);
  });
});

describe("a file that leaves out the family's defaults", () => {
  it("Gemma 3 4B, multimodal: as its text model's configuration class has them", () => {
    const text_config = {
      hidden_size: 2560,
      intermediate_size: 10240,
      model_type: "gemma3_text",
      num_hidden_layers: 34,
      rope_scaling: { factor: 8, rope_type: "linear" },
      sliding_window: 1024,
    };
    const { spec } = readModel({ model_type: "gemma3", text_config, vision_config: {} });
    expect(spec).toMatchObject({ heads: 8, keyValueHeads: 4, headDim: 256, vocabulary: 262208, tiedEmbeddings: true, scoreScale: 1 / 16 });
    expect(spec.modelType).toBe("gemma3_text");
    expect(spec.attention.filter((a) => a.window === all).length).toBe(5);
  });
  it("Gemma 2: soft caps of 50 and 30, which null switches off", () => {
    const { attn_logit_softcapping: _, final_logit_softcapping: __, tie_word_embeddings: ___, ...rest } = config("gemma2");
    expect(readModel(rest).spec).toMatchObject({ scoreCap: 50, logitCap: 30, tiedEmbeddings: true, embeddingScale: 8, normOffset: 1 });
    const off = { ...rest, attn_logit_softcapping: null, final_logit_softcapping: null };
    expect(readModel(off).spec).toMatchObject({ scoreCap: all, logitCap: all });
  });
});

describe("a configuration is refused, with the field and what was found,", () => {
  it.each<[string, Record<string, unknown>, string]>([
    [
      "for an unknown model_type",
      llamaConfig({ model_type: "mamba" }),
      `config.json: model_type "mamba" is not supported, only ${supportedModelTypes.join(", ")}`,
    ],
    ["without a model_type", without("model_type"), "config.json: model_type must be a string, found nothing"],
    [
      "for quantised weights",
      llamaConfig({ quantization_config: { bits: 4 } }),
      "config.json: quantization_config is set: quantised weights and mixtures of experts are not supported",
    ],
    [
      "for a mixture of experts",
      llamaConfig({ num_local_experts: 8 }),
      "config.json: num_local_experts is set: quantised weights and mixtures of experts are not supported",
    ],
    [
      "for a mixture of experts by its other name",
      llamaConfig({ num_experts: 64 }),
      "config.json: num_experts is set: quantised weights and mixtures of experts are not supported",
    ],
    ["for another activation", llamaConfig({ hidden_act: "gelu" }), 'config.json: hidden_act "gelu" is not supported, only "silu"'],
    [
      "for partly rotated heads",
      llamaConfig({ partial_rotary_factor: 0.5 }),
      "config.json: partial_rotary_factor 0.5 is not supported, only 1",
    ],
    [
      "for a sliding window",
      llamaConfig({ model_type: "qwen2", use_sliding_window: true }),
      "config.json: use_sliding_window true is not supported, only false",
    ],
    [
      "for heads that key/value heads do not divide",
      llamaConfig({ num_attention_heads: 4, num_key_value_heads: 3 }),
      "config.json: num_attention_heads 4 is not a multiple of num_key_value_heads 3",
    ],
    [
      "for a hidden size that heads do not divide",
      llamaConfig({ hidden_size: 9 }),
      "config.json: hidden_size 9 is not a multiple of num_attention_heads 2",
    ],
    ["for an odd head dimension", llamaConfig({ hidden_size: 6 }), "config.json: head_dim must be even for rotary embeddings, found 3"],
    ["for no layers", llamaConfig({ num_hidden_layers: 0 }), "config.json: num_hidden_layers must be an integer from 1 to 1000, found 0"],
    [
      "for a million layers",
      llamaConfig({ num_hidden_layers: 1e6 }),
      "config.json: num_hidden_layers must be an integer from 1 to 1000, found 1000000",
    ],
    [
      "for half a head",
      llamaConfig({ num_attention_heads: 1.5 }),
      "config.json: num_attention_heads must be an integer from 1 to 1024, found 1.5",
    ],
    ["for a size in words", llamaConfig({ hidden_size: "8" }), 'config.json: hidden_size must be an integer from 1 to 10000000, found "8"'],
    [
      "for a negative vocabulary",
      llamaConfig({ vocab_size: -1 }),
      "config.json: vocab_size must be an integer from 1 to 10000000, found -1",
    ],
    ["without a hidden size", without("hidden_size"), "config.json: hidden_size must be an integer from 1 to 10000000, found nothing"],
    [
      "for an ε that is no number",
      llamaConfig({ rms_norm_eps: Number.NaN }),
      "config.json: rms_norm_eps must be a positive number, found NaN",
    ],
    [
      "for an infinite ε",
      llamaConfig({ rms_norm_eps: Number.POSITIVE_INFINITY }),
      "config.json: rms_norm_eps must be a positive number, found Infinity",
    ],
    ["for an ε of zero", llamaConfig({ rms_norm_eps: 0 }), "config.json: rms_norm_eps must be a positive number, found 0"],
    [
      "for a switch that is none",
      llamaConfig({ tie_word_embeddings: "yes" }),
      'config.json: tie_word_embeddings must be true or false, found "yes"',
    ],
    [
      "for another rope type",
      llamaConfig({ rope_scaling: { rope_type: "yarn", factor: 4 } }),
      'config.json: rope_scaling: rope type "yarn" is not supported, only "default", "linear" and "llama3"',
    ],
    [
      "for another rope type in the old spelling",
      llamaConfig({ rope_scaling: { type: "su", factor: 2 } }),
      'config.json: rope_scaling: rope type "su" is not supported',
    ],
    [
      "for another rope type in the new place",
      llamaConfig({ rope_parameters: { rope_type: "longrope" } }),
      'config.json: rope_parameters: rope type "longrope" is not supported',
    ],
    [
      "for a rope scaling without its factor",
      llamaConfig({ rope_scaling: { type: "linear" } }),
      "config.json: rope_scaling: factor must be a positive number, found nothing",
    ],
    [
      "for quantised text weights in a multimodal model",
      { model_type: "gemma3", text_config: { quantization_config: {} } },
      "config.json: text_config: quantization_config is set: quantised weights and mixtures of experts are not supported",
    ],
    [
      "for experts by a third name",
      llamaConfig({ n_routed_experts: 64 }),
      "config.json: n_routed_experts is set: quantised weights and mixtures of experts are not supported",
    ],
    [
      "for a type of layer that is unknown",
      { ...config("gemma2"), layer_types: ["full_attention", "chunked_attention", "full_attention", "full_attention"] },
      'config.json: layer_types holds "chunked_attention", which is not supported, only "full_attention" and "sliding_attention"',
    ],
    [
      "for windows in a family that has none",
      { ...config("qwen3"), layer_types: Array(4).fill("sliding_attention") },
      'config.json: layer_types holds "sliding_attention", which is not supported, only "full_attention"',
    ],
    [
      "for types of layers that there are not",
      { ...config("gemma2"), layer_types: ["full_attention"] },
      "config.json: layer_types has 1 entries for 4 layers",
    ],
    [
      "for types of layers that are none",
      { ...config("gemma2"), layer_types: "full_attention" },
      'config.json: layer_types must be a list of strings, found "full_attention"',
    ],
    [
      "for a window that is none",
      { ...config("mistral"), sliding_window: 0 },
      "config.json: sliding_window must be an integer from 1 to 1000000000, found 0",
    ],
    [
      "for layers in a window that is null",
      { ...config("gemma2"), sliding_window: null },
      "config.json: sliding_window must be an integer from 1 to 1000000000, found nothing",
    ],
    [
      "for an ambiguous GELU",
      { ...config("gemma"), hidden_act: "gelu" },
      'config.json: hidden_act "gelu" is read by some versions of transformers as the exact GELU and by others as its tanh approximation;',
    ],
    [
      "for another activation of Gemma's",
      { ...config("gemma3_text"), hidden_activation: "relu" },
      'config.json: hidden_activation "relu" is not supported, only "gelu_pytorch_tanh"',
    ],
    [
      "for attention that looks ahead",
      { ...config("gemma3_text"), use_bidirectional_attention: true },
      "config.json: use_bidirectional_attention true is not supported, only false",
    ],
    [
      "for a soft cap that is none",
      { ...config("gemma2"), attn_logit_softcapping: 0 },
      "config.json: attn_logit_softcapping must be a positive number, found 0",
    ],
    [
      "for soft caps where Gemma 3 has none",
      { ...config("gemma3_text"), attn_logit_softcapping: 50 },
      "config.json: attn_logit_softcapping 50 is not supported, only null",
    ],
    [
      "for a multimodal model with an output head of its own",
      { model_type: "gemma3", tie_word_embeddings: false, text_config: {} },
      "config.json: tie_word_embeddings false is not supported, only true",
    ],
    [
      "for rotary settings of one type of layer only",
      { ...config("gemma3_text"), rope_scaling: null, rope_parameters: { full_attention: {} } },
      "config.json: rope_parameters: settings for sliding_attention are missing",
    ],
    [
      "for Phi-3's long rotary factors",
      { ...config("phi3"), rope_scaling: { type: "longrope", short_factor: [], long_factor: [] } },
      'config.json: rope_scaling: rope type "longrope" is not supported, only "default", "linear" and "llama3"',
    ],
    [
      "for biases that Mistral's code does not know",
      { ...config("mistral"), attention_bias: true },
      "config.json: attention_bias true is not supported, only false",
    ],
    ["for clipped queries and keys", { ...config("olmo2"), clip_qkv: 8 }, "config.json: clip_qkv 8 is not supported, only null"],
    ["for a rope scaling that is no object", llamaConfig({ rope_scaling: [1] }), "config.json: rope_scaling must be an object, found [1]"],
  ])("%s", (_, fields, message) => expect(refusal(fields)).toContain(message));
});
