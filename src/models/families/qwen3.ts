import { add, type Expr, mul, silu } from "../../tensor/expr.ts";
import { readDecoder } from "../decoder-spec.ts";
import type { BlockContext, Family } from "../family.ts";

/** Qwen3: Llama's block where each query and key head passes a norm before it is rotated. */
export const qwen3: Family = {
  modelTypes: ["qwen3"],
  readSpec: (config) => {
    config.only("use_sliding_window", false);
    return readDecoder(config.withDefaults({ num_key_value_heads: 32, head_dim: 128 }), "Qwen3");
  },
  block,
};

function block({ spec, x, linear, rmsNorm, headNorm, rope, attend }: BlockContext): Expr {
  const { hidden, intermediate, heads, keyValueHeads, headDim } = spec;
  const h = rmsNorm("input_layernorm", x);
  const q = headNorm("self_attn.q_norm", linear("self_attn.q_proj", h, heads * headDim), heads);
  const k = headNorm("self_attn.k_norm", linear("self_attn.k_proj", h, keyValueHeads * headDim), keyValueHeads);
  const v = linear("self_attn.v_proj", h, keyValueHeads * headDim);
  const attended = attend(rope(q, heads), rope(k, keyValueHeads), v);
  const middle = add(x, linear("self_attn.o_proj", attended, hidden));
  const m = rmsNorm("post_attention_layernorm", middle);
  const gated = mul(silu(linear("mlp.gate_proj", m, intermediate)), linear("mlp.up_proj", m, intermediate));
  return add(middle, linear("mlp.down_proj", gated, hidden));
}
