import { describe, expect, it } from "vitest";
import { type FindingsOptions, findings, type Judgement, type StudyRun, type View } from "./findings.ts";
import { seeded } from "./random.ts";
import type { RunAttributes } from "./study-index.ts";
import type { SweepRow } from "./sweep.ts";
import type { RunTable, TableRow } from "./table.ts";

const modules = ["q", "k", "v", "o"].map((p) => `self_attn.${p}_proj`);
const LAYERS = 5;

/** A run with a planted norm. */
interface Planted {
  readonly data: string;
  readonly condition: string;
  readonly task?: string;
  readonly dataset?: string;
  readonly irrelevant?: true;
  readonly labels?: string;
  readonly model?: string;
  readonly kind?: "base" | "instruct";
  readonly family?: string | null;
  readonly mode?: "base" | "instruct";
  readonly rows?: number;
  /** ln of the norm's median, of a row with so many labels. */
  readonly log: (nLabels: number, row: number) => number;
  readonly nLabels?: (row: number) => number;
  readonly nTokens?: (row: number) => number;
  readonly output?: (row: number) => string;
  readonly instruction?: (row: number) => string;
  /** Factor of a layer in the mean curve. */
  readonly layer?: (layer: number) => number;
  /** Factor of a projection (0 to 3). */
  readonly projection?: (m: number) => number;
  readonly noise?: number;
  /** A layer's own noise. */
  readonly layerNoise?: number;
  readonly seed?: string;
  readonly sweep?: readonly SweepRow[];
}

/** Values are exp(log + noise) × layer × projection; the noise is a row's own and a condition's own, alike in all layers. */
function planted({
  data,
  condition,
  task = "cot",
  dataset = "one",
  irrelevant,
  labels = "all",
  model = "m",
  kind = "base",
  family = null,
  mode = "base",
  rows = 12,
  log,
  nLabels = () => 8,
  nTokens = (row) => nLabels(row) + 10,
  output = (row) => `${condition} ${irrelevant ? "wrong" : "right"} ${row}`,
  instruction = (row) => `${dataset}: question ${row}`,
  layer = (i) => 1 + (i % 2) * 0.3,
  projection = (m) => 1 + m,
  noise = 0.2,
  layerNoise = 0.02,
  seed = "",
  sweep,
}: Planted): StudyRun {
  const folder = [model, mode, data, labels.replaceAll("/", "_")].join("/");
  const random = seeded(`${seed}${folder}`);
  const values = new Float64Array(rows * modules.length * LAYERS);
  const table: TableRow[] = [];
  for (let row = 0; row < rows; row++) {
    const n = nLabels(row);
    table.push({ row, instruction: instruction(row), output: output(row), loss: 1 + random.next(), nTokens: nTokens(row), nLabels: n });
    const level = Math.exp(log(n, row) + noise * random.normal());
    for (let m = 0; m < modules.length; m++)
      for (let l = 0; l < LAYERS; l++)
        values[(row * modules.length + m) * LAYERS + l] = level * layer(l) * projection(m) * Math.exp(layerNoise * random.normal());
  }
  const attributes: RunAttributes = {
    folder,
    model: { name: model, kind, family },
    mode,
    data: { name: data, task, dataset, condition, irrelevant: irrelevant ?? false },
    labels,
  };
  const run: RunTable = {
    name: folder,
    layers: LAYERS,
    modules,
    rows: table,
    values: { nuclearNorm: values, effectiveRank: values },
    leftOut: {},
  };
  return sweep === undefined ? { attributes, table: run } : { attributes, table: run, sweep };
}

const judgementOf = (runs: readonly StudyRun[], claim: string, options: Partial<FindingsOptions> = {}): Judgement => {
  const [found] = findings(runs, { study: "planted", seed: 7, resamples: 400, claims: [claim], ...options }).claims;
  expect(found!.judgements).toHaveLength(1);
  return found!.judgements[0]!;
};

const part = (view: View, id: string) => view.parts.find((p) => p.part === id)!;
const deciding = (view: View, id: string) => part(view, id).lines.find(({ decides }) => decides)!.pooled;

const short = () => 3;
const long = (row: number) => 200 + 10 * row;

/** Bare answers and chains; `ratio` is none's norm over detailed's with all labels. */
const chains = (ratio: number, more: Partial<Planted> = {}): StudyRun[] => [
  planted({ data: "one/none", condition: "none", log: () => Math.log(ratio), nLabels: short, ...more }),
  planted({ data: "one/simplified", condition: "simplified", log: () => 0, nLabels: () => 30, ...more }),
  planted({ data: "one/detailed", condition: "detailed", log: () => 0, nLabels: long, ...more }),
];

/** The detailed chains with as many labels as the bare answers, whose norm is then `ratio` times theirs. */
const heldTo = (rule: string, log: number, more: Partial<Planted> = {}): StudyRun[] =>
  ["simplified", "detailed"].map((condition) =>
    planted({ data: `one/${condition}`, condition, labels: `${rule}:@one/none`, log: () => log, nLabels: short, ...more }),
  );

