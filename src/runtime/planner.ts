import { LayergradError } from "../errors.ts";
import { STRIP } from "../models/attention.ts";
import { type Block, buildBlock, chooseLinears, type LinearLayer, type MatrixChoice } from "../models/block.ts";
import type { Family, ModelSpec } from "../models/family.ts";
import { mixStage, projectStage, type SavedSet } from "../models/stages.ts";
import { passesTogether, type Retention, type WeightMode } from "./engine.ts";
import { fromFactors } from "./factor-statistics.ts";
import { logitsAtOnce } from "./output-head.ts";
import { packRows } from "./packing.ts";
import { blockElements } from "./work.ts";

/** How a run will use the machine. */
export interface Plan {
  readonly weights: WeightMode;
  /** Of streamed weights: whether the output head is read in its turn like a layer, rather than held. */
  readonly streamHead: boolean;
  readonly retention: Retention;
  readonly saved: SavedSet;
  /** Most tokens in one pack; a longer row is a pack of its own. */
  readonly batchTokens: number;
  /** Most tokens in packs that go through the layers together, so that each weight is read twice at most for all of them; of weights that are held, one pack. */
  readonly waveTokens: number;
  /** Engines side by side, which share the threads. */
  readonly lanes: number;
  /** Of several lanes whose weights are held: whether each has a copy, rather than all one that goes from hand to hand. */
  readonly ownWeights: boolean;
  /** Estimated peak resident memory, bytes. */
  readonly memory: number;
  /** What that is made of, bytes. */
  readonly parts: MemoryParts;
  /** Estimated time of the passes, the time of one forward and one backward pass at the machine's full product rate being 1. */
  readonly work: number;
}

/** Estimated peak memory by what it holds, bytes. */
export interface MemoryParts {
  /** Node, ONNX Runtime and the worker threads. */
  readonly runtime: number;
  /** The layers' weights: all of them, once or once for each lane; or where they are streamed those of two layers, and one for each further lane. */
  readonly layers: number;
  /** The output head, unless it is read into a layer's place. */
  readonly head: number;
  /** What forward passes keep for the backward ones. */
  readonly kept: number;
  /** What exists within one layer, or of a part of the logits. */
  readonly passing: number;
  /** Gradients and Gram matrices. */
  readonly statistics: number;
}

export interface PlanRequest {
  readonly family: Family;
  readonly spec: ModelSpec;
  readonly matrices: MatrixChoice;
  readonly cosines: boolean;
  /** Tokens of each row, in the rows' order. */
  readonly lengths: readonly number[];
  /** Most backward passes of a row: subsets of its labels, default 1. */
  readonly passes?: number | undefined;
  /** Bytes the process may use. */
  readonly memory: number;
  /** The user's own token budget, kept where given. */
  readonly batchTokens?: number | undefined;
  /** The user's own choice of weights, kept where given. */
  readonly weights?: WeightMode | undefined;
  /** Threads there are, default 1. */
  readonly threads?: number | undefined;
}

/** What a plan is for, whatever the memory. */
type Job = Omit<PlanRequest, "memory"> & { readonly block: Block; readonly rows: RowSizes };

/** A plan before its memory and work are known. */
type Choice = Omit<Plan, "memory" | "parts" | "work">;

/** Longest pack, tokens: above it nothing is gained. */
const LONGEST_PACK = 1024;

/**
 * Largest tensor that a pack should have, bytes: glibc's malloc gives anything above 32 MiB fresh pages from the kernel each time and
 * takes them back at once, which cost a third of the forward pass where it was measured.
 */
const LARGEST_TENSOR = 30e6;

/** Packs of this many tokens are a choice at any size of model. */
const MEDIUM_PACK = 512;

/** Shorter packs than the longest, tokens: so finely that rows can be dealt out evenly to lanes and waves; single rows for want of memory. */
const PACK_STEP = 64;
const SHORTEST_PACK = 256;

/** Tokens by which a wave grows where packs are single rows. */
const WAVE_STEP = 128;

/** Longest wave, tokens: above it reading the weights takes a fiftieth of the time at most, and an interrupted run loses more. */
const LONGEST_WAVE = 4096;

/** Node, ONNX Runtime and the worker threads before any model, bytes. */
const BASE = 300e6;

/** What a further lane takes before any model, bytes. */
const LANE_BASE = 100e6;

/** What the thread that reads streamed weights takes, bytes. */
const READER_BASE = 60e6;

/** Widest residual stream with which lanes are a choice: 576 wide they were faster by a tenth, 1,536 and 4,096 wide they were not. */
const WIDEST_IN_LANES = 1024;

/** Most lanes: they wait for one another where their ways through the layers cross, the more of them the oftener. */
const MOST_LANES = 4;

