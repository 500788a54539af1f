import { parseHTML } from "linkedom";
import { describe, expect, it } from "vitest";
import { compareRuns, describeRun } from "../../src/analysis/compare.ts";
import type { Estimate } from "../../src/analysis/bootstrap.ts";
import type { Findings } from "../../src/analysis/findings.ts";
import { seeded } from "../../src/analysis/random.ts";
import type { SweepRow } from "../../src/analysis/sweep.ts";
import { LayergradError } from "../../src/errors.ts";
import {
  curvesData,
  curvesFigure,
  forestData,
  forestFigure,
  heatmapData,
  heatmapFigure,
  labelsFigure,
  madData,
  madFigure,
  relativeDifferenceData,
  relativeDifferenceFigure,
  rowsData,
  spectrumFigure,
  trajectoryData,
  trajectoryFigure,
} from "../../src/figures/index.ts";
import { runTable } from "../run-table.ts";
import { data } from "./gallery.ts";

const { document } = parseHTML("<!doctype html><html><body></body></html>");
const about = { model: "tiny", data: "sums" };
const modules = ["self_attn.q_proj", "self_attn.v_proj"];

/** Rows of lognormal norms over eight layers; ranks where asked for. */
function table(seed: string, level: number, rows = 8) {
  const random = seeded(seed);
  const row = () =>
    Object.fromEntries(modules.map((module) => [module, Array.from({ length: 8 }, () => level * Math.exp(0.2 * random.normal()))]));
  const values = { nuclearNorm: Array.from({ length: rows }, row), effectiveRank: Array.from({ length: rows }, row) };
  return runTable({ name: seed, modules, values });
}

const [none, detailed] = [table("none", 8), table("detailed", 1)];
const described = [none, detailed].map((run) => ({ name: run.name, description: describeRun(run, { seed: 1, resamples: 200 }) }));
const comparison = compareRuns(none, detailed, { seed: 1, resamples: 200 });

const asPoint = ({ value, interval }: Estimate) => ({ value, low: interval!.low, high: interval!.high });

