import { availableParallelism } from "node:os";
import { LayergradError } from "../errors.ts";
import type { MatrixChoice } from "../models/block.ts";
import { defaultMemory } from "../run/measuring.ts";
import type { Model } from "../run/open-model.ts";
import { planText } from "../runtime/plan-text.ts";
import { comparePlans, type Plan } from "../runtime/planner.ts";
import { rowFlops } from "../runtime/work.ts";

/** Rows of one length that a plan is made for. */
export interface ExampleRows {
  readonly tokens: number;
  readonly labels: number;
}

/** How many rows a plan is made for: with fewer there is less to share a reading of the weights. */
const ROWS = 100;

/** How a run over rows of one length would use the machine. */
export interface ExamplePlan extends ExampleRows {
  readonly rows: number;
  /** Bytes it may take. */
  readonly allowed: number;
  /** Absent where that is too little. */
  readonly plan?: Plan;
  /** The plan in words, or why there is none. */
  readonly lines: readonly string[];
}

/**
 * Plans runs of 100 rows, one for each length.
 *
 * @param rate - The machine's float32 matrix product rate, FLOP/s.
 */
export function examplePlans(
  { family, spec, checkpoint }: Model,
  examples: readonly ExampleRows[],
  {
    matrices,
    memory: allowed = defaultMemory(),
    threads = availableParallelism(),
  }: { readonly matrices: MatrixChoice; readonly memory?: number | undefined; readonly threads?: number | undefined },
  rate: number,
): ExamplePlan[] {
  const stored = [...checkpoint.tensors].filter(([name]) => name.startsWith("model.layers."));
  const storedBytes = stored.reduce((sum, [, { byteLength }]) => sum + byteLength, 0);
  return examples.map(({ tokens, labels }) => {
    const example = { tokens, labels, rows: ROWS, allowed };
    try {
      const lengths = new Array<number>(ROWS).fill(tokens);
      const planning = comparePlans({ family, spec, matrices, cosines: false, memory: allowed, threads, lengths });
      const lines = planText(planning, { memory: allowed, storedBytes, secondsAtBest: rowFlops(spec, tokens, labels) / rate });
      return { ...example, plan: planning.plan, lines };
    } catch (error) {
      if (!(error instanceof LayergradError && error.kind === "resource")) throw error;
      return { ...example, lines: [error.message] };
    }
  });
}

/** The plans as text, a paragraph each. */
export const describePlans = (plans: readonly ExamplePlan[]): string =>
  plans
    .map(({ rows, tokens, labels, lines }) =>
      [`Plan for ${rows} rows of ${tokens} tokens, ${labels} of them labels:`, ...lines.map((line) => `  ${line}`)].join("\n"),
    )
    .join("\n\n");
