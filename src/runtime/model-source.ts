import { LayergradError } from "../errors.ts";
import { buildBlock } from "../models/block.ts";
import type { Family, ModelSpec } from "../models/family.ts";
import { headWeights } from "../models/head.ts";

/** A tensor's place in a longer array: `length` values from `start` on. */
export interface TensorPlace {
  readonly name: string;
  readonly start: number;
  readonly length: number;
}

/** Where a model's numbers come from: a folder, a file, or a test's own arrays. */
export interface ModelSource {
  /** `config.json` */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>;
  /**
   * A tensor widened to float32, row by row.
   *
   * @param target - Where it may go, of its length. A source may also return an array of its own.
   */
  read(name: string, target?: Float32Array): Promise<Float32Array>;
  /**
   * Reads tensors into their places in one array. Where a source has it, weights that are read again and again come by it.
   *
   * @returns The array, or another of its length that takes its place: its memory may have been in another thread meanwhile.
   */
  readPlaces?(places: readonly TensorPlace[], memory: Float32Array): Promise<Float32Array>;
  /** Chosen rows of a matrix, `[rows.length, width]`, widened to float32. */
  readRows(name: string, rows: ArrayLike<number>): Promise<Float32Array>;
}

/** The checkpoint's name of the output head. */
export const headTensor = (spec: ModelSpec): string => (spec.tiedEmbeddings ? headWeights.embedding : headWeights.head);

/** What a block may hold beside its weights: older checkpoints store the rotary frequencies, which follow from the configuration. */
const derived = /\.rotary_emb\.inv_freq$/;

/**
 * Every weight that will be read must be there, in the shape the configuration implies, and the blocks must have no other: a bias or a
 * norm that the family does not compute would change every number in silence.
 */
export function checkTensors(source: ModelSource, family: Family, spec: ModelSpec): void {
  const expected = new Map<string, readonly number[]>([
    [headWeights.embedding, [spec.vocabulary, spec.hidden]],
    [headWeights.norm, [spec.hidden]],
    [headTensor(spec), [spec.vocabulary, spec.hidden]],
  ]);
  const { weights } = buildBlock(family, spec);
  for (let i = 0; i < spec.layers; i++) for (const [name, shape] of weights) expected.set(`model.layers.${i}.${name}`, shape);
  for (const [name, shape] of expected) {
    const found = source.tensors.get(name);
    if (!found)
      throw new LayergradError(
        "model",
        `The weights have no tensor ${name}, which a ${spec.family} model of config.json's sizes needs; the folder may be incomplete.`,
      );
    if (found.shape.join() !== shape.join()) {
      throw new LayergradError(
        "model",
        `Tensor ${name} has shape [${found.shape}], but config.json implies [${shape}]; the files do not belong together.`,
      );
    }
  }
  for (const name of source.tensors.keys()) {
    if (name.startsWith("model.layers.") && !expected.has(name) && !derived.test(name)) {
      throw new LayergradError(
        "model",
        `The weights hold ${name}, which config.json's ${spec.family} model of ${spec.layers} layers does not have; the files do not belong together, or the model is of another family.`,
      );
    }
  }
}
