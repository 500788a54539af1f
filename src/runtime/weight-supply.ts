import type { Block } from "../models/block.ts";
import type { ModelSpec } from "../models/family.ts";
import { headWeights } from "../models/stages.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import { headTensor, type ModelSource } from "./model-source.ts";

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

/** A model's weights by group: the layers in their order, then the output head. */
export interface WeightSupply {
  /**
   * The weights of a group, good until the next call.
   *
   * @param next - The group that will be taken after this one: it may be read meanwhile.
   */
  take(group: number, next?: number): Promise<Weights>;
  /** Waits for reads under way. The model's files may be closed afterwards. */
  close(): Promise<void>;
}

/** Weights that stay in memory. */
export class HeldWeights implements WeightSupply {
  constructor(private readonly groups: readonly Weights[]) {}

  async take(group: number): Promise<Weights> {
    return this.groups[group]!;
  }

  async close(): Promise<void> {}
}

/** Values that a weight's place in a slot is a multiple of: a cache line. */
const ALIGNMENT = 16;

/** Memory for one group, and which it holds or will hold. */
interface Slot {
  readonly memory: Float32Array;
  group: number | undefined;
  weights: Promise<Weights>;
}

/**
 * Weights that are read when their turn comes, into memory for two groups: the one in use and the one that is used next, or was before.
 * A pass up the layers and down again therefore reads each group twice at most, and less often those around its turning points.
 */
export class StreamedWeights implements WeightSupply {
  private readonly slots: readonly [Slot, Slot];
  private inUse: Slot | undefined;

  /** @param held - Groups that stay in memory all the same. */
  constructor(
    private readonly source: ModelSource,
    private readonly groups: readonly WeightGroup[],
    private readonly held: ReadonlyMap<number, Weights>,
  ) {
    const length = groups.reduce((most, group, i) => (held.has(i) ? most : Math.max(most, slotLength(group))), 0);
    const slot = (): Slot => ({ memory: new Float32Array(length), group: undefined, weights: Promise.resolve({}) });
    this.slots = [slot(), slot()];
  }

  async take(group: number, next?: number): Promise<Weights> {
    const held = this.held.get(group);
    if (!held) this.inUse = this.slotWith(group);
    const weights = held ?? (await this.inUse!.weights);
    if (next !== undefined && !this.held.has(next)) this.slotWith(next);
    return weights;
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.slots.map((slot) => slot.weights));
  }

  /** The slot that holds a group, or begins to read it: then not the one in use. */
  private slotWith(group: number): Slot {
    const found = this.slots.find((slot) => slot.group === group);
    if (found) return found;
    const slot = this.slots[0] === this.inUse ? this.slots[1] : this.slots[0];
    // A read that nobody waited for must have ended before its memory is used again.
    const before = Promise.allSettled([slot.weights]);
    slot.group = group;
    slot.weights = before.then(() => this.read(this.groups[group]!, slot.memory));
    // Whoever takes the group hears of a failure; if it is never taken, nobody need.
    slot.weights.catch(() => {});
    return slot;
  }

  private async read(group: WeightGroup, memory: Float32Array): Promise<Weights> {
    let start = 0;
    const reads = group.map(async ({ input, name, shape }) => {
      const target = memory.subarray(start, start + sizeOf(shape));
      start += aligned(sizeOf(shape));
      return [input, { shape, data: await this.source.read(name, target) }] as const;
    });
    return Object.fromEntries(await Promise.all(reads));
  }
}

const aligned = (values: number): number => Math.ceil(values / ALIGNMENT) * ALIGNMENT;

/** Values that a group takes in a slot. */
export const slotLength = (group: WeightGroup): number => group.reduce((sum, { shape }) => sum + aligned(sizeOf(shape)), 0);

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

/** Reads the groups that are to be held, and hands each layer of them on; those of packed weights are then let go. */
export async function openWeights(
  source: ModelSource,
  groups: readonly WeightGroup[],
  { weights, streamHead = false }: { readonly weights: WeightMode; readonly streamHead?: boolean },
  onLayer: (layer: number, weights: Weights) => Promise<void>,
): Promise<WeightSupply> {
  const read = async (group: WeightGroup): Promise<Weights> => {
    const tensors: [string, Tensor<Float32Array>][] = [];
    for (const { input, name, shape } of group) tensors.push([input, { shape, data: await source.read(name) }]);
    return Object.fromEntries(tensors);
  };
  const head = groups.length - 1;
  if (weights === "streamed")
    return new StreamedWeights(source, groups, streamHead ? new Map() : new Map([[head, await read(groups[head]!)]]));
  const held: Weights[] = [];
  for (const [layer, group] of groups.slice(0, -1).entries()) {
    const layerWeights = await read(group);
    await onLayer(layer, layerWeights);
    held.push(weights === "fed" ? layerWeights : {});
  }
  return new HeldWeights([...held, await read(groups[head]!)]);
}