/** Work below which the start of more threads is not worth it, floating-point operations. */
const WORTH_LANES = 2e11;

/** Tokens of a pack as which its waiting for weights counts, where it goes through a lane that borrows them: from packs of 370 to 980 tokens, 576 wide, two lanes. */
const BORROWING = 120;

/** The same for threads of one engine that wait for one another at each operator of a narrow model, for each doubling of their number: from the same packs, two threads. */
const THREAD_CALLS = 165;

/** What the forward keeps: from the fastest way to the most frugal. */
const TIERS = [
  { retention: "products", saved: "linears" },
  { retention: "products", saved: "narrow" },
  { retention: "inputs", saved: "linears" },
] as const;

/** What the allocator holds beyond what is in use at any time, measured. */
const FRAGMENTATION = 1.25;

/** Tokens in a pack at which the matrix products reach half of their full rate: from rates at 32 to 1,024 tokens, 4,096 wide. */
const HALF_RATE = 25;

/** Time that reading and widening a weight takes beside the products, in multiply-adds: measured with files in the page cache. */
const READ_COST = 150;

const FLOAT = 4;

/** A plan with those that would be faster and take more memory than there is, fastest first. */
export interface Planning {
  readonly plan: Plan;
  readonly tooLarge: readonly Plan[];
}

/**
 * The fastest plan that fits the memory, by an estimate of its work.
 *
 * @throws {LayergradError} `resource` if nothing fits, naming the least memory that would do.
 */
export const planRun = (request: PlanRequest): Plan => comparePlans(request).plan;

/**
 * The fastest plan that fits the memory, and what it was preferred to for its size.
 *
 * @throws {LayergradError} As {@link planRun}.
 */
export function comparePlans(request: PlanRequest): Planning {
  const job = jobOf(request);
  const candidates = choices(job)
    .map((choice) => widened(job, choice, request.memory))
    .sort((a, b) => a.work - b.work);
  const fitting = candidates.findIndex((plan) => plan.memory <= request.memory);
  if (fitting >= 0) return { plan: candidates[fitting]!, tooLarge: candidates.slice(0, fitting) };
  const least = candidates.reduce((a, b) => (b.memory < a.memory ? b : a));
  throw new LayergradError(
    "resource",
    `This run needs at least ${gigabytes(least.memory)} of memory and may use ${gigabytes(request.memory)}: give it more with --memory, or shorten the longest row (${job.rows.longest} tokens) with --max-length.`,
  );
}

/** `8.5 GB`, in 10⁹ bytes, rounded up so that naming it as a limit works. */
export const gigabytes = (bytes: number): string => `${(Math.ceil(bytes / 1e8) / 10).toFixed(1)} GB`;

/** The memory that the most frugal plan takes, bytes. */
export function leastMemory(request: Omit<PlanRequest, "memory">): number {
  const job = jobOf(request);
  return Math.min(...choices(job).map((choice) => total(memoryParts(job, choice))));
}

const jobOf = (request: Omit<PlanRequest, "memory">): Job => ({
  ...request,
  block: buildBlock(request.family, request.spec),
  rows: new RowSizes(request.lengths),
});

/** Lengths of rows, and of the packs and waves that they would be in. */
class RowSizes {
  readonly longest: number;
  /** Tokens of all rows. */
  readonly tokens: number;
  private readonly packs = new Map<number, readonly number[]>();
  private readonly inWaves = new Map<string, readonly (readonly number[])[]>();

  constructor(readonly lengths: readonly number[]) {
    this.longest = lengths.reduce((a, b) => Math.max(a, b), 1);
    this.tokens = Math.max(1, sum(lengths));
  }

  /** Tokens of each pack. */
  packed(batchTokens: number): readonly number[] {
    const known = this.packs.get(batchTokens) ?? packSizes(this.lengths, batchTokens).map(sum);
    this.packs.set(batchTokens, known);
    return known;
  }

