import type { Interval } from "./bootstrap.ts";
import { benjaminiHochberg } from "./multiplicity.ts";

/** What a judgement comes to. `no control`: nothing could tell the direct effect from the rest, so there is no judgement. */
export type Verdict = "supported" | "contradicted" | "undecided" | "not tested" | "no control";

/**
 * What a claim says of a family's numbers.
 *
 * - `above`: each lies above its null value; p is two-sided.
 * - `detected`: a statistic that is never negative lies above what chance gives; p is one-sided, so there is no opposite.
 * - `not detected`: it does not.
 */
export type Claimed = "above" | "detected" | "not detected";

/** The attention projections: one claim in one judgement is a family of these four tests. */
export const projections = ["q", "k", "v", "o"] as const;
export type Projection = (typeof projections)[number];

/** Largest share of false discoveries within a family, and of false coverage among the intervals that it shows. */
export const ALPHA = 0.05;

/** Swapping n questions both ways gives 2ⁿ⁻¹ different outcomes: with fewer questions than this, no p can be as small as {@link ALPHA}. */
const FEWEST_SWAPPED = 6;

/** A number of one projection, and what its test says. */
export interface ProjectionTest {
  readonly projection: Projection;
  /** The effect; its unit and null value are the line's. */
  readonly value: number;
  /** At the level `level`; null where there are too few questions. */
  readonly interval: Interval | null;
  /** Of the interval: 1 − 0.05 · R/4 where R of the four are significant (false-coverage-rate adjusted), 0.95 where none is. */
  readonly level: number;
  readonly p: number | null;
  /** Benjamini–Hochberg adjusted within the family. */
  readonly q: number | null;
  readonly method: string;
  /** Questions in the smallest condition. */
  readonly n: number;
  /** RD only: what chance alone stays below in 95 of 100 cases (correct and irrelevant swapped at random). */
  readonly nullQuantile95?: number;
}

/** A verdict and why, as a clause without a full stop. */
export interface Judged {
  readonly verdict: Verdict;
  readonly reason: string;
}

/** q values of a family in which some tests may give no p: those are left out of the count. */
export function familyQ(p: readonly (number | null)[]): (number | null)[] {
  const q = benjaminiHochberg(p.filter((value) => value !== null));
  let next = 0;
  return p.map((value) => (value === null ? null : q[next++]!));
}

/**
 * The verdict of one family. *Supported*: all four projections are significant (q ≤ 0.05) on the claimed side; *contradicted*: all four on
 * the other; anything else, a projection that is missing or has no p included, is *undecided*. For `not detected` it is significance itself
 * that contradicts, and its absence in all four that supports, where there are questions enough for it to be possible.
 */
export function judgeFamily(tests: readonly ProjectionTest[], claimed: Claimed, nullValue: number): Judged {
  const missing = projections.filter((p) => (tests.find((t) => t.projection === p)?.q ?? null) === null);
  if (tests.every(({ q, interval }) => q === null && interval === null))
    return { verdict: "undecided", reason: "too few questions for an interval" };
  if (missing.length > 0) return { verdict: "undecided", reason: `no test of ${list(missing)}` };
  const significant = tests.filter((t) => t.q! <= ALPHA);
  if (claimed === "not detected") {
    if (tests.some(({ n }) => n < FEWEST_SWAPPED)) return { verdict: "undecided", reason: "too few questions for chance to be exceeded" };
    if (significant.length === 0) return { verdict: "supported", reason: "in no projection" };
    if (significant.length === tests.length) return { verdict: "contradicted", reason: "in all four projections" };
    return { verdict: "undecided", reason: `in ${list(significant.map((t) => t.projection))} only` };
  }
  const above = significant.filter((t) => t.value > nullValue).map((t) => t.projection);
  const below = significant.filter((t) => t.value <= nullValue).map((t) => t.projection);
  if (above.length === tests.length) return { verdict: "supported", reason: "all four projections" };
  if (below.length === tests.length && claimed === "above")
    return { verdict: "contradicted", reason: "all four projections the other way" };
  if (above.length + below.length === 0) return { verdict: "undecided", reason: "no projection is significant" };
  return {
    verdict: "undecided",
    reason: [above.length > 0 && `only ${list(above)} as claimed`, below.length > 0 && `${list(below)} the other way`]
      .filter((part) => part !== false)
      .join(", "),
  };
}

/**
 * Several verdicts as one: what all of them say, else *undecided*. `irrefutable` ones (such as `detected`) can support or withhold, but not
 * contradict, so they do not stand against a contradiction by all the others.
 */
export function agreement(parts: readonly (Judged & { readonly name: string; readonly irrefutable?: boolean })[]): Judged {
  const [first] = parts;
  if (first === undefined) return { verdict: "not tested", reason: "there is nothing to judge" };
  if (parts.every((part) => part.verdict === first.verdict))
    return { verdict: first.verdict, reason: [...new Set(parts.map((part) => part.reason))].join("; ") };
  const reason = parts.map((part) => `${part.name}: ${part.verdict}, ${part.reason}`).join("; ");
  const refutable = parts.filter((part) => part.irrefutable !== true);
  if (refutable.length > 0 && refutable.every((part) => part.verdict === "contradicted")) return { verdict: "contradicted", reason };
  return { verdict: "undecided", reason };
}

/** `Q, K and V`; projections are written large. */
export function list(names: readonly string[]): string {
  const words = names.map((name) => ((projections as readonly string[]).includes(name) ? name.toUpperCase() : name));
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
