import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { shared } from "../../test/fixtures.ts";
import { catalogue, catalogueGroup, findCatalogueFile } from "./catalogue.ts";
import { demoFacts, gradientUnifiedFacts, layerGradientFacts } from "./catalogue-facts.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const of = (collection: string) => catalogue.filter((f) => f.collection.name === collection);
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

describe("the catalogue", () => {
  it("names the first paper's 56 files, 28 correct and 28 irrelevant, 27,908 rows in all", () => {
    const paper = of("layer-gradient");
    expect(paper.length).toBe(56);
    expect(paper.filter((f) => f.attributes.irrelevant).length).toBe(28);
    expect(paper.reduce((sum, f) => sum + f.rows, 0)).toBe(27_908);
  });

  it("names the second paper's 32 files and the 20 bundled ones", () => {
    expect([of("gradient-unified").length, of("demo").length, catalogue.length]).toEqual([32, 20, 108]);
  });

  it("names each file once, and leaves none of the known files without a name", () => {
    expect(new Set(catalogue.map((f) => f.name)).size).toBe(catalogue.length);
    const known = [layerGradientFacts, gradientUnifiedFacts, demoFacts].flatMap((facts) => facts.trim().split("\n"));
    expect(new Set(catalogue.map((f) => `${f.collection.name}/${f.path}`)).size).toBe(known.length);
  });

  it("gives every correct file of the first paper and of the miniature a twin of as many rows, alike but for the responses", () => {
    const correct = [...of("layer-gradient"), ...of("demo")].filter((f) => !f.attributes.irrelevant);
    for (const file of correct) {
      const twin = findCatalogueFile(`${file.name}/irrelevant`)!;
      expect(twin.rows).toBe(file.rows);
      expect(twin.sha256).not.toBe(file.sha256);
      expect(twin.attributes).toEqual({ ...file.attributes, name: twin.name, irrelevant: true });
    }
    expect(correct.length).toBe(38);
  });

  it.each([
    ["aqua/none", "cot_500/aqua_train_no_cot.json", { task: "cot", dataset: "aqua", condition: "none", irrelevant: false }],
    [
      "sensemaking/detailed/irrelevant",
      "cot_500_wrong_answer_shuffle/sensemaking_train_with_cot_gpt4o.json",
      { task: "cot", dataset: "sensemaking", condition: "detailed", irrelevant: true },
    ],
    [
      "math/counting/simplified",
      "lighteval_math/counting_probability_with_cot.json",
      { task: "math", dataset: "counting", condition: "simplified", irrelevant: false },
    ],
    [
      "wiki/unpopular/irrelevant",
      "wiki_popularity_wrong_answer_shuffle/long_tail_wikipedia.json",
      { task: "wiki", dataset: "wiki", condition: "unpopular", irrelevant: true },
    ],
    [
      "quality/instag/magpie/high",
      "instag/mag_10k_highest_200.json",
      { task: "quality", dataset: "instag/magpie", condition: "high", irrelevant: false },
    ],
    ["reasoning/s1-r1", "reasoning/s1_R1.json", { task: "reasoning", dataset: "s1", condition: "r1", irrelevant: false }],
    ["demo/wiki/popular-500", "wiki_popular_500.json", { task: "wiki", dataset: "wiki", condition: "popular-500", irrelevant: false }],
  ])("%s is %s", (name, path, attributes) => {
    expect(findCatalogueFile(name)).toMatchObject({ path, attributes: { name, ...attributes } });
  });

  it("finds a group by the parts its names begin with, and a file by its whole name alone", () => {
    expect(catalogueGroup("aqua").map((f) => f.name)).toEqual(
      ["none", "simplified", "detailed"].flatMap((chain) => [`aqua/${chain}`, `aqua/${chain}/irrelevant`]),
    );
    expect(catalogueGroup("aqua/none").map((f) => f.name)).toEqual(["aqua/none"]);
    expect(catalogueGroup("aqu")).toEqual([]);
  });

  it("states rows, bytes and SHA-256 of the bundled files as they are", () => {
    for (const file of of("demo")) {
      const bytes = readFileSync(join(root, file.collection.folder, file.path));
      expect([file.bytes, file.sha256, file.rows], file.name).toEqual([
        bytes.length,
        sha256(bytes),
        (JSON.parse(bytes.toString("utf8")) as unknown[]).length,
      ]);
    }
  });

  it.skipIf(!shared)(
    `states bytes and SHA-256 of the papers' files as they are${shared ? "" : " (set LAYERGRAD_SHARED to a folder with data/)"}`,
    () => {
      for (const file of [...of("layer-gradient"), ...of("gradient-unified")]) {
        const bytes = readFileSync(join(shared!, "data", file.collection.name, file.path));
        expect([file.bytes, file.sha256], file.name).toEqual([bytes.length, sha256(bytes)]);
      }
    },
  );
});
