import type { Theme } from "../src/figures/theme.ts";

const preference = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;
/** null: the reader's system decides. */
let chosen: "light" | "dark" | null = null;

const shown = (): "light" | "dark" => chosen ?? (preference.matches ? "dark" : "light");

/** Set while the page is being printed. */
let printing = false;

/** Whether figures are for paper now. */
export const isPrinting = (): boolean => printing || matchMedia("print").matches;

/** How figures are to look now. */
export const currentTheme = (): Theme => (isPrinting() ? "print" : shown());

/** Calls `changed` before and after the page is printed. */
export function watchPrinting(changed: () => void): void {
  const set = (now: boolean) => (): void => {
    printing = now;
    changed();
  };
  addEventListener("beforeprint", set(true));
  addEventListener("afterprint", set(false));
}

/** Follows the system's preference until the button is pressed, and calls `changed` whenever the page looks otherwise than before. */
export function watchTheme(button: HTMLButtonElement, changed: () => void): void {
  const apply = (): void => {
    root.dataset.theme = shown();
    button.textContent = shown() === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Show the page ${shown() === "dark" ? "light" : "dark"}`);
  };
  const update = (): void => {
    apply();
    changed();
  };
  preference.addEventListener("change", update);
  button.addEventListener("click", () => {
    chosen = shown() === "dark" ? "light" : "dark";
    update();
  });
  apply();
}