describe("claim (a), as published", () => {
  it("is supported by a planted ratio of 3, whose intervals hold it", () => {
    const { published } = judgementOf(chains(3), "a");
    expect(published.verdict).toBe("supported");
    const { tests, questions, approximate } = deciding(published, "detailed");
    expect(tests.map((t) => t.projection)).toEqual(["q", "k", "v", "o"]);
    for (const { value, interval, q } of tests) {
      // A standard error of the log ratio of 0.2·√(2/12) = 0.08.
      expect(Math.abs(Math.log(value / 3))).toBeLessThan(0.25);
      expect(interval!.low).toBeLessThan(3);
      expect(interval!.high).toBeGreaterThan(3);
      expect(q).toBeLessThan(0.05);
    }
    expect([questions, approximate]).toEqual([12, true]);
  });

  it("is contradicted by the opposite, and undecided where there is none", () => {
    expect(judgementOf(chains(1 / 3), "a").published.verdict).toBe("contradicted");
    expect(judgementOf(chains(1), "a").published.verdict).toBe("undecided");
  });

  it("is undecided where the projections disagree, and says which do", () => {
    const runs = chains(1);
    const [none, ...others] = chains(1, { projection: (m) => (m < 2 ? 3 : 1 / 3) });
    const { published } = judgementOf([none!, ...others.map((_, i) => runs[i + 1]!)], "a");
    expect(published.verdict).toBe("undecided");
    expect(part(published, "detailed").reason).toBe("only Q and K as claimed, V and O the other way");
  });

  it("is undecided where a projection is missing", () => {
    const runs = chains(3).map((run) => ({ ...run, table: withoutModule(run.table, 3) }));
    const { published } = judgementOf(runs, "a");
    expect(published.verdict).toBe("undecided");
    expect(part(published, "detailed").reason).toBe("no test of O");
  });

  it("is not tested without the runs, and says which are needed", () => {
    const { published, controlled } = judgementOf(chains(3).slice(1), "a");
    expect(published.verdict).toBe("not tested");
    expect(part(published, "detailed").reason).toBe("it needs runs of one data set's none and detailed");
    expect(controlled.verdict).toBe("not tested");
  });

  it("weighs data sets equally, whatever their rows, and gives each beside the pool", () => {
    const two = [
      ...chains(2, { noise: 0, rows: 40 }),
      ...chains(8, { noise: 0, rows: 10, dataset: "two" }).map((run) => rename(run, "two")),
    ];
    const line = part(judgementOf(two, "a").published, "detailed").lines[0]!;
    // Arithmetic means, (2 + 8)/2 over (1 + 1)/2; the layers' own noise of 2 % averages out to some 0.1 %.
    expect(line.pooled.tests[2]!.value).toBeCloseTo(5, 1);
    expect(line.byDataset.map(({ datasets, questions }) => [datasets, questions])).toEqual([
      [["cot/one"], 40],
      [["cot/two"], 10],
    ]);
    expect(line.byDataset.map(({ tests }) => Math.round(tests[0]!.value))).toEqual([2, 8]);
    expect(line.pooled.rows).toEqual([
      { condition: "none", used: 50, leftOut: {} },
      { condition: "detailed", used: 50, leftOut: {} },
    ]);
  });

  it("leaves a data set with a single question out of the pool, which it would rob of its intervals, and names it", () => {
    const alone = chains(5, { rows: 1, dataset: "two" }).map((run) => rename(run, "two"));
    const line = part(judgementOf([...chains(3), ...alone], "a").published, "detailed").lines[0]!;
    expect(line.pooled.verdict).toBe("supported");
    expect(line.pooled.datasets).toEqual(["cot/one"]);
    expect(line.pooled.datasetsLeftOut).toEqual([{ dataset: "cot/two", reason: "a single question" }]);
    expect(line.byDataset.map(({ verdict }) => verdict)).toEqual(["supported", "undecided"]);
  });

  it("counts rows that are left out, with reasons", () => {
    const [, ...others] = chains(3);
    const fewer = planted({ data: "one/none", condition: "none", rows: 9, log: () => 1, nLabels: short });
    const run = { ...fewer, table: { ...fewer.table, leftOut: { "empty response": 2 } } };
    const { rows, questions } = deciding(judgementOf([run, ...others], "a").published, "detailed");
    expect(questions).toBe(9);
    expect(rows[0]).toEqual({ condition: "none", used: 9, leftOut: { "empty response": 2 } });
    expect(Object.values(rows[1]!.leftOut)).toEqual([3]);
  });

  it("shows beside it that a summed loss turns it round", () => {
    const line = part(judgementOf(chains(3), "a").published, "detailed").lines.find(({ how }) => how === "summed loss")!;
    expect([line.decides, line.pooled.verdict]).toEqual([false, "contradicted"]);
    // 3 labels against 255 on average.
    expect(Math.abs(Math.log((line.pooled.tests[0]!.value * 255) / 9))).toBeLessThan(0.3);
  });

  it("widens intervals to the false-coverage-rate level of the significant projections", () => {
    const [none, ...others] = chains(1, { projection: (m) => (m < 3 ? 3 : 1) });
    const { tests } = deciding(
      judgementOf([none!, ...others.map((_, i) => chains(1, { projection: () => 1 })[i + 1]!)], "a").published,
      "detailed",
    );
    expect(tests.filter(({ q }) => q! <= 0.05)).toHaveLength(3);
    expect(tests.map(({ level }) => level)).toEqual(Array(4).fill(1 - (0.05 * 3) / 4));
  });
});

