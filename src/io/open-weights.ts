import { statSync } from "node:fs";
import { join } from "node:path";
import { LayergradError } from "../errors.ts";
import { type Checkpoint, listFolder, openCheckpoint } from "./checkpoint.ts";
import { openGguf } from "./gguf-checkpoint.ts";
import { mergeAdapter } from "./lora.ts";

export interface OpenModelFilesOptions {
  /** A PEFT folder (adapter_config.json and adapter_model.safetensors) whose LoRA is merged into the weights. */
  readonly adapter?: string | undefined;
  /** Of a folder of safetensors: whether the text side's files are read too, default yes. */
  readonly texts?: boolean;
}

/**
 * Opens a model in any form that is read: a Hugging Face folder of safetensors, a .gguf file, or a folder that has one .gguf file and no
 * safetensors; with a LoRA adapter over it, if one is given. Headers are read and checked, no weight is.
 *
 * @throws {LayergradError} `"model"`: one sentence that says what is wrong with which file, and what to do.
 */
export async function openModelFiles(path: string, { adapter, texts = true }: OpenModelFilesOptions = {}): Promise<Checkpoint> {
  const gguf = ggufFile(path);
  const model = gguf === undefined ? await openCheckpoint(path, { texts }) : await openGguf(gguf);
  if (adapter === undefined) return model;
  try {
    return mergeAdapter(model, adapter);
  } catch (error) {
    model.close();
    throw error;
  }
}

/** The GGUF file that a path means, undefined where it means a folder of safetensors. */
function ggufFile(path: string): string | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() && /\.gguf$/i.test(path)) return path;
  if (!stat?.isDirectory()) return undefined;
  const entries = listFolder(path);
  const files = entries.filter((name) => /\.gguf$/i.test(name));
  if (files.length === 0 || entries.some((name) => name.endsWith(".safetensors"))) return undefined;
  if (files.length === 1) return join(path, files[0]!);
  const some = files.slice(0, 4).join(", ");
  throw new LayergradError(
    "model",
    `${path}: has ${files.length} GGUF files (${some}${files.length > 4 ? ", …" : ""}); give the path of one of them.`,
  );
}
