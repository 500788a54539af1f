import * as Plot from "@observablehq/plot";
import type { Findings, Judgement, Line, PartView } from "../analysis/findings.ts";
import { projections, type Verdict } from "../analysis/findings-verdict.ts";
import { type Axis, clamp, linearAxis, logAxis } from "./axis.ts";
import { compose, type FigureOptions, group, LABEL, label, nothingToDraw, plotAt, type Surface, surfaceOf, TICK } from "./figure.ts";
import { lineItem } from "./legend.ts";
import { horizontalAxis } from "./panels.ts";
import { capital } from "./statistics.ts";
import { formatNumber, formatPoint, list, shorten, wrapText } from "./text.ts";

/** A projection's effect, with its false-coverage-rate adjusted interval. */
export interface ForestEffect {
  readonly projection: string;
  readonly value: number;
  readonly low: number | null;
  readonly high: number | null;
  /** RD only: what it stays below by chance in 95 of 100 cases. */
  readonly chance: number | null;
}

/** One way of measuring one comparison of a claim. */
export interface ForestLine {
  readonly part: string;
  readonly judgement: "as published" | "controlled";
  /** `all labels`, `last labels`, `relative MAD`, …; empty where nothing was measured. */
  readonly how: string;
  readonly effect: string;
  readonly scale: "ratio" | "difference";
  readonly nullValue: number;
  readonly verdict: Verdict;
  readonly reason: string;
  /** Whether the verdict rests on this line. */
  readonly decides: boolean;
  /** Questions in the smallest condition; 0 where nothing was measured. */
  readonly questions: number;
  readonly effects: readonly ForestEffect[];
}

export interface ForestClaim {
  readonly id: string;
  readonly title: string;
  readonly published: Verdict;
  readonly controlled: Verdict;
  readonly lines: readonly ForestLine[];
}

export interface ForestData {
  readonly study: string;
  /** The model and mode that is judged; in claims about two models the pairs that it belongs to. */
  readonly subject: string;
  readonly claims: readonly ForestClaim[];
}

export interface ForestOptions extends FigureOptions {
  /** Also draws lines that no verdict rests on. */
  readonly beside?: boolean;
}

/**
 * The claims' effects for one model and mode.
 *
 * @param subject - As findings name it; default the first.
 */
export function forestData({ study, claims }: Findings, subject: string = firstSubject(claims)): ForestData {
  const ofSubject = ({ subject: name }: Judgement): boolean => name.split(" → ").includes(subject) || name === subject;
  return {
    study,
    subject,
    claims: claims.flatMap(({ id, title, judgements }) => {
      const judged = judgements.filter(ofSubject);
      const [first] = judged;
      if (first === undefined) return [];
      const lines = judged.flatMap(({ published, controlled }) =>
        published.parts.flatMap((part, p) => [...linesOf(part, "as published"), ...linesOf(controlled.parts[p]!, "controlled")]),
      );
      return [{ id, title, published: first.published.verdict, controlled: first.controlled.verdict, lines }];
    }),
  };
}

const firstSubject = (claims: Findings["claims"]): string =>
  claims.flatMap(({ judgements }) => judgements.map(({ subject }) => subject)).find((name) => !name.includes(" → ")) ?? "no model";

function linesOf({ text, verdict, reason, lines }: PartView, judgement: ForestLine["judgement"]): ForestLine[] {
  const measured = lines.filter(({ pooled }) => pooled.tests.length > 0);
  if (!measured.some(({ decides }) => decides)) {
    const nothing = { how: "", effect: "", scale: "ratio", nullValue: 1, decides: true, questions: 0, effects: [] } as const;
    return [{ part: text, judgement, verdict, reason, ...nothing }, ...measured.map((line) => lineOf(line, text, judgement))];
  }
  return measured.map((line) => lineOf(line, text, judgement));
}

const lineOf = (
  { how, effect, scale, nullValue, decides, pooled }: Line,
  part: string,
  judgement: ForestLine["judgement"],
): ForestLine => ({
  part,
  judgement,
  how,
  effect,
  scale,
  nullValue,
  verdict: pooled.verdict,
  reason: pooled.reason,
  decides,
  questions: pooled.questions,
  effects: pooled.tests.map(({ projection, value, interval, nullQuantile95 }) => ({
    projection,
    value,
    low: interval?.low ?? null,
    high: interval?.high ?? null,
    chance: nullQuantile95 ?? null,
  })),
});

/** Claims next to each other whose effects share an axis. */
interface Block {
  readonly axis: Axis | null;
  readonly claims: readonly ForestClaim[];
}

