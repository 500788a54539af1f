/// <reference lib="dom" preserve="true" />
import * as Plot from "@observablehq/plot";
import { LayergradError } from "../errors.ts";
import { shorten, textWidth, wrapText } from "./text.ts";
import { FONT_FAMILY, type Palette, type Theme, themes } from "./theme.ts";

/** What every figure takes. */
export interface FigureOptions {
  /** The page's document; in Node that of a light DOM, such as linkedom's. */
  readonly document: Document;
  /** px, default 960; panels wrap where it is narrow. */
  readonly width?: number;
  /** Default `light`. */
  readonly theme?: Theme;
}

/** What a figure is about, for its heading. */
export interface About {
  /** Model and mode: `SmolLM2-135M, base mode`. */
  readonly model: string;
  /** Data set or sets: `AQuA`. */
  readonly data: string;
}

/** The drawing surface of one figure. */
export interface Surface {
  readonly document: Document;
  readonly palette: Palette;
  /** Of the figure without its margins, px. */
  readonly width: number;
}

/** One entry of the legend. */
export interface LegendItem {
  readonly label: string;
  /** Drawn in a box `[0, width] × [−6, 6]`. */
  readonly sample: readonly SVGElement[];
  /** Of the sample, px. */
  readonly width: number;
}

/** What {@link compose} puts together. */
export interface Drawing {
  readonly title: string;
  /** Model, data, rows. */
  readonly about: string;
  readonly legend?: readonly LegendItem[];
  /** Drawn below the heading, its own origin at the top left. */
  readonly body: readonly SVGElement[];
  readonly height: number;
  readonly notes: readonly string[];
  /** The numbers that matter, in words. */
  readonly alt: string;
}

const MARGIN = 20;
const NARROWEST = 280;
const TITLE = 17;
const ABOUT = 12.5;
export const LABEL = 12;
export const TICK = 11;
/** Length of a line in the legend, px. */
export const SAMPLE = 26;

/**
 * The surface for a figure of `options.width`.
 *
 * @throws {LayergradError} `usage` for a width that nothing fits on.
 */
export function surfaceOf({ document, width = 960, theme = "light" }: FigureOptions): Surface {
  if (!(width >= NARROWEST)) throw new LayergradError("usage", `A figure is at least ${NARROWEST} px wide, not ${width}.`);
  return { document, palette: themes[theme], width: width - 2 * MARGIN };
}

/** The error of a figure that has nothing to draw. */
export const nothingToDraw = (figure: string, why: string): LayergradError =>
  new LayergradError("data", `${figure}: there is nothing to draw, as ${why}.`);

type Attributes = Readonly<Record<string, string | number | undefined>>;

/** An SVG element; attributes that are undefined are left out. */
export function element(
  { document }: Pick<Surface, "document">,
  name: string,
  attributes: Attributes,
  children: readonly (SVGElement | string)[] = [],
): SVGElement {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name) as SVGElement;
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, String(value));
  for (const child of children) made.append(child);
  return made;
}

export const group = (surface: Surface, x: number, y: number, children: readonly SVGElement[]): SVGElement =>
  element(surface, "g", { transform: `translate(${x},${y})` }, children);

/** Text whose baseline begins (or ends, or is centred) at x, y. */
export function label(
  surface: Surface,
  text: string,
  x: number,
  y: number,
  {
    size = LABEL,
    fill = surface.palette.text,
    anchor = "start",
    bold = false,
  }: { size?: number; fill?: string; anchor?: string; bold?: boolean } = {},
): SVGElement {
  const attributes = { x, y, "font-size": size, fill, "text-anchor": anchor, "font-weight": bold ? 600 : undefined };
  return element(surface, "text", attributes, [text]);
}

/** A line, horizontal for a legend or otherwise. */
export const stroke = (
  surface: Surface,
  [x1, y1, x2, y2]: readonly [number, number, number, number],
  { colour, width = 1, dash }: { colour: string; width?: number; dash?: string | undefined },
): SVGElement => element(surface, "line", { x1, y1, x2, y2, stroke: colour, "stroke-width": width, "stroke-dasharray": dash });

/**
 * The marks of a plot, `[0, width] × [0, height]` at (x, y). What Plot adds for a page of its own (classes, style sheet, labels that only a
 * reader of the marks hears) is left out: the figure has one alternative text.
 */
