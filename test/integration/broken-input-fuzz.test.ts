import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

it("a hundred mutants of every kind of file are refused in a sentence, or read right", () => {
  const script = fileURLToPath(new URL("../../scripts/fuzz.mjs", import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, "--cases", "100", "--seed", "2410"], { encoding: "utf8" });
  expect(status, stderr).toBe(0);
  for (const line of stdout.trimEnd().split("\n").slice(0, -1)) expect(line).toMatch(/^\w+ +100 cases, .* 0 failed$/);
});
