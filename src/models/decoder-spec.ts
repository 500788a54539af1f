import { excerpt } from "../errors.ts";
import type { ConfigReader } from "./config-reader.ts";
import type { ModelSpec } from "./family.ts";
import { type RopeSpec, readRope } from "./rope.ts";

/** The linear layers that `attention_bias` gives a bias. */
const attention = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];

export interface Traits {
  /** The MLP's activation as configurations name it, `silu` where not given. */
  readonly activation?: string;
  /** Which layers see a window only, where `layer_types` does not say so. Without it none may. */
  readonly isLocal?: (layer: number) => boolean;
  /** Rotary tables of layers with a window and of those without; by default both as {@link readRope} has them. */
  readonly rope?: (local: boolean, headDim: number) => RopeSpec;
}

/**
 * The fields that families share, with plain answers to the rest: scores over √headDim, nothing capped, nothing offset. A family gives its
 * own answers over these. What a file leaves out is taken from the reader's defaults, and else is what Llama's configuration has.
 */
export function readDecoder(config: ConfigReader, family: string, { activation = "silu", isLocal, rope }: Traits = {}): ModelSpec {
  for (const key of ["hidden_act", "hidden_activation"]) config.only(key, activation);
  config.only("use_bidirectional_attention", false);
  config.only("clip_qkv", null);
  config.only("partial_rotary_factor", 1);
  const heads = config.integer("num_attention_heads", undefined, 1024);
  const keyValueHeads = config.integer("num_key_value_heads", heads, 1024);
  const hidden = config.integer("hidden_size");
  if (heads % keyValueHeads !== 0) config.refuse(`num_attention_heads ${heads} is not a multiple of num_key_value_heads ${keyValueHeads}`);
  if (!config.has("head_dim") && hidden % heads !== 0)
    config.refuse(`hidden_size ${hidden} is not a multiple of num_attention_heads ${heads}`);
  const headDim = config.integer("head_dim", hidden / heads, 4096);
  if (headDim % 2 !== 0) config.refuse(`head_dim must be even for rotary embeddings, found ${headDim}`);
  const layers = config.integer("num_hidden_layers", undefined, 1000);
  const windows = readWindows(config, layers, isLocal);
  const all = rope?.(false, headDim) ?? readRope(config, headDim);
  const local = rope?.(true, headDim) ?? all;
  return {
    family,
    modelType: config.string("model_type"),
    layers,
    hidden,
    intermediate: config.integer("intermediate_size"),
    heads,
    keyValueHeads,
    headDim,
    vocabulary: config.integer("vocab_size"),
    normEps: config.positive("rms_norm_eps", 1e-6),
    normOffset: 0,
    tiedEmbeddings: config.boolean("tie_word_embeddings", false),
    embeddingScale: 1,
    scoreScale: 1 / Math.sqrt(headDim),
    scoreCap: Number.POSITIVE_INFINITY,
    logitCap: Number.POSITIVE_INFINITY,
    attention: windows.map((window) => ({ window, rope: window === Number.POSITIVE_INFINITY ? all : local })),
    biases: new Set(config.boolean("attention_bias", false) ? attention : []),
  };
}

/** Each layer's window: `layer_types` where it is given, else the family's own pattern; `sliding_window` tokens, or Infinity. */
function readWindows(config: ConfigReader, layers: number, isLocal?: (layer: number) => boolean): number[] {
  const types = config.strings("layer_types");
  if (types && types.length !== layers) config.refuse(`layer_types has ${types.length} entries for ${layers} layers`);
  const known = isLocal ? ["full_attention", "sliding_attention"] : ["full_attention"];
  const unknown = types?.find((type) => !known.includes(type));
  if (unknown !== undefined)
    config.refuse(`layer_types holds ${excerpt(unknown)}, which is not supported, only ${known.map((t) => `"${t}"`).join(" and ")}`);
  const local = Array.from({ length: layers }, (_, i) => (types ? types[i] === "sliding_attention" : (isLocal?.(i) ?? false)));
  return local.map((is) => (is ? config.integer("sliding_window", undefined, 1e9) : Number.POSITIVE_INFINITY));
}