/** Height of a line's effects, px. */
const ROW = 31;
/** Between the projections of a line. */
const SPACING = 5;
const AXIS = 40;
/** Narrower figures have the words of a line above its effects. */
const NARROW = 560;

/**
 * Each claim's effect as published and under controls, a line each: the four projections from top to bottom with their intervals, the value
 * that says nothing (ratio 1, difference 0) as a vertical line, and the verdict. Ratios share one log axis.
 *
 * @throws {LayergradError} `data` if nothing is judged for the subject.
 */
export function forestFigure(data: ForestData, { beside = false, ...options }: ForestOptions): SVGSVGElement {
  const surface = surfaceOf(options);
  const claims = data.claims
    .map((claim) => ({ ...claim, lines: claim.lines.filter(({ decides }) => decides || beside) }))
    .filter(({ lines }) => lines.length > 0);
  if (claims.length === 0) throw nothingToDraw("forest", `the findings judge no claim for ${data.subject}`);
  const columns = columnsOf(surface.width);
  const body: SVGElement[] = [];
  let y = 0;
  for (const block of blocksOf(claims)) {
    const { elements, height } = drawBlock(surface, block, columns);
    body.push(group(surface, 0, y, elements));
    y += height + 12;
  }
  const effects = claims.flatMap(({ lines }) => lines.flatMap((line) => line.effects));
  const questions = claims.flatMap(({ lines }) => lines.flatMap((line) => (line.questions > 0 ? [line.questions] : [])));
  const few =
    questions.length > 0 && Math.min(...questions) < 30
      ? ` Some rest on ${Math.min(...questions)} questions only: those are approximate.`
      : "";
  return compose(surface, {
    title: "The papers' claims, as published and under controls",
    about: [data.study, data.subject].join(" · "),
    legend: [
      ...projections.map((projection) =>
        lineItem(surface, projection.toUpperCase(), { colour: colourOf(surface, projection), dash: undefined }),
      ),
    ],
    body,
    height: y,
    notes: [
      "On each line Q, K, V and O from top to bottom. Bars: intervals adjusted for the false coverage rate among the projections that are significant." +
        `${few}${effects.some(({ chance }) => chance !== null) ? " Ticks: what RD stays below by chance in 95 of 100 cases." : ""}`,
      "Supported (contradicted): all four projections are significant on the claimed (other) side. Controlled means the direct effect; it does not refute the published total effect.",
    ],
    alt: altText(claims),
  });
}

/** Lines on one axis: all ratios share one; differences of each claim have their own. */
function blocksOf(claims: readonly ForestClaim[]): Block[] {
  const scaleOf = ({ lines }: ForestClaim) => lines.find(({ effects }) => effects.length > 0)?.scale ?? null;
  const ratios = axisOf(
    claims.filter((claim) => scaleOf(claim) === "ratio"),
    "ratio",
  );
  const blocks: { axis: Axis | null; scale: string | null; claims: ForestClaim[] }[] = [];
  for (const claim of claims) {
    const scale = scaleOf(claim);
    const last = blocks.at(-1);
    if (last !== undefined && (scale === null || (scale === "ratio" && last.scale === "ratio"))) last.claims.push(claim);
    else blocks.push({ axis: scale === "ratio" ? ratios : scale === null ? null : axisOf([claim], scale), scale, claims: [claim] });
  }
  return blocks;
}

/** An interval that reaches further than this factor (of the values' span) past all values is cut off at the frame. */
const REACH = 6;

function axisOf(claims: readonly ForestClaim[], scale: "ratio" | "difference"): Axis | null {
  const lines = claims.flatMap((claim) => claim.lines.filter((line) => line.effects.length > 0));
  const values = lines.flatMap(({ effects, nullValue }) => [
    nullValue,
    ...effects.flatMap(({ value, chance }) => [value, chance ?? value]),
  ]);
  const ends = lines.flatMap(({ effects }) => effects.flatMap(({ low, high }) => [low ?? [], high ?? []].flat()));
  if (values.length === 0) return null;
  const [lowest, highest] = [Math.min(...values), Math.max(...values)];
  if (scale === "ratio")
    return logAxis([...values, ...ends.filter((end) => end > lowest / REACH && end < highest * REACH)].filter((v) => v > 0));
  const span = highest - lowest;
  return linearAxis([...values, ...ends.filter((end) => end > lowest - REACH * span && end < highest + REACH * span)], 8);
}

