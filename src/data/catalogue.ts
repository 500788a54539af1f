import type { RunAttributes } from "../analysis/study-index.ts";
import { demoFacts, gradientUnifiedFacts, layerGradientFacts } from "./catalogue-facts.ts";

/** What a data file is of. */
export type DataAttributes = RunAttributes["data"];

/** Files that come from one place. */
export interface Collection {
  readonly name: "layer-gradient" | "gradient-unified" | "demo";
  /** Folder of the files in the repository or, for the bundled ones, in this package. */
  readonly folder: string;
  /** The public repository and the commit that the files are taken from; null for those that come with this package. */
  readonly source: { readonly repository: string; readonly commit: string } | null;
  /** What is known of the terms, and whom to cite. */
  readonly terms: string;
}

/** A data file as the catalogue knows it; its bytes are facts, checked whenever it is read. */
export interface CatalogueFile {
  /** Short name, such as `aqua/none` or `aqua/none/irrelevant`. */
  readonly name: string;
  readonly collection: Collection;
  /** Below the collection's folder, with slashes. */
  readonly path: string;
  readonly rows: number;
  readonly bytes: number;
  /** Of the file's bytes, in hexadecimal. */
  readonly sha256: string;
  readonly attributes: DataAttributes;
}

const layerGradient: Collection = {
  name: "layer-gradient",
  folder: "data",
  source: { repository: "MingLiiii/Layer_Gradient", commit: "e2072e8daa9f250cea025b2d3fa9590a901ca766" },
  terms:
    "arXiv 2410.23743 (ACL 2025). The repository states no licence; the questions are from public data sets, each under terms of its own.",
};

const gradientUnified: Collection = {
  name: "gradient-unified",
  folder: "_data/10k_version",
  source: { repository: "MingLiiii/Gradient_Unified", commit: "f86e985b7b7de720e0178de4afb8d953083da070" },
  terms: "arXiv 2504.10766 (ACL 2026). The repository states no licence; the rows are from public data sets, each under terms of its own.",
};

const demo: Collection = {
  name: "demo",
  folder: "demo/data",
  source: null,
  terms: "Comes with Layergrad, under its licence (Apache-2.0).",
};

type Entry = readonly [path: string, name: string, attributes: Omit<DataAttributes, "name">];

/** Chains of thought by the suffixes that the papers' files have. */
const chains = { no_cot: "none", with_cot: "simplified", with_cot_gpt4o: "detailed" } as const;

/** Wikipedia files by condition. */
const wikiFiles = {
  popular_wikipedia_100: "popular-100",
  popular_wikipedia_500: "popular-500",
  popular_wikipedia_1000: "popular-1000",
  long_tail_wikipedia: "unpopular",
} as const;

/** A file and its irrelevant twin. `path` is told whether it is the twin's. */
function withTwin(
  path: (irrelevant: boolean) => string,
  name: string,
  attributes: Pick<DataAttributes, "task" | "dataset" | "condition">,
): Entry[] {
  return [
    [path(false), name, { ...attributes, irrelevant: false }],
    [path(true), `${name}/irrelevant`, { ...attributes, irrelevant: true }],
  ];
}

/** The first paper's folders of irrelevant twins are named after those of the correct files. */
const shuffled = (folder: string, irrelevant: boolean): string => (irrelevant ? `${folder}_wrong_answer_shuffle` : folder);

const layerGradientEntries: Entry[] = [
  ...["aqua", "gsm8k", "strategyqa", "ecqa", "creak", "sensemaking"].flatMap((dataset) =>
    Object.entries(chains).flatMap(([suffix, condition]) =>
      withTwin((irrelevant) => `${shuffled("cot_500", irrelevant)}/${dataset}_train_${suffix}.json`, `${dataset}/${condition}`, {
        task: "cot",
        dataset,
        condition,
      }),
    ),
  ),
  ...Object.entries({ algebra: "algebra", counting_probability: "counting", geometry: "geometry" }).flatMap(([file, dataset]) =>
    Object.entries(chains)
      .filter(([, condition]) => condition !== "none")
      .flatMap(([suffix, condition]) =>
        withTwin((irrelevant) => `${shuffled("lighteval_math", irrelevant)}/${file}_${suffix}.json`, `math/${dataset}/${condition}`, {
          task: "math",
          dataset,
          condition,
        }),
      ),
  ),
  ...Object.entries(wikiFiles).flatMap(([file, condition]) =>
    withTwin((irrelevant) => `${shuffled("wiki_popularity", irrelevant)}/${file}.json`, `wiki/${condition}`, {
      task: "wiki",
      dataset: "wiki",
      condition,
    }),
  ),
];

