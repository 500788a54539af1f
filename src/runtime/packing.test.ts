import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { packRows, wavesOf } from "./packing.ts";

const rowsOf = (lengths: readonly number[]) => lengths.map((length, row) => ({ row, inputIds: new Int32Array(length) }));
const lengthsOf = (packs: ReturnType<typeof rowsOf>[]) => packs.map((pack) => pack.map((r) => r.inputIds.length));
const cases = [fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 40 }), fc.integer({ min: 1, max: 400 })] as const;

describe("packing", () => {
  it("fills packs in order and begins another where the next row does not fit", () => {
    expect(lengthsOf(packRows(rowsOf([40, 50, 20, 90, 10]), 100))).toEqual([[40, 50], [20], [90, 10]]);
  });
  it("gives a row that exceeds the budget a pack of its own", () => {
    expect(lengthsOf(packRows(rowsOf([10, 500, 10, 10]), 100))).toEqual([[10], [500], [10, 10]]);
    expect(lengthsOf(packRows(rowsOf([500, 501]), 100))).toEqual([[500], [501]]);
  });
  it("gives each row its own pack under a budget of one, and no pack for no rows", () => {
    expect(lengthsOf(packRows(rowsOf([3, 1, 2]), 1))).toEqual([[3], [1], [2]]);
    expect(packRows([], 100)).toEqual([]);
  });
  it("keeps every row once, in order, and the budget wherever a pack holds more than one row", () => {
    fc.assert(
      fc.property(...cases, (lengths, budget) => {
        const rows = rowsOf(lengths);
        const packs = packRows(rows, budget);
        expect(packs.flat()).toEqual(rows);
        for (const pack of packs) expect(pack.length === 1 || pack.reduce((sum, r) => sum + r.inputIds.length, 0) <= budget).toBe(true);
      }),
    );
  });
  it("wastes no room: the first row of a pack would not have fitted into the one before", () => {
    fc.assert(
      fc.property(...cases, (lengths, budget) => {
        const packs = lengthsOf(packRows(rowsOf(lengths), budget));
        for (const [i, pack] of packs.slice(1).entries()) expect(packs[i]!.reduce((a, b) => a + b, 0) + pack[0]!).toBeGreaterThan(budget);
      }),
    );
  });
  it("plans the first rows alike whatever follows, so that a longer range goes on with the packs of a shorter one", () => {
    fc.assert(
      fc.property(...cases, fc.nat(40), (lengths, budget, cut) => {
        const whole = lengthsOf(packRows(rowsOf(lengths), budget));
        const part = lengthsOf(packRows(rowsOf(lengths.slice(0, cut)), budget));
        // All but the last pack, which more rows may fill up.
        expect(part.slice(0, -1)).toEqual(whole.slice(0, Math.max(0, part.length - 1)));
      }),
    );
  });
});

describe("waves", () => {
  it("hold packs in their order up to a number of tokens, and a longer pack alone", () => {
    const packs = packRows(rowsOf([40, 50, 20, 90, 10, 300, 5]), 100);
    const waves = wavesOf(packs, 200);
    expect(waves.map((wave) => lengthsOf(wave.map((pack) => [...pack])))).toEqual([[[40, 50], [20]], [[90, 10]], [[300]], [[5]]]);
    expect(waves.flat()).toEqual(packs);
  });
});
