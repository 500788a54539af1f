import { describe, expect, it } from "vitest";
import { gaussian } from "../../test/contract/primitive-cases.ts";
import { realConfigs } from "../../test/specs.ts";
import { headWeights } from "../models/head.ts";
import { readModel } from "../models/registry.ts";
import { type Backend, interpreterBackend } from "./backend.ts";
import { onnxRuntime } from "./onnx-runtime.ts";
import { type LogitsAtOnce, OutputHead } from "./output-head.ts";

const HIDDEN = 4;

interface HeadCase {
  readonly vocabulary: number;
  readonly labels: readonly number[];
  /** Entries of the head's weight are whole multiples of 2⁻¹⁰ with about this deviation. */
  readonly spread: number;
  readonly logitCap?: number;
  /** What the one label's logit has over the others. */
  readonly lead?: number;
}

/** States of ±1, whose norm is theirs exactly, and rows of short fractions: every logit is exact in float32, and what is off are the sums. */
function setUp({ vocabulary, labels, spread, lead = 0 }: HeadCase) {
  const next = gaussian(5);
  const x = Float32Array.from({ length: labels.length * HIDDEN }, (_, i) => (i % HIDDEN === 0 || (i * 7) % 3 > 0 ? 1 : -1));
  const head = Float32Array.from({ length: vocabulary * HIDDEN }, () => Math.round(next() * spread * 1024) / 1024);
  for (const id of labels) head[id * HIDDEN]! += lead;
  return {
    x: { shape: [labels.length, HIDDEN], data: x },
    weights: {
      [headWeights.norm]: { shape: [HIDDEN], data: new Float32Array(HIDDEN).fill(1) },
      [headWeights.head]: { shape: [vocabulary, HIDDEN], data: head },
    },
  };
}

const specOf = ({ vocabulary, logitCap = Number.POSITIVE_INFINITY }: HeadCase) => ({
  ...readModel(realConfigs.smollm2).spec,
  hidden: HIDDEN,
  vocabulary,
  normEps: 0,
  logitCap,
});

async function measured(headCase: HeadCase, backend: Backend, atOnce?: LogitsAtOnce) {
  const { x, weights } = setUp(headCase);
  const head = await OutputHead.open(backend, specOf(headCase), atOnce);
  const result = await head.run(x, headCase.labels, weights);
  await head.release();
  return result;
}

/** Loss and cotangent by their definitions, in double precision; 1 less the label's share as the sum of the others'. */
function defined(headCase: HeadCase) {
  const { x, weights } = setUp(headCase);
  const { logitCap: cap = Number.POSITIVE_INFINITY, labels, vocabulary } = headCase;
  const rows = weights[headWeights.head]!.data;
  return labels.map((label, n) => {
    const state = Array.from(x.data.subarray(n * HIDDEN, (n + 1) * HIDDEN));
    const dots = Array.from({ length: vocabulary }, (_, j) => state.reduce((sum, v, i) => sum + v * rows[j * HIDDEN + i]!, 0));
    const logits = dots.map((u) => (cap === Number.POSITIVE_INFINITY ? u : cap * Math.tanh(u / cap)));
    const slopes = dots.map((u) => (cap === Number.POSITIVE_INFINITY ? 1 : 1 - Math.tanh(u / cap) ** 2));
    const top = logits.reduce((a, b) => Math.max(a, b));
    const weightsOf = logits.map((z) => Math.exp(z - top));
    const others = weightsOf.reduce((sum, w, j) => sum + (j === label ? 0 : w), 0);
    const total = others + weightsOf[label]!;
    const pulls = weightsOf.map((w, j) => ((j === label ? -others : w) / total) * slopes[j]!);
    const g = state.map((_, i) => pulls.reduce((sum, p, j) => sum + p * rows[j * HIDDEN + i]!, 0));
    // Through the norm of a state of ±1: g − x·mean(g∘x).
    const along = g.reduce((sum, v, i) => sum + v * state[i]!, 0) / HIDDEN;
    return { loss: Math.log1p(others / weightsOf[label]!), ct: g.map((v, i) => v - state[i]! * along) };
  });
}

