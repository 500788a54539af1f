import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { clamp, layerTicks, linearAxis, logAxis, logTicks, position, valueAxis } from "./axis.ts";

const points = (...values: number[]) => values.map((value) => ({ value, low: null, high: null }));

describe("valueAxis", () => {
  it("is linear from zero up to a factor of 50, logarithmic beyond", () => {
    expect(valueAxis(points(1, 50))).toMatchObject({ type: "linear", domain: [0, expect.any(Number)] });
    expect(valueAxis(points(1, 50.1)).type).toBe("log");
  });

  it("stays linear where a value is not positive", () => {
    const axis = valueAxis(points(-1, 0.001, 100));
    expect(axis.type).toBe("linear");
    expect(axis.domain[0]).toBeLessThan(-1);
  });

  it("holds all values and the intervals, but on a log scale none that reaches down to zero", () => {
    const { domain } = valueAxis([
      { value: 1, low: -0.5, high: 2 },
      { value: 100, low: 90, high: 150 },
    ]);
    expect(domain[0]).toBeGreaterThan(0.5);
    expect(domain[0]).toBeLessThan(1);
    expect(domain[1]).toBeGreaterThan(150);
  });

  it("draws one value alone", () => {
    for (const value of [0, 3, -3]) {
      const { domain } = valueAxis(points(value));
      expect(domain[1]).toBeGreaterThan(domain[0]);
    }
  });
});

describe("ticks", () => {
  it("are round numbers within the domain, at least two", () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-6, max: 1e6, noNaN: true }), (high) => {
        const { ticks, domain } = linearAxis([high]);
        expect(ticks.length).toBeGreaterThanOrEqual(2);
        expect(ticks.length).toBeLessThanOrEqual(8);
        for (const tick of ticks) {
          expect(tick).toBeLessThanOrEqual(domain[1] * (1 + 1e-9));
          expect([0, 1, 2, 3, 4, 5, 6, 8]).toContain(Number(tick.toPrecision(12)) === 0 ? 0 : firstDigit(tick));
        }
      }),
    );
  });

  it("of a log scale are powers of ten, with their halves or thirds where those are few", () => {
    expect(logTicks([0.9, 11])).toEqual([1, 2, 5, 10]);
    expect(logTicks([0.9, 110])).toEqual([1, 3, 10, 30, 100]);
    expect(logTicks([0.9, 11_000])).toEqual([1, 10, 100, 1000, 10_000]);
    expect(logTicks([1e-12, 1e12]).length).toBeLessThan(9);
  });

  it("over layers are whole, from zero, and as many as fit", () => {
    expect(layerTicks(30, 240)).toEqual([0, 5, 10, 15, 20, 25]);
    expect(layerTicks(2, 100)).toEqual([0, 1]);
    expect(layerTicks(1, 100)).toEqual([0]);
  });
});

const firstDigit = (value: number): number => Number(value.toExponential()[0]);

describe("position", () => {
  it("runs from 0 to 1 over the domain, by logarithms on a log scale, and stays within", () => {
    const log = logAxis([1, 100], 0);
    expect(position({ ...log, domain: [1, 100] }, 10)).toBeCloseTo(0.5, 12);
    expect(position({ ...log, domain: [1, 100] }, -3)).toBe(0);
    expect(position({ type: "linear", domain: [0, 4], ticks: [] }, 1)).toBe(0.25);
    expect(position({ type: "linear", domain: [0, 4], ticks: [] }, 9)).toBe(1);
  });
});

it("clamp keeps bands within the frame and null null", () => {
  const axis = { type: "linear", domain: [0, 4], ticks: [] } as const;
  expect([-1, 2, 9, null].map((value) => clamp(axis, value))).toEqual([0, 2, 4, null]);
});
