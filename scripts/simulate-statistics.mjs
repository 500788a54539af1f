// Measures what the intervals and tests of src/analysis do on data whose truth is known, as Markdown tables for docs/statistics.md.
//
//     npm run build && node scripts/simulate-statistics.mjs [--quick] [--seed 1] [--only means,permutation,curves,few,swap,adjustment,family]
//
// The same seed gives the same tables, to the digit. --quick takes a tenth of the simulations.
import { parseArgs } from "node:util";
import { differenceEstimates, functionalEstimates, meanEstimates, ratioEstimates } from "../dist/analysis/bootstrap.js";
import { jackknifeEstimates } from "../dist/analysis/jackknife.js";
import { benjaminiHochberg, fcrLevel } from "../dist/analysis/multiplicity.js";
import { exchangeabilityTest, swapTest } from "../dist/analysis/permutation.js";
import { rdTests } from "../dist/analysis/rd-test.js";
import { seeded } from "../dist/analysis/random.js";
import { adjustedEffect } from "../dist/analysis/regression.js";

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    seed: { type: "string", default: "1" },
    only: { type: "string", default: "means,permutation,curves,few,swap,adjustment,family" },
  },
});
const simulations = (full) => (options.quick ? full / 10 : full);
const RESAMPLES = 999;
const PERMUTATIONS = 499;
/** Simulated data sets that share one call, a column each. They share its draws, not its data: each is a fair simulation. */
const TOGETHER = 50;

// Of SmolLM2-135M in base mode, V projections, on ten rows of AQuA: the mean nuclear norm of each layer, answers alone and detailed chains,
// correct and irrelevant.
const CURVES = {
  none: [
    [
      10.7, 15.5, 14.1, 11.4, 10.3, 10.5, 9.17, 8.0, 9.18, 8.34, 8.61, 9.57, 12.1, 8.6, 8.65, 8.14, 9.78, 7.24, 6.87, 8.22, 6.06, 5.28,
      3.04, 4.29, 3.37, 1.54, 2.26, 2.19, 2.44, 2.42,
    ],
    [
      10.7, 15.3, 13.4, 10.7, 9.89, 10.1, 9.06, 8.03, 9.22, 8.42, 8.77, 9.76, 12.4, 8.72, 8.89, 8.22, 9.92, 7.22, 6.83, 8.22, 5.91, 5.18,
      2.95, 4.2, 3.33, 1.51, 2.24, 2.18, 2.43, 2.44,
    ],
  ],
  detailed: [
    [
      0.676, 1.09, 0.923, 0.775, 0.742, 0.701, 0.659, 0.674, 0.737, 0.666, 0.779, 0.923, 0.946, 0.963, 0.844, 0.742, 1.01, 0.798, 0.883,
      0.828, 0.659, 0.602, 0.466, 0.43, 0.296, 0.246, 0.292, 0.32, 0.242, 0.249,
    ],
    [
      0.971, 1.54, 1.41, 1.21, 1.13, 1.05, 0.971, 0.915, 1.03, 0.979, 1.09, 1.35, 1.35, 1.28, 1.05, 1.01, 1.27, 0.926, 1.11, 1.08, 0.821,
      0.82, 0.665, 0.595, 0.424, 0.362, 0.395, 0.508, 0.364, 0.383,
    ],
  ],
};
// Label counts of the same model's tokenizer on ten rows of each cot set (AQuA, CREAK, ECQA, GSM8K, Sensemaking, StrategyQA).
const LABELS = {
  none: [
    [3, 3, 3, 3, 3, 3, 3, 3, 3, 3],
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    [5, 2, 1, 3, 2, 2, 2, 3, 1, 3],
    [2, 3, 3, 2, 2, 2, 2, 5, 3, 5],
    [3, 3, 3, 3, 3, 3, 3, 3, 3, 3],
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
  ],
  simplified: [
    [87, 82, 47, 20, 29, 40, 29, 71, 60, 42],
    [23, 22, 16, 26, 18, 39, 20, 31, 21, 17],
    [50, 30, 53, 22, 50, 19, 24, 26, 18, 37],
    [135, 231, 113, 56, 87, 125, 148, 93, 226, 248],
    [18, 23, 18, 20, 28, 24, 20, 29, 18, 18],
    [43, 57, 31, 35, 34, 22, 41, 56, 80, 69],
  ],
  detailed: [
    [551, 803, 737, 906, 503, 467, 349, 560, 507, 921],
    [330, 292, 378, 297, 441, 285, 295, 439, 289, 427],
    [376, 621, 324, 365, 312, 259, 354, 436, 444, 354],
    [381, 382, 452, 341, 323, 416, 594, 534, 415, 733],
    [324, 291, 359, 436, 342, 400, 324, 338, 291, 305],
    [518, 559, 246, 318, 387, 365, 538, 295, 513, 710],
  ],
};

