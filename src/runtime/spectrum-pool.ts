import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { LayergradError } from "../errors.ts";
import type { SpectrumKernel } from "../spectra/kernel.ts";
import { instantiateKernel } from "../spectra/kernel-wasm.ts";
import { type WasmModule, webAssembly } from "../spectra/web-assembly.ts";
import { builtFile } from "./built-file.ts";
import type { SpectrumAnswer, SpectrumJob, SpectrumWorkerData } from "./spectrum-worker.ts";

interface Pending {
  readonly order: number;
  readonly claim: Int32Array;
  /** Buffers to use again once the job has settled. */
  readonly borrowed: readonly SharedArrayBuffer[];
  resolve(sigma: Float64Array): void;
  reject(error: Error): void;
}

/**
 * Singular values from Gram matrices, in worker threads.
 *
 * A job goes to all workers at once, in shared memory, and whichever is free first claims it. The thread that submits need not
 * come back to its event loop for the next job to begin: ONNX Runtime, which it runs meanwhile, holds that loop.
 */
export class SpectrumPool {
  private readonly pending = new Map<number, Pending>();
  private readonly workers = new Map<number, Worker>();
  /**
   * Shared memory of settled jobs. It is used again, because what is dropped stays until every thread's garbage collector has
   * run, and those of the workers have no reason to.
   */
  private readonly spare: SharedArrayBuffer[] = [];
  /** Set where jobs run on the calling thread. */
  private readonly kernel: SpectrumKernel | undefined;
  private nextId = 0;
  private closing: Promise<void> | undefined;
  private lastDeath: LayergradError | undefined;
  private whenIdle: (() => void) | undefined;

  /**
   * @param threads - Worker threads; 0 runs every job on the calling thread, at once.
   * @param options.workerFile - Another script in place of `spectrum-worker.js`, for tests.
   */
  constructor(threads: number, options: { workerFile?: URL } = {}) {
    if (!Number.isInteger(threads) || threads < 0) {
      throw new LayergradError("usage", `spectrum threads: expected an integer, 0 or above, found ${threads}`);
    }
    const module = readKernel();
    if (threads === 0) {
      this.kernel = instantiateKernel(module);
      return;
    }
    const file = options.workerFile ?? builtFile("runtime/spectrum-worker.js");
    for (let number = 1; number <= threads; number++) this.start(number, file, module);
  }

  /**
   * σ of G from GGᵀ or GᵀG, `[r, r]`; see {@link SpectrumKernel.singularValuesFromGram}. The array is copied before the call
   * returns, unless it lies in shared memory already: then it must stay as it is until the promise settles.
   */
  fromGram(gram: Float64Array, r: number): Promise<Float64Array> {
    return this.submit(r, [gram], (kernel) => kernel.singularValuesFromGram(gram, r));
  }

  /**
   * σ of G = ΔᵀX from XXᵀ and ΔΔᵀ, `[n, n]` each; see {@link SpectrumKernel.singularValuesFromGrams}. Copied as in
   * {@link fromGram}.
   */
  fromGrams(kx: Float64Array, kd: Float64Array, n: number): Promise<Float64Array> {
    return this.submit(n, [kx, kd], (kernel) => kernel.singularValuesFromGrams(kx, kd, n));
  }

  /** Lets submitted jobs finish, then ends the workers. Jobs submitted from now on are refused. */
  close(): Promise<void> {
    this.closing ??= this.finish();
    return this.closing;
  }

  private async finish(): Promise<void> {
    if (this.pending.size > 0) {
      await new Promise<void>((resolve) => {
        this.whenIdle = resolve;
      });
    }
    await Promise.all([...this.workers.values()].map((worker) => worker.terminate()));
  }

  private async submit(order: number, grams: SpectrumJob["grams"], here: (kernel: SpectrumKernel) => Float64Array): Promise<Float64Array> {
    if (this.closing) throw new LayergradError("usage", "spectrum pool: a job was submitted after close()");
    if (this.kernel) return here(this.kernel);
    if (this.workers.size === 0) throw this.lastDeath ?? new LayergradError("resource", "spectrum pool: no worker is alive");
    const id = this.nextId++;
    const claim = new Int32Array(new SharedArrayBuffer(4));
    const borrowed: SharedArrayBuffer[] = [];
    const [first, second] = grams;
    const shared = this.inSharedMemory(first, borrowed);
    const job: SpectrumJob = { id, order, claim, grams: second === undefined ? [shared] : [shared, this.inSharedMemory(second, borrowed)] };
    return new Promise((resolve, reject) => {
      this.pending.set(id, { order, claim, borrowed, resolve, reject });
      for (const worker of this.workers.values()) {
        worker.ref();
        worker.postMessage(job);
      }
    });
  }

  private inSharedMemory(gram: Float64Array, borrowed: SharedArrayBuffer[]): Float64Array {
    if (gram.buffer instanceof SharedArrayBuffer) return gram;
    const fits = this.spare.findIndex((buffer) => buffer.byteLength >= gram.byteLength);
    const buffer = fits < 0 ? new SharedArrayBuffer(gram.byteLength) : this.spare.splice(fits, 1)[0]!;
    borrowed.push(buffer);
    const copy = new Float64Array(buffer, 0, gram.length);
    copy.set(gram);
    return copy;
  }

  private start(number: number, file: URL, module: WasmModule): void {
    // None of this process's flags: some (--input-type) make a worker refuse to start.
    const worker = new Worker(file, { workerData: { module, number } satisfies SpectrumWorkerData, execArgv: [] });
    let cause: unknown;
    worker.on("message", (answer: SpectrumAnswer) => {
      const job = this.pending.get(answer.id);
      if (job === undefined) return;
      if ("sigma" in answer) job.resolve(answer.sigma);
      else job.reject(answer.kind ? new LayergradError(answer.kind, answer.message) : new Error(answer.message));
      this.settle(answer.id);
    });
    worker.on("error", (error) => {
      cause = error;
    });
    worker.on("exit", (code) => {
      this.workers.delete(number);
      if (!this.closing || this.pending.size > 0) this.bury(number, code, cause);
    });
    // An idle pool does not keep the process alive; a pending job does.
    worker.unref();
    this.workers.set(number, worker);
  }

  /** Rejects the job a dead worker was at, and every job once no worker is left. */
  private bury(number: number, code: number, cause: unknown): void {
    const why = cause instanceof Error ? cause.message : `exit code ${code}`;
    this.lastDeath = new LayergradError("resource", `spectrum pool: worker ${number} died (${why})`, { cause });
    for (const [id, job] of this.pending) {
      if (Atomics.load(job.claim, 0) !== number && this.workers.size > 0) continue;
      job.reject(
        new LayergradError("resource", `spectrum pool: worker ${number} died (${why}) with a job of order ${job.order} unfinished`, {
          cause,
        }),
      );
      this.settle(id);
    }
  }

  private settle(id: number): void {
    // Smallest first, so that the search finds the tightest fit; a few of each size are in use at a time.
    this.spare.push(...(this.pending.get(id)?.borrowed ?? []));
    this.spare.sort((a, b) => a.byteLength - b.byteLength);
    this.pending.delete(id);
    if (this.pending.size > 0) return;
    for (const worker of this.workers.values()) worker.unref();
    this.whenIdle?.();
  }
}

function readKernel(): WasmModule {
  const file = builtFile("spectra/kernel.wasm");
  try {
    return new webAssembly.Module(readFileSync(file));
  } catch (cause) {
    throw new LayergradError("resource", `spectrum kernel: cannot load ${fileURLToPath(file)}; "npm run build" makes it`, { cause });
  }
}