/** Left edges and widths of what stands beside each other, px, and how far below the top of a line its effects begin. */
interface Columns {
  readonly part: number;
  readonly partWidth: number;
  readonly how: number;
  readonly howWidth: number;
  readonly plot: number;
  readonly plotWidth: number;
  readonly verdict: number;
  readonly words: number;
}

const VERDICT = 78;

function columnsOf(width: number): Columns {
  const verdict = width - VERDICT;
  if (width < NARROW) {
    const half = (verdict - 8) / 2;
    return { part: 0, partWidth: half - 8, how: half, howWidth: half - 4, plot: 12, plotWidth: width - 24, verdict, words: 31 };
  }
  const [part, how] = [Math.min(215, width * 0.22), Math.min(185, width * 0.2)];
  const plot = part + how + 10;
  return { part: 8, partWidth: part - 24, how: part + 8, howWidth: how - 8, plot, plotWidth: verdict - plot - 18, verdict, words: 0 };
}

/** A line with its place. */
interface PlacedLine {
  readonly line: ForestLine;
  /** Top of its effects, px. */
  readonly top: number;
}

interface PlacedEffect extends ForestEffect {
  readonly y: number;
  readonly text: string;
}

function drawBlock(
  surface: Surface,
  { axis, claims }: Block,
  columns: Columns,
): { readonly elements: SVGElement[]; readonly height: number } {
  const { palette } = surface;
  const elements: SVGElement[] = [];
  const placed: PlacedLine[] = [];
  let y = 0;
  for (const claim of claims) {
    const titled = heading(surface, claim, y);
    elements.push(...titled.elements);
    y = titled.bottom + 8;
    for (const [i, line] of claim.lines.entries()) {
      elements.push(...words(surface, line, claim.lines[i - 1], y, columns));
      if (line.effects.length > 0) y += columns.words;
      placed.push({ line, top: y });
      y += ROW;
    }
    y += 10;
  }
  if (axis === null) return { elements, height: y };
  const measured = placed.filter(({ line }) => line.effects.length > 0);
  const effects = measured.flatMap(placedEffects);
  const inside = (value: number | null) => clamp(axis, value);
  const range = { x1: ({ low }: PlacedEffect) => inside(low), x2: ({ high }: PlacedEffect) => inside(high) };
  const plot = plotAt(surface, columns.plot, 0, {
    width: columns.plotWidth,
    height: y,
    x: { type: axis.type, domain: [...axis.domain], range: [0, columns.plotWidth] },
    y: { domain: [0, y], range: [0, y] },
    color: { type: "identity" },
    marks: [
      Plot.ruleX(
        measured.flatMap(({ top }) => axis.ticks.map((tick) => ({ tick, top }))),
        { x: "tick", y1: "top", y2: ({ top }: { top: number }) => top + ROW, stroke: palette.grid },
      ),
      Plot.ruleX(measured, {
        x: ({ line }: PlacedLine) => line.nullValue,
        y1: "top",
        y2: ({ top }: PlacedLine) => top + ROW,
        stroke: palette.muted,
        strokeWidth: 1.3,
      }),
      Plot.ruleY(
        effects.filter(({ low, high }) => low !== null && high !== null),
        { y: "y", ...range, stroke: ({ projection }: PlacedEffect) => colourOf(surface, projection), strokeWidth: 1.6, title: "text" },
      ),
      Plot.ruleX(
        effects.filter(({ chance }) => chance !== null),
        {
          x: "chance",
          y1: ({ y: at }: PlacedEffect) => at - 3,
          y2: ({ y: at }: PlacedEffect) => at + 3,
          stroke: palette.text,
          strokeWidth: 1.4,
        },
      ),
      Plot.dot(effects, {
        x: ({ value }: PlacedEffect) => inside(value),
        y: "y",
        r: 2.9,
        fill: ({ projection }: PlacedEffect) => colourOf(surface, projection),
        title: "text",
      }),
      ...cutOff(axis, effects, surface),
      horizontalAxis(surface, axis.ticks),
    ],
  });
  const name =
    axis.type === "log"
      ? "ratio (log scale)"
      : capital(claims[0]!.lines.find((line) => line.effects.length > 0)!.effect).concat(" (no unit)");
  elements.push(
    plot,
    label(surface, name, columns.plot + columns.plotWidth / 2, y + 32, { size: TICK, fill: palette.muted, anchor: "middle" }),
  );
  return { elements, height: y + AXIS };
}

