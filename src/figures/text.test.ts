import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { excerpt, formatNumber, formatPoint, list, shorten, textWidth, wrapText } from "./text.ts";

/** Advance widths in em by the font's own tables (OpenType: cmap format 4, hmtx). */
function advances(path: string): (character: string) => number {
  const bytes = readFileSync(new URL(`../../assets/fonts/${path}`, import.meta.url));
  const u16 = (at: number): number => bytes.readUInt16BE(at);
  const tables = new Map(
    Array.from({ length: u16(4) }, (_, i) => [bytes.toString("latin1", 12 + 16 * i, 16 + 16 * i), bytes.readUInt32BE(20 + 16 * i)]),
  );
  const [head, hhea, hmtx, cmap] = ["head", "hhea", "hmtx", "cmap"].map((tag) => tables.get(tag)!) as [number, number, number, number];
  const subtables = Array.from({ length: u16(cmap + 2) }, (_, i) => cmap + bytes.readUInt32BE(cmap + 8 + 8 * i));
  const table = subtables.find((at) => u16(at) === 4)!;
  const segments = u16(table + 6) / 2;
  const glyphOf = (code: number): number => {
    for (let k = 0; k < segments; k++) {
      const end = u16(table + 14 + 2 * k);
      const start = u16(table + 16 + 2 * (segments + k));
      if (code < start || code > end) continue;
      const delta = u16(table + 16 + 2 * (2 * segments + k));
      const at = table + 16 + 2 * (3 * segments + k);
      return u16(at) === 0 ? (code + delta) & 0xffff : u16(at + u16(at) + 2 * (code - start));
    }
    return 0;
  };
  const last = u16(hhea + 34) - 1;
  return (character) => u16(hmtx + 4 * Math.min(glyphOf(character.codePointAt(0)!), last)) / u16(head + 18);
}

const printed = [...Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)), ..."σΣ‖₁²×−–≤·…→¹⁻⁵é"];

describe("textWidth", () => {
  it.each(["Inter-Regular.ttf", "Inter-SemiBold.ttf"])("is never less than what %s takes, and little more in a sentence", (path) => {
    const advance = advances(path);
    for (const character of printed) {
      expect(textWidth(character, 1), character).toBeGreaterThanOrEqual(advance(character) - 1e-9);
      expect(textWidth(character, 1), character).toBeLessThan(4 * advance(character));
    }
    const sentence = "How much neighbouring layers differ: MAD of the nuclear norm, by segment";
    const exact = [...sentence].reduce((sum, character) => sum + advance(character), 0);
    expect(textWidth(sentence, 1) / exact).toBeLessThan(1.06);
  });

  it("finds each of the figures' signs in the bundled fonts", () => {
    for (const path of ["Inter-Regular.ttf", "Inter-SemiBold.ttf"]) {
      const advance = advances(path);
      // A sign that is not there has glyph 0, the empty box.
      const missing = [..."σΣ‖₁²×−–≤≥·…→⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵢ"].filter((sign) => advance(sign) === advance("\ue000"));
      expect(missing).toEqual([]);
    }
  });
});

describe("wrapText", () => {
  it("breaks at spaces so that each line fits", () => {
    const lines = wrapText("one two three four five six seven eight", 10, 60);
    expect(lines.join(" ")).toBe("one two three four five six seven eight");
    expect(lines.length).toBeGreaterThan(2);
    for (const line of lines) expect(textWidth(line, 10)).toBeLessThanOrEqual(60);
  });

  it("keeps words together that a non-breaking space joins", () => {
    expect(wrapText("a 95\u00a0% interval", 10, textWidth("a 95", 10)).some((line) => line.endsWith("95"))).toBe(false);
  });

  it("cuts a word short that is wider than a line", () => {
    const [line] = wrapText("uncommonlylongwordwithoutaspace", 10, 50);
    expect(line).toMatch(/^unc.*…$/);
    expect(textWidth(line!, 10)).toBeLessThanOrEqual(50);
  });
});

describe("shorten", () => {
  it("leaves what fits, and cuts by characters, not by code units", () => {
    expect(shorten("short", 10, 100)).toBe("short");
    expect(shorten("😀😀😀😀", 10, 25)).toMatch(/^😀…$/u);
  });
});

describe("excerpt", () => {
  it("puts the text on one line of 160 characters at most", () => {
    expect(excerpt("a\n b\tc ")).toBe("a b c");
    expect([...excerpt("😀".repeat(300))]).toHaveLength(161);
  });

  it("replaces characters that XML cannot hold", () => expect(excerpt("a\u0001b\ud800c")).toBe("a\ufffdb\ufffdc"));
});

describe("formatNumber", () => {
  it.each([
    [0, "0"],
    [1, "1"],
    [-0.25, "−0.25"],
    [12.3456, "12.3"],
    [1234.5, "1,230"],
    [999_999, "1,000,000"],
    [0.00123456, "0.00123"],
    [0.0001, "10⁻⁴"],
    [-1.2345e-5, "−1.23×10⁻⁵"],
    [2.5e12, "2.5×10¹²"],
  ])("writes %d as %s", (value, text) => expect(formatNumber(value)).toBe(text));
});

it("formatPoint writes a value with its interval where it has one", () => {
  expect(formatPoint({ value: 2, low: 1, high: 3.5 })).toBe("2 [1, 3.5]");
  expect(formatPoint({ value: 2, low: null, high: null })).toBe("2");
  expect(formatPoint({ value: null, low: null, high: null })).toBe("no value");
});

it("list joins with commas and a last and", () => {
  expect([[], ["a"], ["a", "b"], ["a", "b", "c"]].map(list)).toEqual(["", "a", "a and b", "a, b and c"]);
});
