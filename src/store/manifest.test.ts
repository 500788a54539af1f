import { describe, expect, it } from "vitest";
import { identityDifferences, MANIFEST_VERSION, parseManifest } from "./manifest.ts";

describe("identityDifferences", () => {
  it("names each field that differs with both values, hashes by their first digits, the readable ones first", () => {
    const recorded = { weights: "a".repeat(64), mode: "base", matrices: ["q", "k"], maxLength: 1024, old: 1 };
    const requested = { weights: "b".repeat(64), mode: "instruct", matrices: ["q"], maxLength: 1024, date: "2026-01-01" };
    expect(identityDifferences(recorded, requested)).toEqual([
      "mode (recorded base, now instruct)",
      "date (recorded nothing, now 2026-01-01)",
      "matrices (recorded q,k, now q)",
      "weights (recorded aaaaaaaaaaaa…, now bbbbbbbbbbbb…)",
      "old (recorded 1, now nothing)",
    ]);
  });
  it("finds none between equals", () => expect(identityDifferences({ a: ["q"], b: false }, { b: false, a: ["q"] })).toEqual([]));
});

describe("parseManifest", () => {
  it.each<[string, string]>([
    ["{", "m.json: is not valid JSON"],
    ["[]", "was not written by layergrad"],
    ['{"name":"app"}', "was not written by layergrad"],
    [
      `{"tool":"layergrad","manifestVersion":${MANIFEST_VERSION + 1}}`,
      `has the version ${MANIFEST_VERSION + 1}, this layergrad reads ${MANIFEST_VERSION}`,
    ],
    [`{"tool":"layergrad","manifestVersion":${MANIFEST_VERSION},"identity":{}}`, "lacks a part"],
  ])("refuses %s", (text, message) => expect(() => parseManifest(text, "m.json")).toThrow(message));
});
