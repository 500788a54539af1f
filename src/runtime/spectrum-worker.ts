import { parentPort, workerData } from "node:worker_threads";
import { type ErrorKind, LayergradError } from "../errors.ts";
import { instantiateKernel } from "../spectra/kernel-wasm.ts";
import type { WasmModule } from "../spectra/web-assembly.ts";
import { giveWay } from "./give-way.ts";

/** What a worker of the {@link SpectrumPool} is started with. */
export interface SpectrumWorkerData {
  readonly module: WasmModule;
  /** Number of the worker, from 1: what it writes into a job's claim. */
  readonly number: number;
}

/** One job, sent to every worker: the first that writes its number over the 0 in `claim` does it. */
export interface SpectrumJob {
  readonly id: number;
  readonly order: number;
  /** One Gram matrix of the shorter side, or XXᵀ and ΔΔᵀ; in shared memory. */
  readonly grams: readonly [Float64Array] | readonly [kx: Float64Array, kd: Float64Array];
  readonly claim: Int32Array;
}

/** The worker's answer. */
export type SpectrumAnswer =
  | { readonly id: number; readonly sigma: Float64Array }
  | { readonly id: number; readonly kind: ErrorKind | undefined; readonly message: string };

if (parentPort !== null) {
  giveWay();
  const port = parentPort;
  const { module, number } = workerData as SpectrumWorkerData;
  const kernel = instantiateKernel(module);
  port.on("message", ({ id, order, grams, claim }: SpectrumJob) => {
    if (Atomics.compareExchange(claim, 0, 0, number) !== 0) return;
    try {
      const [first, second] = grams;
      const sigma =
        second === undefined ? kernel.singularValuesFromGram(first, order) : kernel.singularValuesFromGrams(first, second, order);
      port.postMessage({ id, sigma } satisfies SpectrumAnswer, [sigma.buffer as ArrayBuffer]);
    } catch (error) {
      const kind = error instanceof LayergradError ? error.kind : undefined;
      port.postMessage({ id, kind, message: error instanceof Error ? error.message : String(error) } satisfies SpectrumAnswer);
    }
  });
}
