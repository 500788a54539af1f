import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { seeded } from "./random.ts";
import { adjustedEffect, regress } from "./regression.ts";

const fixture = JSON.parse(readFileSync(new URL("../../test/fixtures/statistics.json", import.meta.url), "utf8")).regression;

describe("least squares with a leave-one-question-out jackknife", () => {
  it.each(fixture.cases as { stratum: string[] | null; covariates: number[][]; level: number; expected: Record<string, number>[] }[])(
    "gives statsmodels' coefficients, intervals and p values ($covariates.length covariates, strata $stratum.length)",
    ({ stratum, covariates, level, expected }) => {
      const { outcome, condition, question } = fixture;
      const estimates = regress({ outcome, predictors: [...covariates, condition], question, level, ...(stratum ? { stratum } : {}) });
      estimates.forEach((estimate, k) => {
        // 5e-11: normal equations of a few well-scaled columns against statsmodels' pseudo-inverse, in float64.
        for (const [name, value] of [
          ["value", estimate!.value],
          ["low", estimate!.interval!.low],
          ["high", estimate!.interval!.high],
          ["p", estimate!.p!],
        ] as const)
          expect(value, `${name} of predictor ${k}`).toBeCloseTo(expected[k]![name]!, 10);
        expect(estimate).toMatchObject({ method: "jackknife-t", n: 20, approximate: true });
      });
    },
  );

  it("finds the line through points that lie on one", () => {
    const x = [0, 1, 2, 3, 7];
    const [slope] = regress({ outcome: x.map((v) => 5 - 0.25 * v), predictors: [x], question: x });
    expect(slope!.value).toBeCloseTo(-0.25, 12);
    expect(slope!.interval!.high - slope!.interval!.low).toBeLessThan(1e-10);
  });

  it("is the closed form for the difference of two unpaired groups' means", () => {
    const groups = [
      [3, 5, 4, 8],
      [1, 0, 2, 1, 6],
    ];
    const outcome = groups.flat();
    const [estimate] = regress({ outcome, predictors: [[1, 1, 1, 1, 0, 0, 0, 0, 0]], question: outcome.map((_, i) => i) });
    // Leaving out one of n moves a group's mean by (mean − x)/(n − 1), so Σ (β₋ − β̂)² = Σ_k SS_k/(n_k − 1)²; the β₋ have the mean β̂.
    const squares = groups.map((g) => {
      const mean = g.reduce((a, b) => a + b) / g.length;
      return g.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (g.length - 1) ** 2;
    });
    const error = Math.sqrt((8 / 9) * (squares[0]! + squares[1]!));
    expect(estimate!.value).toBeCloseTo(5 - 2, 12);
    // t at 8 degrees of freedom, 97.5 %, from tables.
    expect(estimate!.interval!.high - 3).toBeCloseTo(2.306004135204166 * error, 10);
  });

  it("does not change with a stratum's own level, a predictor's origin, or the order of rows", () => {
    const { outcome, condition, question, cases } = fixture;
    const { stratum, covariates } = cases.at(-1);
    const plain = regress({ outcome, predictors: [...covariates, condition], question, stratum });
    const levels: Record<string, number> = { aqua: 3, ecqa: -7, creak: 100 };
    const order = [...outcome.keys()].reverse();
    const reordered = (values: number[]): number[] => order.map((row) => values[row]!);
    const moved = regress({
      outcome: reordered(outcome.map((y: number, i: number) => y + levels[stratum[i]]!)),
      predictors: [...covariates.map((x: number[]) => x.map((v) => v + 1000)), condition].map(reordered),
      question: order.map((row) => question[row]),
      stratum: order.map((row) => stratum[row]),
    });
    moved.forEach((estimate, k) => {
      // Adding 1000 rounds the predictor at 1e-13.
      expect(estimate!.value).toBeCloseTo(plain[k]!.value, 9);
      expect(estimate!.interval!.low).toBeCloseTo(plain[k]!.interval!.low, 9);
    });
  });

  it("gives null for a predictor that strata and earlier predictors already hold, and the others all the same", () => {
    const random = seeded("collinear");
    const x = Array.from({ length: 12 }, () => random.normal());
    const outcome = x.map((v) => 2 * v + random.normal());
    const stratum = x.map((_, i) => i % 2);
    const question = x.map((_, i) => i);
    const [first, twice, ofStratum, constant] = regress({
      outcome,
      predictors: [x, x.map((v) => 3 - 2 * v), stratum, x.map(() => 0.1)],
      question,
      stratum,
    });
    expect([twice, ofStratum, constant]).toEqual([null, null, null]);
    expect(first).toEqual(regress({ outcome, predictors: [x], question, stratum })[0]);
  });

  it("has no interval where one question alone tells a predictor from the others", () => {
    const outcome = [1, 2, 4, 3, 5];
    const [x, only] = regress({
      outcome,
      predictors: [
        [1, 2, 3, 4, 5],
        [0, 0, 1, 0, 0],
      ],
      question: [0, 1, 2, 3, 4],
    });
    expect(x!.interval).not.toBeNull();
    expect(only).toMatchObject({ interval: null, p: null });
    expect(regress({ outcome, predictors: [[1, 2, 3, 4, 5]], question: [0, 0, 0, 0, 0] })[0]).toMatchObject({ interval: null, n: 1 });
  });
});

