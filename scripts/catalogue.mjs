/**
 * Writes src/data/catalogue-facts.ts: rows, bytes and SHA-256 of every file of the catalogue.
 *
 *   node scripts/catalogue.mjs <layer-gradient> <gradient-unified>
 *
 * The folders hold the data of the two papers' repositories at the commits that src/data/catalogue.ts names, each with a SHA256SUMS, which
 * is checked first. The bundled miniature is read from demo/data.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const [layerGradient, gradientUnified] = process.argv.slice(2);
if (gradientUnified === undefined) {
  console.error("usage: node scripts/catalogue.mjs <layer-gradient> <gradient-unified>");
  process.exit(2);
}

/** SHA-256 by path as the folder's SHA256SUMS states it; undefined where there is none. */
function statedSums(folder) {
  const path = join(folder, "SHA256SUMS");
  if (!existsSync(path)) return undefined;
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  return new Map(lines.map((line) => [line.slice(66), line.slice(0, 64)]));
}

function facts(folder) {
  const stated = statedSums(folder);
  const paths = readdirSync(folder, { recursive: true }).map((path) => path.replaceAll("\\", "/"));
  const lines = paths
    .filter((path) => path.endsWith(".json"))
    .toSorted()
    .map((path) => {
      const bytes = readFileSync(join(folder, path));
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      if (stated && stated.get(path) !== sha256) throw new Error(`${path}: its SHA-256 is ${sha256}, SHA256SUMS says ${stated.get(path)}`);
      // The second paper's files hold bare NaN in fields that are not used.
      const rows = JSON.parse(bytes.toString("utf8").replace(/: NaN\b/g, ": null")).length;
      return `${sha256} ${String(rows).padStart(5)} ${String(bytes.length).padStart(8)}  ${path}`;
    });
  return `\`\n${lines.join("\n")}\n\``;
}

const text = `// Written by scripts/catalogue.mjs. SHA-256, rows, bytes and path of every file, one a line.

/** \`data/\` of the first paper's repository. */
export const layerGradientFacts = ${facts(layerGradient)};

/** \`_data/10k_version/\` of the second paper's repository. */
export const gradientUnifiedFacts = ${facts(gradientUnified)};

/** \`demo/data/\` of this package. */
export const demoFacts = ${facts(join(root, "demo", "data"))};
`;
writeFileSync(join(root, "src", "data", "catalogue-facts.ts"), text);
