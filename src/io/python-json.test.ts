import { describe, expect, it } from "vitest";
import { parsePythonJson } from "./python-json.ts";

describe("parsePythonJson", () => {
  it.each<[string, unknown]>([
    ['{"a": NaN, "b": [Infinity, -Infinity, 1]}', { a: Number.NaN, b: [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1] }],
    ["NaN", Number.NaN],
    ["[[NaN]]", [[Number.NaN]]],
    ['{"NaN": NaN, "t": "NaN, Infinity"}', { NaN: Number.NaN, t: "NaN, Infinity" }],
    ['{"t": "a \\" NaN", "n": NaN}', { t: 'a " NaN', n: Number.NaN }],
    ['{"t": "a \\\\", "n": -Infinity}', { t: "a \\", n: Number.NEGATIVE_INFINITY }],
    ['{"a": null}', { a: null }],
  ])("reads %s", (text, expected) => expect(parsePythonJson(text)).toEqual(expected));

  it.each(["{", "nan", "-NaN", "NaNs", "[NaN", '{"a": "NaN}', "Infinity1", "[1, Infinity Infinity]"])("refuses %s", (text) =>
    expect(() => parsePythonJson(text)).toThrow(SyntaxError),
  );

  it("reads a string of some megabytes beside a NaN", () => {
    const text = 'x\\"'.repeat(1_000_000);
    expect(parsePythonJson(`{"t": "${text}", "n": NaN}`)).toEqual({ t: 'x"'.repeat(1_000_000), n: Number.NaN });
  });

  it("keeps a tensor named __proto__ with a NaN a property", () => {
    const value = parsePythonJson('{"__proto__": NaN, "a": 1}') as object;
    expect(Object.entries(value)).toEqual([
      ["__proto__", Number.NaN],
      ["a", 1],
    ]);
  });
});