const percent = (share) => (100 * share).toFixed(1);
const range = (n) => Array.from({ length: n }, (_, i) => i);
const average = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

/** A Markdown table, and how long its numbers took. */
function table(title, head, rows, started) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  console.log(`\n### ${title}\n\n${line(head)}\n${line(head.map(() => "---"))}\n${rows.map(line).join("\n")}`);
  console.error(`${title}: ${((performance.now() - started) / 1000).toFixed(0)} s`);
}

const paired = (n, ...arms) => [{ n, arms: arms.map((values, arm) => ({ arm, weight: 1, values })) }];
const unpaired = (a, b, columns) => [
  { n: a.length / columns, arms: [{ arm: 0, weight: 1, values: a }] },
  { n: b.length / columns, arms: [{ arm: 1, weight: 1, values: b }] },
];
const logNormal = (random, deviation, count) => Float64Array.from({ length: count }, () => Math.exp(deviation * random.normal()));

/** Coverage of bootstrap-t intervals, log-normal data: b is 1.5 times a's mean, its logarithm correlated with a's by 0.7 where paired. */
function means() {
  const started = performance.now();
  const count = simulations(4000);
  const rows = [];
  for (const deviation of [0.3, 0.6, 1, 1.5])
    for (const n of [10, 30, 100, 500]) {
      const random = seeded(`${options.seed} means ${deviation} ${n}`);
      const covered = [0, 0, 0, 0, 0];
      const mean = Math.exp(deviation ** 2 / 2);
      for (let done = 0; done < count; done += TOGETHER) {
        const draw = () => logNormal(random, deviation, n * TOGETHER);
        const [a, b, own] = [draw(), draw().map((x) => 1.5 * x), draw()];
        const twin = a.map((x, i) => 1.5 * x ** 0.7 * own[i] ** Math.sqrt(1 - 0.49));
        const how = { seed: `${options.seed} ${done}`, resamples: RESAMPLES };
        const [pairs, apart] = [paired(n, a, twin), unpaired(a, b, TOGETHER)];
        [
          [meanEstimates(pairs, 0, how), mean],
          [differenceEstimates(pairs, 0, 1, how), -0.5 * mean],
          [differenceEstimates(apart, 0, 1, how), -0.5 * mean],
          [ratioEstimates(pairs, 0, 1, how), 1 / 1.5],
          [ratioEstimates(apart, 0, 1, how), 1 / 1.5],
        ].forEach(([estimates, truth], k) => {
          covered[k] += estimates.filter(({ interval }) => interval.low <= truth && truth <= interval.high).length;
        });
      }
      rows.push([deviation, n, ...covered.map((c) => percent(c / count))]);
    }
  const head = ["log s.d.", "n", "mean", "difference, paired", "difference, unpaired", "ratio, paired", "ratio, unpaired"];
  table(`Coverage of 95 % bootstrap-t intervals, % (${count} simulations a number)`, head, rows, started);
}

