import { describe, expect, it } from "vitest";
import { llamaConfig, realConfigs } from "../../test/specs.ts";
import { LayergradError } from "../errors.ts";
import { readModel } from "../models/registry.ts";
import { packRows } from "./packing.ts";
import { planText } from "./plan-text.ts";
import { comparePlans, gigabytes, leastMemory, type Plan, type PlanRequest, planRun } from "./planner.ts";

const request = (config: Readonly<Record<string, unknown>>, changes: Partial<PlanRequest> = {}): PlanRequest => ({
  ...readModel(config),
  matrices: "reference",
  cosines: false,
  lengths: [700],
  memory: Number.POSITIVE_INFINITY,
  ...changes,
});
const models = Object.entries(realConfigs);

/** So many rows of one length, after one that may be longer. */
const rowsOf = (count: number, tokens: number, longest = tokens): number[] => [longest, ...new Array<number>(count - 1).fill(tokens)];

function refusalOf(plan: () => Plan): LayergradError {
  try {
    plan();
  } catch (error) {
    if (error instanceof LayergradError) return error;
    throw error;
  }
  throw new Error("no refusal");
}

/** Every plan that less and less memory leads to, from the fastest to the most frugal. */
function ladder(config: Readonly<Record<string, unknown>>, changes: Partial<PlanRequest> = {}): Plan[] {
  const plans: Plan[] = [];
  for (let memory = Number.POSITIVE_INFINITY; ; memory = plans.at(-1)!.memory - 1) {
    try {
      plans.push(planRun(request(config, { ...changes, memory })));
    } catch {
      return plans;
    }
  }
}

describe("a plan", () => {
  it.each(models)("of %s with all the memory it wants keeps every product, feeds the weights and packs rows long", (_, config) => {
    // No tensor of a pack above 30 MB: Llama-2-7B's MLP is 11008 wide, Qwen2-1.5B's 8960.
    const batchTokens = Math.min(1024, Math.floor(7.5e6 / Number(config.intermediate_size)));
    expect(planRun(request(config))).toMatchObject({ retention: "products", saved: "linears", weights: "fed", batchTokens });
  });

  it.each(models)("of %s never takes more than it may, and what it takes is enough for it", (_, config) => {
    const plans = ladder(config);
    expect(plans.length).toBeGreaterThan(2);
    for (const plan of plans) expect(planRun(request(config, { memory: plan.memory }))).toEqual(plan);
  });

  it.each(models)("of %s gives up speed step by step, and in the end holds two layers and each layer's input", (_, config) => {
    const plans = ladder(config, { lengths: rowsOf(100, 700) });
    expect(plans.at(-1)).toMatchObject({ retention: "inputs", weights: "streamed" });
    expect(plans.map((p) => p.work)).toEqual(plans.map((p) => p.work).toSorted((a, b) => a - b));
  });

  it.each(models)("of %s holds the weights where they fit with all products, and never reads them for less than a pack", (_, config) => {
    const plans = ladder(config, { lengths: rowsOf(100, 700) });
    const best = planRun(request(config, { weights: "fed" }));
    for (const plan of plans) {
      if (plan.memory >= best.memory) expect(plan.weights).toBe("fed");
      expect(plan.waveTokens).toBeGreaterThanOrEqual(plan.batchTokens);
    }
  });

  it("of a narrow model deals few rows out evenly: no engine is idle while another has a whole pack to do", () => {
    const lengths = rowsOf(48, 139);
    const plan = planRun(request(realConfigs.smollm2, { lengths, threads: 2 }));
    expect(plan.lanes).toBe(2);
    const packs = packRows(
      lengths.map((length) => ({ inputIds: { length } })),
      plan.batchTokens,
    ).map((pack) => pack.length);
    expect(packs.length % 2).toBe(0);
    expect(Math.max(...packs) - Math.min(...packs)).toBeLessThanOrEqual(1);
    // In packs of 1,024 tokens, seven rows each, one engine would have four and the other three.
    expect(plan.work).toBeLessThan(planRun(request(realConfigs.smollm2, { lengths, threads: 2, batchTokens: 1024 })).work);
  });

  it("of a narrow model gives each engine weights of its own where the memory allows, and one copy to all or one engine all threads where not", () => {
    const asked = { lengths: rowsOf(48, 139), threads: 2 };
    const of = (memory: number) => planRun(request(realConfigs.smollm2, { ...asked, memory }));
    const block = 2 * 576 * 64 * (9 + 3) + 3 * 576 * 1536;
    const free = of(Number.POSITIVE_INFINITY);
    expect(free).toMatchObject({ lanes: 2, ownWeights: true, weights: "fed" });
    expect(free.parts.layers).toBe(2 * 30 * block * 4);
    expect(free.parts.head).toBe(2 * 49_152 * 576 * 4);
    const tight = of(1.5e9);
    expect(tight).toMatchObject({ ownWeights: false });
    expect(tight.work).toBeGreaterThan(free.work);
  });

  it("of Llama-2-7B with 12 GB streams the weights for a thousand tokens and more at a time, and keeps every product", () => {
    const plan = planRun(request(realConfigs.llama2, { lengths: rowsOf(100, 140, 250), memory: 12e9 }));
    expect(plan).toMatchObject({ weights: "streamed", retention: "products", saved: "linears" });
    expect(plan.waveTokens).toBeGreaterThan(1000);
    expect(plan.work).toBeLessThan(1.25);
  });

  it("reads a small head in a layer's place, and holds a large one", () => {
    const least = (config: Readonly<Record<string, unknown>>) => ladder(config).at(-1)!;
    expect(least(realConfigs.llama2)).toMatchObject({ weights: "streamed", streamHead: true });
    expect(least(realConfigs.qwen2)).toMatchObject({ weights: "streamed", streamHead: false });
  });

  it("of a sweep takes the memory of the passes that are in hand together", () => {
    const of = (passes: number) => planRun(request(realConfigs.smollm2, { passes })).parts.kept;
    expect(of(11) - of(1)).toBe(10 * 4 * 576 * 700);
    // No more than there are layers.
    expect(of(91)).toBe(of(30));
  });

  it("keeps the user's own choices, whatever is faster", () => {
    const plans = ladder(realConfigs.smollm2, { batchTokens: 2000, weights: "packed" });
    for (const plan of plans) expect(plan).toMatchObject({ batchTokens: 2000, weights: "packed" });
  });
});

