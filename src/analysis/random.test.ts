import { describe, expect, it } from "vitest";
import { seeded } from "./random.ts";

describe("seeded random numbers", () => {
  it("repeat to the bit for one seed, and are others for another", () => {
    const draw = (seed: string | number) => {
      const random = seeded(seed);
      return Array.from({ length: 5 }, () => random.next());
    };
    expect(draw(7)).toEqual(draw("7"));
    expect(draw(7)).not.toEqual(draw(8));
    // Moves with any change of the generator, and with it every seeded interval and choice of labels ever recorded.
    expect(draw(7)).toMatchInlineSnapshot(`
      [
        0.8089899062194152,
        0.045824467259594326,
        0.3360476716152928,
        0.4237863265245032,
        0.8006597377989338,
      ]
    `);
  });

  it("are uniform: chi-square over 64 cells below its 1 − 1e-6 quantile", () => {
    const random = seeded("uniform");
    const cells = new Array<number>(64).fill(0);
    const draws = 64_000;
    for (let i = 0; i < draws; i++) cells[Math.floor(random.next() * 64)]!++;
    const chiSquare = cells.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
    // χ² with 63 degrees of freedom: 130.6.
    expect(chiSquare).toBeLessThan(130.6);
  });

  it("are normal where asked: mean, variance, skewness and kurtosis within five standard errors", () => {
    const random = seeded("normal");
    const n = 100_000;
    const values = Array.from({ length: n }, () => random.normal());
    const moment = (power: number) => values.reduce((sum, x) => sum + x ** power, 0) / n;
    expect(Math.abs(moment(1))).toBeLessThan(5 * Math.sqrt(1 / n));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
    expect(Math.abs(moment(3))).toBeLessThan(5 * Math.sqrt(15 / n));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(5 * Math.sqrt(96 / n));
  });

  it("shuffle into each order equally often", () => {
    const random = seeded("orders");
    const orders = new Map<string, number>();
    for (let i = 0; i < 24_000; i++) {
      const order = random.shuffle([0, 1, 2, 3]).join("");
      orders.set(order, (orders.get(order) ?? 0) + 1);
    }
    expect(orders.size).toBe(24);
    // Binomial with p = 1/24: five standard deviations.
    for (const count of orders.values()) expect(Math.abs(count - 1000)).toBeLessThan(5 * Math.sqrt(1000 * (23 / 24)));
  });
});
