import { describe, expect, it } from "vitest";
import { chosenBy, matchesPattern, nearest } from "./names.ts";

const named = (...names: string[]) => names.map((name) => ({ name }));
const chosen = (pattern: string, ...names: string[]) => chosenBy(pattern, named(...names)).map(({ name }) => name);

describe("matchesPattern", () => {
  it.each([
    ["aqua/none", "aqua/none", true],
    ["aqua/none", "aqua/none/irrelevant", false],
    ["aqua/*", "aqua/none", true],
    ["aqua/*", "aqua/none/irrelevant", false],
    ["aqua/**", "aqua/none/irrelevant", true],
    ["aqua/**", "aqua", true],
    ["**/detailed/**", "demo/sums/detailed", true],
    ["**/detailed/**", "aqua/detailed/irrelevant", true],
    ["**/detailed/**", "aqua/simplified", false],
    ["wiki/popular-*", "wiki/popular-500", true],
    ["wiki/*-5*0", "wiki/popular-500", true],
    ["wiki/popular.500", "wiki/popular-500", false],
    ["*", "a/b", false],
    ["**", "a/b/c", true],
    ["a".repeat(70_000), "a/b", false],
  ])("%s and %s: %s", (pattern, name, matches) => {
    expect(matchesPattern(pattern, name)).toBe(matches);
  });
});

describe("chosenBy", () => {
  const all = ["aqua/none", "aqua/none/irrelevant", "aqua/detailed", "gsm8k/none"];

  it("takes what a name or pattern matches whole", () => {
    expect(chosen("aqua/none", ...all)).toEqual(["aqua/none"]);
    expect(chosen("*/none", ...all)).toEqual(["aqua/none", "gsm8k/none"]);
  });

  it("takes all that begins with it where nothing matches whole", () => {
    expect(chosen("aqua", ...all)).toEqual(["aqua/none", "aqua/none/irrelevant", "aqua/detailed"]);
    expect(chosen("gsm*", ...all)).toEqual(["gsm8k/none"]);
    expect(chosen("math", ...all)).toEqual([]);
  });
});

describe("nearest", () => {
  it.each([
    ["matrice", "matrices"],
    ["max-length", "max_length"],
    ["Memory", "memory"],
    ["treads", "threads"],
    ["something", undefined],
    ["x", undefined],
  ])("of %s is %s", (name, expected) => {
    expect(nearest(name, ["max_length", "matrices", "threads", "memory"])).toBe(expected);
  });
});
