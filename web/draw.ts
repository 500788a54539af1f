import type { FigureOptions } from "../src/figures/figure.ts";
import { currentTheme } from "./theme.ts";
import { adoptTitles } from "./tip.ts";

/** Figures are laid out for at least this width, px: a small telephone. */
const NARROWEST = 280;

/** The width at which figures are drawn for paper, px: a little wider than the paper, so that panels stand side by side as on a screen. */
const PAPER = 900;

/** The page's text on a large screen is larger by this factor, and figures are with it. */
const zoom = (): number => Number.parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;

/** Draws a figure into a place of the page, as wide as that is, in the page's colours; says so where there is nothing to draw. */
export function drawInto(place: HTMLElement, draw: (options: FigureOptions) => SVGSVGElement): void {
  const theme = currentTheme();
  const width = theme === "print" ? PAPER : Math.max(NARROWEST, Math.floor(place.clientWidth / zoom()));
  try {
    const svg = draw({ document, width, theme });
    adoptTitles(svg);
    place.replaceChildren(svg);
  } catch (error) {
    const note = document.createElement("p");
    note.className = "empty";
    note.textContent = error instanceof Error ? error.message : String(error);
    place.replaceChildren(note);
  }
}

/** Offers text as a file. */
export function download(name: string, type: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Calls `changed` when the page's width does, at most once a tenth of a second. */
export function watchWidth(place: HTMLElement, changed: () => void): void {
  let width = place.clientWidth;
  let timer: ReturnType<typeof setTimeout> | undefined;
  new ResizeObserver(() => {
    if (place.clientWidth === width || place.clientWidth === 0) return;
    width = place.clientWidth;
    clearTimeout(timer);
    timer = setTimeout(changed, 100);
  }).observe(place);
}
