import { parentPort, workerData } from "node:worker_threads";
import { Channel, HandedOver } from "../runtime/channel.ts";
import { giveWay } from "../runtime/give-way.ts";
import { openModelFiles } from "./open-weights.ts";
import type { Reader, ReaderData } from "./weight-reader.ts";

if (parentPort) {
  giveWay();
  serve(parentPort, workerData as ReaderData);
}

function serve(port: NonNullable<typeof parentPort>, { path, adapter, direct }: ReaderData): void {
  const opening = openModelFiles(path, { adapter, texts: false }).then((checkpoint) => {
    if (direct) checkpoint.readDirectly?.();
    return checkpoint;
  });
  // Whoever asks for weights hears of a failure.
  opening.catch(() => {});
  const ours: Reader = {
    readPlaces: async (places, memory) => {
      const checkpoint = await opening;
      for (const { name, start, length } of places) await checkpoint.read(name, memory.subarray(start, start + length));
      return new HandedOver(memory, [memory.buffer as ArrayBuffer]);
    },
    close: () => {
      opening.then((checkpoint) => checkpoint.close()).catch(() => {});
      port.unref();
    },
  };
  new Channel(port, ours);
}