export function plotAt(surface: Surface, x: number, y: number, options: Plot.PlotOptions): SVGElement {
  const { document } = surface;
  const plot = Plot.plot({ document, margin: 0, axis: null, ...options } as Plot.PlotOptions);
  const placed = element(surface, "g", { transform: `translate(${x},${y})`, "font-size": TICK, "text-anchor": "middle" });
  placed.append(...Array.from(plot.childNodes).filter(({ nodeName }) => nodeName.toLowerCase() !== "style"));
  for (const each of placed.querySelectorAll("*"))
    for (const name of ["class", "aria-hidden", "aria-label", "aria-description"]) each.removeAttribute(name);
  return placed;
}

/**
 * Areas over which a pointer finds a title, as wide as the step between neighbours.
 *
 * @param titles - One an area, from left to right.
 */
export function hoverStrips(surface: Surface, centres: readonly number[], titles: readonly string[], height: number): SVGElement[] {
  const step = centres.length > 1 ? centres[1]! - centres[0]! : 20;
  return titles.map((title, i) =>
    element(surface, "rect", { x: centres[i]! - step / 2, y: 0, width: step, height, fill: "none", "pointer-events": "all" }, [
      element(surface, "title", {}, [title]),
    ]),
  );
}

/** Legend entries side by side, in as many lines as they take. */
function legendLines(surface: Surface, items: readonly LegendItem[]): { readonly elements: SVGElement[]; readonly height: number } {
  const line = 20;
  let [x, y] = [0, 0];
  const elements = items.map(({ label: name, sample, width: start }) => {
    const text = shorten(name, LABEL, surface.width - start - 7);
    const width = start + 7 + textWidth(text, LABEL);
    if (x > 0 && x + width > surface.width) [x, y] = [0, y + line];
    const entry = group(surface, x, y, [...sample, label(surface, text, start + 7, 4)]);
    x += width + 18;
    return entry;
  });
  return { elements, height: items.length === 0 ? 0 : y + line };
}

/**
 * Heading, legend, body and notes as one self-contained image: no style sheet, script, link or font outside it. Its text alternative is
 * `<title>` and `<desc>`.
 */
export function compose(surface: Surface, { title, about, legend = [], body, height, notes, alt }: Drawing): SVGSVGElement {
  const { palette, width } = surface;
  const elements: SVGElement[] = [];
  let y = MARGIN;
  const paragraph = (text: string, size: number, style: Parameters<typeof label>[4]): void => {
    for (const line of wrapText(text, size, width)) {
      y += size * 1.35;
      elements.push(label(surface, line, 0, y - size * 0.35, { size, ...style }));
    }
  };
  paragraph(title, TITLE, { bold: true });
  paragraph(about, ABOUT, { fill: palette.muted });
  y += 14;
  const { elements: entries, height: legendHeight } = legendLines(surface, legend);
  if (entries.length > 0) {
    elements.push(group(surface, 0, y + 4, entries));
    y += legendHeight + 8;
  }
  elements.push(group(surface, 0, y, body));
  y += height + 8;
  for (const note of notes) paragraph(note, TICK, { fill: palette.muted });
  const total = { width: width + 2 * MARGIN, height: Math.ceil(y + MARGIN) };
  const svg = element(
    surface,
    "svg",
    {
      xmlns: "http://www.w3.org/2000/svg",
      ...total,
      viewBox: `0 0 ${total.width} ${total.height}`,
      role: "img",
      "font-family": FONT_FAMILY,
      color: palette.text,
      fill: palette.text,
    },
    [
      element(surface, "title", {}, [`${title}. ${about}`]),
      element(surface, "desc", {}, [alt]),
      element(surface, "rect", { ...total, fill: palette.background }),
      group(surface, MARGIN, 0, elements),
    ],
  );
  roundNumbers(svg);
  return svg as SVGSVGElement;
}

const geometry: readonly string[] = ["d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "transform", "points"];

/** Hundredths of a pixel are enough, and half the size. */
function roundNumbers(svg: SVGElement): void {
  for (const each of svg.querySelectorAll("*"))
    for (const name of geometry) {
      const value = each.getAttribute(name);
      if (value?.includes("."))
        each.setAttribute(
          name,
          value.replace(/-?\d*\.\d+(?:e[-+]?\d+)?/g, (n) => String(Number(Number(n).toFixed(2)))),
        );
    }
}
