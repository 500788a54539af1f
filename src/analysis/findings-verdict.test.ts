import { describe, expect, it } from "vitest";
import { agreement, familyQ, judgeFamily, list, type ProjectionTest, projections, type Verdict } from "./findings-verdict.ts";

/** Tests of the four projections with these values and q values. */
const tests = (values: readonly number[], q: readonly (number | null)[]): ProjectionTest[] =>
  values.map((value, i) => ({ projection: projections[i]!, value, interval: null, level: 0.95, p: q[i]!, q: q[i]!, method: "t", n: 9 }));

const verdict = (values: readonly number[], q: readonly (number | null)[], claimed: Parameters<typeof judgeFamily>[1] = "above") =>
  judgeFamily(tests(values, q), claimed, 1).verdict;

describe("a family's verdict", () => {
  it("takes all four projections, significant and on one side", () => {
    expect(verdict([2, 2, 2, 2], [0.05, 0.05, 0.05, 0.05])).toBe("supported");
    expect(verdict([0.5, 0.5, 0.5, 0.5], [0.01, 0.01, 0.01, 0.05])).toBe("contradicted");
  });

  it("is undecided where one is not significant, on the other side, or missing", () => {
    expect(verdict([2, 2, 2, 2], [0.01, 0.01, 0.01, 0.0501])).toBe("undecided");
    expect(verdict([2, 2, 2, 0.5], [0.01, 0.01, 0.01, 0.01])).toBe("undecided");
    expect(verdict([2, 2, 2, 2], [0.01, 0.01, 0.01, null])).toBe("undecided");
    expect(verdict([2, 2, 2], [0.01, 0.01, 0.01])).toBe("undecided");
  });

  it("cannot be contradicted where the claim is that something is detected", () => {
    expect(verdict([0.5, 0.5, 0.5, 0.5], [0.01, 0.01, 0.01, 0.01], "detected")).toBe("undecided");
  });

  it("of an absence is supported where nothing is significant and contradicted where all is", () => {
    expect(verdict([1, 1, 1, 1], [0.06, 1, 1, 1], "not detected")).toBe("supported");
    expect(verdict([1, 1, 1, 1], [0.01, 0.01, 0.01, 0.01], "not detected")).toBe("contradicted");
    expect(verdict([1, 1, 1, 1], [0.01, 1, 1, 1], "not detected")).toBe("undecided");
  });

  it("of an absence is undecided where so few questions were swapped that no p can be 0.05: five, of 16 outcomes each", () => {
    const judged = (n: number) =>
      judgeFamily(
        tests([1, 1, 1, 1], [1, 1, 1, 1]).map((test) => ({ ...test, n })),
        "not detected",
        0,
      );
    expect([5, 6].map((n) => judged(n).verdict)).toEqual(["undecided", "supported"]);
    expect(judged(5).reason).toBe("too few questions for chance to be exceeded");
  });
});

it("q values are those of the tests that gave a p", () => {
  expect(familyQ([0.01, null, 0.04, 0.03])).toEqual([0.03, null, 0.04, 0.04]);
});

describe("several verdicts together", () => {
  const of = (...verdicts: readonly Verdict[]) =>
    agreement(verdicts.map((v, i) => ({ name: `part ${i}`, verdict: v, reason: `reason ${i}` })));

  it("are what all of them say, else undecided", () => {
    expect(of("supported", "supported").verdict).toBe("supported");
    expect(of("not tested", "not tested").verdict).toBe("not tested");
    expect(of("supported", "contradicted")).toEqual({
      verdict: "undecided",
      reason: "part 0: supported, reason 0; part 1: contradicted, reason 1",
    });
    expect(of("supported", "not tested").verdict).toBe("undecided");
    expect(of().verdict).toBe("not tested");
  });

  it("let one that could not have contradicted stand aside", () => {
    const contradicted = { name: "a", verdict: "contradicted", reason: "" } as const;
    const undecided = { name: "b", verdict: "undecided", reason: "" } as const;
    expect(agreement([contradicted, { ...undecided, irrefutable: true }]).verdict).toBe("contradicted");
    expect(agreement([contradicted, undecided]).verdict).toBe("undecided");
  });
});

it("lists are written as people write them", () => {
  expect([list([]), list(["q"]), list(["q", "v"]), list(["none", "a", "b"])]).toEqual(["", "Q", "Q and V", "none, a and b"]);
});
