/** How a figure looks: on a light or a dark page, or on paper (white, black text, darker lines). */
export type Theme = "light" | "dark" | "print";

/** Colours of one theme, as hex. */
export interface Palette {
  readonly background: string;
  readonly text: string;
  /** Notes, tick labels, whatever stands back. */
  readonly muted: string;
  readonly grid: string;
  /** Bars and dots that stand back. */
  readonly faint: string;
  /** Q, K, V, O, then what else is measured. */
  readonly modules: readonly string[];
  /** Conditions, in the order in which they come. */
  readonly conditions: readonly string[];
  /** Of a diverging scale: below, middle, above. */
  readonly diverging: readonly [string, string, string];
}

/** After Okabe & Ito, Color Universal Design (2008): told apart with any colour vision. Some are lightened on dark, for contrast. */
const okabeIto = {
  orange: "#E69F00",
  sky: "#56B4E9",
  green: "#009E73",
  yellow: "#F0E442",
  blue: "#0072B2",
  vermilion: "#D55E00",
  purple: "#CC79A7",
} as const;

const onWhite = {
  modules: [okabeIto.vermilion, okabeIto.green, okabeIto.blue, "#595959", okabeIto.purple, okabeIto.sky, okabeIto.orange],
  conditions: [okabeIto.orange, okabeIto.green, okabeIto.blue, okabeIto.purple, okabeIto.vermilion, okabeIto.sky, "#595959", "#8A7A00"],
  diverging: ["#4F94D4", "#F7F7F7", "#E08A34"],
} as const;

export const themes: Readonly<Record<Theme, Palette>> = {
  light: { background: "#ffffff", text: "#1b1d21", muted: "#5b616b", grid: "#e4e6ea", faint: "#b9bdc4", ...onWhite },
  dark: {
    background: "#14171c",
    text: "#e9ebee",
    muted: "#a3aab5",
    grid: "#2d333d",
    faint: "#555c68",
    modules: ["#FF8A3D", "#2BC79A", okabeIto.sky, "#C9CDD3", okabeIto.purple, okabeIto.yellow, okabeIto.orange],
    conditions: [okabeIto.orange, "#2BC79A", okabeIto.sky, okabeIto.purple, "#FF8A3D", okabeIto.yellow, "#C9CDD3", "#9BC53D"],
    diverging: ["#4393E5", "#23272e", "#F08A3C"],
  },
  print: { background: "#ffffff", text: "#000000", muted: "#404040", grid: "#d6d6d6", faint: "#b5b5b5", ...onWhite },
};

/** The face of all text; the bundled one where it is installed or embedded. */
export const FONT_FAMILY = '"Inter", system-ui, sans-serif';

/** Dashes by position, so that lines are told apart without colour; undefined is solid. */
const dashes: readonly (string | undefined)[] = ["7 3", "2 2.5", undefined, "9 3 2 3", "4 2", "1 3", "12 3"];

/** How the line of a module is drawn. */
export interface LineStyle {
  readonly label: string;
  readonly colour: string;
  readonly dash: string | undefined;
}

const attention: readonly string[] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];

/** Q of `self_attn.q_proj`; other modules by the last part of their name. */
export function moduleLabel(module: string): string {
  const position = attention.indexOf(module);
  return position >= 0 ? "QKVO"[position]! : module.slice(module.lastIndexOf(".") + 1);
}

/** The name of a module's panel: `V projection`. */
export const moduleTitle = (module: string): string =>
  attention.includes(module) ? `${moduleLabel(module)} projection` : moduleLabel(module);

/** Styles of modules, those of attention always the same. */
export function moduleStyles(modules: readonly string[], palette: Palette): ReadonlyMap<string, LineStyle> {
  const others = modules.filter((module) => !attention.includes(module));
  return new Map(
    modules.map((module) => {
      const position = attention.includes(module) ? attention.indexOf(module) : attention.length + others.indexOf(module);
      const style = { colour: palette.modules[position % palette.modules.length]!, dash: dashes[position % dashes.length] };
      return [module, { label: moduleLabel(module), ...style }];
    }),
  );
}

/** How a condition's dots, bars and lines are drawn. */
export interface ConditionStyle {
  readonly colour: string;
  readonly symbol: "circle" | "triangle" | "square" | "diamond" | "cross" | "star" | "wye" | "hexagon";
  readonly dash: string | undefined;
  /** An irrelevant twin: its condition's colour, without filling. */
  readonly hollow: boolean;
}

const symbols: readonly ConditionStyle["symbol"][] = ["circle", "triangle", "square", "diamond", "cross", "star", "wye", "hexagon"];
const conditionDashes: readonly (string | undefined)[] = [undefined, "6 3", "2 2.5", "9 3 2 3", "12 4", "4 2", "1 3", "7 2 1 2 1 2"];

/** A condition's name without the mark of a twin: `detailed` of `detailed, irrelevant`. */
const withoutTwin = (name: string): string => name.replace(/[\s,;:/·+-]*\(?irrelevant\)?$/i, "");

/** Styles of conditions in the order in which they first come; `X, irrelevant` is drawn like X, but hollow. */
export function conditionStyles(names: readonly string[], palette: Palette): ReadonlyMap<string, ConditionStyle> {
  const conditions = [...new Set(names.map(withoutTwin))];
  return new Map(
    names.map((name) => {
      const position = conditions.indexOf(withoutTwin(name));
      return [
        name,
        {
          colour: palette.conditions[position % palette.conditions.length]!,
          symbol: symbols[position % symbols.length]!,
          dash: conditionDashes[position % conditionDashes.length],
          hollow: withoutTwin(name) !== name,
        },
      ];
    }),
  );
}
