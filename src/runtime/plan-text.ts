import { gigabytes, type MemoryParts, type Plan, type Planning } from "./planner.ts";

/** What a plan was made for. */
export interface PlanContext {
  /** Bytes the process may use. */
  readonly memory: number;
  /** Bytes of the layers' weights in the model's files. */
  readonly storedBytes: number;
  /** Seconds that a row would take at {@link Plan.work} 1; absent where the machine's product rate is not known. */
  readonly secondsAtBest?: number;
}

const partNames: Readonly<Record<keyof MemoryParts, string>> = {
  layers: "layers",
  head: "head",
  kept: "kept for the backward pass",
  passing: "one layer's work",
  statistics: "statistics",
  runtime: "runtime",
};

const retained = ({ retention, saved }: Plan): string => {
  if (retention === "inputs") return "only each layer's input kept, the rest computed again";
  return { linears: "every product kept", narrow: "all but the MLP's inner products kept", nothing: "queries, keys and values kept" }[
    saved
  ];
};

const weightsOf = ({ weights }: Plan): string =>
  ({ fed: "weights held in memory", streamed: "weights streamed", packed: "weights packed" })[weights];

const headOf = ({ weights, streamHead }: Plan): string =>
  weights === "streamed" ? `, ${streamHead ? "with the output head" : "the output head held"}` : "";

const packsOf = ({ batchTokens }: Plan): string => (batchTokens === 1 ? "each row by itself" : `packs of ${batchTokens} tokens`);

const lanesOf = ({ lanes, ownWeights }: Plan): string =>
  lanes === 1 ? "" : `; ${lanes} engines side by side${ownWeights ? ", each with its own weights" : ""}`;

/** Plans that are named as too large: the least ways to be faster. */
const MOST_ALTERNATIVES = 3;

/** What kind of plan it is, whatever its head and the lengths of its packs and waves. */
const sortOf = (plan: Plan): string => `${weightsOf(plan)}, ${retained(plan)}`;

/** A plan in lines: what is done, what it takes, and what was passed over for its size. */
export function planText({ plan, tooLarge }: Planning, { memory, storedBytes, secondsAtBest }: PlanContext): string[] {
  const wave =
    plan.weights === "streamed" ? `, ${gigabytes(2 * storedBytes)} read for every ${plan.waveTokens} tokens that go through together` : "";
  const parts = (Object.keys(partNames) as (keyof MemoryParts)[]).filter((part) => plan.parts[part] >= 5e7);
  const time = secondsAtBest === undefined ? "" : `${(secondsAtBest * plan.work).toPrecision(2)} s a row, `;
  const cheapest = new Map<string, Plan>();
  for (const other of tooLarge) {
    const sort = sortOf(other);
    if (sort !== sortOf(plan) && other.memory < (cheapest.get(sort)?.memory ?? Number.POSITIVE_INFINITY)) cheapest.set(sort, other);
  }
  const faster = [...cheapest].sort(([, a], [, b]) => a.memory - b.memory).slice(0, MOST_ALTERNATIVES);
  return [
    `${weightsOf(plan)}${headOf(plan)}${wave}`,
    `${retained(plan)}; ${packsOf(plan)}${lanesOf(plan)}`,
    `${gigabytes(plan.memory)} of ${gigabytes(memory)}: ${parts.map((part) => `${partNames[part]} ${gigabytes(plan.parts[part])}`).join(", ")}`,
    `${time}the passes about ${plan.work.toFixed(2)} times what their products alone would take`,
    ...faster.map(([sort, { memory: takes }]) => `faster, but takes ${gigabytes(takes)}: ${sort}`),
  ];
}
