import { add, type Expr, mul, silu } from "../../tensor/expr.ts";
import { readDecoder } from "../decoder-spec.ts";
import type { BlockContext, Family } from "../family.ts";

/** Phi-3 of short context: Llama's block where one matrix holds Q, K and V and another gate and up, with a window where one is set. */
export const phi3: Family = {
  modelTypes: ["phi3"],
  readSpec: (config) => {
    config.only("attention_bias", false);
    return readDecoder(config.withDefaults({ rms_norm_eps: 1e-5 }), "Phi-3", { isLocal: () => config.has("sliding_window") });
  },
  block,
};

function block({ spec, x, linear, fused, rmsNorm, rope, attend }: BlockContext): Expr {
  const { hidden, intermediate, heads, keyValueHeads, headDim } = spec;
  const qkv = fused("self_attn.qkv_proj", rmsNorm("input_layernorm", x), {
    "self_attn.q_proj": heads * headDim,
    "self_attn.k_proj": keyValueHeads * headDim,
    "self_attn.v_proj": keyValueHeads * headDim,
  });
  const q = rope(qkv["self_attn.q_proj"], heads);
  const k = rope(qkv["self_attn.k_proj"], keyValueHeads);
  const middle = add(x, linear("self_attn.o_proj", attend(q, k, qkv["self_attn.v_proj"]), hidden));
  const m = rmsNorm("post_attention_layernorm", middle);
  const inner = fused("mlp.gate_up_proj", m, { "mlp.gate_proj": intermediate, "mlp.up_proj": intermediate });
  return add(middle, linear("mlp.down_proj", mul(silu(inner["mlp.gate_proj"]), inner["mlp.up_proj"]), hidden));
}
