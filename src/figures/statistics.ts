import type { StatisticName } from "../analysis/table.ts";

/** What a statistic is called in titles and on axes, and its unit; no unit where it has none. */
export interface StatisticText {
  readonly name: string;
  readonly symbol: string | null;
  readonly unit: string | null;
}

const gradient = "nats per unit of weight";

export const statisticTexts: Readonly<Record<StatisticName, StatisticText>> = {
  nuclearNorm: { name: "nuclear norm", symbol: "‖G‖*", unit: gradient },
  sigmaMax: { name: "largest singular value", symbol: "σ₁", unit: gradient },
  frobeniusNorm: { name: "Frobenius norm", symbol: "‖G‖F", unit: gradient },
  sigmaOneRatio: { name: "σ₁ ratio", symbol: "σ₁ / Σσ", unit: null },
  effectiveRank: { name: "effective rank", symbol: null, unit: null },
  stableRank: { name: "stable rank", symbol: null, unit: null },
  lossScaledNorm: { name: "nuclear norm / loss", symbol: null, unit: "per unit of weight" },
};

/** `nuclear norm ‖G‖* (nats per unit of weight, log scale)`. */
export function axisTitle(statistic: StatisticName, scale: "linear" | "log", what = ""): string {
  const { name, symbol, unit } = statisticTexts[statistic];
  const words = what === "" ? [name, symbol].filter(Boolean).join(" ") : `${what} of the ${name}`;
  const inBrackets = [unit, scale === "log" && "log scale"].filter(Boolean).join(", ");
  return inBrackets === "" ? words : `${words} (${inBrackets})`;
}

/** With a capital first letter; a symbol such as σ stays. */
export const capital = (text: string): string => text.replace(/^[a-z]/, (letter) => letter.toUpperCase());

/** How many rows numbers rest on: `10 rows a condition`, `8 to 10 rows a condition`. */
export function rowsText(counts: readonly number[], of = "a condition"): string {
  const [fewest, most] = [Math.min(...counts), Math.max(...counts)];
  const rows = fewest === most ? `${fewest} ${fewest === 1 ? "row" : "rows"}` : `${fewest} to ${most} rows`;
  return counts.length === 1 ? rows : `${rows} ${of}`;
}

/** Fewer rows than this make intervals approximate, as {@link import("../analysis/bootstrap.ts").Estimate} has it. */
const FEW_ROWS = 30;

/** What bands and bars stand for, and how much to trust them. */
export function intervalNote(what: string, level: number, counts: readonly number[]): string {
  const fewest = Math.min(...counts);
  const caution = fewest < FEW_ROWS ? `; approximate, as there are only ${fewest} rows` : "";
  return `${what}: ${Number((100 * level).toFixed(1))}\u00a0% intervals over questions${caution}.`;
}
