import { LayergradError } from "../errors.ts";
import { buildBlock } from "../models/block.ts";
import { readModel } from "../models/registry.ts";
import { HandedOver } from "./channel.ts";
import type { MeasuringEngine, SubsetRow } from "./engine.ts";
import { closeGates, type ExitGate, exitGate } from "./exit-gate.ts";
import { buffersOf, type Lane, type LaneData, type LaneHost, type LaneOptions } from "./lane.ts";
import { checkTensors, type ModelSource } from "./model-source.ts";
import { Phases } from "./phases.ts";
import type { RowStatistics } from "./row-statistics.ts";
import { openDesk, type WeightDesk } from "./weight-desk.ts";
import { readGroup, type WeightGroup, weightGroups } from "./weight-supply.ts";
import { WorkerThread } from "./worker-thread.ts";

export interface LanesOptions extends LaneOptions {
  /** Number of lanes. */
  readonly lanes: number;
  /** Threads of all lanes together. */
  readonly threads: number;
  readonly weights: "fed" | "streamed";
  /** Of streamed weights: whether the output head is read in its turn like a layer, rather than held. */
  readonly streamHead?: boolean;
  /** Of weights that are held: whether each lane has a copy, rather than all one that goes from hand to hand. */
  readonly ownWeights?: boolean;
}

type Packs = readonly (readonly SubsetRow[])[];

/** A lane from outside. */
interface LaneThread {
  readonly number: number;
  readonly thread: WorkerThread<Lane>;
  readonly gate: ExitGate;
}

/**
 * Engines side by side, each in a thread of its own with its share of the cores. Small operators gain nothing from several threads and wait
 * for one another; packs do not. Each lane has a copy of the weights, or all share one, which goes from hand to hand (see {@link WeightDesk}).
 *
 * With weights that are held each lane takes waves of its own; streamed, the packs of a wave are dealt out, and the lanes go through the layers
 * together. Which lane a pack goes through changes no digit.
 */
export class EngineLanes implements MeasuringEngine {
  /** Milliseconds of all lanes together. */
  readonly phases = new Phases();
  /** One more than there are lanes, to be taken up as soon as one is free. */
  readonly wavesAtOnce: number;
  private readonly idle: LaneThread[];
  private readonly waiting: ((lane: LaneThread) => void)[] = [];
  private lastRound: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly threads: readonly LaneThread[],
    /** Absent where the lanes have weights of their own. */
    private readonly desk: WeightDesk | undefined,
    private readonly options: LanesOptions,
  ) {
    this.idle = [...threads];
    this.wavesAtOnce = options.weights === "fed" ? threads.length + 1 : 1;
    process.on("exit", this.onExit);
  }

  /**
   * Reads the weights that are held, starts the lanes and prepares their programs.
   *
   * @param onLayer - Told of each layer that has been read.
   * @throws {LayergradError} As {@link Engine.open}.
   */
  static async open(source: ModelSource, options: LanesOptions, onLayer?: (done: number, total: number) => void): Promise<EngineLanes> {
    const { family, spec } = readModel(source.config);
    checkTensors(source, family, spec);
    const groups = weightGroups(buildBlock(family, spec), spec);
    const { lanes, threads, weights, streamHead = false, ownWeights = false, ...ofEngine } = options;
    const told = async (layer: number): Promise<void> => onLayer?.(layer + 1, spec.layers);
    const desk = ownWeights ? undefined : await openDesk(source, groups, { weights, streamHead, borrowers: lanes }, told);
    const each = Math.max(1, Math.floor(threads / lanes));
    const started = Array.from({ length: lanes }, (_, number) => startLane(number, source, desk, ofEngine, each));
    const engine = new EngineLanes(started, desk, options);
    try {
      if (ownWeights) await giveOut(source, groups, started, told);
      await Promise.all(started.map(({ thread }) => thread.call("open", [])));
      return engine;
    } catch (error) {
      await engine.close();
      throw error;
    }
  }

  /**
   * As {@link Engine.measureWave}. Of held weights several waves may be asked for at a time; see {@link wavesAtOnce}.
   *
   * @param signal - Looked at before each layer and pack; all is then given up with the signal's reason.
   */
  measureWave(packs: Packs, signal?: AbortSignal): Promise<RowStatistics[][][]> {
    if (this.options.weights === "fed") return this.inOneLane(packs, signal);
    const round = this.lastRound.then(() => this.inAllLanes(packs, signal));
    this.lastRound = round.catch(() => {});
    return round;
  }

  /** Frees every program and ends the threads. The lanes cannot be used afterwards. */
  async close(): Promise<void> {
    await this.desk?.close();
    await Promise.allSettled(this.threads.map(({ thread }) => thread.call("close", [])));
    await Promise.all(this.threads.map(({ thread }) => thread.join()));
    process.off("exit", this.onExit);
  }

  private readonly onExit = (): void => closeGates(this.threads.map(({ gate }) => gate));

  private async inOneLane(packs: Packs, signal?: AbortSignal): Promise<RowStatistics[][][]> {
    const lane = this.idle.pop() ?? (await new Promise<LaneThread>((resolve) => this.waiting.push(resolve)));
    try {
      return await this.measureIn(lane, packs, signal);
    } finally {
      const next = this.waiting.shift();
      if (next) next(lane);
      else this.idle.push(lane);
    }
  }

  /** Deals the packs of a wave out, so that the lanes have about the same number of tokens. */
  private async inAllLanes(packs: Packs, signal?: AbortSignal): Promise<RowStatistics[][][]> {
    const hands = dealOut(packs.map(tokensOf), this.threads.length);
    const dealt = this.threads.flatMap((lane, i) => (hands[i]!.length > 0 ? [{ lane, hand: hands[i]! }] : []));
    this.desk?.begin(dealt.map(({ lane }) => lane.number));
    const results: RowStatistics[][][] = packs.map(() => []);
    const measuring = dealt.map(async ({ lane, hand }) => {
      const own = hand.map((p) => packs[p]!);
      // One that fails must not hold the others up.
      const measured = await this.measureIn(lane, own, signal).finally(() => this.desk?.leave(lane.number));
      for (const [i, p] of hand.entries()) results[p] = measured[i]!;
    });
    // All weights are back before a failure is told, and another round may begin.
    await Promise.allSettled(measuring);
    await Promise.all(measuring);
    return results;
  }

  private async measureIn(lane: LaneThread, packs: Packs, signal?: AbortSignal): Promise<RowStatistics[][][]> {
    signal?.throwIfAborted();
    const abort = (): void => void lane.thread.call("abort", []).catch(() => {});
    signal?.addEventListener("abort", abort, { once: true });
    try {
      const { results, milliseconds } = await lane.thread.call("measure", [packs.map(plainRows)]);
      this.phases.add(milliseconds);
      return results;
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }
}

