import { readDecoder } from "../decoder-spec.ts";
import type { Family } from "../family.ts";
import { llamaBlock } from "./llama.ts";

/** Mistral 7B, Nemo and Small: Llama's block, each layer seeing the last `sliding_window` tokens where that is set. */
export const mistral: Family = {
  modelTypes: ["mistral"],
  readSpec: (config) => {
    config.only("attention_bias", false);
    const full = config.withDefaults({ num_key_value_heads: 8, sliding_window: 4096 });
    return readDecoder(full, "Mistral", { isLocal: () => full.has("sliding_window") });
  },
  block: (context) => llamaBlock(context),
};
