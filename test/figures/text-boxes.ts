import { textWidth } from "../../src/figures/text.ts";

/** Where a text lies in its picture, px. */
export interface TextBox {
  readonly text: string;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** Height of capitals, and of what hangs below the baseline, in em (Inter: 0.73 and, for brackets and g, 0.2). */
const CAPITALS = 0.73;
const DESCENDERS = 0.2;

/** The boxes of all texts of a figure, a little wider than they are drawn. Knows translations, which is all that figures use on text. */
export function textBoxes(svg: Element): TextBox[] {
  return Array.from(svg.querySelectorAll("text")).flatMap((element) => {
    const text = element.textContent ?? "";
    if (text === "") return [];
    const size = Number(inherited(element, "font-size"));
    let [x, y] = [length(element, "x", size) + length(element, "dx", size), length(element, "y", size) + length(element, "dy", size)];
    for (let each: Element | null = element; each !== null; each = each.parentElement) {
      const moved = /^translate\(([-\d.e]+)(?:[, ]([-\d.e]+))?\)$/.exec(each.getAttribute("transform") ?? "translate(0,0)");
      if (moved === null) throw new Error(`${text}: a text's transform is no translation: ${each.getAttribute("transform")}`);
      x += Number(moved[1]);
      y += Number(moved[2] ?? 0);
    }
    const width = textWidth(text, size);
    const left = { start: x, middle: x - width / 2, end: x - width }[inherited(element, "text-anchor") ?? "start"]!;
    return [{ text, left, right: left + width, top: y - CAPITALS * size, bottom: y + DESCENDERS * size }];
  });
}

function inherited(element: Element, attribute: string): string | null {
  for (let each: Element | null = element; each !== null; each = each.parentElement) {
    const value = each.getAttribute(attribute);
    if (value !== null) return value;
  }
  return null;
}

/** Of an attribute in px or em. */
function length(element: Element, attribute: string, size: number): number {
  const value = element.getAttribute(attribute) ?? "0";
  return Number.parseFloat(value) * (value.endsWith("em") ? size : 1);
}

/** Measured boxes are a little too wide: what overlaps by less than this, px, does not in the picture. */
const SLACK = 2;

/** Pairs of texts that lie over each other. */
export function overlaps(boxes: readonly TextBox[]): string[] {
  return boxes.flatMap((a, i) =>
    boxes.slice(i + 1).flatMap((b) => {
      const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      return width > SLACK && height > SLACK ? [`${a.text} | ${b.text}`] : [];
    }),
  );
}
