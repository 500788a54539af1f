import { add, type Expr, mul, silu } from "../../tensor/expr.ts";
import { readDecoder } from "../decoder-spec.ts";
import type { BlockContext, Family } from "../family.ts";

const mlp = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];

/** Llama 1 to 3.x and all that share its block: RMSNorm, rotary grouped-query attention, SiLU-gated MLP. */
export const llama: Family = {
  modelTypes: ["llama"],
  readSpec: (config) => {
    const spec = readDecoder(config, "Llama");
    return { ...spec, biases: new Set([...spec.biases, ...(config.boolean("mlp_bias", false) ? mlp : [])]) };
  },
  block: llamaBlock,
};

export function llamaBlock({ spec, x, linear, rmsNorm, rope, attend }: BlockContext, activation = silu): Expr {
  const { hidden, intermediate, heads, keyValueHeads, headDim } = spec;
  const h = rmsNorm("input_layernorm", x);
  const q = rope(linear("self_attn.q_proj", h, heads * headDim), heads);
  const k = rope(linear("self_attn.k_proj", h, keyValueHeads * headDim), keyValueHeads);
  const v = linear("self_attn.v_proj", h, keyValueHeads * headDim);
  const middle = add(x, linear("self_attn.o_proj", attend(q, k, v), hidden));
  const m = rmsNorm("post_attention_layernorm", middle);
  const gated = mul(activation(linear("mlp.gate_proj", m, intermediate)), linear("mlp.up_proj", m, intermediate));
  return add(middle, linear("mlp.down_proj", gated, hidden));
}
