import { basename, extname } from "node:path";
import { LayergradError } from "../errors.ts";

/** The studies that `study init` writes. */
export const templateNames = ["miniature", "paper", "own", "trajectory", "controls"] as const;
export type TemplateName = (typeof templateNames)[number];

const bundledPair = `models:                      # a path is a Hugging Face folder; demo/base and demo/instruct come with layergrad
  - { name: base, path: demo/base, kind: base, family: miniature }
  - { name: instruct, path: demo/instruct, kind: instruct, family: miniature }`;

const bundledForYours = `models:                      # put your own here: path is a Hugging Face folder, kind what the checkpoint is
  - { name: base, path: demo/base, kind: base, family: miniature }
  - { name: instruct, path: demo/instruct, kind: instruct, family: miniature }   # modes: [base, instruct] runs it both ways`;

const costs = `# layergrad study --dry-run says what it takes, layergrad study runs it and goes on where it was stopped.`;

const cot = "[aqua, gsm8k, strategyqa, ecqa, creak, sensemaking]";

const miniature =
  (): string => `# The study in miniature: the bundled models on the bundled 20 files of 64 rows. A few minutes on two cores.
${costs}
name: miniature
out: layergrad-miniature     # folder of the runs, relative to this file

${bundledPair}

data: [demo]                 # names of the catalogue: layergrad data list
`;

const paper =
  (): string => `# The first paper's study (arXiv 2410.23743): 56 files, 27,908 rows a model. Fetch them first: layergrad data pull --paper
${costs}
name: paper
out: runs/paper              # folder of the runs, relative to this file

${bundledForYours}

data:                        # names of the catalogue; each correct file and its irrelevant twin
  - ${cot.slice(1, -1).replaceAll(", ", "\n  - ")}
  - math
  - wiki
# rows: "0:100"              # of each file; all of them where this line is left out
`;

const own = (
  files: readonly string[],
): string => `# Your own data: rows {instruction, input, output} as JSON, JSONL, CSV or Parquet, or chat rows with "messages".
${costs}
name: own
out: runs/own                # folder of the runs, relative to this file

${bundledForYours}

# Conditions of one data set are compared with each other. The papers' claims are about those called none (bare answers), simplified,
# detailed (chains of thought), and high and low (quality). Here the first file is taken for the better one: correct that where it is not.
data:
${ownFiles(files.length > 0 ? files : ["good.jsonl", "bad.jsonl"], ["high", "low"])
  .map(ownEntry)
  .join("\n")}
    # columns: { instruction: question, output: answer }    # where your columns have other names
  # An irrelevant twin, whose responses belong to other rows, is made by: layergrad data shuffle good.jsonl
  # - { file: good_irrelevant.json, task: own, dataset: own, condition: high, irrelevant: true }
  # Names of the catalogue may stand beside your own: - aqua/none
`;

/** A file of the user's as a template writes it. */
interface OwnFile {
  readonly file: string;
  readonly name: string;
  readonly condition: string;
}

/** Files with names that no two of them share, on no disk; `conditions` are those of the first ones, the others' are their names. */
function ownFiles(files: readonly string[], conditions: readonly string[]): OwnFile[] {
  const taken = new Set<string>();
  return files.map((file, i) => {
    const plain = nameOf(file);
    let name = plain;
    for (let n = 2; taken.has(name.toLowerCase()); n++) name = `${plain}-${n}`;
    taken.add(name.toLowerCase());
    return { file, name, condition: conditions[i] ?? name };
  });
}

const ownEntry = ({ file, name, condition }: OwnFile): string =>
  `  - file: ${JSON.stringify(file)}\n    name: ${name}\n    task: own\n    dataset: own\n    condition: ${condition}`;

/** A file's name as that of data. */
const nameOf = (file: string): string =>
  basename(file, extname(file))
    .replace(/[^\p{L}\p{N}._-]+/gu, "-")
    .replace(/^[.-]+|-+$/g, "") || "data";

const trajectory =
  (): string => `# Checkpoints of one training run, one model each: how the gradients of the same rows change while it learns.
${costs}
name: trajectory
out: runs/trajectory         # folder of the runs, relative to this file

models:
  - { name: step-1000, path: checkpoints/step-1000, kind: base, family: my-run, step: 1000 }
  - { name: step-2000, path: checkpoints/step-2000, kind: base, family: my-run, step: 2000 }
  - { name: step-4000, path: checkpoints/step-4000, kind: base, family: my-run, step: 4000 }

data: [demo/sums]            # names of the catalogue (layergrad data list), or your own files
`;

const controlsIntro = `# Is it the length? The loss is a mean over labels, so gradients shrink as labels grow, and conditions differ in labels. Here the
# longer responses are measured once more with their loss on as many labels as the same row has in the shortest condition.`;

const controlledLabels = `    labels:
      - last:@none           # the last labels, as many as the same row has there
      - first:@none
      - random:@none`;

const sweeps = (
  data: readonly string[],
): string => `  # One row with ever more of its labels, 1, 2, 4 … all: a long row takes about a hundred times as long, so a few rows are enough.
  # The shortest condition too: at each number of labels that both have, the gap between them is what labels do not explain.
  - data: ${quoted(data)}
    labels: [sweep]
    limit: 2`;

const quoted = (names: readonly string[]): string => `[${names.map((name) => JSON.stringify(name)).join(", ")}]`;

const controls = (files: readonly string[]): string => {
  const head = `${controlsIntro}
${costs}
name: controls
out: runs/controls           # folder of the runs, relative to this file

${bundledForYours}
`;
  if (files.length === 0) {
    return `${head}
data: ${cot}   # layergrad data pull --paper
rows: "0:10"                 # of each file; all of them where this line is left out

controls:
  - data: ["*/detailed/**", "*/simplified/**"]    # correct and irrelevant
${controlledLabels}
${sweeps(["*/detailed", "*/none"])}
`;
  }
  if (files.length === 1)
    throw new LayergradError(
      "usage",
      "--data needs two files at least: first that of the shortest responses, then those to be held to its labels.",
    );
  const own = ownFiles(files, files.length === 2 ? ["none", "detailed"] : ["none", "simplified", "detailed"]);
  const names = own.map(({ name }) => name);
  return `${head}
# The same questions in the same order; the first file has the shortest responses. By these conditions the papers' claims on fast (none)
# and slow thinking (simplified, detailed) are judged on your data, whatever makes your responses longer.
data:
${own.map(ownEntry).join("\n")}
rows: "0:10"                 # of each file; all of them where this line is left out

controls:
  - data: ${quoted(names.slice(1))}
${controlledLabels}
${sweeps(names)}
`;
};

/**
 * A commented study.yaml.
 *
 * @param files - Own data to write into it, for `own` and `controls`; of the latter the first has the shortest responses.
 * @throws {LayergradError} `usage` for files that the template has no use for.
 */
export function studyTemplate(name: TemplateName, files: readonly string[] = []): string {
  if (files.length > 0 && name !== "own" && name !== "controls")
    throw new LayergradError("usage", `--data is for the templates own and controls; ${name} has data of its own.`);
  return { miniature, paper, own, trajectory, controls }[name](files);
}
