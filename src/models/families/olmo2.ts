import { add, type Expr, mul, silu } from "../../tensor/expr.ts";
import { readDecoder } from "../decoder-spec.ts";
import type { BlockContext, Family } from "../family.ts";

/** OLMo 2: no norm before attention and MLP but one after each, and queries and keys normed over all their heads at once. */
export const olmo2: Family = {
  modelTypes: ["olmo2"],
  readSpec: (config) => readDecoder(config.withDefaults({ rms_norm_eps: 1e-5 }), "OLMo 2"),
  block,
};

function block({ spec, x, linear, rmsNorm, rope, attend }: BlockContext): Expr {
  const { hidden, intermediate, heads, keyValueHeads, headDim } = spec;
  const q = rmsNorm("self_attn.q_norm", linear("self_attn.q_proj", x, heads * headDim));
  const k = rmsNorm("self_attn.k_norm", linear("self_attn.k_proj", x, keyValueHeads * headDim));
  const v = linear("self_attn.v_proj", x, keyValueHeads * headDim);
  const attended = attend(rope(q, heads), rope(k, keyValueHeads), v);
  const middle = add(x, rmsNorm("post_attention_layernorm", linear("self_attn.o_proj", attended, hidden)));
  const gated = mul(silu(linear("mlp.gate_proj", middle, intermediate)), linear("mlp.up_proj", middle, intermediate));
  return add(middle, rmsNorm("post_feedforward_layernorm", linear("mlp.down_proj", gated, hidden)));
}
