import type { ModelSource } from "./model-source.ts";
import { groupLength, readGroup, type WeightGroup, type WeightMode, type Weights, type WeightSupply } from "./weight-supply.ts";

/** A group's weights, or a place for now one group and then another. One borrower has it at a time. */
interface Place {
  group: number | undefined;
  /** Once what was asked for is read. Their memory, one array, goes on to the place's next group. */
  weights: Promise<Weights>;
  lent: boolean;
  readonly waiting: { resolve(): void; reject(error: Error): void }[];
  /** Step of a round for which it was last asked for. */
  last: number;
}

/** A group that no place has room for yet. */
interface Want {
  readonly group: number;
  readonly step: number;
  readonly resolve: (place: Place) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Lends a model's weights to those who take them through the passes, a group at a time, and each group to one of them at a time: whole
 * buffers can then change threads, and many need no more memory than one.
 *
 * Groups are held, or read when they are asked for, into places whose group all borrowers are done with. Borrowers that stream go through
 * the groups in the same order and in rounds. One in front waits where it would push out what another has yet to come to, so that however
 * many there are, each group is read once on the way up and once on the way down, and less often around the turning points.
 */
export class WeightDesk {
  private readonly held: ReadonlyMap<number, Place>;
  private readonly places: readonly Place[];
  /** Values of the longest group that is read. */
  private readonly length: number;
  /** Groups that each borrower of the round is done with. */
  private readonly done = new Map<number, number>();
  private wants: Want[] = [];
  private closed: Error | undefined;

  /**
   * @param held - Groups that stay in memory; each in a buffer of its own where borrowers are in other threads.
   * @param borrowers - How many there will be; there are places for each and one to read into.
   */
  constructor(
    private readonly source: Pick<ModelSource, "read" | "readPlaces">,
    private readonly groups: readonly WeightGroup[],
    held: ReadonlyMap<number, Weights>,
    borrowers = 1,
  ) {
    const place = (group: number | undefined, weights: Weights): Place => ({
      group,
      weights: Promise.resolve(weights),
      lent: false,
      waiting: [],
      last: -1,
    });
    this.held = new Map([...held].map(([group, weights]) => [group, place(group, weights)]));
    this.length = groups.reduce((most, group, i) => (held.has(i) ? most : Math.max(most, groupLength(group))), 0);
    this.places = held.size === groups.length ? [] : Array.from({ length: borrowers + 1 }, () => place(undefined, {}));
    this.begin([0]);
  }

  /** Begins a round of those who go through the groups together; what was lent must be back. */
  begin(borrowers: Iterable<number>): void {
    this.wants = [];
    this.done.clear();
    for (const borrower of borrowers) this.done.set(borrower, 0);
    for (const place of this.places) place.last = -1;
  }

  /** Leaves the round, with nothing borrowed. */
  leave(borrower: number): void {
    this.done.delete(borrower);
    this.serve();
  }

  /**
   * The weights of a group, when it is read and nobody else has them.
   *
   * @param next - The group this borrower will take after this one: it may be read meanwhile.
   */
  async borrow(borrower: number, group: number, next?: number): Promise<Weights> {
    const step = this.done.get(borrower) ?? 0;
    const place = await this.placeOf(group, step);
    if (next !== undefined) this.placeOf(next, step + 1).catch(() => {});
    if (place.lent) await new Promise<void>((resolve, reject) => place.waiting.push({ resolve, reject }));
    place.lent = true;
    try {
      return await place.weights;
    } catch (error) {
      place.lent = false;
      place.waiting.shift()?.resolve();
      throw error;
    }
  }

  /** @param weights - What was borrowed; their buffer may have changed threads and come back. */
  giveBack(borrower: number, group: number, weights: Weights): void {
    const place = this.held.get(group) ?? this.places.find((p) => p.group === group)!;
    place.weights = Promise.resolve(weights);
    place.lent = false;
    this.done.set(borrower, (this.done.get(borrower) ?? 0) + 1);
    place.waiting.shift()?.resolve();
    this.serve();
  }

