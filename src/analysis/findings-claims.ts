import {
  adjusted,
  fall,
  type Measure,
  madRatio,
  madRatioOfRatios,
  meanRatio,
  meanSlope,
  normRatioOfRatios,
  ofSummedLoss,
  rd,
  rdDifference,
  slopeDifference,
} from "./findings-measures.ts";
import type { Claimed } from "./findings-verdict.ts";

/** A condition that a claim compares: which runs of a data set it takes. */
export interface Condition {
  readonly condition: string;
  readonly irrelevant?: true;
  /** In a claim about two models: whose run it is. */
  readonly of?: "base" | "instruct";
  /** The claim can do without it. */
  readonly optional?: true;
  /** Under control by experiment: position of the condition whose number of labels this one is held to. */
  readonly labelsLike?: number;
}

/** Another number for the same part. */
export interface Variant {
  readonly how: string;
  readonly measure: Measure;
  /** `fallback`: decides where no experiment does. `beside`: is shown, decides nothing. */
  readonly role: "decides" | "fallback" | "beside";
}

/** How a part is judged with the number of labels (or the length, or the size of the norm) held fixed. */
export interface Control {
  /** Runs and sweeps that count as many labels in one condition as the other has. */
  readonly experiment?: "decides" | "beside";
  /** What must hold of an experiment itself, "above" its null value in all four projections; else the experiment says nothing, for this reason. */
  readonly requires?: { readonly how: string; readonly measure: Measure; readonly otherwise: string };
  readonly variants?: readonly Variant[];
}

/** One comparison of a claim. */
export interface Part {
  readonly id: string;
  readonly text: string;
  /** Conditions in the measure's order; mostly one group, two where data sets of two kinds are compared. */
  readonly groups: readonly (readonly Condition[])[];
  readonly measure: Measure;
  /** The conditions share no questions, by what they are. */
  readonly unpaired?: true;
  readonly claimed: Claimed;
  /** null: there is no control. */
  readonly control: Control | null;
  /** Shown beside the published number. */
  readonly beside?: readonly Variant[];
}

/** A claim of the papers as a check. */
export interface Claim {
  readonly id: string;
  readonly title: string;
  /** What the numbers are and what would support the claim, in plain words. */
  readonly text: string;
  /** Judged for each model and mode, or for a base model and the instruct model of its family. */
  readonly of: "models" | "pairs";
  readonly parts: readonly Part[];
}

/**
 * Slopes of log norm per log length that differ by no more count as alike. Over a tenfold length, about what lies between the shortest and the
 * longest knowledge responses, that is a factor 10^0.1 = 1.26 in the norm; a mean over ten times as many labels alone gives some 10^0.37 = 2.3
 * (within a row of a 135M-parameter model the slope is −0.36 to −0.39).
 */
export const SLOPE_MARGIN = 0.1;

const normRatio = meanRatio("nuclearNorm", "ratio of nuclear norms");

const regressions = (design?: "unpaired"): readonly Variant[] => [
  { how: "regression on log n_labels", measure: adjusted(["n_labels"], design && { design }), role: "fallback" },
  {
    how: "regression on log n_labels and log loss",
    measure: adjusted(["n_labels", "loss"], design && { design }),
    role: "beside",
  },
];
const byRegression = regressions();

const fastAndSlow = (slow: string): readonly Condition[] => [{ condition: "none" }, { condition: slow, labelsLike: 0 }];

const inTwoModels: readonly Condition[] = (["base", "instruct"] as const).flatMap((of, model) => [
  { condition: "none", of },
  { condition: "detailed", of, labelsLike: 2 * model },
]);

const withTwin = (condition: string): readonly Condition[] => [{ condition }, { condition, irrelevant: true }];

const slowForms = ["detailed", "simplified"];

