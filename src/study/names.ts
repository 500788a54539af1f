/** Longer than any name; a pattern beyond it matches nothing, and need not be made a regular expression. */
const MAX_PATTERN_LENGTH = 500;

/**
 * Whether a name with slashes matches a pattern: `*` stands for any text within a segment, a segment `**` for any number of segments,
 * none included. `aqua/**` matches `aqua/none` and `aqua/none/irrelevant`, `aqua/*` only the first.
 */
export function matchesPattern(pattern: string, name: string): boolean {
  return pattern.length <= MAX_PATTERN_LENGTH && matchSegments(pattern.split("/"), name.split("/"));
}

function matchSegments([first, ...pattern]: readonly string[], segments: readonly string[]): boolean {
  if (first === undefined) return segments.length === 0;
  if (first === "**")
    return matchSegments(pattern, segments) || (segments.length > 0 && matchSegments([first, ...pattern], segments.slice(1)));
  return segments.length > 0 && segmentPattern(first).test(segments[0]!) && matchSegments(pattern, segments.slice(1));
}

const segmentPattern = (segment: string): RegExp =>
  new RegExp(`^${segment.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replace(/\*+/g, ".*")}$`, "s");

/**
 * What a name or pattern chooses: all that it matches whole; where there is none, all whose names begin with it, so that `aqua` is all of
 * AQuA while `aqua/none` leaves its irrelevant twin out.
 */
export function chosenBy<T extends { readonly name: string }>(pattern: string, all: readonly T[]): readonly T[] {
  const whole = all.filter(({ name }) => matchesPattern(pattern, name));
  return whole.length > 0 ? whole : all.filter(({ name }) => matchesPattern(`${pattern}/**`, name));
}

/** Whether a text has wildcards. */
export const isPattern = (text: string): boolean => text.includes("*");

/**
 * The known name that a mistyped one is nearest to, by insertions, deletions and exchanges of characters; undefined where even that takes
 * more than a third of its length.
 */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: { readonly name: string; readonly distance: number } | undefined;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (
      distance <= Math.max(2, candidate.length / 3) &&
      distance < candidate.length &&
      distance < (best?.distance ?? Number.POSITIVE_INFINITY)
    )
      best = { name: candidate, distance };
  }
  return best?.name;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      current.push(Math.min(previous[j]! + 1, current[j - 1]! + 1, previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    previous = current;
  }
  return previous[b.length]!;
}
