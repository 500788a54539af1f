/** Room between the pointer and the tip, px. */
const GAP = 14;

/**
 * Shows what a figure says of the mark under the pointer. Figures carry it as SVG titles, which browsers show late and small: they are moved to
 * an attribute here, all but the figure's own, which stays for screen readers.
 */
export function adoptTitles(svg: SVGSVGElement): void {
  for (const title of svg.querySelectorAll("title")) {
    const mark = title.parentElement;
    if (mark === null || (mark as Element) === svg) continue;
    mark.setAttribute("data-tip", title.textContent ?? "");
    title.remove();
  }
}

/** Lets the tip follow the pointer over all figures of the page. */
export function watchPointer(tip: HTMLElement): void {
  const hide = (): void => {
    tip.hidden = true;
  };
  const show = (event: PointerEvent): void => {
    const text = (event.target as Element | null)?.closest?.("[data-tip]")?.getAttribute("data-tip");
    if (!text) {
      hide();
      return;
    }
    if (tip.textContent !== text) tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    const right = event.clientX + GAP + width > innerWidth - 4;
    const below = event.clientY + GAP + height > innerHeight - 4;
    const left = right ? Math.max(4, event.clientX - GAP - width) : event.clientX + GAP;
    const top = below ? Math.max(4, event.clientY - GAP - height) : event.clientY + GAP;
    tip.style.transform = `translate(${left}px, ${top}px)`;
  };
  document.addEventListener("pointermove", show);
  // A finger does not hover: it touches.
  document.addEventListener("pointerdown", show);
  document.addEventListener("pointerleave", hide);
  document.addEventListener("scroll", hide, { passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
}