/** Rows of nuclear norms over layers: a mean curve times a question's own level and noise a layer, each with mean 1. */
function normsOf(random, curve, levels, own) {
  return Float64Array.from({ length: levels.length * curve.length }, (_, i) => {
    const level = levels[Math.floor(i / curve.length)];
    return curve[i % curve.length] * level * Math.exp(own * random.normal() - own ** 2 / 2);
  });
}
/** Levels of two arms of the same questions, log deviation 0.3, correlated by 0.8 in the logarithm. */
function levelsOf(random, n, deviation = 0.3) {
  const levels = range(n).map(() => {
    const [common, other] = [random.normal(), random.normal()];
    return [common, 0.8 * common + 0.6 * other].map((z) => Math.exp(deviation * z - deviation ** 2 / 2));
  });
  return [levels.map(([a]) => a), levels.map(([, b]) => b)];
}

// Spelt out, as they are called some ten million times.
function madOf(curve) {
  let sum = 0;
  for (let i = 1; i < curve.length; i++) sum += Math.abs(curve[i] - curve[i - 1]);
  return sum / (curve.length - 1);
}
function rdOf(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i] - b[i]) / Math.abs(a[i]);
  return sum / a.length;
}

/** How often tests reject at 5 % where the arms are exchangeable. */
function permutation() {
  const started = performance.now();
  const count = simulations(6000);
  const flat = new Array(30).fill(1);
  const rows = [];
  for (const deviation of [0.3, 1])
    for (const n of [10, 30, 100]) {
      const random = seeded(`${options.seed} permutation ${deviation} ${n}`);
      const rejected = [0, 0, 0];
      for (let k = 0; k < count; k++) {
        const [a, b] = levelsOf(random, n, deviation).map((levels) => normsOf(random, flat, levels, 0.15));
        const how = { seed: `${options.seed} ${k}`, permutations: PERMUTATIONS };
        if (rdTests(paired(n, a, b), 0, 1, [{ from: 0, to: flat.length }], how)[0].p <= 0.05) rejected[0]++;
      }
      for (let k = 0; k < count; k += TOGETHER) {
        const how = { seed: `${options.seed} ${k}`, permutations: PERMUTATIONS };
        const draw = (rows) => logNormal(random, deviation, rows * TOGETHER);
        const common = draw(n);
        const [a, b] = [draw(n), draw(n)].map((own) => own.map((x, i) => x * common[i]));
        rejected[1] += exchangeabilityTest(paired(n, a, b), 0, 1, how).filter(({ p }) => p <= 0.05).length;
        rejected[2] += exchangeabilityTest(unpaired(draw(n), draw(2 * n), TOGETHER), 0, 1, how).filter(({ p }) => p <= 0.05).length;
      }
      rows.push([deviation, n, ...rejected.map((r) => percent(r / count))]);
    }
  const head = ["log s.d.", "n", "RD = 0, swapped", "difference, paired", "difference, unpaired (n and 2n)"];
  table(`Rejections of true nulls at 5 %, % (${count} simulations a number)`, head, rows, started);
}

/** Coverage of basic bootstrap intervals of what curves' shapes come to. */
function curves() {
  const started = performance.now();
  const many = simulations(2000);
  const flat = new Array(30).fill(1);
  const jagged = range(30).map((i) => 1 + (i % 2));
  const scenarios = [
    ["flat, RD = 0", flat, flat],
    ["jagged, RD = 0.2", jagged, jagged.map((c, i) => c * (1 + 0.2 * (-1) ** (i >> 1)))],
    ["real (none), RD = 0", CURVES.none[0], CURVES.none[0]],
    ["real (none), RD small", ...CURVES.none],
    ["real (detailed), RD large", ...CURVES.detailed],
  ];
  // A ratio of MADs through its logarithm; of a flat curve's it has no true value.
  const statistics = ([a, b]) => [madOf(a), madOf(a) / average(a), rdOf(a, b), madOf(a) - madOf(b), Math.log(madOf(a) / madOf(b))];
  const rows = [];
  for (const [name, a, b] of scenarios)
    for (const n of [10, 50, 100, 500]) {
      const count = n === 500 ? many / 2 : many;
      const random = seeded(`${options.seed} curves ${name} ${n}`);
      const truth = statistics([a, b]);
      const covered = truth.map(() => 0);
      for (let k = 0; k < count; k++) {
        const [levelsA, levelsB] = levelsOf(random, n);
        const blocks = paired(n, normsOf(random, a, levelsA, 0.15), normsOf(random, b, levelsB, 0.15));
        const how = { seed: `${options.seed} ${k}`, resamples: RESAMPLES, floor: [0, 0, 0, null, null] };
        functionalEstimates(blocks, statistics, how).forEach(({ interval }, j) => {
          if (interval.low <= truth[j] && truth[j] <= interval.high) covered[j]++;
        });
      }
      rows.push([name, n, truth[2].toFixed(3), ...covered.map((c, j) => (Number.isNaN(truth[j]) ? "" : percent(c / count)))]);
    }
  const head = ["curves", "n", "true RD", "MAD", "relative MAD", "RD", "difference of MADs", "ratio of MADs"];
  table(`Coverage of 95 % basic bootstrap intervals, % (${many} simulations a number, ${many / 2} at n = 500)`, head, rows, started);
}

