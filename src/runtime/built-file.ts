/**
 * A file of the build, by its path inside `dist/`. Code that runs from `src/` (tests) finds it in `dist/` beside it: Node cannot
 * start a worker from TypeScript before version 22.18, and `kernel.wasm` exists only there.
 */
export function builtFile(path: string): URL {
  const root = new URL("../", import.meta.url);
  return new URL(path, root.pathname.endsWith("/src/") ? new URL("../dist/", root) : root);
}