const gradientUnifiedEntries: Entry[] = [
  ...Object.entries({ ifd_gpt2: "ifd-gpt2", ifd_qwen7b: "ifd-qwen7b", instag: "instag", diff: "difficulty", reward: "reward" }).flatMap(
    ([folder, score]) =>
      Object.entries({ wiz: "wizardlm", mag: "magpie", her: "openhermes" }).flatMap(([prefix, source]) =>
        Object.entries({ highest: "high", lowest: "low" }).map(
          ([end, condition]): Entry => [
            `${folder}/${prefix}_10k_${end}_200.json`,
            `quality/${score}/${source}/${condition}`,
            { task: "quality", dataset: `${score}/${source}`, condition, irrelevant: false },
          ],
        ),
      ),
  ),
  ...["gsm8k", "s1"].map(
    (dataset): Entry => [
      `reasoning/${dataset}_R1.json`,
      `reasoning/${dataset}-r1`,
      { task: "reasoning", dataset, condition: "r1", irrelevant: false },
    ],
  ),
];

const demoEntries: Entry[] = [
  ...["sums", "compare"].flatMap((dataset) =>
    Object.values(chains).flatMap((condition) =>
      withTwin((irrelevant) => `${dataset}_${condition}${irrelevant ? "_irrelevant" : ""}.json`, `demo/${dataset}/${condition}`, {
        task: "cot",
        dataset,
        condition,
      }),
    ),
  ),
  ...Object.values(wikiFiles).flatMap((condition) =>
    withTwin((irrelevant) => `wiki_${condition.replace("-", "_")}${irrelevant ? "_irrelevant" : ""}.json`, `demo/wiki/${condition}`, {
      task: "wiki",
      dataset: "wiki",
      condition,
    }),
  ),
];

function catalogued(collection: Collection, entries: readonly Entry[], facts: string): CatalogueFile[] {
  const byPath = new Map(
    facts
      .trim()
      .split("\n")
      .map((line) => {
        const [sha256, rows, bytes, path] = line.split(/ +/) as [string, string, string, string];
        return [path, { sha256, rows: Number(rows), bytes: Number(bytes) }];
      }),
  );
  return entries.map(([path, name, attributes]) => {
    const fact = byPath.get(path);
    if (fact === undefined) throw new Error(`catalogue-facts.ts says nothing of ${path} (${name})`);
    return { name, collection, path, ...fact, attributes: { name, ...attributes } };
  });
}

/**
 * Every data file that has a name: the 56 of the first paper, each correct file before its irrelevant twin; the 32 of the second; and the
 * 20 of the bundled miniature.
 */
export const catalogue: readonly CatalogueFile[] = [
  ...catalogued(layerGradient, layerGradientEntries, layerGradientFacts),
  ...catalogued(gradientUnified, gradientUnifiedEntries, gradientUnifiedFacts),
  ...catalogued(demo, demoEntries, demoFacts),
];

const byName = new Map(catalogue.map((file) => [file.name, file]));

/** The file of that name, or undefined. */
export const findCatalogueFile = (name: string): CatalogueFile | undefined => byName.get(name);

/** The files whose names begin with these parts: of `aqua`, `aqua/none` and all else of AQuA. A file's own name is that file alone. */
export function catalogueGroup(name: string): readonly CatalogueFile[] {
  const file = byName.get(name);
  return file ? [file] : catalogue.filter((f) => f.name.startsWith(`${name}/`));
}