  /** Tokens of each pack of each wave. */
  waves(batchTokens: number, waveTokens: number): readonly (readonly number[])[] {
    const key = `${batchTokens} ${waveTokens}`;
    const known = this.inWaves.get(key) ?? packSizes(this.packed(batchTokens), waveTokens);
    this.inWaves.set(key, known);
    return known;
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

/** As {@link packRows}, of lengths. */
const packSizes = (lengths: readonly number[], budget: number): number[][] =>
  packRows(
    lengths.map((length) => ({ inputIds: { length } })),
    budget,
  ).map((pack) => pack.map(({ inputIds }) => inputIds.length));

/** Numbers of lanes to choose from: as many as give each the same number of threads. */
function laneChoices({ spec, rows, threads = 1 }: Job): number[] {
  if (spec.hidden > WIDEST_IN_LANES || 4 * rows.tokens * blockElements(spec) * spec.layers < WORTH_LANES) return [1];
  const most = Math.min(threads, rows.lengths.length, MOST_LANES);
  return Array.from({ length: most }, (_, i) => i + 1).filter((lanes) => threads % lanes === 0);
}

/** All there is to choose from, each with the shortest wave. */
function choices(job: Job): Choice[] {
  const { spec, block } = job;
  const widest = block.linears.reduce((most, l) => Math.max(most, l.inFeatures, l.outFeatures), 0);
  const longest = Math.max(MEDIUM_PACK, Math.min(LONGEST_PACK, Math.floor(LARGEST_TENSOR / FLOAT / widest)));
  const steps = Array.from({ length: Math.ceil((longest - SHORTEST_PACK) / PACK_STEP) }, (_, i) => SHORTEST_PACK + i * PACK_STEP);
  const sizes = job.batchTokens ? [job.batchTokens] : [longest, ...steps.toReversed(), 1];
  // Weights packed into every layer's own session take more than twice the memory and were no faster on packs of 512 tokens or more.
  const modes = job.weights ? [job.weights] : (["fed", "streamed"] as const);
  // A head that is read in its turn takes a layer's place.
  const headFits = spec.vocabulary * spec.hidden <= blockElements(spec);
  return modes.flatMap((weights) =>
    (weights === "streamed" && headFits ? [false, true] : [false]).flatMap((streamHead) =>
      TIERS.flatMap((tier) =>
        sizes.flatMap((batchTokens) =>
          (weights === "packed" ? [1] : laneChoices(job)).flatMap((lanes) =>
            (weights === "fed" && lanes > 1 ? [true, false] : [false]).map((ownWeights) => ({
              ...tier,
              weights,
              streamHead,
              batchTokens,
              // A streamed wave goes through all lanes.
              waveTokens: weights === "streamed" ? lanes * batchTokens : batchTokens,
              lanes,
              ownWeights,
            })),
          ),
        ),
      ),
    ),
  );
}

/** A choice as a plan; streamed, with the best wave that the memory allows. */
function widened(job: Job, choice: Choice, memory: number): Plan {
  // Whole packs for each lane: half of one is not begun.
  const step = choice.lanes * Math.max(choice.batchTokens, WAVE_STEP);
  const most = choice.weights === "streamed" ? Math.min(Math.ceil(job.rows.tokens / step), Math.floor(LONGEST_WAVE / step)) : 0;
  let best: Plan | undefined;
  for (const waveTokens of [choice.waveTokens, ...Array.from({ length: most }, (_, i) => (i + 1) * step)]) {
    const parts = memoryParts(job, { ...choice, waveTokens });
    if (best && total(parts) > memory) break;
    const plan = { ...choice, waveTokens, parts, memory: total(parts), work: workOf(job, { ...choice, waveTokens }) };
    if (best === undefined || plan.work < best.work) best = plan;
  }
  return best!;
}

/** Weights whose products the backward pass takes anew, as a share of the block's. */
function recomputed(block: Block, { retention, saved }: Pick<Choice, "retention" | "saved">, { hidden }: ModelSpec): number {
  if (retention === "inputs") return 1;
  if (saved === "linears") return 0;
  const elements = (linears: readonly LinearLayer[]): number => linears.reduce((sum, l) => sum + l.inFeatures * l.outFeatures, 0);
  const whole = block.linears.filter((l) => l.node.op === "linear");
  return elements(saved === "narrow" ? whole.filter((l) => l.outFeatures > hidden) : whole) / elements(whole);
}

function workOf({ spec, block, rows, threads = 1 }: Job, choice: Choice): number {
  const { batchTokens, waveTokens, weights, lanes, ownWeights } = choice;
  const waves = weights === "streamed" ? rows.waves(batchTokens, waveTokens) : [rows.packed(batchTokens)];
  const borrowing = lanes > 1 && !ownWeights ? BORROWING : 0;
  const waiting = borrowing + (spec.hidden > WIDEST_IN_LANES ? 0 : THREAD_CALLS * Math.log2(threads / lanes));
  const products = 2 + recomputed(block, choice, spec);
  // A forward pass that is repeated is called again; single products are taken again within the backward pass's own calls.
  const calls = choice.retention === "inputs" ? 3 : 2;
  const packTime = (tokens: number): number => products * (tokens + HALF_RATE) + calls * waiting;
  const passes = (sum(waves.map((packs) => timeInLanes(packs.map(packTime), lanes))) * lanes) / rows.tokens;
  // Each layer is read forward and backward; a head that is streamed costs itself and the layer whose place it takes.
  const readings = weights === "streamed" ? 2 + (choice.streamHead ? 2 / spec.layers : 0) : 0;
  return (passes + (readings * READ_COST * waves.length) / rows.tokens) / 2;
}

/** When the last lane is done, where each takes the next pack as soon as it is done with one. */
function timeInLanes(packs: readonly number[], lanes: number): number {
  const busyUntil = new Array<number>(lanes).fill(0);
  for (const time of packs) busyUntil[busyUntil.indexOf(Math.min(...busyUntil))]! += time;
  return Math.max(...busyUntil);
}

const total = (parts: MemoryParts): number => Object.values(parts).reduce((a: number, b: number) => a + b, 0);

/** Estimated peak resident memory of a run, in bytes. docs/performance.md compares it with measured peaks. */
function memoryParts(job: Job, choice: Choice): MemoryParts {
  const { spec, block, passes = 1 } = job;
  const { longest: longestRow, tokens, lengths } = job.rows;
  const { weights, streamHead, retention, saved, batchTokens, waveTokens, lanes, ownWeights } = choice;
  const packTokens = Math.max(Math.min(batchTokens, tokens), longestRow);
  // Of held weights each lane has a wave of its own; of streamed ones a row may still be longer than a lane's part.
  const inWave = Math.max(Math.min(weights === "streamed" ? waveTokens : lanes * waveTokens, tokens), lanes * longestRow);
  const layer = blockElements(spec) * FLOAT;
  const copies = ownWeights ? lanes : 1;
  const head = copies * spec.vocabulary * spec.hidden * FLOAT;
  // A packed session holds its weights in its own layout, once for the forward and once for the backward graph; making one takes
  // the model's bytes beside them.
  const layers = { fed: copies * spec.layers * layer, streamed: (lanes + 1) * layer, packed: 2 * spec.layers * layer + 3 * layer }[weights];

  const tapped = chooseLinears(block, job.matrices);
  const savedWidths = [projectStage, mixStage].flatMap((build) => {
    const stage = build(block, tapped, saved);
    return stage.saved.map((key) => stage.forward.outputs[key]!.shape[1] as number);
  });
  const attention = spec.headDim * (2 * spec.heads + 2 * spec.keyValueHeads);
  const products = attention + savedWidths.reduce((a, b) => a + b, 0);
  // Beside the layers' inputs: the residual stream and its cotangents, one for each pass that is in hand.
  const streams = spec.layers + 1 + Math.min(passes, passesTogether(spec, job.cosines));
  const kept = inWave * (streams * spec.hidden + (retention === "products" ? spec.layers * products : 0)) * FLOAT;
  // Within one layer's backward: about ten tensors of the MLP's width, a dozen of the stream's, cotangents and factors. Each
  // session's arena keeps its peak, and what it gives out is copied: twice that.
  const within = 2 * (10 * spec.intermediate + 14 * spec.hidden + 3 * attention) + (retention === "inputs" ? 2 * products : 0);
  // Soft caps are computed forward, and again backward with their slope.
  const capped = (cap: number): number => (cap === Number.POSITIVE_INFINITY ? 0 : 4);
  const scores = (5 + capped(spec.scoreCap)) * spec.heads * 1.5 * STRIP * longestRow;
  // Logits, exponentials, and those without the labels'; of the states, what the head pulls at them with, each way.
  const labels = Math.min(logitsAtOnce.labels, packTokens);
  const logits = labels * ((6 + capped(spec.logitCap)) * Math.min(logitsAtOnce.vocabulary, spec.vocabulary) + 10 * spec.hidden);

  const gradients = tapped.map((l) => {
    const shape = [l.outFeatures, l.inFeatures] as const;
    const byFactors = fromFactors(longestRow, shape);
    const side = byFactors ? longestRow : Math.min(...shape);
    return l.inFeatures * l.outFeatures * (byFactors ? 4 : 8) * (job.cosines ? 4 : 1) + 8 * side * side * 5;
  });
  return {
    runtime: BASE + (lanes - 1) * LANE_BASE + (weights === "streamed" ? READER_BASE : 0),
    layers,
    head: streamHead ? 0 : head,
    kept,
    passing: lanes * FRAGMENTATION * (packTokens * within + scores + logits) * FLOAT,
    statistics:
      lanes * FRAGMENTATION * 2 * gradients.reduce((a, b) => a + b, 0) +
      (job.cosines ? heldGradients(tapped, inWave, tokens / lengths.length) : 0),
  };
}

/** Gradients that cosines keep from layer to layer, of every row of a wave, bytes. */
const heldGradients = (tapped: readonly LinearLayer[], waveTokens: number, meanRow: number): number =>
  Math.ceil(waveTokens / meanRow) * tapped.reduce((sum, l) => sum + l.inFeatures * l.outFeatures * FLOAT, 0);
