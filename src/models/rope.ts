import { excerpt } from "../errors.ts";
import type { ConfigReader } from "./config-reader.ts";

/** Rotary position embedding: the angle of pair i at position p is p · inverseFrequencies[i]. */
export interface RopeSpec {
  /** Shape `[headDim / 2]`, radians a position. */
  readonly inverseFrequencies: Float64Array;
}

/**
 * Reads either spelling of the rotary settings: `rope_theta` beside `rope_scaling`, or both in `rope_parameters`.
 *
 * @throws {LayergradError} As {@link ropeOf}, and if both spellings are used or layers have settings of their own.
 */
export function readRope(config: ConfigReader, headDim: number): RopeSpec {
  refuseBothSpellings(config);
  const parameters = config.has("rope_parameters") ? config.object("rope_parameters") : config.object("rope_scaling");
  for (const type of ["full_attention", "sliding_attention"])
    if (parameters.has(type)) parameters.refuse(`settings for ${type} alone are not supported in this family`);
  return ropeOf(parameters, config.positive("rope_theta", 10000), headDim);
}

export function refuseBothSpellings(config: ConfigReader): void {
  if (config.has("rope_parameters") && config.has("rope_scaling"))
    config.refuse("rope_parameters and rope_scaling are both set, and may disagree");
}

/** Angles without any scaling: frequency i is base^(−2i / headDim). */
export const plainRope = (base: number, headDim: number): RopeSpec => ({
  inverseFrequencies: Float64Array.from({ length: headDim / 2 }, (_, i) => base ** ((-2 * i) / headDim)),
});

/**
 * The rotary embedding that one set of parameters describes. Types `default`, `linear` (all frequencies divided by `factor`) and `llama3`
 * are computed.
 *
 * @param theta - Where the parameters hold no `rope_theta`.
 * @throws {LayergradError} `model`, naming the field, for any other type, and for frequencies that are not finite.
 */
export function ropeOf(parameters: ConfigReader, theta: number, headDim: number): RopeSpec {
  parameters.only("partial_rotary_factor", 1);
  const { inverseFrequencies: plain } = plainRope(parameters.positive("rope_theta", theta), headDim);
  const inverseFrequencies = plain.map(scalingOf(parameters));
  if (!inverseFrequencies.every(Number.isFinite)) parameters.refuse("these rotary settings give angles that are not finite");
  return { inverseFrequencies };
}

function scalingOf(parameters: ConfigReader): (frequency: number) => number {
  const type = parameters.string("rope_type", parameters.string("type", "default"));
  if (type === "default") return (frequency) => frequency;
  if (type === "linear") {
    const factor = parameters.positive("factor");
    return (frequency) => frequency / factor;
  }
  if (type === "llama3") return llama3Scaling(parameters);
  return parameters.refuse(`rope type ${excerpt(type)} is not supported, only "default", "linear" and "llama3"`);
}

/**
 * Llama 3.1's scaling: low frequencies are divided by `factor`, high ones kept, those between blended
 * linearly in the number of turns within the original context.
 */
function llama3Scaling(parameters: ConfigReader): (frequency: number) => number {
  const factor = parameters.positive("factor");
  const low = parameters.positive("low_freq_factor");
  const high = parameters.positive("high_freq_factor");
  const context = parameters.integer("original_max_position_embeddings", undefined, 1e9);
  if (high <= low) parameters.refuse(`high_freq_factor ${high} must be above low_freq_factor ${low}`);
  return (frequency) => {
    const turns = (context * frequency) / (2 * Math.PI);
    const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
    return (1 - kept) * (frequency / factor) + kept * frequency;
  };
}

/** cos and sin of the angles of positions 0 … positions−1, each `[positions, headDim / 2]`, in double precision. */
export function ropeTables({ inverseFrequencies }: RopeSpec, positions: number): { cos: Float64Array; sin: Float64Array } {
  const half = inverseFrequencies.length;
  const angle = (i: number) => Math.floor(i / half) * inverseFrequencies[i % half]!;
  const cos = Float64Array.from({ length: positions * half }, (_, i) => Math.cos(angle(i)));
  const sin = Float64Array.from({ length: positions * half }, (_, i) => Math.sin(angle(i)));
  return { cos, sin };
}