describe("the memory that a plan is thought to take", () => {
  const memory = (config: Readonly<Record<string, unknown>>, changes: Partial<PlanRequest> = {}) =>
    planRun(request(config, changes)).memory;

  it.each(models)("of %s is at least that of its weights and embeddings", (_, config) => {
    const { spec } = readModel(config);
    const d = spec.headDim;
    const block = spec.hidden * d * 2 * (spec.heads + spec.keyValueHeads) + 3 * spec.hidden * spec.intermediate;
    const head = spec.vocabulary * spec.hidden;
    for (const { weights, streamHead, memory } of ladder(config))
      expect(memory).toBeGreaterThan(4 * (weights === "streamed" ? 2 * block + (streamHead ? 0 : head) : spec.layers * block + head));
    const held = ladder(config, { weights: "fed" }).at(-1)!.memory;
    expect(held).toBeLessThan(6 * (spec.layers * block + head) + 1e9);
    if (spec.layers * block > 1e9) expect(ladder(config).at(-1)!.memory).toBeLessThan(held / 2);
  });

  it("grows with the longest row, the layers, the matrices and the cosines", () => {
    const { smollm2 } = realConfigs;
    const base = memory(smollm2);
    expect(memory(smollm2, { lengths: [1500] })).toBeGreaterThan(base);
    expect(memory({ ...smollm2, num_hidden_layers: 31 })).toBeGreaterThan(base);
    expect(memory(smollm2, { matrices: "all" })).toBeGreaterThan(base);
    expect(memory(smollm2, { cosines: true })).toBeGreaterThan(base);
    expect(memory(smollm2, { weights: "packed" })).toBeGreaterThan(base);
  });

  it("is that of the longest row where the packs are shorter", () => {
    const of = (batchTokens: number) => memory(realConfigs.smollm2, { batchTokens, lengths: rowsOf(10, 700) });
    expect(of(1)).toBe(of(700));
    expect(of(701)).toBeGreaterThan(of(700));
  });
});

