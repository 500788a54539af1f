import { excerpt } from "../errors.ts";
import { ConfigReader } from "./config-reader.ts";
import { gemma } from "./families/gemma.ts";
import { gemma2 } from "./families/gemma2.ts";
import { gemma3 } from "./families/gemma3.ts";
import { llama } from "./families/llama.ts";
import { mistral } from "./families/mistral.ts";
import { olmo2 } from "./families/olmo2.ts";
import { phi3 } from "./families/phi3.ts";
import { qwen2 } from "./families/qwen2.ts";
import { qwen3 } from "./families/qwen3.ts";
import type { Family, ModelSpec } from "./family.ts";

/** Every supported family. A new one is a file in `families/` and a line here. */
export const families: readonly Family[] = [llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3, phi3, olmo2];

/** The `model_type`s that can be computed. */
export const supportedModelTypes: readonly string[] = families.flatMap((f) => f.modelTypes);

/**
 * The family and sizes a `config.json` describes.
 *
 * @param where - What messages call it: its path.
 * @throws {LayergradError} `model` if the family is not supported or a field asks for something that is not computed.
 */
export function readModel(
  fields: Readonly<Record<string, unknown>>,
  where = "config.json",
): { readonly family: Family; readonly spec: ModelSpec } {
  const config = new ConfigReader(fields, where);
  const modelType = config.string("model_type");
  const family = families.find((f) => f.modelTypes.includes(modelType));
  if (!family) return config.refuse(`model_type ${excerpt(modelType)} is not supported, only ${supportedModelTypes.join(", ")}`);
  for (const part of [config, config.object("text_config")]) {
    for (const key of ["quantization_config", "num_local_experts", "num_experts", "n_routed_experts"])
      if (part.has(key)) part.refuse(`${key} is set: quantised weights and mixtures of experts are not supported`);
  }
  return { family, spec: family.readSpec(config) };
}