/** True nulls of what the findings test, rejected with few questions: by the jackknife-t, and by the basic bootstrap where it gives an interval. */
function few() {
  const started = performance.now();
  const count = simulations(2000);
  const [curve] = CURVES.none;
  const shifted = curve.map((c, i) => c * (i % 2 === 0 ? 1.3 : 0.7));
  /** Blocks of four conditions with these mean curves over `sets` data sets of n questions; levels correlate within the first two and the last two. */
  const conditions = (random, sets, n, curves) =>
    range(sets).map(() => {
      const levels = [levelsOf(random, n), levelsOf(random, n)].flat();
      return { n, arms: curves.map((c, arm) => ({ arm, weight: 1 / sets, values: normsOf(random, c, levels[arm], 0.15) })) };
    });
  const logMads = ([a, b]) => [Math.log(madOf(a) / madOf(b))];
  const rds = ([a, b, c, d]) => [rdOf(a, b) - rdOf(c, d)];
  const logRatios = ([a, b, c, d]) => [Math.log((average(a) * average(d)) / (average(b) * average(c)))];
  const nulls = [
    ["ln ratio of MADs", [curve, curve], logMads],
    ["difference of RDs, both 0.3", [curve, shifted, curve, shifted], rds],
    ["difference of RDs, both 0", [curve, curve, curve, curve], rds],
    ["ln ratio of norms' ratios", [curve, curve, curve, curve], logRatios],
  ];
  const rows = [];
  for (const [sets, n] of [2, 3, 5, 10].map((size) => [1, size]).concat([2, 5, 10].map((size) => [6, size]))) {
    const cells = nulls.flatMap(([name, curves, functional]) => {
      const random = seeded(`${options.seed} few ${name} ${sets} ${n}`);
      const [jackknife, bootstrap] = [[], []];
      for (let k = 0; k < count; k++) {
        const blocks = conditions(random, sets, n, curves);
        jackknife.push(jackknifeEstimates(blocks, functional)[0].p);
        bootstrap.push(functionalEstimates(blocks, functional, { seed: `${options.seed} ${k}`, resamples: RESAMPLES })[0].p);
      }
      return [jackknife, bootstrap];
    });
    // A question's slope of log norm per log length, two groups of questions: s.d. 0.1 and 0.05.
    const random = seeded(`${options.seed} few slopes ${sets} ${n}`);
    const slopes = range(count).map((k) => {
      const group = (arm, deviation) =>
        range(sets).map(() => ({
          n,
          arms: [{ arm, weight: 1 / sets, values: Float64Array.from({ length: n }, () => deviation * random.normal()) }],
        }));
      return differenceEstimates([...group(0, 0.1), ...group(1, 0.05)], 0, 1, { seed: `${options.seed} ${k}`, resamples: RESAMPLES })[0].p;
    });
    const rejected = (p) => (p.every((x) => x === null) ? "none" : percent(p.filter((x) => x !== null && x <= 0.05).length / count));
    rows.push([sets === 1 ? n : `${sets} × ${n}`, ...[...cells, slopes].map(rejected)]);
  }
  const head = [
    "questions",
    ...nulls.flatMap(([name]) => [`${name}: jackknife-t`, "basic bootstrap"]),
    "difference of slopes: bootstrap-t",
  ];
  table(`True nulls with few questions, rejected at 5 %, % (${count} simulations a number)`, head, rows, started);
}

