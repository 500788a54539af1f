import { LayergradError } from "../errors.ts";
import { STRIP } from "../models/attention.ts";
import { type Block, buildBlock, chooseLinears, type MatrixChoice } from "../models/block.ts";
import type { Family, ModelSpec } from "../models/family.ts";
import { mixStage, projectStage, type SavedSet } from "../models/stages.ts";
import type { Retention, WeightMode } from "./engine.ts";
import { blockElements } from "./work.ts";

/** How a run will use the machine. */
export interface Plan {
  readonly weights: WeightMode;
  readonly retention: Retention;
  readonly saved: SavedSet;
  /** Most tokens in one pack; a longer row is a pack of its own. */
  readonly batchTokens: number;
  /** Most label positions whose logits exist at one time. */
  readonly labelsPerChunk: number;
  /** Estimated peak resident memory, bytes. */
  readonly memory: number;
}

export interface PlanRequest {
  readonly family: Family;
  readonly spec: ModelSpec;
  readonly matrices: MatrixChoice;
  readonly cosines: boolean;
  /** Tokens of the longest row. */
  readonly longestRow: number;
  /** Bytes the process may use. */
  readonly memory: number;
  /** The user's own token budget, kept where given. */
  readonly batchTokens?: number | undefined;
  /** The user's own choice of weights, kept where given. */
  readonly weights?: WeightMode | undefined;
}

/** Longest pack, tokens: above it nothing is gained. */
const LONGEST_PACK = 1024;

/**
 * Largest tensor that a pack should have, bytes: glibc's malloc gives anything above 32 MiB fresh pages from the kernel each time and
 * takes them back at once, which cost a third of the forward pass where it was measured.
 */
const LARGEST_TENSOR = 30e6;

/** Pack sizes for want of memory: short packs cost more than computing again what was not kept. */
const SHORT_PACKS = [256, 1];

/** Node, ONNX Runtime and the worker threads before any model, bytes. */
const BASE = 300e6;

/** From the fastest way to the most frugal: what the forward keeps, and how many logits exist at one time. */
const TIERS = [
  { retention: "products", saved: "linears", logits: 2 ** 25 },
  { retention: "products", saved: "narrow", logits: 2 ** 24 },
  { retention: "inputs", saved: "linears", logits: 2 ** 22 },
] as const;

/** More label positions at once gain nothing. */
const LABELS_PER_CHUNK = 512;

/** What the allocator holds beyond what is in use at any time, measured. */
const FRAGMENTATION = 1.25;

const FLOAT = 4;

/**
 * The fastest plan that fits the memory: products kept for the backward pass before computing them again, and long packs before
 * short ones.
 *
 * @throws {LayergradError} `resource` if nothing fits, naming the least memory that would do.
 */
export function planRun(request: PlanRequest): Plan {
  const block = buildBlock(request.family, request.spec);
  const candidates: Plan[] = [];
  // Weights packed into every layer's own session take more than twice the memory and were no faster on packs of 512 tokens or more.
  const weights = request.weights ?? "fed";
  const widest = block.linears.reduce((most, l) => Math.max(most, l.inFeatures, l.outFeatures), 0);
  const longest = Math.floor(LARGEST_TENSOR / FLOAT / widest);
  const longPacks = [Math.max(512, Math.min(LONGEST_PACK, longest)), 512];
  const sizeGroups = request.batchTokens ? [[request.batchTokens]] : [longPacks, SHORT_PACKS];
  for (const sizes of sizeGroups) {
    for (const tier of TIERS) {
      for (const batchTokens of sizes) {
        const choice = planOf(tier, request.spec, weights, batchTokens);
        candidates.push({ ...choice, memory: estimateMemory(request, block, choice) });
      }
    }
  }
  const fitting = candidates.find((plan) => plan.memory <= request.memory);
  if (fitting) return fitting;
  const least = candidates.reduce((a, b) => (b.memory < a.memory ? b : a));
  throw new LayergradError(
    "resource",
    `This run needs at least ${gigabytes(least.memory)} of memory and may use ${gigabytes(request.memory)}: give it more with --memory, or shorten the longest row (${request.longestRow} tokens) with --max-length.`,
  );
}

