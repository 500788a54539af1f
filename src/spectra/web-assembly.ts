/**
 * The part of the WebAssembly interface that is used here. Node and browsers have it as a global, but TypeScript describes it
 * only in its library for browsers, which would bring `window` and the rest into every file.
 */
export interface WebAssemblyApi {
  compile(bytes: Uint8Array | ArrayBuffer): Promise<WasmModule>;
  readonly Module: new (bytes: Uint8Array | ArrayBuffer) => WasmModule;
  readonly Memory: new (size: { readonly initial: number }) => WasmMemory;
  readonly Instance: new (module: WasmModule) => { readonly exports: unknown };
}

/** A compiled module; workers can be sent one. */
export type WasmModule = object;

/** A module's memory, which grows by pages of 64 KiB; growing replaces the buffer. */
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}

export const webAssembly = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;
