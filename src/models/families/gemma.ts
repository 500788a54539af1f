import { geluTanh } from "../../tensor/expr.ts";
import type { ConfigReader } from "../config-reader.ts";
import { readDecoder, type Traits } from "../decoder-spec.ts";
import type { Family, ModelSpec } from "../family.ts";
import { llamaBlock } from "./llama.ts";

const activation = "gelu_pytorch_tanh";

/** Gemma 1: Llama's block with a GELU, norms that scale by 1 + w, and embeddings times √hidden. */
export const gemma: Family = {
  modelTypes: ["gemma"],
  readSpec: (config) => {
    if (config.is("hidden_act", "gelu"))
      config.refuse(
        `hidden_act "gelu" is read by some versions of transformers as the exact GELU and by others as its tanh approximation; if the latter is meant, as in Google's models, set it to "${activation}"`,
      );
    return readGemma(config.withDefaults({ num_key_value_heads: 16 }), "Gemma");
  },
  block: (context) => llamaBlock(context, geluTanh),
};

/** What all Gemmas share. Their files leave out what equals these defaults. */
export function readGemma(config: ConfigReader, family: string, traits: Omit<Traits, "activation"> = {}): ModelSpec {
  const spec = readDecoder(config.withDefaults({ head_dim: 256, tie_word_embeddings: true }), family, { ...traits, activation });
  return { ...spec, normOffset: 1, embeddingScale: Math.sqrt(spec.hidden) };
}
