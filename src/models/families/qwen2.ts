import { readDecoder } from "../decoder-spec.ts";
import type { Family } from "../family.ts";
import { llamaBlock } from "./llama.ts";

/** Qwen2 and Qwen2.5: Llama's block with biases on queries, keys and values. */
export const qwen2: Family = {
  modelTypes: ["qwen2"],
  readSpec: (config) => {
    config.only("use_sliding_window", false);
    return { ...readDecoder(config, "Qwen2"), biases: new Set(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]) };
  },
  block: (context) => llamaBlock(context),
};
