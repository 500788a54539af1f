import { describe, expect, it } from "vitest";
import { shellWord } from "../../src/report/commands.ts";
import { rounded, short, slug } from "../../src/report/format.ts";
import { conditionOf, labelsInWords } from "../../src/report/runs.ts";

describe("rounded", () => {
  it("keeps five significant digits of any size, so is never off by more than 5e-5 of the number", () => {
    for (const x of [Math.PI, -Math.E * 1e9, 1.23456789e-12, 99999.6]) {
      expect(Math.abs(rounded(x)! / x - 1)).toBeLessThan(5e-5);
      expect(
        String(rounded(x))
          .replace(/e.*|[-.]|0+$/g, "")
          .replace(/^0+/, "").length,
      ).toBeLessThanOrEqual(5);
    }
  });
  it("is null where there is no number, as JSON would have it", () => {
    expect([Number.NaN, Number.POSITIVE_INFINITY, null, undefined].map(rounded)).toEqual([null, null, null, null]);
  });
});

describe("names", () => {
  it("of files hold only what every system takes", () =>
    expect(slug("SmolLM2-135M, base mode: cot/aqua")).toBe("smollm2-135m-base-mode-cot-aqua"));
  it("of paths are quoted for a shell where they must be", () => {
    expect(["runs/a-1", "my runs", "it's"].map(shellWord)).toEqual(["runs/a-1", "'my runs'", "'it'\\''s'"]);
  });
  it("of conditions say which labels count, and of a twin so at the end", () => {
    const data = { name: "aqua/detailed/irrelevant", task: "cot", dataset: "aqua", condition: "detailed", irrelevant: true };
    const model = { name: "m", kind: null, family: null };
    expect(conditionOf({ model, mode: "base", data, labels: "last:@aqua/none" })).toBe("detailed, last labels as none, irrelevant");
    expect(["sweep", "first:32", "random:@x"].map(labelsInWords)).toEqual(["sweep", "first 32 labels", "random labels as x"]);
  });
});

describe("short", () => {
  it("has three digits, and a dash for nothing", () => {
    expect([1.4612, 123.4, 1234.5, 0.00012, 0, null, Number.NaN].map(short)).toEqual(["1.46", "123", "1235", "1.2e-4", "0", "–", "–"]);
  });
});
