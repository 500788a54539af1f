import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { parseHTML } from "linkedom";
import { describe, expect, it } from "vitest";
import { curvesFigure, madFigure, madSegments, svgMarkup, type Theme, themes } from "../../src/figures/index.ts";
import { conditionStyles, moduleStyles } from "../../src/figures/theme.ts";
import { svgToPng } from "../../src/report/png.ts";
import { gallery } from "./gallery.ts";
import { overlaps, textBoxes } from "./text-boxes.ts";

const folder = new URL("gallery/", import.meta.url);
const { document } = parseHTML("<!doctype html><html><body></body></html>");

/** Decimals beyond the second may differ between machines. */
const rounded = (svg: string): string => svg.replace(/\d+\.\d{3,}/g, (number) => Number(number).toFixed(2));

const names = Object.keys(gallery);
const draw = (name: string, options: { width?: number; theme?: Theme } = {}): SVGSVGElement => gallery[name]!({ document, ...options });

describe.each(names)("the figure %s", (name) => {
  const svg = draw(name);
  const markup = svgMarkup(svg);

  it("is the committed picture (LAYERGRAD_UPDATE_GALLERY=1 writes it)", () => {
    const file = new URL(`${name}.svg`, folder);
    if (process.env.LAYERGRAD_UPDATE_GALLERY === "1") writeFileSync(file, `${markup}\n`);
    expect(existsSync(file), `${name}.svg is not there: run with LAYERGRAD_UPDATE_GALLERY=1 and look at it`).toBe(true);
    expect(rounded(`${markup}\n`)).toBe(rounded(readFileSync(file, "utf8")));
  });

  it("is well-formed XML, which becomes an image", async () => {
    // resvg parses strictly, and fails on anything else.
    const png = await svgToPng(markup, { scale: 0.25 });
    expect([...png.subarray(0, 4)]).toEqual([0x89, 0x50, 0x4e, 0x47]);
    expect(png.length).toBeGreaterThan(1000);
  });

  it("differs between themes in colours alone", () => {
    const shapes = (theme: Theme): string => svgMarkup(draw(name, { theme })).replace(/#[0-9a-f]{6}/gi, "#");
    for (const theme of Object.keys(themes) as Theme[]) expect(shapes(theme)).toBe(shapes("light"));
  });

  it("needs nothing but itself", () => {
    expect(markup).not.toMatch(/<style|<script|<image|href=|url\(|class=/);
    expect(markup).toMatch(/^<svg [^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/);
  });

  it("says in words what it shows, with numbers", () => {
    expect(svg.getAttribute("role")).toBe("img");
    const [title, description] = [svg.children[0]!, svg.children[1]!];
    expect([title.localName, description.localName]).toEqual(["title", "desc"]);
    expect(title.textContent!.length).toBeGreaterThan(20);
    expect(description.textContent).toMatch(/\d/);
    expect(description.textContent!.length).toBeGreaterThan(80);
  });

  it("gave Plot nothing to warn of", () => expect(markup).not.toContain("⚠"));

  it("holds no number that is none", () => expect(markup).not.toMatch(/NaN|undefined|Infinity|\[object|\bnull\b/));

  it.each([960, 640, 320])("has all text within the picture and no text over another, %i px wide", (width) => {
    const drawn = draw(name, { width });
    const boxes = textBoxes(drawn);
    expect(boxes.length).toBeGreaterThan(10);
    const [right, bottom] = [Number(drawn.getAttribute("width")), Number(drawn.getAttribute("height"))];
    expect(boxes.filter((box) => box.left < 0 || box.right > right || box.top < 0 || box.bottom > bottom)).toEqual([]);
    expect(overlaps(boxes)).toEqual([]);
  });
});

describe("the gallery", () => {
  it("holds a picture of each figure and no other", () => {
    expect(readdirSync(folder).toSorted()).toEqual(names.map((name) => `${name}.svg`).toSorted());
  });

  it("stands on the page of figures", () => {
    const page = readFileSync(new URL("../../docs/figures.md", import.meta.url), "utf8");
    expect(names.filter((name) => !page.includes(`../test/figures/gallery/${name}.svg`))).toEqual([]);
  });
});

describe("crowded figures", () => {
  const modules = ["q_proj", "k_proj", "v_proj", "o_proj"]
    .map((name) => `self_attn.${name}`)
    .concat(["gate_proj", "up_proj", "down_proj"].map((name) => `mlp.${name}`));
  const names = Array.from({ length: 8 }, (_, i) => `a condition with a long name, number ${i}${i % 2 === 1 ? ", irrelevant" : ""}`);
  const about = { model: "A-model-with-a-long-name-70B-Instruct, instruct mode", data: "first set, second set, third set and fourth set" };
  // Curves that end at the same height, so that all their labels want one place.
  const point = (value: number) => ({ value, low: value * 0.8, high: value * 1.2 });
  const points = Array.from({ length: 42 }, (_, layer) => point(100 * Math.exp(-layer / 5)));
  const crowded: Readonly<Record<string, (width: number) => SVGSVGElement>> = {
    curves: (width) =>
      curvesFigure(
        {
          ...about,
          level: 0.95,
          conditions: names.map((name, i) => ({
            name,
            rows: 10 + i,
            curves: modules.map((module) => ({ module, statistic: "nuclearNorm", points })),
          })),
        },
        { document, width },
      ),
    MAD: (width) =>
      madFigure(
        {
          ...about,
          statistic: "nuclearNorm",
          level: 0.95,
          segments: [
            [0, 12],
            [12, 30],
            [30, 42],
          ],
          conditions: names.map((name) => ({ name, rows: 500 })),
          bars: names.flatMap((condition, c) =>
            modules.flatMap((module) =>
              madSegments.map((segment, s) => ({ condition, module, segment, point: point(0.01 * 3 ** (c + s)) })),
            ),
          ),
        },
        { document, width },
      ),
  };
  it.each(Object.keys(crowded))("%s: eight conditions, seven modules and 42 layers lie beside each other", (name) => {
    for (const width of [1600, 960, 320]) {
      const svg = crowded[name]!(width);
      const boxes = textBoxes(svg);
      expect(boxes.filter((box) => box.left < 0 || box.right > width)).toEqual([]);
      expect(overlaps(boxes)).toEqual([]);
    }
  });
});

/** Relative luminance of a colour, WCAG 2. */
function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const channel = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
}

const contrast = (a: string, b: string): number => {
  const [low, high] = [luminance(a), luminance(b)].toSorted((x, y) => x - y);
  return (high! + 0.05) / (low! + 0.05);
};

describe.each(Object.entries(themes))("the theme %s", (_, palette) => {
  it("has text that can be read (WCAG AA) and lines that stand out from the page", () => {
    expect(contrast(palette.text, palette.background)).toBeGreaterThan(7);
    expect(contrast(palette.muted, palette.background)).toBeGreaterThan(4.5);
    for (const colour of palette.modules.slice(0, 4)) expect(contrast(colour, palette.background), colour).toBeGreaterThan(3);
  });

  const distinct = (styles: readonly { colour: string; mark: string }[]): void => {
    for (const [i, a] of styles.entries())
      for (const b of styles.slice(i + 1)) expect(contrast(a.colour, b.colour) > 1.5 || a.mark !== b.mark).toBe(true);
  };

  it("tells projections apart in grey, by lightness or by dashes", () => {
    const modules = ["q", "k", "v", "o"].map((projection) => `self_attn.${projection}_proj`);
    distinct(
      Array.from(moduleStyles([...modules, "mlp.up_proj", "mlp.down_proj"], palette).values(), ({ colour, dash }) => ({
        colour,
        mark: `${dash}`,
      })),
    );
  });

  it("tells eight conditions and their twins apart in grey, by symbol, dash or filling", () => {
    const conditions = Array.from({ length: 8 }, (_, i) => [`c${i}`, `c${i}, irrelevant`]).flat();
    const styles = [...conditionStyles(conditions, palette).values()];
    distinct(styles.map(({ colour, symbol, hollow }) => ({ colour, mark: `${symbol} ${hollow}` })));
    distinct(styles.map(({ colour, dash, hollow }) => ({ colour, mark: `${dash} ${hollow}` })));
  });
});