describe("a regression refuses", () => {
  it("numbers that are not finite, and says where", () => {
    expect(() => regress({ outcome: [1, 2, 3], predictors: [[0, 1, Math.log(0)]], question: [0, 1, 2] })).toThrow(
      "predictors[0] of a regression is -Infinity in row 2",
    );
  });
  it("a condition without rows", () => {
    const all = { outcome: [1, 2], condition: [1, 1], covariates: [[1, 2]], question: [0, 1] };
    expect(() => adjustedEffect(all)).toThrow("condition 0 has none");
  });
});

describe("an adjusted effect", () => {
  const random = seeded("adjusted");
  const question = Array.from({ length: 80 }, (_, i) => i >> 1);
  const condition = question.map((_, i) => i % 2);

  it("finds what was planted, where labels overlap, without noise", () => {
    const logLabels = condition.map((c) => Math.log(5 + random.below(60) * (1 + c)));
    const outcome = logLabels.map((x, i) => 1 + 0.4 * condition[i]! - 0.37 * x);
    const { effect, slopes, reason, commonSupport } = adjustedEffect({ outcome, condition, covariates: [logLabels], question });
    expect(effect!.value).toBeCloseTo(0.4, 11);
    expect(slopes[0]!.value).toBeCloseTo(-0.37, 11);
    expect(reason).toBeNull();
    expect(commonSupport).toBe(true);
  });

  it("says that no effect can be told where the covariate tells the conditions apart exactly", () => {
    const { effect, reason, support } = adjustedEffect({
      outcome: question,
      condition,
      covariates: [condition.map((c) => 1 + c)],
      question,
    });
    expect(effect).toBeNull();
    expect(reason).toContain("apart exactly");
    expect(support).toBe(0);
  });

  it("needs no slope where labels are held fixed: all rows with as many", () => {
    const outcome = condition.map((c) => 0.3 * c + random.normal());
    const { effect, slopes, support } = adjustedEffect({ outcome, condition, covariates: [condition.map(() => Math.log(3))], question });
    const mean = (k: number): number => outcome.filter((_, i) => condition[i] === k).reduce((a, b) => a + b) / 40;
    expect(slopes).toEqual([null]);
    expect(effect!.value).toBeCloseTo(mean(1) - mean(0), 12);
    expect(support).toBe(1);
  });

  it("judges common support by the smaller share of rows within the other's range, stratum by stratum", () => {
    const at = (labels: readonly number[], stratum?: readonly number[]): number =>
      adjustedEffect({
        outcome: labels.map((x, i) => x + Math.sin(i)),
        condition: labels.map((_, i) => (i < labels.length / 2 ? 0 : 1)),
        covariates: [labels],
        question: labels.map((_, i) => i),
        ...(stratum ? { stratum } : {}),
      }).support;
    expect(at([1, 2, 3, 4, 3, 4, 5, 6])).toBe(0.5);
    // One long answer makes the shorter condition's range wide, yet only that one lies among the longer ones.
    expect(at([1, 2, 3, 100, 50, 60, 120, 140])).toBe(0.25);
    expect(at([1, 2, 3, 4, 5, 6, 7, 8])).toBe(0);
    // Pooled, the ranges overlap; within each stratum they do not meet.
    expect(at([1, 2, 3.5, 5, 3, 4, 9, 8], [0, 0, 1, 1, 0, 0, 1, 1])).toBe(0);
    expect(at([1, 2, 3.5, 5, 3, 4, 9, 8])).toBe(0.5);
  });
});
