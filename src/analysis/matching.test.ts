import { describe, expect, it } from "vitest";
import { matchNearest } from "./matching.ts";
import { seeded } from "./random.ts";

describe("matching one to one", () => {
  it("takes the nearest pair first, not the first row's nearest", () => {
    // 100 is nearest to 104, but 105 is nearer still and takes it.
    expect(matchNearest([100, 105], [104, 92], { caliper: 0.1 })).toEqual([
      [0, 1],
      [1, 0],
    ]);
  });
  it("measures distance relative to the larger value", () => {
    expect(matchNearest([90], [100], { caliper: 0.1 })).toEqual([[0, 0]]);
    expect(matchNearest([89], [100], { caliper: 0.1 })).toEqual([]);
    expect(matchNearest([100], [90], { caliper: 0.1 })).toEqual([[0, 0]]);
    // 10 and 11 are farther apart than 200 and 210, though nearer by count.
    expect(matchNearest([10, 210], [200, 11], { caliper: 0.06 })).toEqual([[1, 0]]);
  });
  it("gives ties to the lower index in a, then in b", () => {
    expect(matchNearest([7, 7], [7, 7, 7], { caliper: 0 })).toEqual([
      [0, 0],
      [1, 1],
    ]);
    expect(matchNearest([7, 7], [7], { caliper: 0 })).toEqual([[0, 0]]);
  });
  it("matches zeros with zeros alone", () => {
    expect(matchNearest([0, 1], [1, 0], { caliper: 0.5 })).toEqual([
      [0, 1],
      [1, 0],
    ]);
    expect(matchNearest([0], [0.1], { caliper: 0.5 })).toEqual([]);
  });
  it("uses no row twice, keeps the caliper, and leaves no two free rows that would match", () => {
    const random = seeded("matching");
    const [a, b] = [60, 80].map((n) => Array.from({ length: n }, () => 1 + random.below(300)));
    const pairs = matchNearest(a!, b!, { caliper: 0.1 });
    expect(new Set(pairs.map(([i]) => i)).size).toBe(pairs.length);
    expect(new Set(pairs.map(([, j]) => j)).size).toBe(pairs.length);
    const within = (x: number, y: number): boolean => Math.abs(x - y) <= 0.1 * Math.max(x, y);
    expect(pairs.every(([i, j]) => within(a![i]!, b![j]!))).toBe(true);
    const freeB = b!.filter((_, j) => !pairs.some(([, other]) => other === j));
    const free = a!.flatMap((x, i) => (pairs.some(([other]) => other === i) ? [] : freeB.filter((y) => within(x, y))));
    expect(free).toEqual([]);
    expect(pairs.length).toBeGreaterThan(30);
  });
  it("gives the same pairs when the sides change places, where no distances tie", () => {
    const random = seeded("sides");
    const [a, b] = [30, 30].map((n) => Array.from({ length: n }, () => 100 * random.next()));
    const back = matchNearest(b!, a!, { caliper: 0.1 }).map(([j, i]) => [i, j]);
    expect(back.sort(([i], [j]) => i! - j!)).toEqual(matchNearest(a!, b!, { caliper: 0.1 }));
  });
});
