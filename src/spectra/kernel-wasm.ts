import { LayergradError } from "../errors.ts";
import { checkDiagonal, checkOrder, nonFiniteEntry, type SpectrumKernel } from "./kernel.ts";
import { type WasmMemory, type WasmModule, webAssembly } from "./web-assembly.ts";

/** What `assembly/kernel.ts` exports; pointers are byte offsets into `memory`. */
interface KernelExports {
  readonly memory: WasmMemory;
  heapBase(): number;
  gramWorkspaceBytes(n: number): number;
  gramsWorkspaceBytes(n: number): number;
  firstNonFinite(entries: number, count: number): number;
  symmetricEigenvalues(matrix: number, n: number, values: number, work: number): number;
  singularValuesFromGram(gram: number, r: number, values: number, work: number): number;
  singularValuesFromGrams(kx: number, kd: number, n: number, values: number, work: number): number;
}

const pageBytes = 65_536;
const aligned = (offset: number) => Math.ceil(offset / 64) * 64;

/**
 * The kernel in WebAssembly with 128-bit SIMD, from the bytes of `kernel.wasm` or from the compiled module. One instance serves
 * one thread; its memory grows to the largest job (five n × n matrices) and stays.
 */
export async function createWasmKernel(source: Uint8Array | ArrayBuffer | WasmModule): Promise<SpectrumKernel> {
  const isBytes = source instanceof Uint8Array || source instanceof ArrayBuffer;
  return instantiateKernel(isBytes ? await webAssembly.compile(source) : source);
}

/** {@link createWasmKernel} without a wait, for a module that is compiled already. */
export function instantiateKernel(module: WasmModule): SpectrumKernel {
  const kernel = new webAssembly.Instance(module).exports as KernelExports;
  const base = kernel.heapBase();

  /** Makes room up to byte `end` and returns a view of the memory, which growing has replaced. */
  const reserve = (end: number, where: string, order: number): Float64Array => {
    const missing = end - kernel.memory.buffer.byteLength;
    if (missing > 0) {
      try {
        kernel.memory.grow(Math.ceil(missing / pageBytes));
      } catch (cause) {
        throw new LayergradError("resource", `${where}: no memory for order ${order}, which takes ${Math.ceil(end / 1e6)} MB`, { cause });
      }
    }
    return new Float64Array(kernel.memory.buffer);
  };

  /** Runs one job on the matrices given: each is copied in and checked, and the result is copied out. */
  const run = (
    names: readonly string[],
    matrices: readonly Float64Array[],
    order: number,
    workspaceBytes: (n: number) => number,
    job: (inputs: number[], values: number, work: number) => number,
    isGram: boolean,
  ): Float64Array => {
    for (const [k, matrix] of matrices.entries()) {
      checkOrder(names[k]!, matrix, order);
      if (isGram) checkDiagonal(names[k]!, matrix, order);
    }
    const matrixBytes = aligned(order * order * 8);
    const inputs = matrices.map((_, k) => base + k * matrixBytes);
    const values = base + matrices.length * matrixBytes;
    const work = values + aligned(order * 8);
    // An unsigned 32-bit number, which JavaScript sees as signed.
    const memory = reserve(work + (workspaceBytes(order) >>> 0), names[0]!, order);
    for (const [k, matrix] of matrices.entries()) {
      memory.set(matrix, inputs[k]! / 8);
      const index = kernel.firstNonFinite(inputs[k]!, matrix.length);
      if (index >= 0) throw nonFiniteEntry(names[k]!, matrix, order, index);
    }
    const status = job(inputs, values, work);
    const result = memory
      .slice(values / 8, values / 8 + order)
      .sort()
      .reverse();
    // A NaN sorts above all numbers, so it would come first.
    if (status < 0 || !Number.isFinite(result[0])) {
      throw new LayergradError(
        "data",
        `${names.join(" and ")}: no spectrum of order ${order}; is this ${isGram ? "a Gram" : "a symmetric"} matrix?`,
      );
    }
    return result;
  };

  return {
    eigenvalues: (a, n) =>
      run(["a"], [a], n, kernel.gramWorkspaceBytes, ([p], values, work) => -kernel.symmetricEigenvalues(p!, n, values, work), false),
    singularValuesFromGram: (gram, r) =>
      run(["gram"], [gram], r, kernel.gramWorkspaceBytes, ([p], values, work) => -kernel.singularValuesFromGram(p!, r, values, work), true),
    singularValuesFromGrams: (kx, kd, n) =>
      run(
        ["kx", "kd"],
        [kx, kd],
        n,
        kernel.gramsWorkspaceBytes,
        ([p, q], values, work) => kernel.singularValuesFromGrams(p!, q!, n, values, work),
        true,
      ),
  };
}
