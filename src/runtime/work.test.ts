import { describe, expect, it } from "vitest";
import { llamaConfig, llamaModel } from "../../test/specs.ts";
import { readModel } from "../models/registry.ts";
import { blockElements, rowFlops } from "./work.ts";

describe("the work of a row", () => {
  it("is four operations a weight and token, four a head weight and label, twelve a pair of tokens and feature", () => {
    const { spec } = llamaModel();
    const [tokens, labels] = [100, 7];
    const pairs = (tokens * tokens) / 2;
    const perLayer = 4 * tokens * blockElements(spec) + 12 * pairs * spec.heads * spec.headDim;
    expect(rowFlops(spec, tokens, labels)).toBe(perLayer * spec.layers + 4 * labels * spec.vocabulary * spec.hidden);
  });

  it("counts the pairs within a window only", () => {
    const work = (window: number | null, tokens: number) =>
      rowFlops(readModel(llamaConfig({ model_type: "mistral", sliding_window: window })).spec, tokens, 0);
    const { spec } = llamaModel();
    const tokens = 1000;
    for (const window of [10, 400, 999]) {
      let pairs = 0;
      for (let i = 0; i < tokens; i++) pairs += Math.min(i + 1, window);
      const saved = (work(null, tokens) - work(window, tokens)) / (12 * spec.layers * spec.heads * spec.headDim);
      // Pairs are counted as areas, which leaves out half of the diagonal, in either case.
      expect(Math.abs(saved - ((tokens * (tokens + 1)) / 2 - pairs))).toBeLessThanOrEqual(tokens / 2);
    }
    expect(work(tokens, tokens)).toBe(work(null, tokens));
  });
});
