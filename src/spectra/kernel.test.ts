import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import type { SpectrumKernel } from "./kernel.ts";
import { spectrumKernelContract } from "./kernel.contract.ts";
import { typescriptKernel } from "./kernel-typescript.ts";
import { createWasmKernel } from "./kernel-wasm.ts";

// The release build: it is what users run.
const file = new URL("../../dist/spectra/kernel.wasm", import.meta.url);

let wasmKernel: SpectrumKernel;
beforeAll(async () => {
  if (!existsSync(file)) throw new Error(`${fileURLToPath(file)} is missing; build it with "npm run build"`);
  wasmKernel = await createWasmKernel(readFileSync(file));
});

spectrumKernelContract("TypeScript", () => typescriptKernel);
spectrumKernelContract("WebAssembly", () => wasmKernel);

describe("both kernels", () => {
  it("agree on the eigenvalues of a random symmetric matrix to n·ε·λ₁", () => {
    const n = 90;
    const a = new Float64Array(n * n);
    for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = Math.sin(i * i + 3 * j);
    const [plain, fast] = [typescriptKernel.eigenvalues(a, n), wasmKernel.eigenvalues(a, n)];
    for (let i = 0; i < n; i++) expect(Math.abs(plain[i]! - fast[i]!)).toBeLessThan(n * Number.EPSILON * plain[0]!);
  });

  it("ask nothing of their host: the WebAssembly module imports no function", async () => {
    const api = (globalThis as unknown as { WebAssembly: { Module: { new (b: Uint8Array): object; imports(m: object): unknown[] } } })
      .WebAssembly;
    expect(api.Module.imports(new api.Module(readFileSync(file)))).toEqual([]);
  });
});
