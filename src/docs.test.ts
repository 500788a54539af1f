import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { measureRows, printGraph, readManifest, run } from "./index.ts";
import { buildBlock, chooseLinears } from "./models/block.ts";
import { readModel, supportedModelTypes } from "./models/registry.ts";
import { projectStage } from "./models/stages.ts";
import { vjpRules } from "./autodiff/rules.ts";

const root = fileURLToPath(new URL("../", import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), "utf8");

const pages = [
  ...readdirSync(root).filter((name) => name.endsWith(".md")),
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".md"))
    .map((name) => join("docs", name)),
];

/** Fenced blocks of a page, by language. */
const blocks = (page: string, language: string): string[] =>
  [...read(page).matchAll(/^```(\w*)[^\n]*\n([\s\S]*?)^```$/gm)].filter((m) => m[1] === language).map((m) => m[2]!);

/** A page without its code, in which brackets are no links. */
const prose = (page: string): string =>
  read(page)
    .replace(/^```[\s\S]*?^```$/gm, "")
    .replace(/`[^`\n]*`/g, "");

/** A heading's anchor, as GitHub makes it. */
const anchor = (heading: string): string =>
  heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .replace(/\s/g, "-");

const anchors = (page: string): string[] =>
  [
    ...read(page)
      .replace(/^```[\s\S]*?^```$/gm, "")
      .matchAll(/^#+ (.*)$/gm),
  ].map((m) => anchor(m[1]!));

describe("the pages", () => {
  for (const page of pages) {
    it(`${page}: relative links lead to files of the project, and anchors to headings`, () => {
      const broken: string[] = [];
      for (const [, target] of prose(page).matchAll(/\]\(([^)\s]+)[^)]*\)/g)) {
        if (/^[a-z]+:/.test(target!)) continue;
        const [path, heading] = target!.split("#") as [string, string?];
        const file = path === "" ? page : join(dirname(page), path);
        if (relative(root, join(root, file)).startsWith("..") || !existsSync(join(root, file))) broken.push(`${target}: no such file`);
        else if (heading !== undefined && !anchors(file).includes(heading)) broken.push(`${target}: no such heading`);
      }
      expect(broken).toEqual([]);
    });
  }

  it("blocks marked ts type-check against the built package, as strictly as the project itself", () => {
    if (!existsSync(join(root, "dist", "index.d.ts"))) throw new Error('dist/index.d.ts is missing: run "npm run build" first.');
    // Inside the package, so that it may import itself by name; in dist/, so that nothing else looks at it.
    const folder = mkdtempSync(join(root, "dist", "docs-"));
    try {
      const found = pages.flatMap((page) => blocks(page, "ts").map((code, i) => [`${page.replace(/\W/g, "_")}_${i}.ts`, code] as const));
      expect(found.length).toBeGreaterThan(1);
      for (const [name, code] of found) writeFileSync(join(folder, name), code);
      writeFileSync(
        join(folder, "tsconfig.json"),
        JSON.stringify({ extends: "../../tsconfig.json", include: ["*.ts"], compilerOptions: { noUnusedLocals: false } }),
      );
      const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
      const { stdout, stderr } = spawnSync(process.execPath, [tsc, "--noEmit", "-p", folder], { encoding: "utf8" });
      expect(stdout + stderr).toBe("");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("blocks marked js are JavaScript", () => {
    for (const page of pages) {
      for (const code of blocks(page, "js")) {
        const { stderr } = spawnSync(process.execPath, ["--input-type=module", "--check", "-"], { input: code, encoding: "utf8" });
        expect(stderr, page).toBe("");
      }
    }
  });

  it("blocks marked json are JSON", () => {
    for (const page of pages)
      for (const text of blocks(page, "json")) expect(() => JSON.parse(text), `${page}: ${text.slice(0, 80)}`).not.toThrow();
  });
});

describe("what the pages say is so", () => {
  it("architecture.md: the printed graph is the real one", () => {
    const { family, spec } = readModel(JSON.parse(read("demo/base/config.json")));
    const block = buildBlock(family, spec);
    const { backward } = projectStage(block, chooseLinears(block, "reference"), "linears");
    expect(blocks("docs/architecture.md", "text")).toContain(`${printGraph(backward)}\n`);
  });

  it("architecture.md and glossary.md: the number of primitives", () => {
    const count = Object.keys(vjpRules).length;
    expect(read("docs/architecture.md")).toContain(`There are ${count} primitives`);
    expect(read("docs/glossary.md")).toContain(`one of the ${count} kinds of node`);
  });

  it("architecture.md and CONTRIBUTING.md: every folder of src/, and no other", () => {
    const folders = readdirSync(join(root, "src"), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    for (const page of ["docs/architecture.md", "CONTRIBUTING.md"]) {
      const listed = [...read(page).matchAll(/^\| `src\/([\w-]+)` +\|/gm)].map((m) => m[1]);
      expect(listed.toSorted(), page).toEqual(folders.map((entry) => entry.name).toSorted());
    }
  });

  it("families.md: the families are quoted as they stand, and all are in its table", () => {
    const plain = (code: string) => code.replace(/^\s+/gm, "").trim();
    const [, llama, ...qwen3] = blocks("docs/families.md", "text").map(plain);
    expect(plain(read("src/models/families/llama.ts"))).toContain(llama);
    expect(qwen3.length).toBe(2);
    for (const quoted of qwen3) expect(plain(read("src/models/families/qwen3.ts"))).toContain(quoted);
    const listed = [...read("docs/families.md").matchAll(/^\| [A-Z][\w -]+ \|([^|]+)\|/gm)].flatMap((row) => [
      ...row[1]!.matchAll(/`(\w+)`/g),
    ]);
    expect(listed.map((m) => m[1]).toSorted()).toEqual(supportedModelTypes.toSorted());
  });

  it("records.md: every field of a record, a skipped row and a manifest is named", async () => {
    const page = read("docs/records.md");
    const model = join(root, "demo", "base");
    const rows = [
      { instruction: "2 + 2 =", output: "4" },
      { instruction: "2 + 2 =", output: "" },
    ];
    const named = (name: string) =>
      new RegExp(`[\`"]${name.replace(/^model\.layers\.\d+\..*/, "model.layers.<i>.<module>.weight")}[\`"]`).test(page);
    const missing = new Set<string>();
    const visit = (value: unknown, depth: number): void => {
      if (typeof value !== "object" || value === null || Array.isArray(value) || depth === 0) return;
      for (const [key, inner] of Object.entries(value)) {
        if (!named(key)) missing.add(key);
        visit(inner, depth - 1);
      }
    };
    for await (const result of measureRows(model, rows, { spectrum: true, cosines: true })) {
      const { cosine_sim_qkvo, cosine_adjacent, ...rest } = result as unknown as Record<string, unknown>;
      visit(rest, 2);
      visit({ cosine_sim_qkvo, cosine_adjacent }, 1);
      for (const pair of Object.values(cosine_sim_qkvo ?? {})) visit(pair, 1);
    }
    const folder = mkdtempSync(join(tmpdir(), "layergrad-docs-"));
    try {
      mkdirSync(join(folder, "out"));
      writeFileSync(join(folder, "rows.json"), JSON.stringify(rows.slice(1)));
      // Nothing to measure is an error, after the manifest was written: a manifest at no cost.
      await run({ model, data: join(folder, "rows.json"), out: join(folder, "out") }).catch(() => {});
      const { model: described, ...manifest } = readManifest(join(folder, "out"))!;
      visit({ ...manifest, times: { ...manifest.times, ...manifest.times.sessions[0] } }, 2);
      visit({ ...described, files: {} }, 1);
    } finally {
      rmSync(folder, { recursive: true });
    }
    expect([...missing]).toEqual([]);
  });
});
