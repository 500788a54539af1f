import type { Transferable } from "node:worker_threads";
import type { HandedOver } from "./channel.ts";
import type { EngineOptions, SubsetRow } from "./engine.ts";
import type { ExitGate } from "./exit-gate.ts";
import type { Phases } from "./phases.ts";
import type { RowStatistics } from "./row-statistics.ts";
import type { Weights } from "./weight-supply.ts";

/** What the engine of a lane needs, beside its weights. */
export type LaneOptions = Omit<EngineOptions, "backend" | "solver" | "weights" | "streamHead">;

/** What a lane is started with. */
export interface LaneData {
  readonly config: Readonly<Record<string, unknown>>;
  readonly options: LaneOptions;
  /** Threads of each operator. */
  readonly threads: number;
  /** Whether it will be given all weights to keep, rather than borrow them. */
  readonly ownWeights: boolean;
  readonly gate: ExitGate;
}

/** What the thread that starts a lane offers it. */
export type LaneHost = {
  borrow(group: number, next?: number): Promise<HandedOver<Weights>>;
  giveBack(group: number, weights: Weights): void;
  readRows(name: string, rows: readonly number[]): Promise<Float32Array>;
};

/** What a lane offers the thread that started it. */
export type Lane = {
  /** Gives the lane a group of weights to keep. */
  own(group: number, weights: Weights): void;
  /** Prepares the programs. */
  open(): Promise<void>;
  /** As {@link Engine.measureWave}, with the milliseconds that each phase took. */
  measure(packs: readonly (readonly SubsetRow[])[]): Promise<{ results: RowStatistics[][][]; milliseconds: Phases["milliseconds"] }>;
  /** Gives up the wave in hand. */
  abort(): void;
  /** Gives up the wave in hand and frees the programs; the thread then ends by itself. */
  close(): Promise<void>;
};

/** The buffers of weights, each once. */
export const buffersOf = (weights: Weights): Transferable[] => [
  ...new Set(Object.values(weights).map(({ data }) => data.buffer as ArrayBuffer)),
];
