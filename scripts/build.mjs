// Builds dist/: TypeScript by tsc, the spectrum kernel by the AssemblyScript compiler, the report's page by Vite.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(import.meta.url);
const binary = (name, entry) => join(dirname(require.resolve(`${name}/package.json`)), entry);

const run = (script, args) => {
  const { status } = spawnSync(process.execPath, [script, ...args], { cwd: root, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
};

rmSync(join(root, "dist"), { recursive: true, force: true });
mkdirSync(join(root, "dist", "spectra"), { recursive: true });
run(binary("typescript", "bin/tsc"), ["-p", "tsconfig.build.json"]);
if (existsSync(join(root, "assembly", "kernel.ts"))) {
  run(binary("assemblyscript", "bin/asc.js"), ["assembly/kernel.ts", "--config", "assembly/asconfig.json", "--target", "release"]);
}

// One script, which the report takes into its page whole, as it does the style sheet.
run(binary("typescript", "bin/tsc"), ["--noEmit", "-p", "web/tsconfig.json"]);
await build({
  root,
  configFile: false,
  logLevel: "warn",
  build: {
    outDir: "dist/web",
    target: "es2022",
    lib: { entry: "web/main.ts", formats: ["iife"], name: "layergradReport", fileName: () => "report.js" },
  },
});
copyFileSync(join(root, "web", "style.css"), join(root, "dist", "web", "report.css"));
