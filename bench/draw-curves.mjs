// Draws what bench/curves.mjs measured, in the style of the reports' figures: cost-curves.svg, and with --png an image of it.
//
//   node bench/draw-curves.mjs FILE.json OUTFOLDER [--theme light|dark|print] [--png]
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { linearAxis, linearTicks, logAxis } from "../dist/figures/axis.js";
import { compose, plotAt, surfaceOf, TICK } from "../dist/figures/figure.js";
import { svgMarkup } from "../dist/figures/markup.js";
import { axisName, BELOW, endLabels, gridOf, heightOf, panelTitle, verticalAxis } from "../dist/figures/panels.js";
import { formatNumber, list } from "../dist/figures/text.js";
import { svgToPng } from "../dist/report/png.js";

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { theme: { type: "string", default: "light" }, png: { type: "boolean", default: false } },
});
const [file, out] = positionals;
const { date, commit, machine, sweeps } = JSON.parse(readFileSync(file, "utf8"));
const everyPoint = Object.values(sweeps).flat();
const { document } = parseHTML("<!doctype html><html><body></body></html>");
const surface = surfaceOf({ document, width: 900, theme: flags.theme });
const { palette } = surface;

const HEIGHT = 190;
const [, green, blue] = palette.modules;
const IDEAL = { colour: palette.muted, dash: "5 4" };

/**
 * The time of a row's passes at the machine's product rate: the best of all processes that measured that product, as a rate depends on its
 * shape but hardly on the moment.
 */
function unavoidable({ hidden, intermediate, gemmFlops, unavoidableSecondsPerRow }) {
  const alike = everyPoint.filter((other) => other.hidden === hidden && other.intermediate === intermediate);
  return (unavoidableSecondsPerRow * gemmFlops) / Math.max(...alike.map((other) => other.gemmFlops));
}

/** A line over a sweep: `of` gives its height at a point. */
const seconds = [
  { label: "measured", colour: blue, of: (r) => r.secondsPerRow },
  { label: "unavoidable", ...IDEAL, of: unavoidable },
];
const memory = [
  { label: "planned", colour: green, of: (r) => r.plannedMemory / 1e9 },
  { label: "peak", colour: blue, of: (r) => r.peakMemory / 1e9 },
];
const limit = { label: "budget", ...IDEAL, of: (r) => r.at };

/** A scale over the values from the least to the largest, without 0, where the ticks are. */
function closeAxis(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const pad = 0.05 * (high - low);
  const domain = [low - pad, high + pad];
  return { type: "linear", domain, ticks: linearTicks(domain, 6) };
}

/** As the figures' horizontal axes, but sizes such as 1,024 keep all their digits. */
const sizesAxis = (ticks) =>
  Plot.axisX(ticks, {
    tickSize: 4,
    tickPadding: 4,
    text: (tick) => formatNumber(tick, 4),
    stroke: palette.muted,
    fill: palette.muted,
    fontSize: TICK,
    label: null,
  });

/** A logarithmic scale whose ticks are the values. */
const stepsAxis = (values) => ({ ...logAxis(values), ticks: values });

const doubling = { x: stepsAxis, y: logAxis };
const smol = (points) => `SmolLM2-135M, ${points[0].layers} layers`;
const qwen = ([{ layers, rows, tokens }]) => `Qwen2-1.5B, ${layers} layers, ${rows} rows of ${tokens} tokens`;
const short = ([{ tokens }]) => `SmolLM2-135M, T = ${tokens}`;
const proportions = ([{ layers, tokens }]) => `SmolLM2-135M’s proportions, ${layers} layers, T = ${tokens}`;

const panels = [
  { name: "Seconds a row", of: smol, sweep: "tokens", over: "tokens in a row, T", lines: seconds, ...doubling },
  { name: "Memory, GB", of: smol, sweep: "tokens", over: "tokens in a row, T", lines: memory, x: stepsAxis, y: linearAxis },
  { name: "Seconds a row", of: short, sweep: "depth", over: "layers", lines: seconds, ...doubling },
  { name: "Seconds a row", of: proportions, sweep: "width", over: "hidden size", lines: seconds, ...doubling },
  { name: "Memory, GB", of: qwen, sweep: "budget", over: "budget, GB", lines: [...memory, limit], x: closeAxis, y: linearAxis },
  { name: "Seconds a row", of: qwen, sweep: "budget", over: "budget, GB", lines: seconds, x: closeAxis, y: linearAxis },
].map((panel) => ({ ...panel, points: sweeps[panel.sweep] }));

function drawPanel({ points, lines, x: xAxisOf, y: yAxisOf }, x, y, width) {
  const axes = { x: xAxisOf(points.map(({ at }) => at)), y: yAxisOf(lines.flatMap(({ of }) => points.map(of))) };
  const marks = lines.flatMap(({ label, colour, dash, of }) => [
    Plot.lineY(points, { x: "at", y: of, stroke: colour, strokeWidth: 1.7, ...(dash && { strokeDasharray: dash }) }),
    ...(dash
      ? []
      : [Plot.dot(points, { x: "at", y: of, r: 3.2, fill: colour, title: (r) => `${label}, ${r.at}: ${formatNumber(of(r))}` })]),
  ]);
  const plot = plotAt(surface, x, y, {
    width,
    height: HEIGHT,
    x: { type: axes.x.type, domain: [...axes.x.domain], range: [0, width] },
    y: { type: axes.y.type, domain: [...axes.y.domain], range: [HEIGHT, 0] },
    marks: [...verticalAxis(surface, axes.y, { labels: true }), sizesAxis(axes.x.ticks), ...marks],
  });
  const ends = lines.map((style) => ({ style, y: heightOf(axes.y, style.of(points.at(-1)), HEIGHT) }));
  return [plot, ...endLabels(surface, x + width, y, HEIGHT, ends)];
}

/** First and last value of each line. */
function inWords({ name, of, over, lines, points }) {
  const [first, last] = [points[0], points.at(-1)];
  const texts = lines.map(
    ({ label, of }) =>
      `${label} ${formatNumber(of(first))} at ${formatNumber(first.at)}, ${formatNumber(of(last))} at ${formatNumber(last.at)}`,
  );
  return `${name} (${of(points)}) against ${over}: ${list(texts)}.`;
}

const grid = gridOf(surface.width, panels.length, { left: 40, gap: 122, right: 76, narrowest: 280 });
const line = 26 + HEIGHT + BELOW + 8;
const body = panels.flatMap((panel, i) => {
  const [x, y, width] = [grid.x(i), 26 + grid.line(i) * line, grid.panelWidth];
  return [
    panelTitle(surface, x, y - 10, width + 76, panel.name, panel.of(panel.points)),
    axisName(surface, panel.over, x, y + HEIGHT, width),
    ...drawPanel(panel, x, y, width),
  ];
});

const svg = svgMarkup(
  compose(surface, {
    title: "What a row costs",
    about: "Random weights in the shapes of models · half of a row's tokens are labels",
    body,
    height: grid.lines * line,
    notes: [
      "Unavoidable: the passes' floating-point operations at the machine's own rate of matrix products, the best that any of the processes measured. Memory: the largest resident set, and the planner's estimate of it. Time and size on logarithmic scales, but for memory and budgets.",
      `${date}, commit ${commit}, ${machine}.`,
    ],
    alt: panels.map(inWords).join(" "),
  }),
);
mkdirSync(out, { recursive: true });
writeFileSync(join(out, "cost-curves.svg"), svg);
if (flags.png) writeFileSync(join(out, "cost-curves.png"), await svgToPng(svg, { scale: 1 }));
