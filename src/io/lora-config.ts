import { isDeepStrictEqual } from "node:util";
import { excerpt, LayergradError } from "../errors.ts";
import { textModelName } from "./checkpoint.ts";

/** What of adapter_config.json says how a LoRA is merged. */
export interface LoraConfig {
  readonly path: string;
  readonly rank: number;
  readonly alpha: number;
  /** Ranks of modules that have one of their own, by the end of their names. */
  readonly ranks: ReadonlyMap<string, number>;
  readonly alphas: ReadonlyMap<string, number>;
  /** Scaling over √rank instead of rank. */
  readonly rankStabilised: boolean;
  /** Whole names or ends of names of the modules that have matrices; undefined where the file does not say it in plain names. */
  readonly targets: Targets | undefined;
}

interface Targets {
  readonly included: readonly string[];
  readonly excluded: readonly string[];
  /** Numbers of the layers; undefined for all. */
  readonly layers: readonly number[] | undefined;
}

/** Fields that, set to anything but these, make something else of the adapter than what is merged here. */
const required: Readonly<Record<string, readonly unknown[]>> = {
  bias: ["none"],
  use_dora: [false],
  lora_bias: [false],
  use_qalora: [false],
  layer_replication: [],
  trainable_token_indices: [],
  target_parameters: [[]],
  megatron_config: [],
  arrow_config: [],
  use_bdlora: [false],
  kasa_config: [],
  monteclora_config: [],
  alora_invocation_tokens: [],
  // Others (PiSSA, OLoRA, LoftQ, …) change the base weights as well when PEFT loads them.
  init_lora_weights: [true, false, "gaussian", "eva", "orthogonal"],
};

/**
 * Reads adapter_config.json.
 *
 * `fan_in_fan_out` is passed over, as by PEFT where the layer is a linear one, and those of all model families here are.
 *
 * @throws {LayergradError} `"model"`, naming the field, for another kind of adapter or a setting that is not supported.
 */
export function readLoraConfig(config: Readonly<Record<string, unknown>>, path: string): LoraConfig {
  const fail = (what: string): never => {
    throw new LayergradError("model", `${path}: ${what}.`);
  };
  const merge = "merge the adapter with PEFT's merge_and_unload and give the result";
  if (config.peft_type !== "LORA") fail(`is an adapter of the type ${excerpt(config.peft_type)}, of which only "LORA" is read; ${merge}`);
  for (const [key, allowed] of Object.entries(required)) {
    const value = config[key];
    if (value === undefined || value === null || allowed.some((a) => isDeepStrictEqual(a, value))) continue;
    fail(`has ${key} ${excerpt(value)}, which is not supported; ${merge}`);
  }
  const rank = config.r;
  if (!isRank(rank)) return fail(`has r ${excerpt(rank)}, expected a positive integer; download it again`);
  const alpha = config.lora_alpha;
  if (!isAlpha(alpha)) return fail(`has lora_alpha ${excerpt(alpha)}, expected a number; download it again`);
  return {
    path,
    rank,
    alpha,
    ranks: readPattern(config.rank_pattern, "rank_pattern", isRank, fail),
    alphas: readPattern(config.alpha_pattern, "alpha_pattern", isAlpha, fail),
    rankStabilised: config.use_rslora === true,
    targets: readTargets(config),
  };
}

/** A regular expression of a stranger is not run, so which modules it means is not known. */
function readTargets({
  target_modules,
  exclude_modules,
  layers_to_transform: layers,
}: Readonly<Record<string, unknown>>): Targets | undefined {
  const excluded = exclude_modules ?? [];
  if (!isTexts(target_modules) || !isTexts(excluded)) return undefined;
  const names = { included: target_modules.map(textModelName), excluded: excluded.map(textModelName) };
  const listed: readonly unknown[] = Array.isArray(layers) ? layers : layers === undefined || layers === null ? [] : [layers];
  if (!listed.every((layer) => typeof layer === "number")) return undefined;
  // PEFT takes an empty list for all layers.
  return { ...names, layers: listed.length > 0 ? listed : undefined };
}

/** Whether the configuration promises matrices for a module of a layer; false where it does not tell. */
export function isTarget({ targets }: LoraConfig, module: string, layer: number): boolean {
  if (!targets) return false;
  const isNamed = (names: readonly string[]): boolean => names.some((name) => `.${module}`.endsWith(`.${name}`));
  return isNamed(targets.included) && !isNamed(targets.excluded) && (targets.layers?.includes(layer) ?? true);
}

/** Rank and scaling of a module. */
export function scalingOf(config: LoraConfig, module: string): { readonly rank: number; readonly scaling: number } {
  const rank = lookUp(config.ranks, module) ?? config.rank;
  const alpha = lookUp(config.alphas, module) ?? config.alpha;
  return { rank, scaling: alpha / (config.rankStabilised ? Math.sqrt(rank) : rank) };
}

/** A pattern is the end of a module's name, from a dot on, or with ^ the whole name; the first that fits counts, as in PEFT. */
function lookUp(pattern: ReadonlyMap<string, number>, module: string): number | undefined {
  for (const [key, value] of pattern) {
    if (key.startsWith("^") ? module === key.slice(1) : `.${module}`.endsWith(`.${key}`)) return value;
  }
  return undefined;
}

/** PEFT takes regular expressions here; a stranger's is not run, so only plain names are read. */
function readPattern(
  value: unknown,
  field: string,
  isValid: (value: unknown) => value is number,
  fail: (what: string) => never,
): ReadonlyMap<string, number> {
  if (value === undefined || value === null) return new Map();
  if (typeof value !== "object" || Array.isArray(value))
    return fail(`has ${field} ${excerpt(value)}, expected an object; download it again`);
  return new Map(
    Object.entries(value).map(([key, entry]) => {
      if (!/^\^?[\w.]+$/.test(key)) fail(`has the ${field} ${excerpt(key)}, a regular expression, of which only plain names are read`);
      return [key, isValid(entry) ? entry : fail(`has ${excerpt(entry)} in its ${field} for ${excerpt(key)}; download it again`)];
    }),
  );
}

const isTexts = (value: unknown): value is readonly string[] => Array.isArray(value) && value.every((text) => typeof text === "string");
const isRank = (value: unknown): value is number => typeof value === "number" && Number.isSafeInteger(value) && value > 0 && value <= 65536;
const isAlpha = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
