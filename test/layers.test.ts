import { readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const src = fileURLToPath(new URL("../src/", import.meta.url));

/** Data flows one way: a folder imports only from itself and from those before it. `errors.ts` is free to all. */
const layers = [
  "tensor",
  "autodiff",
  "onnx",
  "text",
  "models",
  "spectra",
  "analysis",
  "figures",
  "runtime",
  "io",
  "data",
  "store",
  "hub",
  "run",
  "study",
  "report",
  "cli",
];

/** Folders that run anywhere, so also in a browser. */
const core = ["tensor", "autodiff", "onnx", "text", "models", "spectra", "analysis", "figures", "runtime"];

/** Files of the core's folders that are made for Node. */
const forNode = [
  "runtime/onnx-runtime.ts",
  "runtime/device.ts",
  "runtime/device-probe.ts",
  "runtime/channel.ts",
  "runtime/lane.ts",
  "runtime/lane-worker.ts",
  "runtime/engine-lanes.ts",
  "runtime/spectrum-pool.ts",
  "runtime/spectrum-worker.ts",
  "runtime/built-file.ts",
  "runtime/worker-thread.ts",
  "runtime/give-way.ts",
];

/** Module specifiers of a source file: static imports and exports, dynamic imports, and types imported in place. */
function specifiers(source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  const patterns = [
    /^\s*(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']/gm,
    /^\s*import\s*["']([^"']+)["']/gm,
    /\b(?:import|require)\(\s*["']([^"']+)["']/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1]!));
}

interface Source {
  /** Path within `src/`, with slashes. */
  readonly path: string;
  readonly folder: string;
  /** Files of `src/` it imports. */
  readonly internal: readonly string[];
  readonly external: readonly string[];
}

const files = readdirSync(src, { recursive: true, encoding: "utf8" })
  .map((path) => path.split(sep).join("/"))
  .filter((path) => path.endsWith(".ts") && !/\.(test|contract)\.ts$/.test(path));

const sources: Source[] = files.map((path) => {
  const found = specifiers(readFileSync(join(src, path), "utf8"));
  const resolve = (s: string) =>
    relative(src, join(src, dirname(path), s))
      .split(sep)
      .join("/");
  return {
    path,
    folder: path.includes("/") ? path.split("/")[0]! : "",
    internal: found.filter((s) => s.startsWith(".")).map(resolve),
    external: found.filter((s) => !s.startsWith(".")),
  };
});
const byPath = new Map(sources.map((s) => [s.path, s]));

describe("the layers of src/", () => {
  it("are read: every import of ours names a file of src/, and the reader sees each way of importing", () => {
    expect(sources.length).toBeGreaterThan(50);
    const missing = sources.flatMap((s) =>
      s.internal.filter((path) => !byPath.has(path) && !path.startsWith("../")).map((path) => `${s.path} → ${path}`),
    );
    expect(missing).toEqual([]);
    expect(
      specifiers(
        'import {\n  a,\n  type B,\n} from "./a.ts";\nimport "./b.ts";\nexport * from "./c.ts";\nexport type { D } from "./d.ts";\nconst e = await import("./e.ts");',
      ),
    ).toEqual(["./a.ts", "./c.ts", "./d.ts", "./b.ts", "./e.ts"]);
    expect(specifiers('// import "./no.ts";\n/* import "./no.ts"; */\nexport const from = "./no.ts";')).toEqual([]);
  });

  it("are the folders that there are", () => {
    expect([...new Set(sources.map((s) => s.folder))].filter((folder) => folder !== "").toSorted()).toEqual(layers.toSorted());
  });

  it("import only from layers before them", () => {
    const level = (folder: string): number => layers.indexOf(folder);
    const upwards = sources.flatMap((s) =>
      s.internal
        .map((path) => byPath.get(path))
        // Files at the top: errors.ts is free to all, any other (the package's entry) to none.
        .filter(
          (target) =>
            target && target.path !== "errors.ts" && s.folder !== "" && (target.folder === "" || level(target.folder) > level(s.folder)),
        )
        .map((target) => `${s.path} imports ${target!.path}`),
    );
    expect(upwards).toEqual([]);
  });

  it("keep the core free of Node and of its ONNX Runtime, so that a browser can run it", () => {
    const isNode = (s: string) => s.startsWith("node:") || builtinModules.includes(s) || s === "onnxruntime-node";
    const bound = sources
      .filter((s) => core.includes(s.folder) && !forNode.includes(s.path))
      .flatMap((s) => s.external.filter(isNode).map((e) => `${s.path} imports ${e}`));
    expect(bound).toEqual([]);
    // Nor by way of a neighbour that is made for Node.
    const indirectly = sources
      .filter((s) => core.includes(s.folder) && !forNode.includes(s.path))
      .flatMap((s) => s.internal.filter((path) => forNode.includes(path)).map((path) => `${s.path} imports ${path}`));
    expect(indirectly).toEqual([]);
    for (const path of forNode) expect(byPath.has(path), path).toBe(true);
  });

  it("hold no import cycle", () => {
    const cycles: string[] = [];
    const state = new Map<string, "open" | "done">();
    const visit = (path: string, trail: readonly string[]): void => {
      if (state.get(path) === "done") return;
      if (state.get(path) === "open") {
        cycles.push([...trail.slice(trail.indexOf(path)), path].join(" → "));
        return;
      }
      state.set(path, "open");
      for (const next of byPath.get(path)?.internal ?? []) visit(next, [...trail, path]);
      state.set(path, "done");
    };
    for (const { path } of sources) visit(path, []);
    expect(cycles).toEqual([]);
  });
});
