import { add, type Expr, mul, silu } from "../../tensor/expr.ts";
import type { ConfigReader } from "../config-reader.ts";
import type { BlockContext, Family, ModelSpec } from "../family.ts";
import { readRope } from "../rope.ts";

const attention = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
const mlp = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];

/** Llama 1 to 3.x and all that share its block: RMSNorm, rotary grouped-query attention, SiLU-gated MLP. */
export const llama: Family = {
  modelTypes: ["llama"],
  readSpec: (config) => ({
    ...readLlamaSizes(config, "Llama"),
    biases: new Set([...(config.boolean("attention_bias", false) ? attention : []), ...(config.boolean("mlp_bias", false) ? mlp : [])]),
  }),
  block: llamaBlock,
};

/** The fields that Llama's relatives share, biases excepted. */
export function readLlamaSizes(config: ConfigReader, family: string): Omit<ModelSpec, "biases"> {
  config.only("hidden_act", "silu");
  config.only("partial_rotary_factor", 1);
  const heads = config.integer("num_attention_heads", undefined, 1024);
  const keyValueHeads = config.integer("num_key_value_heads", heads, 1024);
  const hidden = config.integer("hidden_size");
  if (heads % keyValueHeads !== 0) config.refuse(`num_attention_heads ${heads} is not a multiple of num_key_value_heads ${keyValueHeads}`);
  if (!config.has("head_dim") && hidden % heads !== 0)
    config.refuse(`hidden_size ${hidden} is not a multiple of num_attention_heads ${heads}`);
  const headDim = config.integer("head_dim", hidden / heads, 4096);
  if (headDim % 2 !== 0) config.refuse(`head_dim must be even for rotary embeddings, found ${headDim}`);
  return {
    family,
    modelType: config.string("model_type"),
    layers: config.integer("num_hidden_layers", undefined, 1000),
    hidden,
    intermediate: config.integer("intermediate_size"),
    heads,
    keyValueHeads,
    headDim,
    vocabulary: config.integer("vocab_size"),
    normEps: config.positive("rms_norm_eps", 1e-6),
    tiedEmbeddings: config.boolean("tie_word_embeddings", false),
    rope: readRope(config, headDim),
  };
}

export function llamaBlock({ spec, x, linear, rmsNorm, rope, attend }: BlockContext): Expr {
  const { hidden, intermediate, heads, keyValueHeads, headDim } = spec;
  const h = rmsNorm("input_layernorm", x);
  const q = rope(linear("self_attn.q_proj", h, heads * headDim), heads);
  const k = rope(linear("self_attn.k_proj", h, keyValueHeads * headDim), keyValueHeads);
  const v = linear("self_attn.v_proj", h, keyValueHeads * headDim);
  const middle = add(x, linear("self_attn.o_proj", attend(q, k, v), hidden));
  const m = rmsNorm("post_attention_layernorm", middle);
  const gated = mul(silu(linear("mlp.gate_proj", m, intermediate)), linear("mlp.up_proj", m, intermediate));
  return add(middle, linear("mlp.down_proj", gated, hidden));
}
