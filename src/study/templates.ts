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

data:                        # conditions of one data set are compared with each other
${(files.length > 0 ? files : ["good.jsonl", "bad.jsonl"]).map(ownFile).join("\n")}
    # columns: { instruction: question, output: answer }    # where your columns have other names
  # An irrelevant twin, whose responses belong to other rows, is made by: layergrad data shuffle good.jsonl
  # - { file: good_irrelevant.json, task: own, dataset: own, condition: good, irrelevant: true }
  # Names of the catalogue may stand beside your own: - aqua/none
`;

const ownFile = (file: string): string => {
  const name = nameOf(file);
  return `  - file: ${JSON.stringify(file)}\n    name: ${name}\n    task: own                # quality, with the conditions high and low, has a claim of its own\n    dataset: own\n    condition: ${name}`;
};

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

const controlledLabels = (reference: string): string => `    labels:
      - last:@${reference}          # the last labels, as many as the same row has there
      - first:@${reference}
      - random:@${reference}`;

const sweeps = `# One row with ever more of its labels, 1, 2, 4 … all: each row takes some hundred times as long, so a few rows are enough.`;

const controls = (files: readonly string[]): string => {
  const [first, ...others] = files.map(nameOf);
  const head = `${controlsIntro}
${costs}
name: controls
out: runs/controls           # folder of the runs, relative to this file

${bundledForYours}
`;
  if (first === undefined) {
    return `${head}
data: ${cot}   # layergrad data pull --paper
rows: "0:10"                 # of each file; all of them where this line is left out

controls:
  - data: ["*/detailed/**", "*/simplified/**"]    # correct and irrelevant
${controlledLabels("none")}
  ${sweeps}
  - data: ["*/detailed/**"]
    labels: [sweep]
    limit: 2
`;
  }
  if (others.length === 0)
    throw new LayergradError(
      "usage",
      "--data needs two files at least: first that of the shortest responses, then those to be held to its labels.",
    );
  return `${head}
data:                        # the same questions in the same order; the first file has the shortest responses
${files.map(ownFile).join("\n")}
rows: "0:10"                 # of each file; all of them where this line is left out

controls:
  - data: [${others.join(", ")}]
${controlledLabels(first)}
  ${sweeps}
  - data: [${others.join(", ")}]
    labels: [sweep]
    limit: 2
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