/** The claims of arXiv 2410.23743, (a) to (f), and of arXiv 2504.10766, (g). */
export const claims: readonly Claim[] = [
  {
    id: "a",
    title: "Fast thinking has larger nuclear norms than slow thinking",
    text: "Bare answers (none) against simplified and detailed chains of thought: the ratio of the mean nuclear norms, each row's norm averaged over layers. Above 1 supports the claim.",
    of: "models",
    parts: slowForms.map((slow) => ({
      id: slow,
      text: `none against ${slow}`,
      groups: [fastAndSlow(slow)],
      measure: normRatio,
      claimed: "above",
      control: { experiment: "decides", variants: byRegression },
      beside: [{ how: "summed loss", measure: ofSummedLoss(normRatio), role: "beside" }],
    })),
  },
  {
    id: "b",
    title: "Fast thinking's norms differ more from layer to layer than slow thinking's",
    text: "The same conditions: the ratio of the MADs of the mean curves over layers. Above 1 supports the claim. MAD grows with the norm itself, so its control is the relative MAD (MAD / mean of the curve).",
    of: "models",
    parts: slowForms.map((slow) => ({
      id: slow,
      text: `none against ${slow}`,
      groups: [fastAndSlow(slow)],
      measure: madRatio("MAD"),
      claimed: "above",
      control: { experiment: "beside", variants: [{ how: "relative MAD", measure: madRatio("relative MAD"), role: "decides" }] },
    })),
  },
  {
    id: "c",
    title: "The difference of fast and slow is larger in instruct models than in base models",
    text: "How much larger the ratio none / detailed is in the instruct model than in the base model of its family, over the same questions. Above 1 supports the claim. It takes two checkpoints: one of them in two modes says nothing about it.",
    of: "pairs",
    parts: [
      {
        id: "norm",
        text: "nuclear norm",
        groups: [inTwoModels],
        measure: normRatioOfRatios,
        claimed: "above",
        control: { experiment: "decides", variants: byRegression },
      },
      {
        id: "mad",
        text: "MAD",
        groups: [inTwoModels],
        measure: madRatioOfRatios("MAD"),
        claimed: "above",
        control: { experiment: "beside", variants: [{ how: "relative MAD", measure: madRatioOfRatios("relative MAD"), role: "decides" }] },
      },
    ],
  },
  {
    id: "d",
    title: "Detailed chains tell correct from irrelevant responses, bare answers do not",
    text: "RD is how far the mean curves of correct and irrelevant responses lie apart, relative to the correct one. Questions whose irrelevant response happens to equal the correct one are left out. Supported where detailed chains' RD is above what chance gives (correct and irrelevant swapped at random, whichever of them has the larger norms) and above bare answers' RD, and bare answers' RD is not above what chance gives. The last is an absence: with few rows it is easily had.",
    of: "models",
    parts: [
      {
        id: "detailed",
        text: "RD of detailed is above chance",
        groups: [withTwin("detailed")],
        measure: rd,
        claimed: "detected",
        control: null,
      },
      {
        id: "difference",
        text: "RD of detailed is above RD of none",
        groups: [[...withTwin("detailed"), ...withTwin("none")]],
        measure: rdDifference,
        claimed: "above",
        control: null,
      },
      {
        id: "none",
        text: "RD of none is not above chance",
        groups: [withTwin("none")],
        measure: rd,
        claimed: "not detected",
        control: null,
      },
    ],
  },
  {
    id: "e",
    title: "Longer responses of knowledge do not act like slow thinking",
    text: `How fast the norm falls as the response to one question gets longer: the slope of log norm per log number of labels, over 100, 500 and 1000 words of knowledge, less the slope over none, simplified and detailed chains of thought. Slopes within ${SLOPE_MARGIN} of each other count as alike: over a tenfold length that is a factor of 1.26 in the norm. A difference above the margin supports the claim, one below it contradicts. Under control all responses of a question count equally many labels in the loss, and the slope is still per log of the whole length; where the chains' own norm then does not fall by more than the margin, there is nothing to compare with, and the claim is undecided.`,
    of: "models",
    parts: [
      {
        id: "slopes",
        text: "slope of knowledge less slope of chains",
        groups: [
          [
            { condition: "popular-100" },
            { condition: "popular-500", optional: true, labelsLike: 0 },
            { condition: "popular-1000", optional: true, labelsLike: 0 },
          ],
          [{ condition: "none" }, { condition: "simplified", optional: true, labelsLike: 0 }, { condition: "detailed", labelsLike: 0 }],
        ],
        measure: slopeDifference(SLOPE_MARGIN),
        claimed: "above",
        control: {
          experiment: "decides",
          requires: {
            how: "fall of chains",
            measure: fall(1, SLOPE_MARGIN),
            otherwise: "with equally many labels chains have no slope to compare with",
          },
        },
        beside: [
          { how: "slope of knowledge", measure: meanSlope(0, "slope"), role: "beside" },
          { how: "slope of chains", measure: meanSlope(1, "slope"), role: "beside" },
        ],
      },
    ],
  },
  {
    id: "f",
    title: "Unpopular knowledge gives larger gradients than popular knowledge",
    text: "Articles about unpopular things against those about popular ones of about the same length (100 words); the two share no questions, so the comparison is unpaired. The ratio of the mean nuclear norms; above 1 supports the claim.",
    of: "models",
    parts: [
      {
        id: "popularity",
        text: "unpopular against popular-100",
        groups: [[{ condition: "unpopular" }, { condition: "popular-100", labelsLike: 0 }]],
        measure: meanRatio("nuclearNorm", "ratio of nuclear norms", { design: "unpaired" }),
        unpaired: true,
        claimed: "above",
        control: { experiment: "decides", variants: regressions("unpaired") },
      },
    ],
  },
  {
    id: "g",
    title: "Data of higher quality have a higher effective rank",
    text: "Rows that a quality score puts high against rows that it puts low, unpaired: the ratio of the mean effective ranks. Above 1 supports the claim. A gradient's rank is at most its number of tokens, so the control matches rows of both by n_tokens, one to one, within 10 %.",
    of: "models",
    parts: [
      {
        id: "quality",
        text: "high against low quality",
        groups: [[{ condition: "high" }, { condition: "low" }]],
        measure: meanRatio("effectiveRank", "ratio of effective ranks", { design: "unpaired" }),
        unpaired: true,
        claimed: "above",
        control: {
          variants: [
            {
              how: "rows matched by n_tokens",
              measure: meanRatio("effectiveRank", "ratio of effective ranks", { match: "n_tokens" }),
              role: "decides",
            },
          ],
        },
      },
    ],
  },
];
