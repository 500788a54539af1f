import { LayergradError } from "../errors.ts";
import type { Checkpoint } from "../io/checkpoint.ts";

/** A checkpoint of a model whose weights are not here: it has the texts, and refuses all else. */
export function withoutWeights({ folder, config, files }: Pick<Checkpoint, "folder" | "config" | "files">): Checkpoint {
  const refuse = (): never => {
    throw new LayergradError("model", `${folder}: the weights are not here; open the model with its weights.`);
  };
  const refuseLater = async (): Promise<never> => refuse();
  return {
    folder,
    config,
    files,
    tensors: new Map(),
    read: refuseLater,
    readRows: refuseLater,
    hashes: refuseLater,
    close: () => {},
  };
}
