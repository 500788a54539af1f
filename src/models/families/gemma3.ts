import type { ConfigReader } from "../config-reader.ts";
import type { Family } from "../family.ts";
import { plainRope, type RopeSpec, refuseBothSpellings, ropeOf } from "../rope.ts";
import { readGemma } from "./gemma.ts";
import { gemma2Block } from "./gemma2.ts";

/** What the text model's configuration has where a file, above all a multimodal one, says nothing. */
const defaults = {
  model_type: "gemma3_text",
  vocab_size: 262208,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  query_pre_attn_scalar: 256,
  sliding_window: 4096,
  sliding_window_pattern: 6,
};

/**
 * Gemma 3, its text model alone or within a multimodal one, whose images are left out: Gemma 2's block with query and key heads normed and
 * nothing capped; five layers with a window and a rotary base of their own for one that sees everything.
 */
export const gemma3: Family = {
  modelTypes: ["gemma3_text", "gemma3"],
  readSpec: (fields) => {
    const multimodal = fields.is("model_type", "gemma3");
    if (multimodal) fields.only("tie_word_embeddings", true);
    const config = (multimodal ? fields.object("text_config") : fields).withDefaults(defaults);
    config.only("attn_logit_softcapping", null);
    const period = config.integer("sliding_window_pattern");
    return {
      ...readGemma(config, "Gemma 3", {
        isLocal: (layer) => (layer + 1) % period !== 0,
        rope: (local, headDim) => readLayerRope(config, local, headDim),
      }),
      scoreScale: 1 / Math.sqrt(config.positive("query_pre_attn_scalar")),
      logitCap: config.optional("final_logit_softcapping") ?? Number.POSITIVE_INFINITY,
    };
  },
  block: (context) => gemma2Block(context, context.headNorm),
};

/** `rope_theta`, `rope_scaling` (of the global layers only) and `rope_local_base_freq`, or `rope_parameters` by type of layer. */
function readLayerRope(config: ConfigReader, local: boolean, headDim: number): RopeSpec {
  refuseBothSpellings(config);
  const theta = local ? config.positive("rope_local_base_freq", 10_000) : config.positive("rope_theta", 1_000_000);
  if (!config.has("rope_parameters")) return local ? plainRope(theta, headDim) : ropeOf(config.object("rope_scaling"), theta, headDim);
  const byType = config.object("rope_parameters");
  const type = local ? "sliding_attention" : "full_attention";
  if (!byType.has(type)) byType.refuse(`settings for ${type} are missing`);
  return ropeOf(byType.object(type), theta, headDim);
}