describe("claim (a), controlled by experiment", () => {
  it("is undecided where nothing is left with equally many labels, though the published claim is supported", () => {
    const { published, controlled } = judgementOf([...chains(10), ...heldTo("last", Math.log(10))], "a");
    expect([published.verdict, controlled.verdict]).toEqual(["supported", "undecided"]);
  });

  it("is supported where a gap of 1.5 is left by all rules", () => {
    const runs = [...chains(10), ...["last", "first", "random"].flatMap((rule) => heldTo(rule, Math.log(10 / 1.5)))];
    const { controlled } = judgementOf(runs, "a");
    expect(controlled.verdict).toBe("supported");
    const lines = part(controlled, "detailed").lines.filter(({ decides }) => decides);
    expect(lines.map(({ how }) => how)).toEqual(["last labels", "first labels", "random labels"]);
    for (const { pooled } of lines) expect(Math.abs(Math.log(pooled.tests[2]!.value / 1.5))).toBeLessThan(0.25);
  });

  it("is contradicted where the gap turns round, and undecided where the rules disagree", () => {
    expect(judgementOf([...chains(10), ...heldTo("last", Math.log(30))], "a").controlled.verdict).toBe("contradicted");
    const disagree = judgementOf([...chains(10), ...heldTo("last", Math.log(3)), ...heldTo("first", Math.log(30))], "a").controlled;
    expect(disagree.verdict).toBe("undecided");
    expect(part(disagree, "detailed").reason).toBe(
      "last labels: supported, all four projections; first labels: contradicted, all four projections the other way",
    );
  });

  it("leaves out rows that have fewer labels than the bare answer", () => {
    const runs = [...chains(10), ...heldTo("last", 0, { nLabels: (row) => (row < 4 ? 2 : 3) })];
    const { rows, questions } = deciding(judgementOf(runs, "a").controlled, "detailed");
    expect(questions).toBe(8);
    expect(rows[1]!.leftOut).toEqual({ "counts fewer labels than the other condition": 4 });
  });

  it("tells them from rows that the bare answer's run lacks", () => {
    const [none, ...others] = chains(10, { rows: 10 });
    const held = heldTo("last", 0, { nLabels: (row) => (row < 4 ? 2 : 3) });
    const { rows, questions } = deciding(judgementOf([none!, ...others, ...held], "a").controlled, "detailed");
    expect(questions).toBe(6);
    expect(rows[1]!.leftOut).toEqual({ "its question is missing in another run": 2, "counts fewer labels than the other condition": 4 });
  });

  it("says of runs that gave nothing why, and does not advise what has been run", () => {
    const { controlled } = judgementOf([...chains(10), ...heldTo("last", 0, { nLabels: () => 2 })], "a");
    const { lines, reason } = part(controlled, "detailed");
    const last = lines.find(({ how }) => how === "last labels")!.pooled;
    expect(last.verdict).toBe("not tested");
    expect(last.reason).toMatch(/no row is left \(12 counts fewer labels than the other condition\)$/);
    // The regression decides, and extrapolates.
    expect(reason).toMatch(/^extrapolated/);
    expect(reason).not.toContain("--labels");
  });

  it("takes one fixed number of labels in both conditions as well", () => {
    const fixed = ["none", "simplified", "detailed"].map((condition) =>
      planted({ data: `one/${condition}`, condition, labels: "first:2", log: () => (condition === "none" ? 1 : 0), nLabels: () => 2 }),
    );
    const { controlled } = judgementOf([...chains(10), ...fixed], "a");
    expect(controlled.verdict).toBe("supported");
    expect(deciding(controlled, "detailed").tests[0]!.value).toBeLessThan(4);
  });

  it("judges each fixed number of labels on a line of its own, and all must agree", () => {
    const fixed = (k: number, ratio: number) =>
      ["none", "simplified", "detailed"].map((condition) =>
        planted({
          data: `one/${condition}`,
          condition,
          labels: `first:${k}`,
          log: () => (condition === "none" ? Math.log(ratio) : 0),
          nLabels: () => k,
        }),
      );
    const judged = (other: number) => part(judgementOf([...chains(10), ...fixed(2, 3), ...fixed(16, other)], "a").controlled, "detailed");
    const lines = judged(3).lines.filter(({ decides }) => decides);
    expect(lines.map(({ how }) => how)).toEqual(["first 2 labels", "first 16 labels"]);
    expect([judged(3).verdict, judged(1 / 3).verdict]).toEqual(["supported", "undecided"]);
  });

  it("does not take a rule held to another condition's labels", () => {
    const other = planted({ data: "one/detailed", condition: "detailed", labels: "last:@one/simplified", log: () => 0, nLabels: () => 30 });
    const { controlled } = judgementOf([...chains(10), other], "a");
    expect(part(controlled, "detailed").lines.map(({ how }) => how)).not.toContain("last labels");
  });

  it("takes the steps of sweeps where no run holds the labels fixed", () => {
    const swept = (condition: string) =>
      planted({ data: `one/${condition}`, condition, labels: "sweep", log: () => 0, nLabels: () => 16, sweep: sweepOf(12, 16, 9) });
    const [none] = chains(10, { nLabels: () => 4 });
    const { controlled, sweeps } = judgementOf([none!, swept("simplified"), swept("detailed")], "a");
    // At 4 labels the sweep's norm is 9 · 4^−0.5 = 4.5 of its unit: 10 / 4.5.
    expect(controlled.verdict).toBe("supported");
    const { tests } = deciding(controlled, "detailed");
    expect(Math.abs(Math.log((tests[0]!.value * 4.5) / 10))).toBeLessThan(0.25);
    const first = sweeps.find(({ labels }) => labels === "first")!;
    expect(first.slopes[0]!.mean.value).toBeCloseTo(-0.5, 9);
    expect(first.slopes[0]!.summed.value).toBeCloseTo(0.5, 9);
    expect(first.gaps.map(({ k }) => k)).toEqual([4]);
  });

  it("gives slopes of both conditions where both are swept, and gaps with the data sets that they rest on", () => {
    const swept = (condition: string, n: number, unit: number, rows: number, dataset: string) =>
      planted({
        data: `${dataset}/${condition}`,
        dataset,
        condition,
        labels: "sweep",
        rows,
        log: () => 0,
        nLabels: () => n,
        sweep: sweepOf(rows, n, unit, dataset),
      });
    const runs = [
      ...chains(10, { nLabels: () => 4 }),
      ...[
        ["one", 2],
        ["two", 2],
        ["three", 1],
      ].flatMap(([dataset, rows]) => [
        swept("none", 4, 6, rows as number, dataset as string),
        swept("detailed", 16, 3, rows as number, dataset as string),
      ]),
    ];
    const { sweeps } = judgementOf(runs, "a");
    const first = sweeps.filter(({ labels }) => labels === "first");
    expect(first.map(({ text, condition }) => [text, condition])).toEqual([
      ["none against detailed", "detailed"],
      ["none", "none"],
      // The simplified chains are not swept: they have a gap where they have as many labels, and no slope.
      ["none against simplified", "simplified"],
    ]);
    const [both, none] = first;
    expect(both!.gaps.map(({ k, datasets }) => [k, datasets])).toEqual([1, 2, 4].map((k) => [k, ["cot/one", "cot/two"]]));
    for (const { ratios } of both!.gaps) expect(ratios[1]!.ratio.value).toBeCloseTo(2, 12);
    for (const { slopes } of [both!, none!]) expect([slopes[2]!.mean.value.toFixed(9), slopes[2]!.mean.n]).toEqual(["-0.500000000", 4]);
  });

  it("is judged by the projections that could be measured where a sweep lacks one", () => {
    const sweep = sweepOf(12, 16, 9).map((row) => ({
      ...row,
      steps: row.steps.map((step) => ({ ...step, nuclearNorm: { "self_attn.q_proj": step.nuclearNorm["self_attn.q_proj"]! } })),
    }));
    const swept = planted({ data: "one/detailed", condition: "detailed", labels: "sweep", log: () => 0, nLabels: () => 16, sweep });
    const { sweeps, controlled } = judgementOf([...chains(10, { nLabels: () => 4 }), swept], "a");
    expect(sweeps[0]!.gaps[0]!.ratios.map(({ projection }) => projection)).toEqual(["q"]);
    expect(sweeps[0]!.slopes.map(({ projection }) => projection)).toEqual(["q"]);
    expect(part(controlled, "detailed").reason).toContain("no test of K, V and O");
  });

  it("shows sweeps beside runs, which decide", () => {
    const swept = planted({
      data: "one/detailed",
      condition: "detailed",
      labels: "sweep",
      log: () => 0,
      nLabels: () => 16,
      sweep: sweepOf(12, 16, 90),
    });
    const { controlled } = judgementOf([...chains(10, { nLabels: () => 4 }), ...heldTo("last", 1, { nLabels: () => 4 }), swept], "a");
    const lines = part(controlled, "detailed").lines.filter(({ how }) => how.includes("labels"));
    expect(lines.find(({ how }) => how === "last labels")!.decides).toBe(true);
    expect(lines.find(({ how }) => how === "first labels of the sweep")!.decides).toBe(false);
  });
});

