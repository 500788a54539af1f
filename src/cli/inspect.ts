import { Argument, Command, Option } from "commander";
import { buildBlock, chooseLinears, type MatrixChoice } from "../models/block.ts";
import { type Model, type ModelOrigin, openModel } from "../run/open-model.ts";
import { gemmRate } from "../runtime/gemm-rate.ts";
import { onnxRuntime } from "../runtime/onnx-runtime.ts";
import { gigabytes, leastMemory, planRun } from "../runtime/planner.ts";
import { rowFlops } from "../runtime/work.ts";
import { describePlans, examplePlans } from "./inspect-plan.ts";
import { shared } from "./options.ts";
import { size } from "./size.ts";
import { table } from "./table.ts";
import { watching } from "./watch.ts";

/** Rows whose cost is estimated: tokens and labels, about the paper's none, simplified and detailed chains of thought. */
const examples = [
  { tokens: 85, labels: 3 },
  { tokens: 140, labels: 60 },
  { tokens: 760, labels: 660 },
];

/** Share of the matrix product rate that the engine reaches, and of a row's time that goes into the statistics: round figures of docs/performance.md. */
const ENGINE_SHARE = 0.7;
const STATISTICS_SHARE = 0.2;

export const inspectCommand = (): Command =>
  new Command("inspect")
    .description("what a model is, which matrices would be measured, and about how long and how much memory a row takes here")
    .addArgument(new Argument("<model>", "model folder, GGUF file, or id of the Hugging Face Hub, whose weights are left there"))
    .addOption(shared.revision())
    .addOption(shared.adapter())
    .addOption(shared.matrices())
    .addOption(shared.threads())
    .addOption(
      new Option("--plan", "also how a run would use the machine, and why: weights held or streamed, what is kept, memory by its parts"),
    )
    .addOption(shared.memory())
    .addOption(shared.json())
    .action(async (name: string, flags: InspectFlags) => {
      const { revision, adapter } = flags;
      const model = await watching((watch, signal) => openModel({ model: name, revision, adapter }, { weights: false, watch, signal }));
      const { spec, family, checkpoint, source, weights } = model;
      const block = buildBlock(family, spec);
      const chosen = chooseLinears(block, flags.matrices);
      const elements = (shapes: Iterable<readonly number[]>) =>
        [...shapes].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
      const parameters =
        elements(block.weights.values()) * spec.layers + spec.hidden + spec.vocabulary * spec.hidden * (spec.tiedEmbeddings ? 1 : 2);
      const { median: rate } = await gemmRate(onnxRuntime({ threads: flags.threads }), spec.hidden, spec.intermediate);
      const request = { family, spec, matrices: flags.matrices, cosines: false };
      const estimates = examples.map(({ tokens, labels }) => ({
        tokens,
        labels,
        seconds: rowFlops(spec, tokens, labels) / (rate * ENGINE_SHARE) / (1 - STATISTICS_SHARE),
        memory: planRun({ ...request, lengths: [tokens], memory: Number.POSITIVE_INFINITY }).memory,
        leastMemory: leastMemory({ ...request, lengths: [tokens] }),
      }));
      const plans = flags.plan ? examplePlans(model, examples, flags, rate) : undefined;
      const matrices = chosen.map((l) => ({ name: l.name, shape: [l.outFeatures, l.inFeatures] as const }));
      checkpoint.close();
      const { attention, biases, ...sizes } = spec;
      // JSON has no Infinity: a layer without a window, and a cap that is none, come out as null.
      const windows = attention.map((layer) => layer.window);
      const described = {
        ...sizes,
        windows,
        biases: [...biases],
        parameters,
        source,
        download: weights.absent,
        matrices,
        gemmFlops: rate,
        estimates,
        plans,
      };
      if (flags.json) process.stdout.write(`${JSON.stringify(described)}\n`);
      else process.stdout.write(`${describe(model, parameters, matrices, rate, estimates)}${plans ? `\n\n${describePlans(plans)}` : ""}\n`);
    });

interface InspectFlags {
  readonly revision?: string;
  readonly adapter?: string;
  readonly matrices: MatrixChoice;
  readonly threads?: number;
  readonly plan?: boolean;
  readonly memory?: number;
  readonly json?: boolean;
}

interface Estimate {
  readonly tokens: number;
  readonly labels: number;
  readonly seconds: number;
  readonly memory: number;
  readonly leastMemory: number;
}

function describe(
  { spec, source, weights }: Model,
  parameters: number,
  matrices: readonly { readonly name: string; readonly shape: readonly [number, number] }[],
  rate: number,
  estimates: readonly Estimate[],
): string {
  const biases = spec.biases.size > 0 ? `, biases on ${[...spec.biases].map((b) => b.split(".").at(-1)).join(", ")}` : "";
  return [
    `${nameOf(source)}: ${spec.family} (${spec.modelType}), ${(parameters / 1e6).toFixed(1)} million parameters`,
    `${spec.layers} layers, hidden ${spec.hidden}, MLP ${spec.intermediate}, ${spec.heads} heads of ${spec.headDim}, ${spec.keyValueHeads} key/value heads${biases}`,
    `vocabulary ${spec.vocabulary}, ${spec.tiedEmbeddings ? "tied embeddings" : "separate output head"}`,
    `measured in each layer: ${matrices.map((m) => `${m.name} [${m.shape}]`).join(", ")}`,
    ...(weights.absent === 0
      ? []
      : [
          weights.absent === null
            ? "weights on the Hub, whose size cannot be asked now"
            : `weights on the Hub, ${size(weights.absent)} to download`,
        ]),
    "",
    `Estimates for this machine, whose float32 matrix products reach ${(rate / 1e9).toFixed(0)} GFLOP/s at this model's width:`,
    table(
      ["tokens", "labels", "seconds a row", "memory", "at the least"],
      estimates.map((e) => [`${e.tokens}`, `${e.labels}`, e.seconds.toPrecision(2), gigabytes(e.memory), gigabytes(e.leastMemory)]),
    ),
  ].join("\n");
}

const nameOf = ({ folder, id, revision, adapter }: ModelOrigin): string =>
  `${folder}${id ? ` at ${revision!.slice(0, 12)}` : ""}${adapter ? ` with ${adapter.folder}` : ""}`;