  /** Waits for reads under way, and refuses whoever still waits for weights. */
  async close(): Promise<void> {
    this.closed = new Error("the weights are no longer lent");
    for (const { reject } of this.wants) reject(this.closed);
    for (const place of [...this.held.values(), ...this.places]) for (const { reject } of place.waiting.splice(0)) reject(this.closed);
    await Promise.allSettled(this.places.map((place) => place.weights));
  }

  /** The place that holds a group, or will. */
  private async placeOf(group: number, step: number): Promise<Place> {
    if (this.closed) throw this.closed;
    const found = this.held.get(group) ?? this.places.find((p) => p.group === group);
    if (found) {
      found.last = Math.max(found.last, step);
      return found;
    }
    return new Promise((resolve, reject) => {
      this.wants.push({ group, step, resolve, reject });
      this.serve();
    });
  }

  /** Finds places for what is wanted, the first step first. */
  private serve(): void {
    this.wants.sort((a, b) => a.step - b.step);
    const unserved = this.wants.filter(({ group, step, resolve }) => {
      const place = this.places.find((p) => p.group === group) ?? this.readInto(this.freePlace(), group);
      if (place) {
        place.last = Math.max(place.last, step);
        resolve(place);
      }
      return !place;
    });
    this.wants = unserved;
  }

  /** A place whose group every borrower of the round is past: of several the one that was asked for longest ago. */
  private freePlace(): Place | undefined {
    const behind = Math.min(...this.done.values());
    return this.places
      .filter((p) => !p.lent && p.waiting.length === 0 && p.last < behind)
      .reduce<Place | undefined>((oldest, p) => (oldest && oldest.last <= p.last ? oldest : p), undefined);
  }

  private readInto(place: Place | undefined, group: number): Place | undefined {
    if (!place) return undefined;
    // A read that nobody waited for must have ended before its memory is used again.
    const before = Promise.allSettled([place.weights]);
    place.group = group;
    place.last = -1;
    place.weights = before.then(([read]) => {
      const memory = read.status === "fulfilled" ? memoryOf(read.value) : undefined;
      return readGroup(this.source, this.groups[group]!, memory ?? new Float32Array(this.length));
    });
    // Whoever takes the group hears of a failure; if it is never taken, nobody need.
    place.weights.catch(() => {});
    return place;
  }
}

/** The array that a group's weights lie in. */
const memoryOf = (weights: Weights): Float32Array | undefined => {
  const [first] = Object.values(weights);
  return first && new Float32Array(first.data.buffer as ArrayBuffer);
};

/** Takes weights from a desk in the same thread. */
export class Borrower implements WeightSupply {
  private borrowed: { readonly group: number; readonly weights: Weights } | undefined;

  constructor(private readonly desk: WeightDesk) {}

  async take(group: number, next?: number): Promise<Weights> {
    this.giveBack();
    const weights = await this.desk.borrow(0, group, next);
    this.borrowed = { group, weights };
    return weights;
  }

  giveBack(): void {
    if (this.borrowed) this.desk.giveBack(0, this.borrowed.group, this.borrowed.weights);
    this.borrowed = undefined;
  }

  close(): Promise<void> {
    return this.desk.close();
  }
}

/**
 * Reads the groups that are to be held, and opens a desk for them.
 *
 * @param onLayer - Handed each layer that is read; those of packed weights are then let go.
 */
export async function openDesk(
  source: Pick<ModelSource, "read" | "readPlaces">,
  groups: readonly WeightGroup[],
  {
    weights,
    streamHead = false,
    borrowers = 1,
  }: { readonly weights: WeightMode; readonly streamHead?: boolean; readonly borrowers?: number },
  onLayer: (layer: number, weights: Weights) => Promise<void>,
): Promise<WeightDesk> {
  const read = (group: number): Promise<Weights> => readGroup(source, groups[group]!);
  const head = groups.length - 1;
  const held = new Map<number, Weights>();
  if (weights !== "streamed") {
    for (let layer = 0; layer < head; layer++) {
      const layerWeights = await read(layer);
      await onLayer(layer, layerWeights);
      held.set(layer, weights === "fed" ? layerWeights : {});
    }
  }
  if (weights !== "streamed" || !streamHead) held.set(head, await read(head));
  return new WeightDesk(source, groups, held, borrowers);
}