describe("claim (a), controlled by regression", () => {
  it("is undecided without common support, whatever the number, and says so", () => {
    const { controlled } = judgementOf(chains(10), "a");
    expect(controlled.verdict).toBe("undecided");
    expect(part(controlled, "detailed").reason).toMatch(/^extrapolated, .*run one\/detailed with --labels last:@one\/none/);
  });

  it("finds a planted direct effect where labels overlap, and none where there is only the labels'", () => {
    const overlapping = (effect: number) =>
      ["none", "simplified", "detailed"].map((condition, c) =>
        planted({
          data: `one/${condition}`,
          condition,
          rows: 40,
          nLabels: (row) => 10 + ((row * 7 + c * 11) % 60) + (c > 0 ? 20 : 0),
          log: (n) => (condition === "none" ? effect : 0) - 0.4 * Math.log(n),
          noise: 0.1,
        }),
      );
    const direct = judgementOf(overlapping(0.5), "a").controlled;
    expect(direct.verdict).toBe("supported");
    expect(deciding(direct, "detailed").tests[1]!.value).toBeCloseTo(Math.exp(0.5), 0);
    const only = judgementOf(overlapping(0), "a");
    expect([only.published.verdict, only.controlled.verdict]).toEqual(["supported", "undecided"]);
  });

  it("leaves out rows without a logarithm, and counts them", () => {
    const overlap = chains(2, { nLabels: (row) => 10 + ((row * 7) % 12) });
    const [none, ...others] = overlap;
    const rows = none!.table.rows.map((row, i) => (i === 3 ? { ...row, loss: 0 } : row));
    const { controlled } = judgementOf([{ ...none!, table: { ...none!.table, rows } }, ...others], "a");
    const beside = part(controlled, "detailed").lines.find(({ how }) => how.includes("log loss"))!.pooled;
    expect(beside.rows[0]).toEqual({
      condition: "none",
      used: 11,
      leftOut: { "no logarithm (a norm, a loss or a number of labels of 0)": 1 },
    });
    expect(beside.rows[1]).toMatchObject({ condition: "detailed", used: 12 });
    expect([beside.questions, beside.tests.length]).toEqual([11, 4]);
  });

  it("says that there are too few rows for it, where there are", () => {
    const { controlled } = judgementOf(chains(2, { rows: 2, nLabels: (row) => 10 + row }), "a");
    expect(part(controlled, "detailed").reason).toContain("Too few rows for a regression: 4 for 3 coefficients");
  });

  it("stands beside an experiment, which decides", () => {
    const { controlled } = judgementOf([...chains(10), ...heldTo("last", 0)], "a");
    const regression = part(controlled, "detailed").lines.find(({ how }) => how.startsWith("regression"))!;
    expect(regression.decides).toBe(false);
    expect(controlled.verdict).toBe("supported");
  });
});