/** Why a difference of two RDs has no permutation test: swapping correct and irrelevant in both comparisons, where both RDs are truly 0.3. */
function swap() {
  const started = performance.now();
  const count = simulations(2000);
  const [curve] = CURVES.none;
  const layers = curve.length;
  const shifted = curve.map((c, i) => c * (i % 2 === 0 ? 1.3 : 0.7));
  const higher = curve.map((c) => 1.3 * c);
  const rows = [];
  for (const [name, other] of [
    ["up and down in turn", shifted],
    ["all layers up", higher],
  ])
    for (const n of [10, 50]) {
      const random = seeded(`${options.seed} swap ${name} ${n}`);
      let [rejected, outside] = [0, 0];
      for (let k = 0; k < count; k++) {
        // Both comparisons side by side as columns, so that a question's swap swaps both.
        const beside = (x, y) =>
          Float64Array.from(range(n).flatMap((i) => [x, y].flatMap((m) => [...m.subarray(i * layers, (i + 1) * layers)])));
        const comparison = () => levelsOf(random, n).map((levels, arm) => normsOf(random, arm === 0 ? curve : other, levels, 0.15));
        const [[a, b], [c, d]] = [comparison(), comparison()];
        const blocks = paired(n, beside(a, c), beside(b, d));
        const halves = ([x, y]) => [0, layers].map((from) => rdOf(x.subarray(from, from + layers), y.subarray(from, from + layers)));
        const difference = (means) => halves(means)[0] - halves(means)[1];
        const how = { seed: `${options.seed} ${k}` };
        if (swapTest(blocks, 0, 1, (means) => Math.abs(difference(means)), { ...how, permutations: PERMUTATIONS }).p <= 0.05) rejected++;
        const [{ interval }] = functionalEstimates(blocks, (means) => [difference(means)], { ...how, resamples: RESAMPLES });
        if (interval.low > 0 || interval.high < 0) outside++;
      }
      rows.push([name, n, percent(rejected / count), percent(outside / count)]);
    }
  const head = ["irrelevant against correct", "n", "swap test rejects", "basic bootstrap interval leaves 0 out"];
  table(`A true null, RD₁ = RD₂ = 0.3, rejected at 5 %, % (${count} simulations a number)`, head, rows, started);
}

/** What the adjusted coefficient says of a planted direct effect of 0.4, in three worlds, on real label counts. */
function adjustment() {
  const started = performance.now();
  const count = simulations(2000);
  const EFFECT = 0.4;
  const worlds = {
    "slope −0.37": (labels) => -0.37 * Math.log(labels),
    "no label effect": () => 0,
    "bent: −0.5 to 40 labels, −0.2 beyond": (labels) => -0.5 * Math.log(Math.min(labels, 40)) - 0.2 * Math.log(Math.max(labels / 40, 1)),
  };
  const times = (factor) => LABELS.simplified.map((counts) => counts.toReversed().map((n) => Math.round(factor * n)));
  const comparisons = [
    ["none, detailed", LABELS.none, LABELS.detailed],
    ["none, simplified", LABELS.none, LABELS.simplified],
    ["simplified, detailed", LABELS.simplified, LABELS.detailed],
    ["simplified, its double (overlapping)", LABELS.simplified, times(2)],
  ];
  const rows = [];
  for (const [world, effectOf] of Object.entries(worlds))
    for (const [name, first, second] of comparisons) {
      const random = seeded(`${options.seed} adjustment ${world} ${name}`);
      const [values, raw] = [[], []];
      let [covered, extrapolated] = [0, 0];
      for (let k = 0; k < count; k++) {
        const data = { outcome: [], condition: [], covariates: [[]], question: [], stratum: [] };
        first.forEach((counts, set) => {
          const ofSet = 0.3 * random.normal();
          counts.forEach((_, i) => {
            const ofQuestion = 0.15 * random.normal();
            [first, second].forEach((labels, arm) => {
              const n = labels[set][i];
              data.outcome.push(ofSet + ofQuestion + (arm === 0 ? EFFECT : 0) + effectOf(n) + 0.15 * random.normal());
              data.condition.push(1 - arm);
              data.covariates[0].push(Math.log(n));
              data.question.push(`${set}:${i}`);
              data.stratum.push(set);
            });
          });
        });
        const { effect, commonSupport } = adjustedEffect(data);
        values.push(effect.value);
        const pick = (arm) => average(data.outcome.filter((_, row) => data.condition[row] === arm));
        raw.push(pick(1) - pick(0));
        if (effect.interval.low <= EFFECT && EFFECT <= effect.interval.high) covered++;
        if (!commonSupport) extrapolated++;
      }
      const mean = average(values);
      const deviation = Math.sqrt(average(values.map((x) => (x - mean) ** 2)));
      rows.push([
        world,
        name,
        average(raw).toFixed(2),
        mean.toFixed(2),
        deviation.toFixed(2),
        percent(covered / count),
        percent(extrapolated / count),
      ]);
    }
  const head = ["world", "conditions", "unadjusted", "adjusted", "its s.d.", "interval covers 0.40, %", "marked extrapolated, %"];
  table(`Log ratio of two conditions whose true direct effect is 0.40 (mean over ${count} simulations)`, head, rows, started);
}

