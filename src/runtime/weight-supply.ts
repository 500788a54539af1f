import type { Block } from "../models/block.ts";
import type { ModelSpec } from "../models/family.ts";
import { headWeights } from "../models/head.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import { headTensor, type ModelSource, type TensorPlace } from "./model-source.ts";

/**
 * How the weights reach the runtime. `fed`: held in memory and fed at each call; `streamed`: fed as well, but read from the model's files
 * layer by layer, as often as a wave of packs goes through them; `packed`: packed once into a session of each layer (no faster on packs of
 * 512 tokens, more than twice the memory).
 */
export type WeightMode = "fed" | "streamed" | "packed";

/** Weights by the names of a program's inputs. */
export type Weights = Readonly<Record<string, Tensor<Float32Array>>>;

/** Weights that are taken up together: a layer's, or the output head's. */
export type WeightGroup = readonly {
  /** Input of the program. */
  readonly input: string;
  /** Tensor of the checkpoint. */
  readonly name: string;
  readonly shape: readonly number[];
}[];

/** A model's weights by group, as one engine takes them up: the layers in their order, then the output head. */
export interface WeightSupply {
  /**
   * The weights of a group, good until the next call of either method.
   *
   * @param next - The group that will be taken after this one: it may be read meanwhile.
   */
  take(group: number, next?: number): Promise<Weights>;
  /** What was taken last is no longer in use. */
  giveBack(): void;
  /** Waits for reads under way. The model's files may be closed afterwards. */
  close(): Promise<void>;
}

/** Values that a weight's place in a group's memory is a multiple of: a cache line. */
const ALIGNMENT = 16;

const aligned = (values: number): number => Math.ceil(values / ALIGNMENT) * ALIGNMENT;

/** Values that a group takes in memory. */
export const groupLength = (group: WeightGroup): number => group.reduce((sum, { shape }) => sum + aligned(sizeOf(shape)), 0);

/** The weights of each layer and of the head, in the order in which a forward pass takes them up. */
export function weightGroups(block: Block, spec: ModelSpec): WeightGroup[] {
  const layers = Array.from({ length: spec.layers }, (_, i) =>
    [...block.weights].map(([input, shape]) => ({ input, name: `model.layers.${i}.${input}`, shape })),
  );
  const head = [
    { input: headWeights.norm, name: headWeights.norm, shape: [spec.hidden] },
    { input: headWeights.head, name: headTensor(spec), shape: [spec.vocabulary, spec.hidden] },
  ];
  return [...layers, head];
}

/** Reads a group into memory of {@link groupLength} values, new unless given, or other memory in its place. All of it is there afterwards, so that it can be handed on whole. */
export async function readGroup(
  source: Pick<ModelSource, "read" | "readPlaces">,
  group: WeightGroup,
  memory: Float32Array = new Float32Array(groupLength(group)),
): Promise<Weights> {
  let end = 0;
  const places = group.map(({ name, shape }) => {
    const place = { name, start: end, length: sizeOf(shape) };
    end += aligned(place.length);
    return place;
  });
  const filled = source.readPlaces ? await source.readPlaces(places, memory) : await readEach(source, places, memory);
  return Object.fromEntries(
    group.map(({ input, shape }, i) => {
      const { start, length } = places[i]!;
      return [input, { shape, data: filled.subarray(start, start + length) }] as const;
    }),
  );
}

async function readEach(source: Pick<ModelSource, "read">, places: readonly TensorPlace[], memory: Float32Array): Promise<Float32Array> {
  const reads = places.map(async ({ name, start, length }) => {
    const target = memory.subarray(start, start + length);
    const data = await source.read(name, target);
    if (data.buffer !== target.buffer) target.set(data);
  });
  await Promise.all(reads);
  return memory;
}
