import type { Family, ModelSpec } from "../src/models/family.ts";
import { readModel } from "../src/models/registry.ts";

/** A `config.json` of a very small Llama, with changes. */
export const llamaConfig = (changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> => ({
  model_type: "llama",
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 32,
  rms_norm_eps: 1e-5,
  ...changes,
});

/** Family and spec of such a model. */
export const llamaModel = (changes?: Readonly<Record<string, unknown>>): { readonly family: Family; readonly spec: ModelSpec } =>
  readModel(llamaConfig(changes));

/** Sizes of real models, as their `config.json` gives them. */
export const realConfigs = {
  smollm2: llamaConfig({
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49152,
    tie_word_embeddings: true,
  }),
  qwen2: llamaConfig({
    model_type: "qwen2",
    hidden_size: 1536,
    intermediate_size: 8960,
    num_hidden_layers: 28,
    num_attention_heads: 12,
    num_key_value_heads: 2,
    vocab_size: 151936,
    tie_word_embeddings: true,
  }),
  llama2: llamaConfig({
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    vocab_size: 32000,
  }),
} as const;