/** False discoveries among tests that Benjamini–Hochberg selects, and false coverage of their intervals. */
function family() {
  const started = performance.now();
  const count = simulations(2000);
  const [tests, n] = [20, 40];
  const rows = [];
  for (const nulls of [20, 15, 10])
    for (const effect of nulls === tests ? [0] : [0.4, 0.7]) {
      const random = seeded(`${options.seed} family ${nulls} ${effect}`);
      const truth = range(tests).map((k) => (k < nulls ? 0 : effect));
      const [discovery, coverage, plain] = [[], [], []];
      let selectedInAll = 0;
      for (let k = 0; k < count; k++) {
        const values = Float64Array.from({ length: n * tests }, (_, i) => truth[i % tests] + random.normal());
        const blocks = paired(n, values, new Float64Array(n * tests));
        const how = { seed: `${options.seed} ${k}`, resamples: RESAMPLES };
        const estimates = differenceEstimates(blocks, 0, 1, how);
        const q = benjaminiHochberg(estimates.map(({ p }) => p));
        const selected = range(tests).filter((j) => q[j] <= 0.05);
        selectedInAll += selected.length;
        const share = (wrong) => (selected.length === 0 ? 0 : selected.filter(wrong).length / selected.length);
        const misses = (all) => (j) => !(all[j].interval.low <= truth[j] && truth[j] <= all[j].interval.high);
        discovery.push(share((j) => truth[j] === 0));
        plain.push(share(misses(estimates)));
        const wider =
          selected.length === 0 ? estimates : differenceEstimates(blocks, 0, 1, { ...how, level: fcrLevel(selected.length, tests) });
        coverage.push(share(misses(wider)));
      }
      rows.push([
        `${nulls} of ${tests}`,
        effect,
        (selectedInAll / count).toFixed(1),
        ...[discovery, coverage, plain].map((x) => percent(average(x))),
      ]);
    }
  const head = [
    "true nulls",
    "effect of the others, s.d.",
    "selected",
    "false discoveries, %",
    "false coverage, FCR level, %",
    "false coverage, 95 % level, %",
  ];
  table(`Families of ${tests} tests, n = ${n}, selected by q ≤ 0.05 (mean over ${count} simulations)`, head, rows, started);
}

const started = performance.now();
const sections = { means, permutation, curves, few, swap, adjustment, family };
console.log(`Seed ${options.seed}${options.quick ? ", quick (a tenth of the simulations)" : ""}, Node ${process.version}.`);
for (const name of options.only.split(",")) sections[name]();
console.error(`All: ${((performance.now() - started) / 1000).toFixed(0)} s`);
