import { LayergradError } from "../errors.ts";
import type { HandedOver } from "../runtime/channel.ts";
import type { ModelSource, TensorPlace } from "../runtime/model-source.ts";
import { WorkerThread } from "../runtime/worker-thread.ts";
import type { Checkpoint } from "./checkpoint.ts";

/** What the reader's thread is started with. */
export interface ReaderData {
  /** As {@link openModelFiles} takes them. */
  readonly path: string;
  readonly adapter: string | undefined;
  /** See {@link Checkpoint.readDirectly}. */
  readonly direct: boolean;
}

/** What the reader's thread does. */
export type Reader = {
  readPlaces(places: readonly TensorPlace[], memory: Float32Array): Promise<HandedOver<Float32Array>>;
  close(): void;
};

/**
 * Reads weights in a thread of its own: what it takes to widen, dequantise or merge them goes on while the passes compute, which hold the
 * main thread for the length of each call.
 */
export class WeightReader {
  private readonly thread: WorkerThread<Reader>;

  /**
   * @param checkpoint - Of model files; they are opened once more.
   * @param options.direct - Read past the system's page cache, where that can be.
   */
  constructor({ folder, adapter }: Pick<Checkpoint, "folder" | "adapter">, { direct }: { readonly direct: boolean }) {
    const data: ReaderData = { path: folder, adapter, direct };
    const deathOf = (why: string, cause?: unknown): LayergradError =>
      new LayergradError("resource", `The thread that reads the weights ended (${why}); run again, with more memory.`, { cause });
    this.thread = new WorkerThread<Reader>("io/weight-reader-thread.js", data, {}, deathOf);
  }

  /**
   * As {@link ModelSource.readPlaces}. The array's whole memory goes to the thread and comes back.
   *
   * @throws {LayergradError} As {@link Checkpoint.read}.
   */
  readPlaces(places: readonly TensorPlace[], memory: Float32Array): Promise<Float32Array> {
    return this.thread.call("readPlaces", [places, memory], [memory.buffer as ArrayBuffer]);
  }

  /** The checkpoint as a source whose weights this thread reads wherever they have places in memory that is used again. */
  sourceOf(checkpoint: Checkpoint): ModelSource {
    return {
      config: checkpoint.config,
      tensors: checkpoint.tensors,
      read: (name, target) => checkpoint.read(name, target),
      readRows: (name, rows) => checkpoint.readRows(name, rows),
      readPlaces: (places, memory) => this.readPlaces(places, memory),
    };
  }

  /** Closes the files, after the read in hand. */
  async close(): Promise<void> {
    await this.thread.call("close", []).catch(() => {});
    await this.thread.join();
  }
}
