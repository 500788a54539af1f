import { describe, expect, it } from "vitest";
import { LayergradError } from "../errors.ts";
import { ConfigReader } from "./config-reader.ts";
import { readRope, ropeTables } from "./rope.ts";

const frequencies = (config: Readonly<Record<string, unknown>>, headDim = 8): number[] =>
  Array.from(readRope(new ConfigReader(config), headDim).inverseFrequencies);
const llama31 = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

describe("rotary frequencies", () => {
  it("are θ^(−2i/D)", () => {
    const expected = [1, 10, 100, 1000].map((x) => 1 / x);
    for (const [i, f] of frequencies({ rope_theta: 10_000 }).entries()) expect(f).toBeCloseTo(expected[i]!, 15);
    expect(frequencies({})).toEqual(frequencies({ rope_theta: 10_000 }));
  });

  it("are the same in either spelling of the configuration", () => {
    const old = frequencies({ rope_theta: 500_000, rope_scaling: llama31 });
    expect(frequencies({ rope_parameters: { ...llama31, rope_theta: 500_000 } })).toEqual(old);
    expect(frequencies({ rope_theta: 500_000, rope_parameters: llama31 })).toEqual(old);
    const { rope_type: type, ...rest } = llama31;
    expect(frequencies({ rope_theta: 500_000, rope_scaling: { ...rest, type } })).toEqual(old);
  });

  it("scaled as in Llama 3: fast ones kept, slow ones divided by the factor, those between blended", () => {
    // By hand, D = 8, θ = 10⁴, so f = 1, 0.1, 0.01, 0.001, and a context of 400π tokens, so that f turns 200·f times in it:
    // 200 and 20 turns are above 4 and kept; 2 turns lie between 1 and 4, a third of the way; 0.2 turns are below 1.
    const scaling = { ...llama31, original_max_position_embeddings: 1257 };
    const turns = (1257 * 0.01) / (2 * Math.PI);
    const share = (turns - 1) / 3;
    expect(share).toBeCloseTo(1 / 3, 3);
    const scaled = frequencies({ rope_theta: 10_000, rope_scaling: scaling });
    const expected = [1, 0.1, (1 - share) * (0.01 / 8) + share * 0.01, 0.001 / 8];
    for (const [i, f] of scaled.entries()) expect(f).toBeCloseTo(expected[i]!, 14);
    // A third of the way from 0.00125 to 0.01.
    expect(scaled[2]).toBeCloseTo(0.00417, 4);
  });

  it("of Llama 3.1 itself: pairs 0 to 28 of 64 as they are, the last 29 divided by eight", () => {
    // One turn in 8192 tokens is a frequency of 7.67e-4, four turns one of 3.07e-3; θ^(−i/64) = 5e5^(−i/64) crosses them at
    // i = 34.98 and 28.22.
    const config = { rope_theta: 500_000 };
    const plain = frequencies(config, 128);
    const scaled = frequencies({ ...config, rope_scaling: llama31 }, 128);
    expect(scaled.slice(0, 29)).toEqual(plain.slice(0, 29));
    expect(scaled.slice(35)).toEqual(plain.slice(35).map((f) => f / 8));
    for (let i = 29; i < 35; i++) {
      expect(scaled[i]).toBeLessThan(plain[i]!);
      expect(scaled[i]).toBeGreaterThan(plain[i]! / 8);
    }
  });

  it("scaled linearly: all divided by the factor", () => {
    const scaled = frequencies({ rope_theta: 10_000, rope_scaling: { rope_type: "linear", factor: 8 } });
    expect(scaled).toEqual(frequencies({ rope_theta: 10_000 }).map((f) => f / 8));
  });

  it.each<[string, Record<string, unknown>, string]>([
    [
      "an unknown type",
      { rope_type: "dynamic" },
      'config.json: rope_scaling: rope type "dynamic" is not supported, only "default", "linear" and "llama3"',
    ],
    ["partly rotated heads", { partial_rotary_factor: 0.75 }, "rope_scaling: partial_rotary_factor 0.75 is not supported, only 1"],
    [
      "settings by type of layer",
      { full_attention: { rope_theta: 1e6 } },
      "config.json: rope_scaling: settings for full_attention alone are not supported in this family",
    ],
    ["no factor", { ...llama31, factor: undefined }, "config.json: rope_scaling: factor must be a positive number, found nothing"],
    ["a factor below zero", { ...llama31, factor: -8 }, "config.json: rope_scaling: factor must be a positive number, found -8"],
    [
      "bounds in the wrong order",
      { ...llama31, low_freq_factor: 4, high_freq_factor: 4 },
      "config.json: rope_scaling: high_freq_factor 4 must be above low_freq_factor 4",
    ],
    [
      "a broken context",
      { ...llama31, original_max_position_embeddings: 0.5 },
      "original_max_position_embeddings must be an integer from 1",
    ],
    ["θ of zero", { rope_theta: 0 }, "config.json: rope_scaling: rope_theta must be a positive number, found 0"],
  ])("are refused for %s", (_, scaling, message) => {
    const read = () => frequencies({ rope_scaling: scaling });
    expect(read).toThrow(LayergradError);
    expect(read).toThrow(message);
  });
});

describe("rotary tables", () => {
  it("hold cosine and sine of position times frequency", () => {
    const { cos, sin } = ropeTables({ inverseFrequencies: Float64Array.of(1, 0.25) }, 3);
    expect(Array.from(cos)).toEqual([1, 1, Math.cos(1), Math.cos(0.25), Math.cos(2), Math.cos(0.5)]);
    expect(Array.from(sin)).toEqual([0, 0, Math.sin(1), Math.sin(0.25), Math.sin(2), Math.sin(0.5)]);
  });
});