describe("claim (b)", () => {
  it("is controlled by the relative MAD: a larger norm alone supports only the published claim", () => {
    const { published, controlled } = judgementOf(chains(3, { noise: 0.05 }), "b");
    expect([published.verdict, controlled.verdict]).toEqual(["supported", "undecided"]);
  });

  it("is supported under control where the shape differs too", () => {
    const [none] = chains(3, { layer: (i) => 1 + (i % 2) });
    const { controlled } = judgementOf([none!, ...chains(3).slice(1)], "b");
    expect(controlled.verdict).toBe("supported");
    // MAD / mean: 1 / 1.4 over 0.3 / 1.12.
    expect(deciding(controlled, "detailed").tests[0]!.value).toBeCloseTo(1 / 1.4 / (0.3 / 1.12), 0);
  });
});

describe("claim (c)", () => {
  const model = (kind: "base" | "instruct", ratio: number, family: string | null = "f") =>
    chains(ratio, { model: kind, kind, family, mode: kind, noise: 0.1 });

  it("is not tested on one checkpoint in two modes", () => {
    const runs = [...chains(3, { mode: "base" }), ...chains(6, { mode: "instruct" })];
    const { published, controlled } = judgementOf(runs, "c");
    expect([published.verdict, controlled.verdict]).toEqual(["not tested", "not tested"]);
    expect(published.reason).toContain("two modes");
  });

  it("is not tested on models of different families", () => {
    expect(judgementOf([...model("base", 3), ...model("instruct", 6, "g")], "c").published.verdict).toBe("not tested");
  });

  it("finds a ratio that is twice as large in the instruct model", () => {
    const { subject, published } = judgementOf([...model("base", 3), ...model("instruct", 6)], "c");
    expect(subject).toBe("base, base mode → instruct, instruct mode");
    expect(published.verdict).toBe("supported");
    expect(Math.abs(Math.log(deciding(published, "norm").tests[0]!.value / 2))).toBeLessThan(0.2);
  });

  it("is contradicted by one that is half as large, and controlled by experiments in both models", () => {
    const runs = [...model("base", 6), ...model("instruct", 3)];
    const experiments = (["base", "instruct"] as const).flatMap((kind) =>
      heldTo("last", kind === "base" ? 1 : 0, { model: kind, kind, family: "f", mode: kind, noise: 0.1 }),
    );
    const { published, controlled } = judgementOf([...runs, ...experiments], "c");
    expect(published.verdict).toBe("contradicted");
    // (3 / 1) over (6 / e).
    expect(Math.abs(Math.log(deciding(controlled, "norm").tests[0]!.value / (Math.E / 2)))).toBeLessThan(0.2);
  });
});

describe("claim (d)", () => {
  /** Correct and irrelevant of none and detailed; `none` and `detailed` are the irrelevant ones' factors in odd layers. */
  const twins = (none: number, detailed: number, more: Partial<Planted> = {}) =>
    Object.entries({ none, detailed }).flatMap(([condition, factor]) => [
      planted({ data: `one/${condition}`, condition, log: () => 0, rows: 20, noise: 0.1, ...more }),
      planted({
        data: `one/${condition}/irrelevant`,
        condition,
        irrelevant: true,
        log: () => 0,
        rows: 20,
        noise: 0.1,
        layer: (i) => (1 + (i % 2) * 0.3) * (i % 2 ? factor : 1),
        ...more,
      }),
    ]);

  it("is supported where detailed chains differ and bare answers do not; it has no control", () => {
    const { published, controlled } = judgementOf(twins(1, 2), "d");
    expect(published.parts.map(({ verdict }) => verdict)).toEqual(["supported", "supported", "supported"]);
    expect(controlled.verdict).toBe("no control");
    const [test] = deciding(published, "detailed").tests;
    // Two of five layers differ by a factor 2.
    expect(test!.value).toBeCloseTo(0.4, 0);
    expect(test!.nullQuantile95).toBeLessThan(test!.value);
  });

  it("is contradicted where bare answers tell and chains do not, undecided where both do", () => {
    expect(judgementOf(twins(2, 1), "d").published.verdict).toBe("contradicted");
    expect(judgementOf(twins(2, 2), "d").published.verdict).toBe("undecided");
  });

  it("detects a difference whichever of the twins has the larger norms", () => {
    const runs = twins(1, 1).map((run) =>
      run.attributes.data.condition === "detailed" && run.attributes.data.irrelevant
        ? planted({ data: "one/detailed/irrelevant", condition: "detailed", irrelevant: true, rows: 20, noise: 0.1, log: () => -0.5 })
        : run,
    );
    const { published } = judgementOf(runs, "d");
    expect(part(published, "detailed").verdict).toBe("supported");
    for (const { value, nullQuantile95 } of deciding(published, "detailed").tests) expect(value).toBeGreaterThan(nullQuantile95!);
  });

  it("leaves out questions whose twins have the same response", () => {
    const collide = { output: (row: number) => (row < 8 ? `same ${row}` : `own ${row}`) };
    const runs = twins(1, 2).map((run) => {
      if (run.attributes.data.condition !== "none") return run;
      const irrelevant = run.attributes.data.irrelevant;
      // Where the answers are equal, so would be the gradients; here they differ wildly, which must not count.
      return planted({
        data: run.attributes.data.name,
        condition: "none",
        ...(irrelevant && { irrelevant: true }),
        rows: 20,
        noise: 0.1,
        log: (_, row) => (irrelevant && row < 8 ? 3 : 0),
        output: irrelevant ? (row) => (row < 8 ? `same ${row}` : `wrong ${row}`) : collide.output,
      });
    });
    const { published } = judgementOf(runs, "d");
    expect(published.verdict).toBe("supported");
    const { rows, questions } = deciding(published, "none");
    expect(questions).toBe(12);
    expect(Object.values(rows[0]!.leftOut)).toEqual([8]);
  });
});

