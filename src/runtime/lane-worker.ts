import { parentPort, workerData } from "node:worker_threads";
import { Channel } from "./channel.ts";
import { Engine } from "./engine.ts";
import { behindGate } from "./exit-gate.ts";
import { buffersOf, type Lane, type LaneData, type LaneHost } from "./lane.ts";
import { onnxRuntime } from "./onnx-runtime.ts";
import { SpectrumPool } from "./spectrum-pool.ts";
import type { Weights, WeightSupply } from "./weight-supply.ts";

/** Weights of a lane's own. */
class OwnWeights implements WeightSupply {
  private readonly groups = new Map<number, Weights>();

  give(group: number, weights: Weights): void {
    this.groups.set(group, weights);
  }

  async take(group: number): Promise<Weights> {
    return this.groups.get(group)!;
  }

  giveBack(): void {}

  async close(): Promise<void> {}
}

/** Weights that the starting thread lends. */
class LentWeights implements WeightSupply {
  private borrowed: { readonly group: number; readonly weights: Weights } | undefined;

  constructor(private readonly host: Channel<LaneHost>) {}

  async take(group: number, next?: number): Promise<Weights> {
    this.giveBack();
    const weights = await this.host.call("borrow", [group, next]);
    this.borrowed = { group, weights };
    return weights;
  }

  giveBack(): void {
    const { borrowed } = this;
    this.borrowed = undefined;
    // A call that fails means that the other side is gone, and this thread with it.
    if (borrowed) this.host.call("giveBack", [borrowed.group, borrowed.weights], buffersOf(borrowed.weights)).catch(() => {});
  }

  async close(): Promise<void> {}
}

if (parentPort) serve(parentPort, workerData as LaneData);

function serve(port: NonNullable<typeof parentPort>, { config, options, threads, ownWeights, gate }: LaneData): void {
  // Where each operator has a thread of its own, spectra are solved in between; else by as many threads.
  const solver = new SpectrumPool(threads === 1 ? 0 : threads);
  const owned = new OwnWeights();
  let engine: Engine | undefined;
  let work = new AbortController();
  let inHand: Promise<unknown> = Promise.resolve();
  const ours: Lane = {
    own: (group, weights) => owned.give(group, weights),
    open: async () => {
      const source = { config, readRows: (name: string, rows: ArrayLike<number>) => host.call("readRows", [name, Array.from(rows)]) };
      const backend = behindGate(onnxRuntime({ threads }), gate);
      engine = await Engine.over(source, { ...options, backend, solver }, ownWeights ? owned : new LentWeights(host));
    },
    measure: async (packs) => {
      work = new AbortController();
      const measuring = engine!.measureWave(packs, work.signal);
      inHand = measuring.catch(() => {});
      return { results: await measuring, milliseconds: engine!.phases.takeOut() };
    },
    abort: () => work.abort(),
    close: async () => {
      work.abort();
      await inHand;
      await engine?.close();
      await solver.close();
      port.unref();
    },
  };
  const host = new Channel<LaneHost>(port, ours);
}
