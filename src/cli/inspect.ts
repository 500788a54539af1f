import { Argument, Command } from "commander";
import { buildBlock, chooseLinears, type MatrixChoice } from "../models/block.ts";
import type { ModelSpec } from "../models/family.ts";
import { openModel } from "../run/open-model.ts";
import { gemmRate } from "../runtime/gemm-rate.ts";
import { onnxRuntime } from "../runtime/onnx-runtime.ts";
import { gigabytes, leastMemory, planRun } from "../runtime/planner.ts";
import { rowFlops } from "../runtime/work.ts";
import { shared } from "./options.ts";
import { table } from "./table.ts";

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
    .addArgument(new Argument("<model>", "Hugging Face model folder"))
    .addOption(shared.matrices())
    .addOption(shared.threads())
    .addOption(shared.json())
    .action(async (folder: string, flags: { matrices: MatrixChoice; threads?: number; json?: boolean }) => {
      const model = await openModel(folder);
      const { spec, family, checkpoint } = model;
      const block = buildBlock(family, spec);
      const chosen = chooseLinears(block, flags.matrices);
      const elements = (shapes: Iterable<readonly number[]>) =>
        [...shapes].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
      const parameters =
        elements(block.weights.values()) * spec.layers + spec.hidden + spec.vocabulary * spec.hidden * (spec.tiedEmbeddings ? 1 : 2);
      const rate = await gemmRate(onnxRuntime({ threads: flags.threads }), spec.hidden, spec.intermediate);
      const request = { family, spec, matrices: flags.matrices, cosines: false };
      const estimates = examples.map(({ tokens, labels }) => ({
        tokens,
        labels,
        seconds: rowFlops(spec, tokens, labels) / (rate * ENGINE_SHARE) / (1 - STATISTICS_SHARE),
        memory: planRun({ ...request, longestRow: tokens, memory: Number.POSITIVE_INFINITY }).memory,
        leastMemory: leastMemory({ ...request, longestRow: tokens }, block),
      }));
      const matrices = chosen.map((l) => ({ name: l.name, shape: [l.outFeatures, l.inFeatures] as const }));
      checkpoint.close();
      const { attention, biases, ...sizes } = spec;
      // JSON has no Infinity: a layer without a window, and a cap that is none, come out as null.
      const windows = attention.map((layer) => layer.window);
      const described = { ...sizes, windows, biases: [...biases], parameters, matrices, gemmFlops: rate, estimates };
      if (flags.json) process.stdout.write(`${JSON.stringify(described)}\n`);
      else process.stdout.write(`${describe(folder, spec, parameters, matrices, rate, estimates)}\n`);
    });

interface Estimate {
  readonly tokens: number;
  readonly labels: number;
  readonly seconds: number;
  readonly memory: number;
  readonly leastMemory: number;
}

function describe(
  folder: string,
  spec: ModelSpec,
  parameters: number,
  matrices: readonly { readonly name: string; readonly shape: readonly [number, number] }[],
  rate: number,
  estimates: readonly Estimate[],
): string {
  const biases = spec.biases.size > 0 ? `, biases on ${[...spec.biases].map((b) => b.split(".").at(-1)).join(", ")}` : "";
  return [
    `${folder}: ${spec.family} (${spec.modelType}), ${(parameters / 1e6).toFixed(1)} million parameters`,
    `${spec.layers} layers, hidden ${spec.hidden}, MLP ${spec.intermediate}, ${spec.heads} heads of ${spec.headDim}, ${spec.keyValueHeads} key/value heads${biases}`,
    `vocabulary ${spec.vocabulary}, ${spec.tiedEmbeddings ? "tied embeddings" : "separate output head"}`,
    `measured in each layer: ${matrices.map((m) => `${m.name} [${m.shape}]`).join(", ")}`,
    "",
    `Estimates for this machine, whose float32 matrix products reach ${(rate / 1e9).toFixed(0)} GFLOP/s at this model's width:`,
    table(
      ["tokens", "labels", "seconds a row", "memory", "at the least"],
      estimates.map((e) => [`${e.tokens}`, `${e.labels}`, e.seconds.toPrecision(2), gigabytes(e.memory), gigabytes(e.leastMemory)]),
    ),
  ].join("\n");
}