describe("claim (e)", () => {
  const slopes = (wiki: number, cot: number, more: Partial<Planted> = {}) => [
    ...["popular-100", "popular-500", "popular-1000"].map((condition, i) =>
      planted({
        data: `wiki/${condition}`,
        condition,
        task: "wiki",
        dataset: "wiki",
        nLabels: (row) => [100, 450, 900][i]! + row,
        log: (n) => wiki * Math.log(n),
        noise: 0.02,
        ...more,
      }),
    ),
    ...["none", "simplified", "detailed"].map((condition, i) =>
      planted({
        data: `one/${condition}`,
        condition,
        nLabels: (row) => [3, 40, 400][i]! + row,
        log: (n) => cot * Math.log(n),
        noise: 0.02,
        ...more,
      }),
    ),
  ];

  /** Longer responses at equally many labels, with slopes of their own per log of the whole length. */
  const held = (wiki: number, cot: number) => [
    ...["popular-500", "popular-1000"].map((condition, i) =>
      planted({
        data: `wiki/${condition}`,
        condition,
        task: "wiki",
        dataset: "wiki",
        labels: "last:@wiki/popular-100",
        nLabels: (row) => 100 + row,
        log: (n, row) => -0.1 * Math.log(n) + wiki * Math.log(([450, 900][i]! + row) / n),
        noise: 0.02,
      }),
    ),
    ...["simplified", "detailed"].map((condition, i) =>
      planted({
        data: `one/${condition}`,
        condition,
        labels: "last:@one/none",
        nLabels: (row) => 3 + row,
        log: (n, row) => -0.4 * Math.log(n) + cot * Math.log(([40, 400][i]! + row) / n),
        noise: 0.02,
      }),
    ),
  ];

  it("is supported where knowledge's slope is flatter by more than the margin", () => {
    const { published } = judgementOf(slopes(-0.1, -0.4), "e");
    expect(published.verdict).toBe("supported");
    expect(deciding(published, "slopes").tests[0]!.value).toBeCloseTo(0.3, 1);
    const beside = part(published, "slopes").lines.slice(1);
    expect(beside.map(({ pooled }) => Number(pooled.tests[0]!.value.toFixed(1)))).toEqual([-0.1, -0.4]);
  });

  it("is contradicted where the slopes are alike, and undecided near the margin", () => {
    expect(judgementOf(slopes(-0.4, -0.4), "e").published.verdict).toBe("contradicted");
    expect(judgementOf(slopes(-0.3, -0.4, { noise: 0.1 }), "e").published.verdict).toBe("undecided");
  });

  it("is not tested under control without runs, and says which", () => {
    const { controlled } = judgementOf(slopes(-0.1, -0.4), "e");
    expect(controlled.verdict).toBe("not tested");
    expect(controlled.reason).toContain("wiki/popular-1000 with --labels last:@wiki/popular-100");
  });

  it("under control takes the norm at equally many labels, and the length of the whole response", () => {
    const { published, controlled } = judgementOf([...slopes(-0.1, -0.4), ...held(0, 0)], "e");
    // Nothing but the number of labels acts: without it neither kind of response falls with its length, and no slope of chains is left to differ from.
    expect([published.verdict, controlled.verdict]).toEqual(["supported", "undecided"]);
    expect(part(controlled, "slopes").reason).toBe("with equally many labels chains have no slope to compare with");
    expect(deciding(controlled, "slopes").tests[0]!.value).toBeCloseTo(0, 1);
    const fall = part(controlled, "slopes").lines.find(({ how }) => how === "last labels: fall of chains")!;
    expect([fall.decides, fall.pooled.verdict]).toEqual([false, "contradicted"]);
  });

  it("under control compares with chains whose norm falls with their length", () => {
    const controlled = (wiki: number) => judgementOf([...slopes(-0.1, -0.4), ...held(wiki, -0.4)], "e").controlled.verdict;
    expect([controlled(0), controlled(-0.4)]).toEqual(["supported", "contradicted"]);
  });
});