/** The largest error of a loss, relative to it, and of a cotangent's entry, relative to the label's largest. */
async function worst(headCase: HeadCase, backend: Backend, atOnce?: LogitsAtOnce) {
  const { losses, ct } = await measured(headCase, backend, atOnce);
  const errors = defined(headCase).map((expected, n) => {
    const scale = Math.max(...expected.ct.map(Math.abs));
    return {
      loss: Math.abs(losses[n]! - expected.loss) / expected.loss,
      ct: Math.max(...expected.ct.map((v, i) => Math.abs(ct.data[n * HIDDEN + i]! - v))) / scale,
    };
  });
  return { loss: Math.max(...errors.map((e) => e.loss)), ct: Math.max(...errors.map((e) => e.ct)) };
}

const labelsOf = (vocabulary: number): readonly number[] =>
  [0, vocabulary - 1, 3, 500, vocabulary >> 1, 4095, 4096].filter((id) => id < vocabulary);

const cases: readonly (HeadCase & { readonly title: string })[] = [1024, 8209, 16_384].flatMap((vocabulary) => [
  { title: `${vocabulary} logits, exp over 13 orders of magnitude`, vocabulary, labels: labelsOf(vocabulary), spread: 2 },
  { title: `${vocabulary} logits, all of one order`, vocabulary, labels: labelsOf(vocabulary), spread: 0.125 },
  { title: `${vocabulary} logits, capped`, vocabulary, labels: labelsOf(vocabulary), spread: 2, logitCap: 5 },
  { title: `${vocabulary} logits, the label far ahead`, vocabulary, labels: [vocabulary - 7], spread: 0.125, lead: 32 },
]);

describe("the output head by the interpreter", () => {
  it.each(cases.filter(({ vocabulary }) => vocabulary < 10_000))(
    "$title: agrees with the definition in double precision",
    async (headCase) => {
      const { loss, ct } = await worst(headCase, interpreterBackend);
      expect(loss).toBeLessThan(1e-12);
      expect(ct).toBeLessThan(1e-10);
    },
  );
});

describe("the output head by ONNX Runtime", () => {
  const rounding = 2 ** -24;
  const expectClose = async (headCase: HeadCase, atOnce?: LogitsAtOnce): Promise<void> => {
    const { loss, ct } = await worst(headCase, onnxRuntime(), atOnce);
    // An exponential's own error; sums go by parts, whose roundings cancel in part. 0.7 at worst.
    expect(loss).toBeLessThan(2 * rounding);
    // A product over the vocabulary adds its terms up one after another: a random walk of so many roundings.
    expect(ct).toBeLessThan(Math.sqrt(headCase.vocabulary) * rounding);
  };

  it.each(cases)("$title: agrees with the definition to float32's roundings", async (headCase) => {
    await expectClose(headCase);
  });

  it.each([
    { labels: 1, vocabulary: 8209 },
    { labels: 3, vocabulary: 1000 },
    { labels: 100, vocabulary: 100 },
    { labels: 2, vocabulary: 100_000 },
  ])("does so with $labels labels and $vocabulary entries of the vocabulary at one time", async (atOnce) => {
    await expectClose(cases.find(({ vocabulary }) => vocabulary === 8209)!, atOnce);
  });

  it("gives NaN for a label whose logits are not all finite, and for that label alone", async () => {
    const headCase = cases[0]!;
    const { x, weights } = setUp(headCase);
    x.data[2 * HIDDEN] = Number.NaN;
    const head = await OutputHead.open(onnxRuntime(), specOf(headCase));
    const { losses } = await head.run(x, headCase.labels, weights);
    await head.release();
    expect(Array.from(losses, Number.isNaN)).toEqual(headCase.labels.map((_, i) => i === 2));
  });
});