/** Reads all weights, a group at a time, and gives each lane a copy. */
async function giveOut(
  source: ModelSource,
  groups: readonly WeightGroup[],
  lanes: readonly LaneThread[],
  onGroup: (group: number) => Promise<void>,
): Promise<void> {
  for (const [group, tensors] of groups.entries()) {
    const read = await readGroup(source, tensors);
    const copies = lanes.map((_, i) => (i === 0 ? read : structuredClone(read)));
    await Promise.all(lanes.map(({ thread }, i) => thread.call("own", [group, copies[i]!], buffersOf(copies[i]!))));
    if (group < groups.length - 1) await onGroup(group);
  }
}

/** @param desk - Where the lane's weights are borrowed; without one it will be given its own. */
function startLane(number: number, source: ModelSource, desk: WeightDesk | undefined, options: LaneOptions, threads: number): LaneThread {
  const gate = exitGate();
  const data: LaneData = { config: source.config, options, threads, ownWeights: desk === undefined, gate };
  const host: LaneHost = {
    borrow: async (group, next) => {
      const weights = await desk!.borrow(number, group, next);
      return new HandedOver(weights, buffersOf(weights));
    },
    giveBack: (group, weights) => desk!.giveBack(number, group, weights),
    readRows: (name, rows) => source.readRows(name, rows),
  };
  const deathOf = (why: string, cause?: unknown): LayergradError =>
    new LayergradError("resource", `The thread of lane ${number + 1} ended (${why}); run with fewer threads, or more memory.`, { cause });
  return { number, thread: new WorkerThread<Lane>("runtime/lane-worker.js", data, host, deathOf), gate };
}

/** A row as it can be sent: its own fields alone. */
const plainRows = (rows: readonly SubsetRow[]): SubsetRow[] =>
  rows.map(({ row, inputIds, labelStart, subsets }) => ({
    row,
    inputIds: Int32Array.from(inputIds),
    labelStart,
    subsets: subsets.map((subset) => Int32Array.from(subset)),
  }));

const tokensOf = (pack: readonly SubsetRow[]): number => pack.reduce((sum, { inputIds }) => sum + inputIds.length, 0);

/** Indices of weights in hands of about the same total, the heaviest first to whoever has least. */
export function dealOut(weights: readonly number[], hands: number): number[][] {
  const dealt = Array.from({ length: hands }, () => ({ total: 0, indices: [] as number[] }));
  for (const [i, weight] of [...weights.entries()].toSorted(([, a], [, b]) => b - a)) {
    const least = dealt.reduce((a, b) => (b.total < a.total ? b : a));
    least.total += weight;
    least.indices.push(i);
  }
  return dealt.map(({ indices }) => indices.toSorted((a, b) => a - b));
}
