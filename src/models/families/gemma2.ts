import { add, type Expr, geluTanh, mul } from "../../tensor/expr.ts";
import type { BlockContext, Family } from "../family.ts";
import { readGemma } from "./gemma.ts";

/** Gemma 2: scores and logits softly capped, a window on every other layer, norms before and after both halves. */
export const gemma2: Family = {
  modelTypes: ["gemma2"],
  readSpec: (fields) => {
    const config = fields.withDefaults({
      num_key_value_heads: 4,
      query_pre_attn_scalar: 256,
      sliding_window: 4096,
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30,
    });
    return {
      ...readGemma(config, "Gemma 2", { isLocal: (layer) => layer % 2 === 0 }),
      scoreScale: 1 / Math.sqrt(config.positive("query_pre_attn_scalar")),
      scoreCap: config.optional("attn_logit_softcapping") ?? Number.POSITIVE_INFINITY,
      logitCap: config.optional("final_logit_softcapping") ?? Number.POSITIVE_INFINITY,
    };
  },
  block: (context) => gemma2Block(context, (_, x) => x),
};

/** @param headNorm - What queries and keys pass before they are rotated. */
export function gemma2Block(
  { spec, x, linear, rmsNorm, rope, attend }: BlockContext,
  headNorm: (name: string, x: Expr, heads: number) => Expr,
): Expr {
  const { hidden, intermediate, heads, keyValueHeads, headDim } = spec;
  const h = rmsNorm("input_layernorm", x);
  const q = headNorm("self_attn.q_norm", linear("self_attn.q_proj", h, heads * headDim), heads);
  const k = headNorm("self_attn.k_norm", linear("self_attn.k_proj", h, keyValueHeads * headDim), keyValueHeads);
  const v = linear("self_attn.v_proj", h, keyValueHeads * headDim);
  const attended = attend(rope(q, heads), rope(k, keyValueHeads), v);
  const middle = add(x, rmsNorm("post_attention_layernorm", linear("self_attn.o_proj", attended, hidden)));
  const m = rmsNorm("pre_feedforward_layernorm", middle);
  const gated = mul(geluTanh(linear("mlp.gate_proj", m, intermediate)), linear("mlp.up_proj", m, intermediate));
  return add(middle, rmsNorm("post_feedforward_layernorm", linear("mlp.down_proj", gated, hidden)));
}