describe("claims (f) and (g), of rows that share no questions", () => {
  const knowledge = (effect: number, more: (condition: string) => Partial<Planted> = () => ({})) =>
    ["unpopular", "popular-100"].map((condition) =>
      planted({
        data: `wiki/${condition}`,
        condition,
        task: "wiki",
        dataset: "wiki",
        rows: 30,
        instruction: (row) => `${condition} ${row}`,
        nLabels: (row) => 80 + ((row * 13) % 40),
        log: (n) => (condition === "unpopular" ? effect : 0) - 0.4 * Math.log(n),
        ...more(condition),
      }),
    );

  it("(f) finds a planted effect as published and by regression, as lengths overlap", () => {
    const { published, controlled } = judgementOf(knowledge(0.7), "f");
    expect([published.verdict, controlled.verdict]).toEqual(["supported", "supported"]);
    expect(deciding(published, "popularity").questions).toBe(30);
  });

  it("(f) stays unpaired where positions and texts happen to agree", () => {
    const { published } = judgementOf(
      knowledge(0.7, () => ({ instruction: (row) => `what is ${row}?`, rows: 20 })),
      "f",
    );
    const unequal = judgementOf(
      knowledge(0.7, (condition) => ({ instruction: (row) => `what is ${row}?`, rows: condition === "unpopular" ? 20 : 8 })),
      "f",
    );
    expect(published.verdict).toBe("supported");
    // All rows of both, none without a partner.
    expect(deciding(unequal.published, "popularity").rows.map(({ used, leftOut }) => [used, leftOut])).toEqual([
      [20, {}],
      [8, {}],
    ]);
  });

  it("(f) that is nothing but length is undecided under control", () => {
    const lengths = (condition: string) => ({ nLabels: (row: number) => (condition === "unpopular" ? 40 : 80) + ((row * 13) % 70) });
    const { published, controlled } = judgementOf(knowledge(0, lengths), "f");
    expect([published.verdict, controlled.verdict]).toEqual(["supported", "undecided"]);
  });

  const quality = (log: (condition: string) => Planted["log"]) =>
    ["high", "low"].map((condition) =>
      planted({
        data: `quality/${condition}`,
        condition,
        task: "quality",
        dataset: "ifd",
        rows: 40,
        instruction: (row) => `${condition} ${row}`,
        nLabels: (row) => (condition === "high" ? 100 : 40) + row * 3,
        log: log(condition),
      }),
    );

  it("(g) that is nothing but length does not outlive the matching of lengths, which says how many rows matched", () => {
    const { published, controlled } = judgementOf(
      quality(() => (n) => Math.log(n)),
      "g",
    );
    expect([published.verdict, controlled.verdict]).toEqual(["supported", "undecided"]);
    const { questions, rows } = deciding(controlled, "quality");
    expect(questions).toBeLessThan(40);
    expect(rows[0]!.used).toBe(questions);
    expect(Object.keys(rows[0]!.leftOut)[0]).toContain("n_tokens");
  });

  it("(g) outlives it where quality itself acts", () => {
    const { controlled } = judgementOf(
      quality((condition) => (n) => Math.log(n) + (condition === "high" ? 0.8 : 0)),
      "g",
    );
    expect(controlled.verdict).toBe("supported");
  });
});

describe("what does not matter", () => {
  const runs = [...chains(1.2), ...heldTo("last", 0), ...chains(2, { mode: "instruct" })];

  it("is the order of runs and rows", () => {
    const random = seeded(3);
    const shuffled = random.shuffle([...runs]).map((run) => ({ ...run, table: shuffledRows(run.table, seeded(run.attributes.folder)) }));
    const judge = (of: readonly StudyRun[]) =>
      JSON.stringify(findings(of, { study: "s", seed: 1, resamples: 200, claims: ["a", "b", "c"] }));
    expect(judge(shuffled)).toBe(judge(runs));
  });

  it("is anything but the seed: it fixes each number to the bit, and another moves only the intervals", () => {
    const judge = (seed: number) => findings(runs, { study: "s", seed, resamples: 200, claims: ["a"] });
    expect(judge(1)).toEqual(judge(1));
    const values = (seed: number) =>
      judge(seed).claims[0]!.judgements.map(({ published }) => deciding(published, "detailed").tests.map(({ value }) => value));
    const intervals = (seed: number) =>
      judge(seed).claims[0]!.judgements.map(({ published }) => deciding(published, "detailed").tests.map(({ interval }) => interval));
    expect(values(2)).toEqual(values(1));
    expect(intervals(2)).not.toEqual(intervals(1));
  });

  it("is which other claims are judged", () => {
    const of = (claims: string[]) => findings(runs, { study: "s", seed: 1, resamples: 200, claims }).claims.find(({ id }) => id === "b");
    expect(of(["b"])).toEqual(of(["a", "b"]));
  });
});

it("findings survive JSON unchanged", () => {
  const result = findings([...chains(3), ...heldTo("last", 0)], { study: "s", seed: 1, resamples: 200 });
  expect(JSON.parse(JSON.stringify(result))).toEqual(result);
});

it("an unknown claim is a usage error that names the claims", () => {
  expect(() => findings([], { study: "s", seed: 1, claims: ["z"] })).toThrow("There is no claim z: the claims are a, b, c, d, e, f, g.");
});

describe("in 200 studies without any effect", () => {
  const studies = Array.from({ length: 200 }, (_, study) => {
    const of = (dataset: string) =>
      ["none", "detailed"].map((condition) =>
        planted({ data: `${dataset}/${condition}`, dataset, condition, rows: 10, noise: 0.5, seed: `${study}`, log: () => 0 }),
      );
    const runs = [...of("one"), ...of("two")];
    return findings(runs, { study: `${study}`, seed: study, resamples: 200, claims: ["a"] }).claims[0]!.judgements[0]!;
  });

  it("none against detailed is rarely supported: α = 0.05 shared by two directions gives 5 of 200 (at most 12, 3 standard errors)", () => {
    const verdicts = studies.map(({ published }) => part(published, "detailed").verdict);
    const supported = verdicts.filter((verdict) => verdict === "supported").length;
    const contradicted = verdicts.filter((verdict) => verdict === "contradicted").length;
    // The projections of a row share its noise, so that all four are significant together nearly as often as one.
    expect(supported).toBeLessThanOrEqual(12);
    expect(contradicted).toBeLessThanOrEqual(12);
    expect(supported + contradicted).toBeGreaterThan(0);
  });
});

/** Levels and layers of norms as real ones vary: 0.3 and 0.15 on the log. */
const realistic = { noise: 0.3, layerNoise: 0.15 };