const planOf = (
  { logits, ...tier }: (typeof TIERS)[number],
  { vocabulary }: ModelSpec,
  weights: WeightMode,
  batchTokens: number,
): Omit<Plan, "memory"> => ({
  ...tier,
  weights,
  batchTokens,
  labelsPerChunk: Math.max(8, Math.min(LABELS_PER_CHUNK, Math.floor(logits / vocabulary))),
});

/** `8.5 GB`, in 10⁹ bytes, rounded up so that naming it as a limit works. */
export const gigabytes = (bytes: number): string => `${(Math.ceil(bytes / 1e8) / 10).toFixed(1)} GB`;

/** The memory that the most frugal plan takes, bytes. */
export const leastMemory = (request: Pick<PlanRequest, "spec" | "matrices" | "cosines" | "longestRow">, block: Block): number =>
  estimateMemory(request, block, planOf(TIERS.at(-1)!, request.spec, "fed", 1));

/** Estimated peak resident memory of a run, in bytes. docs/performance.md compares it with measured peaks. */
export function estimateMemory(
  request: Pick<PlanRequest, "spec" | "matrices" | "cosines" | "longestRow">,
  block: Block,
  { weights, retention, saved, batchTokens, labelsPerChunk }: Omit<Plan, "memory">,
): number {
  const { spec, longestRow } = request;
  const tokens = Math.max(batchTokens, longestRow);
  const layer = blockElements(spec) * FLOAT;
  // A packed session holds its weights in its own layout, once for the forward and once for the backward graph; making one takes
  // the model's bytes beside them.
  const model = weights === "fed" ? spec.layers * layer : 2 * spec.layers * layer + 3 * layer;
  const head = spec.vocabulary * spec.hidden * FLOAT;

  const tapped = chooseLinears(block, request.matrices);
  const savedWidths = [projectStage, mixStage].flatMap((build) => {
    const stage = build(block, tapped, saved);
    return stage.saved.map((key) => stage.forward.outputs[key]!.shape[1] as number);
  });
  const attention = spec.headDim * (2 * spec.heads + 2 * spec.keyValueHeads);
  const kept = spec.hidden + attention + savedWidths.reduce((a, b) => a + b, 0);
  const layersKept = retention === "products" ? spec.layers * kept : spec.layers * spec.hidden + 2 * kept;
  // Within one layer's backward: about ten tensors of the MLP's width, a dozen of the stream's, cotangents and factors. Each
  // session's arena keeps its peak, and what it gives out is copied: twice that.
  const passing = 2 * (10 * spec.intermediate + 14 * spec.hidden + 3 * attention);
  const activations = tokens * (layersKept + passing) * FLOAT;

  // Soft caps are computed forward, and again backward with their slope.
  const capped = (cap: number): number => (cap === Number.POSITIVE_INFINITY ? 0 : 4);
  const scores = (5 + capped(spec.scoreCap)) * spec.heads * 1.5 * STRIP * longestRow * FLOAT;
  const logits = (6 + capped(spec.logitCap)) * Math.min(labelsPerChunk, tokens) * spec.vocabulary * FLOAT;
  const gradients = tapped.map((l) => {
    const product = l.inFeatures * l.outFeatures;
    const side = Math.min(longestRow, l.inFeatures, l.outFeatures);
    return product * (side < longestRow ? 8 : 4) * (request.cosines ? 4 : 1) + 8 * side * side * 5;
  });
  const statistics = 2 * gradients.reduce((a, b) => a + b, 0);
  return BASE + model + head + FRAGMENTATION * (activations + scores + logits + statistics);
}