describe("a refusal", () => {
  it.each(models)("of %s names the least memory that would do: with it there is a plan, with 0.1 GB less there is none", (_, config) => {
    const error = refusalOf(() => planRun(request(config, { memory: 1e8 })));
    expect(error.kind).toBe("resource");
    expect(error.message).toMatch(
      /^This run needs at least \d+\.\d GB of memory and may use 0\.1 GB: give it more with --memory, or shorten the longest row \(700 tokens\) with --max-length\.$/,
    );
    const least = Number(/at least (\d+\.\d) GB/.exec(error.message)![1]) * 1e9;
    const plan = planRun(request(config, { memory: least }));
    expect(plan.memory).toBeLessThanOrEqual(least);
    expect(refusalOf(() => planRun(request(config, { memory: least - 1e8 }))).message).toBe(
      error.message.replace("0.1 GB", gigabytes(least - 1e8)),
    );
  });

  it("names what `inspect` calls the least, which depends on the block and the rows alone", () => {
    const asked = request(realConfigs.qwen2);
    expect(refusalOf(() => planRun({ ...asked, memory: 1 })).message).toContain(gigabytes(leastMemory(asked)));
  });

  it("names the least with the user's own token budget, where one is given", () => {
    const lengths = rowsOf(114, 700);
    const free = refusalOf(() => planRun(request(realConfigs.llama2, { memory: 1e8, lengths })));
    const fixed = refusalOf(() => planRun(request(realConfigs.llama2, { memory: 1e8, lengths, batchTokens: 8000 })));
    const least = (error: LayergradError) => Number(/at least (\d+\.\d) GB/.exec(error.message)![1]);
    expect(least(fixed)).toBeGreaterThan(least(free));
    expect(planRun(request(realConfigs.llama2, { memory: least(fixed) * 1e9, lengths, batchTokens: 8000 })).batchTokens).toBe(8000);
  });
});

describe("a plan in words", () => {
  const asked = request(realConfigs.llama2, { lengths: rowsOf(100, 140, 250), memory: 12e9 });
  const lines = planText(comparePlans(asked), { memory: 12e9, storedBytes: 13e9, secondsAtBest: 10 });

  it("says what is held, what is read, what is kept, and what each part takes", () => {
    expect(lines[0]).toMatch(/^weights streamed, .*, 26\.0 GB read for every \d+ tokens that go through together$/);
    expect(lines[1]).toMatch(/^every product kept; packs of \d+ tokens/);
    expect(lines[2]).toMatch(/^1[12]\.\d GB of 12\.0 GB: layers 1\.7 GB, .*kept for the backward pass \d/);
    expect(lines[3]).toMatch(/^1\d s a row, the passes about 1\.\d\d times/);
  });

  it("says how many engines go side by side: in narrow models as many as there are threads, in wide ones one", () => {
    const said = (config: Readonly<Record<string, unknown>>) =>
      planText(comparePlans(request(config, { lengths: rowsOf(1000, 140, 200), threads: 2 })), {
        memory: 1e12,
        storedBytes: 1e9,
      })[1];
    expect(said(realConfigs.smollm2)).toMatch(/; 2 engines side by side, each with its own weights$/);
    expect(said(realConfigs.llama2)).not.toContain("side by side");
  });

  it("names what would be faster and how much that takes, each kind once with the least of it", () => {
    const held = planRun({ ...asked, memory: Number.POSITIVE_INFINITY });
    const faster = lines.slice(4);
    expect(faster.filter((line) => line.includes("weights held in memory, every product kept"))).toHaveLength(1);
    for (const line of faster) {
      const takes = Number(/^faster, but takes (\d+\.\d) GB/.exec(line)![1]) * 1e9;
      expect(takes).toBeGreaterThan(12e9);
      expect(takes).toBeLessThanOrEqual(Math.ceil(held.memory / 1e8) * 1e8);
    }
  });
});

describe("sizes in words", () => {
  it("are rounded up to a tenth of 10⁹ bytes, so that naming one as the limit allows what it was made from", () => {
    expect(gigabytes(8.5e9)).toBe("8.5 GB");
    expect(gigabytes(8.5e9 + 1)).toBe("8.6 GB");
    expect(gigabytes(1)).toBe("0.1 GB");
    for (const bytes of [123_456_789, 1e9, 3_333_333_333]) expect(Number.parseFloat(gigabytes(bytes)) * 1e9).toBeGreaterThanOrEqual(bytes);
  });
});

describe("a model of a few thousand parameters", () => {
  it("runs in half a gigabyte", () => {
    expect(planRun(request(llamaConfig(), { memory: 5e8 })).retention).toBe("products");
  });
});