describe("with one, two or three questions", () => {
  const study = (rows: number) => {
    const models = (["base", "instruct"] as const).flatMap((kind) => {
      const more = { model: kind, kind, family: "f", mode: kind, rows, ...realistic };
      return [
        ...chains(10, more),
        ...heldTo("last", 1, more),
        ...["none", "detailed"].map((condition) =>
          planted({ data: `one/${condition}/irrelevant`, condition, irrelevant: true, log: () => 1, ...more }),
        ),
      ];
    });
    return findings(models, { study: "few", seed: 1, resamples: 200 });
  };
  it.each([1, 2, 3])("%i: findings hold finite numbers, survive JSON, and give a reason for each line that decides", (rows) => {
    const result = study(rows);
    expect(JSON.parse(JSON.stringify(result))).toEqual(result);
    const families = result.claims
      .flatMap(({ judgements }) => judgements.flatMap(({ published, controlled }) => [...published.parts, ...controlled.parts]))
      .flatMap(({ lines }) => lines.filter(({ decides }) => decides).flatMap(({ pooled, byDataset }) => [pooled, ...byDataset]));
    expect(families.length).toBeGreaterThan(20);
    for (const { tests, reason, approximate } of families) {
      expect(reason).not.toBe("");
      for (const { value, interval } of tests)
        for (const x of [value, interval?.low ?? 0, interval?.high ?? 0]) expect(Number.isFinite(x)).toBe(true);
      if (tests.length > 0) expect(approximate).toBe(true);
    }
    if (rows === 1) expect(new Set(families.map(({ verdict }) => verdict))).not.toContain("supported");
    const [a] = result.claims;
    expect(part(a!.judgements[0]!.published, "detailed").reason).toBe(
      rows === 1 ? "a single question" : "too few questions for an interval",
    );
  });
});

describe("in 200 studies without any effect, of ten questions or two each of six data sets, with realistic noise", () => {
  /** Shares of part verdicts over the studies. */
  const verdicts = (claim: string, id: string, rows: number, sets: number): Record<string, number> => {
    const counts: Record<string, number> = {};
    for (let study = 0; study < 200; study++) {
      const runs = Array.from({ length: sets }, (_, set) => `set${set}`).flatMap((dataset) =>
        (claim === "c" ? (["base", "instruct"] as const) : (["base"] as const)).flatMap((kind) =>
          ["none", "detailed"].flatMap((condition) =>
            (claim === "d" ? [false, true] : [false]).map((irrelevant) =>
              planted({
                data: `${dataset}/${condition}${irrelevant ? "/irrelevant" : ""}`,
                dataset,
                condition,
                ...(irrelevant && { irrelevant }),
                model: kind,
                kind,
                family: "f",
                mode: kind,
                rows,
                seed: `${study}`,
                log: () => 0,
                ...realistic,
              }),
            ),
          ),
        ),
      );
      const [judgement] = findings(runs, { study: "null", seed: study, resamples: 200, claims: [claim] }).claims[0]!.judgements;
      const { verdict } = part(judgement!.published, id);
      counts[verdict] = (counts[verdict] ?? 0) + 1;
    }
    return counts;
  };
  // A two-sided test at 5 % supports in 2.5 %, 5 of 200, if the four projections were one; 12 is three standard errors more.
  it.each([
    ["b", "detailed"],
    ["c", "mad"],
    ["c", "norm"],
    ["d", "difference"],
  ])("(%s), %s is rarely supported or contradicted", (claim, id) => {
    for (const [rows, sets] of [
      [10, 1],
      [2, 6],
    ] as const) {
      const { supported = 0, contradicted = 0 } = verdicts(claim, id, rows, sets);
      expect(supported).toBeLessThanOrEqual(12);
      expect(contradicted).toBeLessThanOrEqual(12);
    }
  });

  it("(d) finds no RD above chance where there is none, but for 5 %: 10 of 200, at most 19", () => {
    const { supported = 0 } = verdicts("d", "detailed", 10, 1);
    expect(supported).toBeLessThanOrEqual(19);
  });
});

/** A sweep of 1, 2, 4 … n labels whose norms are unit · k^−0.5, the same in each layer. */
function sweepOf(rows: number, n: number, unit: number, dataset = "one"): SweepRow[] {
  return Array.from({ length: rows }, (_, row) => ({
    row,
    instruction: `${dataset}: question ${row}`,
    output: `swept ${row}`,
    nTokens: n + 10,
    nLabels: n,
    steps: [...[1, 2, 4, 8].filter((k) => k < n), n].flatMap((k) =>
      (k === n ? (["first"] as const) : (["first", "random"] as const)).map((labels) => ({
        labels,
        k,
        loss: 1,
        nuclearNorm: Object.fromEntries(modules.map((module, m) => [module, Array(LAYERS).fill(unit * k ** -0.5 * (1 + m) * 1.12)])),
      })),
    ),
  }));
}

function withoutModule(table: RunTable, index: number): RunTable {
  const kept = modules.filter((_, m) => m !== index);
  const size = modules.length * LAYERS;
  const nuclearNorm = table.values.nuclearNorm!.filter((_, i) => Math.floor((i % size) / LAYERS) !== index);
  return { ...table, modules: kept, values: { nuclearNorm } };
}

function rename(run: StudyRun, dataset: string): StudyRun {
  const { attributes } = run;
  const name = attributes.data.name.replace("one/", `${dataset}/`);
  return { ...run, attributes: { ...attributes, folder: `${attributes.folder}-${dataset}`, data: { ...attributes.data, name } } };
}

function shuffledRows(table: RunTable, random: ReturnType<typeof seeded>): RunTable {
  const order = random.shuffle([...table.rows.keys()]);
  const size = table.modules.length * table.layers;
  const values = Object.fromEntries(
    Object.entries(table.values).map(([name, all]) => [
      name,
      Float64Array.from(order.flatMap((row) => [...all.subarray(row * size, (row + 1) * size)])),
    ]),
  );
  return { ...table, rows: order.map((row) => table.rows[row]!), values };
}
