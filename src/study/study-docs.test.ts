import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { planStudy } from "./plan.ts";
import { parseStudy, studyKeys } from "./spec.ts";
import { templateNames } from "./templates.ts";

const page = readFileSync(fileURLToPath(new URL("../../docs/study.md", import.meta.url)), "utf8");
const example = /^```yaml\n([\s\S]*?)^```$/m.exec(page)![1]!;

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-study-docs-"));
  for (const path of ["models/SmolLM2-135M-Instruct", "checkpoints/step-1000", "my/adapter"])
    mkdirSync(join(folder, path), { recursive: true });
  for (const file of ["good.jsonl", "chat.parquet"]) writeFileSync(join(folder, "my", file), "");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("study.md", () => {
  it("shows a study that is valid, with every key there is", () => {
    const spec = parseStudy(example, join(folder, "study.yaml"));
    const folders = planStudy(spec).map((run) => run.attributes.folder);
    for (const named of ["smollm2/base/aqua-none", "smollm2/base/aqua-detailed+last@aqua-none"]) {
      expect(folders).toContain(named);
      expect(page).toContain(`runs/smollm2/${named}/`);
    }
    const missing = Object.values(studyKeys)
      .flat()
      .filter((key) => !new RegExp(`(^|[\\s{,])${key}:`, "m").test(example));
    expect(missing).toEqual([]);
  });

  it("explains every key and every template in a table", () => {
    const explained = [...page.matchAll(/^\| (`[^|]+) \|/gm)].flatMap((row) =>
      [...row[1]!.matchAll(/`([\w-]+)`/g)].map((name) => name[1]!),
    );
    const { columns: _, ...tables } = studyKeys;
    for (const key of [...Object.values(tables).flat(), ...templateNames]) expect(explained, key).toContain(key);
  });
});