/** What a report writes to a file and reads again. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe("the data of figures", () => {
  it("curves: the means of each layer with their intervals", () => {
    const curves = curvesData(about, described);
    expect(plain(curves)).toEqual(curves);
    expect(curves.conditions.map(({ name, rows }) => [name, rows])).toEqual([
      ["none", 8],
      ["detailed", 8],
    ]);
    const { curve } = described[1]!.description.modules[1]!;
    expect(curves.conditions[1]!.curves[1]).toEqual({ module: modules[1], statistic: "nuclearNorm", points: curve.map(asPoint) });
  });

  it("MAD: all layers, then the three segments; no value where a segment has one layer", () => {
    const mad = madData(about, described);
    expect(plain(mad)).toEqual(mad);
    const { mad: all, segmentMads, module } = described[0]!.description.modules[0]!;
    const bars = mad.bars.filter((bar) => bar.condition === "none" && bar.module === module);
    expect(bars.map(({ segment }) => segment)).toEqual(["all", "shallow", "middle", "deep"]);
    expect(bars.map(({ point }) => point)).toEqual([all, ...segmentMads].map((estimate) => asPoint(estimate!)));
    const short = madData(about, [
      {
        name: "short",
        description: {
          ...described[0]!.description,
          modules: [{ ...described[0]!.description.modules[0]!, segmentMads: [null, segmentMads[1]!, null] }],
        },
      },
    ]);
    expect(short.bars.map(({ point }) => point.value === null)).toEqual([false, true, false, true]);
    expect(() => madFigure(short, { document })).not.toThrow();
  });

  it("relative difference: layers, the five largest, and what chance gives", () => {
    const rd = relativeDifferenceData(about, [{ name: "none", comparison }]);
    expect(plain(rd)).toEqual(rd);
    const { relativeDifference } = comparison.modules[0]!;
    expect(rd.pairs[0]!.modules[0]).toEqual({
      module: modules[0],
      byLayer: relativeDifference.byLayer,
      topLayers: relativeDifference.topLayers,
      mean: asPoint(relativeDifference),
      chance: relativeDifference.swap!.nullQuantile95,
    });
  });

  it("heat map: both curves", () => {
    const heatmap = heatmapData(about, [{ name: "none / detailed", comparison }]);
    expect(plain(heatmap)).toEqual(heatmap);
    expect(heatmap.pairs[0]!.modules[1]!.b).toEqual(comparison.modules[1]!.b.curve.map(({ value }) => value));
  });

  it("rows: means over layers, null where the row lacks one; a sweep's last step ends both of its lines", () => {
    const gap = runTable({ modules: ["q"], values: { nuclearNorm: [{ q: [1, 3] }, { q: [1, Number.NaN] }] } });
    const sweep: SweepRow = {
      row: 0,
      instruction: "a",
      output: "b",
      nTokens: 9,
      nLabels: 3,
      steps: [
        { labels: "first", k: 3, loss: 1, nuclearNorm: { q: [1, 3] } },
        { labels: "random", k: 1, loss: 2, nuclearNorm: { q: [2, 6] } },
        { labels: "first", k: 1, loss: 3, nuclearNorm: { q: [4, 6] } },
      ],
    };
    const rows = rowsData(about, [{ name: "none", table: gap, sweep: [sweep] }]);
    expect(plain(rows)).toEqual(rows);
    expect(rows.rows.map(({ norms, ranks }) => [norms, ranks])).toEqual([
      [{ q: 2 }, {}],
      [{ q: null }, {}],
    ]);
    expect(rows.sweeps.map(({ labels, steps }) => [labels, steps.map(({ k, norms }) => [k, norms.q])])).toEqual([
      [
        "first",
        [
          [1, 5],
          [3, 2],
        ],
      ],
      [
        "random",
        [
          [1, 4],
          [3, 2],
        ],
      ],
    ]);
    expect(rowsData(about, [{ name: "none", table: none }]).rows[0]!.ranks[modules[0]!]).toBeGreaterThan(0);
  });

  it("trajectory: means over layers by step", () => {
    const trajectory = trajectoryData(about, [{ ...described[0]!, step: 10 }]);
    expect(plain(trajectory)).toEqual(trajectory);
    const { mean } = described[0]!.description.modules[1]!;
    expect(trajectory.points[1]).toEqual({ condition: "none", module: modules[1], step: 10, rows: 8, point: asPoint(mean) });
  });

  it("forest: a subject's claims with those about the pairs it is in; one line where nothing decides", () => {
    const line = (verdict: "supported" | "not tested", decides: boolean) => ({
      how: "all labels",
      effect: "ratio",
      scale: "ratio" as const,
      nullValue: 1,
      decides,
      byDataset: [],
      pooled: {
        verdict,
        reason: "because",
        datasets: ["sums"],
        tests: [{ projection: "q" as const, value: 2, interval: { low: 1, high: 3 }, level: 0.95, p: 0.01, q: 0.01, method: "t", n: 8 }],
        questions: 8,
        approximate: true,
        rows: [],
      },
    });
    const view = (lines: ReturnType<typeof line>[], verdict: "supported" | "no control") => ({
      verdict,
      reason: "because",
      parts: [{ part: "p", text: "none against detailed", verdict, reason: "because", lines }],
    });
    const claim = (id: string, ...subjects: string[]) => ({
      id,
      title: `claim ${id}`,
      text: "",
      judgements: subjects.map((subject) => ({
        subject,
        published: view([line("supported", true), line("not tested", false)], "supported"),
        controlled: view([], "no control"),
        sweeps: [],
      })),
    });
    const findings: Findings = {
      study: "s",
      seed: "1",
      resamples: 10,
      alpha: 0.05,
      claims: [
        claim("a", "base, base mode", "chat, instruct mode"),
        claim("c", "base, base mode → chat, instruct mode"),
        claim("x", "other"),
      ],
    };
    const forest = forestData(findings, "chat, instruct mode");
    expect(plain(forest)).toEqual(forest);
    expect(
      forest.claims.map(({ id, lines }) => [id, lines.map(({ judgement, decides, verdict }) => [judgement, decides, verdict])]),
    ).toEqual(
      ["a", "c"].map((id) => [
        id,
        [
          ["as published", true, "supported"],
          ["as published", false, "not tested"],
          ["controlled", true, "no control"],
        ],
      ]),
    );
    expect(forestData(findings).subject).toBe("base, base mode");
    expect(forest.claims[0]!.lines[0]!.effects).toEqual([{ projection: "q", value: 2, low: 1, high: 3, chance: null }]);
  });
});

describe("a figure without data", () => {
  const empty: Readonly<Record<string, () => unknown>> = {
    curves: () => curvesFigure({ ...data.curves, conditions: [] }, { document }),
    "curves of another statistic": () => curvesFigure(data.curves, { document, statistics: ["stableRank"] }),
    MAD: () => madFigure({ ...data.mad, bars: [] }, { document }),
    RD: () => relativeDifferenceFigure({ ...data.relativeDifference, pairs: [] }, { document }),
    "heat map": () => heatmapFigure({ ...data.heatmap, pairs: [] }, { document }),
    spectrum: () => spectrumFigure({ ...data.spectrum, series: [] }, { document }),
    labels: () => labelsFigure({ ...data.rows, rows: [] }, { document }),
    "labels that are not counted": () =>
      labelsFigure({ ...data.rows, sweeps: [], rows: data.rows.rows.map((row) => ({ ...row, nLabels: null })) }, { document }),
    forest: () => forestFigure({ ...data.forest, claims: [] }, { document }),
    trajectory: () => trajectoryFigure({ ...data.trajectory, points: [] }, { document }),
  };
  it.each(Object.entries(empty))("%s: is refused with a reason", (_, draw) => {
    expect(draw).toThrow(LayergradError);
    expect(draw).toThrow(/there is nothing to draw, as .+\.$/);
  });

  it("draws a condition without values as an empty panel that says so", () => {
    const [first, ...others] = data.curves.conditions;
    const without = {
      ...first!,
      curves: first!.curves.map((curve) => ({ ...curve, points: curve.points.map(() => ({ value: null, low: null, high: null })) })),
    };
    const svg = curvesFigure({ ...data.curves, conditions: [without, ...others] }, { document });
    expect(svg.textContent).toContain("no values");
  });

  it("names the run that is not described in a statistic", () => {
    expect(() => madData(about, described, "stableRank")).toThrow(/^none: is not described in stableRank/);
    expect(() => heatmapData(about, [{ name: "none / detailed", comparison }], "stableRank")).toThrow(
      /^none \/ detailed: is not compared in stableRank/,
    );
  });

  it("refuses a width that nothing fits on", () =>
    expect(() => curvesFigure(data.curves, { document, width: 100 })).toThrow(/at least 280 px/));
});

describe("single values", () => {
  it("one layer, one row and one condition are drawn", () => {
    const [condition] = data.curves.conditions;
    const one = { ...condition!, rows: 1, curves: condition!.curves.map((curve) => ({ ...curve, points: curve.points.slice(0, 1) })) };
    const markup = curvesFigure({ ...data.curves, conditions: [one] }, { document }).outerHTML;
    expect(markup).not.toMatch(/NaN|Infinity|undefined/);
    expect(markup).toContain("1 row");
  });

  it("more rows than are drawn: the figure says how many are", () => {
    const many = { ...data.rows, rows: Array.from({ length: 4000 }, (_, i) => data.rows.rows[i % data.rows.rows.length]!) };
    const svg = labelsFigure(many, { document });
    expect(svg.textContent).toContain("1500 of 4000 rows are drawn");
  });
});