/** Arrowheads where an interval goes on past the frame. */
function cutOff({ domain: [low, high] }: Axis, effects: readonly PlacedEffect[], surface: Surface): Plot.Markish[] {
  const look = { y: "y", r: 3.2, symbol: "triangle", fill: ({ projection }: PlacedEffect) => colourOf(surface, projection) } as const;
  return [
    Plot.dot(
      effects.filter((effect) => effect.low !== null && effect.low < low),
      { x: () => low, rotate: -90, ...look },
    ),
    Plot.dot(
      effects.filter((effect) => effect.high !== null && effect.high > high),
      { x: () => high, rotate: 90, ...look },
    ),
  ];
}

function heading(surface: Surface, { id, title, published, controlled, lines }: ForestClaim, top: number) {
  const effects = [...new Set(lines.flatMap(({ effect }) => (effect === "" ? [] : [effect])))];
  const verdicts = `As published: ${published}; controlled: ${controlled}.`;
  const elements: SVGElement[] = [];
  let y = top + 2;
  const paragraph = (text: string, size: number, style: Parameters<typeof label>[4]): void => {
    for (const line of wrapText(text, size, surface.width)) {
      y += size * 1.35;
      elements.push(label(surface, line, 0, y, { size, ...style }));
    }
  };
  paragraph(`(${id}) ${title}`, LABEL + 0.5, { bold: true });
  paragraph([verdicts, effects.length > 0 && `${capital(effects.join("; "))}.`].filter(Boolean).join(" "), TICK, {
    fill: surface.palette.muted,
  });
  return { elements, bottom: y };
}

/** What is measured, how, and the verdict; the comparison is named on its first line only. */
function words(surface: Surface, line: ForestLine, before: ForestLine | undefined, top: number, columns: Columns): SVGElement[] {
  const { palette } = surface;
  const how = line.how === "" ? line.judgement : `${line.judgement}: ${line.how}`;
  const elements = [
    ...(line.part === before?.part ? [] : twoLines(surface, line.part, columns.part, top, columns.partWidth, palette.text)),
    ...twoLines(surface, how, columns.how, top, columns.howWidth, line.decides ? palette.text : palette.muted),
  ];
  if (line.effects.length === 0 && columns.words === 0)
    elements.push(...twoLines(surface, line.reason, columns.plot, top, columns.plotWidth, palette.muted));
  if (!line.decides) return elements;
  const bold = line.verdict === "supported" || line.verdict === "contradicted";
  const fill = line.verdict === "contradicted" ? palette.modules[0]! : bold ? palette.text : palette.muted;
  return [...elements, label(surface, line.verdict, columns.verdict, top + ROW / 2 + 4, { size: LABEL, fill, bold })];
}

/** Text in the middle of a row, in two lines at most. */
function twoLines(surface: Surface, text: string, x: number, top: number, width: number, fill: string): SVGElement[] {
  const [first, ...rest] = wrapText(text, TICK, width);
  const lines = rest.length === 0 ? [first!] : [first!, shorten(rest.join(" "), TICK, width)];
  const start = top + ROW / 2 + 4 - ((lines.length - 1) * TICK * 1.2) / 2;
  return lines.map((each, i) => label(surface, each, x, start + i * TICK * 1.2, { size: TICK, fill }));
}

const placedEffects = ({ line, top }: PlacedLine): PlacedEffect[] =>
  line.effects.map((effect) => ({
    ...effect,
    y: top + ROW / 2 + (projections.indexOf(effect.projection as (typeof projections)[number]) - 1.5) * SPACING,
    text: `${line.part}, ${line.judgement}, ${line.how}, ${effect.projection.toUpperCase()}: ${formatPoint(effect)}`,
  }));

const colourOf = ({ palette }: Surface, projection: string): string =>
  palette.modules[Math.max(0, (projections as readonly string[]).indexOf(projection))]!;

function altText(claims: readonly ForestClaim[]): string {
  const texts = claims.map(({ id, title, published, controlled, lines }) => {
    const each = lines.map(({ part, judgement, how, effects, verdict }) => {
      const values = effects.map(({ value }) => value);
      const span =
        values.length === 0
          ? ""
          : `, from ${formatNumber(Math.min(...values))} to ${formatNumber(Math.max(...values))} over ${list(effects.map(({ projection }) => projection.toUpperCase()))}`;
      return `${part}, ${judgement}${how === "" ? "" : ` (${how})`}${span}, ${verdict}`;
    });
    return `(${id}) ${title}. Published: ${published}; controlled: ${controlled}. ${each.join("; ")}`;
  });
  return `Forest plot. ${texts.join(". ")}.`;
}
