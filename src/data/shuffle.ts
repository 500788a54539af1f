import { type Random, seeded } from "../analysis/random.ts";
import { LayergradError } from "../errors.ts";
import { type Row, userText } from "../text/row.ts";

/** A row with another row's response; `collision` where that is, letter for letter, its own. */
export interface ShuffledRow extends Row {
  readonly collision?: true;
}

/** Draws of a partner before all possible ones are listed. */
const DRAWS = 64;

/**
 * An irrelevant twin: the rows with their responses shuffled among them, as few as possible equal to the row's own.
 *
 * A uniformly random permutation, whose collisions are then repaired by swaps with a random row, each of which removes a collision and
 * makes none; so of distinct responses each row gets every other's with the same probability. What is left is the least that any
 * permutation has, max(0, 2f − n) of n rows: of a response that f rows share, at most n − f copies can go to rows of another one.
 *
 * @param seed - The same rows and seed give the same twin, on every machine.
 */
export function shuffleResponses(rows: readonly Row[], seed: string | number): ShuffledRow[] {
  const random = seeded(seed);
  const own = rows.map((row) => row.output);
  const given = random.shuffle([...own]);
  // Responses that no swap can take from the rows they belong to.
  const unavoidable = new Set<string>();
  // In random order, so that no row is favoured by its place.
  for (const i of random.shuffle(own.map((_, row) => row))) {
    if (given[i] !== own[i] || unavoidable.has(own[i]!)) continue;
    const partner = findPartner(own, given, own[i]!, random);
    if (partner === undefined) unavoidable.add(own[i]!);
    else [given[i], given[partner]] = [given[partner]!, given[i]!];
  }
  return rows.map(({ instruction, input }, i) => ({
    instruction,
    input,
    output: given[i]!,
    ...(given[i] === own[i] ? { collision: true as const } : {}),
  }));
}

/**
 * A random row to swap with a row that was given its own response: one that neither has that response as its own nor was given it, so that
 * after the swap neither row collides. Undefined where there is none.
 */
function findPartner(own: readonly string[], given: readonly string[], response: string, random: Random): number | undefined {
  const fits = (j: number): boolean => own[j] !== response && given[j] !== response;
  for (let draw = 0; draw < DRAWS; draw++) {
    const j = random.below(own.length);
    if (fits(j)) return j;
  }
  const all: number[] = [];
  for (let j = 0; j < own.length; j++) if (fits(j)) all.push(j);
  return all[random.below(all.length)];
}

/**
 * For each row of a data set and its irrelevant twin, whether the two responses are, letter for letter, the same: then the "irrelevant" one
 * is no less right than the correct one.
 *
 * @throws {LayergradError} `data` where the two do not ask the same questions in the same order.
 */
export function markCollisions(correct: readonly Row[], irrelevant: readonly Row[]): boolean[] {
  if (correct.length !== irrelevant.length)
    throw new LayergradError(
      "data",
      `a data set and its irrelevant twin must have the same rows, found ${correct.length} and ${irrelevant.length}; choose two files that belong together.`,
    );
  return correct.map((row, i) => {
    if (userText(row) !== userText(irrelevant[i]!))
      throw new LayergradError(
        "data",
        `a data set and its irrelevant twin must ask the same questions in the same order, and row ${i} differs; choose two files that belong together.`,
      );
    return row.output === irrelevant[i]!.output;
  });
}
