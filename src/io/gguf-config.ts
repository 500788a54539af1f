import { excerpt, LayergradError } from "../errors.ts";
import type { GgufScalar, GgufValue } from "./gguf-file.ts";

/** What a GGUF file says of its model, beside the metadata. */
export interface GgufFacts {
  /** Path, for messages. */
  readonly path: string;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** Names of its tensors, as the file spells them. */
  readonly names: ReadonlySet<string>;
  /** Rows of the embedding. */
  readonly vocabulary: number;
  /** Values of `rope_freqs.weight`, by which the rotary frequencies are divided; undefined where there is none. */
  readonly ropeFactors: Float32Array | undefined;
}

type Config = Readonly<Record<string, unknown>>;

/** The configuration of each architecture that is read, beside what all share. */
const architectures: Readonly<Record<string, (keys: Keys, facts: GgufFacts) => Config>> = {
  llama: llamaConfig,
  qwen2: () => ({ model_type: "qwen2", use_sliding_window: false }),
  qwen3: () => ({ model_type: "qwen3", use_sliding_window: false, attention_bias: false }),
  gemma: () => ({ model_type: "gemma", hidden_activation: "gelu_pytorch_tanh" }),
  gemma2: (keys) => ({
    model_type: "gemma2",
    hidden_activation: "gelu_pytorch_tanh",
    query_pre_attn_scalar: queryScalar(keys, 46),
    attn_logit_softcapping: keys.float("attn_logit_softcapping", 50),
    final_logit_softcapping: keys.float("final_logit_softcapping", 30),
    sliding_window: keys.number("attention.sliding_window", 4096),
  }),
  gemma3: (keys) => ({
    model_type: "gemma3_text",
    hidden_activation: "gelu_pytorch_tanh",
    query_pre_attn_scalar: queryScalar(keys, 62),
    attn_logit_softcapping: null,
    final_logit_softcapping: keys.has("final_logit_softcapping") ? keys.float("final_logit_softcapping") : null,
    sliding_window: keys.number("attention.sliding_window"),
    sliding_window_pattern: keys.number("attention.sliding_window_pattern", 6),
    rope_local_base_freq: keys.float("rope.freq_base_swa", 10_000),
  }),
  phi3: (keys) => ({ model_type: "phi3", sliding_window: keys.number("attention.sliding_window", 0) || null }),
  olmo2: () => ({ model_type: "olmo2", attention_bias: false }),
};

/** Rotary base where a file has none: ggml's own default. */
const DEFAULT_ROPE_BASE = 10_000;

/**
 * The config.json that a GGUF file's metadata stands for.
 *
 * Numbers that the file holds as float32 come back as the shortest decimal that rounds to them, 1e-5 rather than 0.00000999999974.
 *
 * @throws {LayergradError} `"model"` for an architecture that is not read, a key of it that is not known or out of range: what is not
 * computed must not be passed over.
 */
export function configOf(facts: GgufFacts): Config {
  const architecture = facts.metadata.get("general.architecture");
  const specific = typeof architecture === "string" && Object.hasOwn(architectures, architecture) ? architectures[architecture] : undefined;
  if (!specific) {
    throw new LayergradError(
      "model",
      `${facts.path}: is of the architecture ${excerpt(architecture)}, of which GGUF is not read, only ${Object.keys(architectures).join(", ")}; give the model's safetensors folder.`,
    );
  }
  const keys = new Keys(facts, architecture as string);
  const heads = keys.number("attention.head_count");
  const config = {
    hidden_size: keys.number("embedding_length"),
    intermediate_size: keys.number("feed_forward_length"),
    num_hidden_layers: keys.number("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: keys.number("attention.head_count_kv", heads),
    head_dim: headDim(keys),
    rms_norm_eps: keys.float("attention.layer_norm_rms_epsilon"),
    rope_theta: keys.float("rope.freq_base", DEFAULT_ROPE_BASE),
    rope_scaling: ropeScaling(keys),
    max_position_embeddings: keys.number("context_length"),
    vocab_size: facts.vocabulary,
    tie_word_embeddings: !facts.names.has("output.weight"),
    ...specific(keys, facts),
  };
  if (!keys.flag("attention.causal", true)) keys.refuse("lets tokens see those after them, so it is no causal language model");
  keys.refuseUnknown();
  if (facts.ropeFactors && architecture !== "llama")
    keys.refuse("holds rope_freqs.weight, which is read in Llama's architecture only; give the model's safetensors folder");
  return config;
}

/** Llama's architecture serves Mistral too, which a window tells apart. */
function llamaConfig(keys: Keys, facts: GgufFacts): Config {
  const window = keys.number("attention.sliding_window", 0);
  const biased = (matrix: string): boolean => facts.names.has(`blk.0.${matrix}.bias`);
  const scaling = facts.ropeFactors ? { rope_scaling: llama3Scaling(keys, facts.ropeFactors) } : {};
  return {
    ...(window > 0 ? { model_type: "mistral", sliding_window: window } : { model_type: "llama" }),
    attention_bias: biased("attn_q"),
    mlp_bias: biased("ffn_up"),
    ...scaling,
  };
}

/** Values per head: stated, or the hidden ones evenly over the heads. Only heads that are rotated whole, with keys and values of one size, are computed. */
function headDim(keys: Keys): number {
  const even = keys.number("embedding_length") / keys.number("attention.head_count");
  const dim = keys.number("attention.key_length", even);
  for (const key of ["attention.value_length", "rope.dimension_count"])
    if (keys.number(key, dim) !== dim) keys.refuse(`has ${key} ${keys.number(key)} with heads of ${dim}, which is not supported`);
  return dim;
}

function ropeScaling(keys: Keys): Config | null {
  const type = keys.text("rope.scaling.type", "none");
  const factor = keys.float("rope.scaling.factor", 1);
  if (type === "linear") return { rope_type: "linear", factor };
  if (type !== "none") keys.refuse(`has the rope.scaling.type ${excerpt(type)}, which is not supported, only "linear"`);
  return null;
}

/**
 * Gemma's divisor of the scores. No file holds it; as in llama.cpp it is the head's size, but for the 27B models, known by their depth.
 */
function queryScalar(keys: Keys, layersOf27B: number): number {
  return keys.number("block_count") === layersOf27B ? keys.number("embedding_length") / keys.number("attention.head_count") : headDim(keys);
}

/**
 * Llama 3.1's scaling, of which a file holds but the factors it gives. All Llama 3 models have low_freq_factor 1 and high_freq_factor 4;
 * the factor is the largest, the original context follows from any frequency between, and all are checked against the formula.
 */
function llama3Scaling(keys: Keys, found: Float32Array): Config {
  const low = 1;
  const high = 4;
  const base = keys.float("rope.freq_base", DEFAULT_ROPE_BASE);
  const turnsPerContext = Array.from(found, (_, i) => base ** (-i / found.length) / (2 * Math.PI));
  const factor = shortest(found.reduce((a, b) => Math.max(a, b), 1));
  // 1/found = (1 − kept)/factor + kept, with kept = (turns − low)/(high − low).
  const between = found.findIndex((f) => f > 1 && f < factor);
  const kept = (1 / found[between]! - 1 / factor) / (1 - 1 / factor);
  const context = Math.round((low + kept * (high - low)) / turnsPerContext[between]!);
  const expected = turnsPerContext.map((t) => {
    const share = Math.min(1, Math.max(0, (context * t - low) / (high - low)));
    return 1 / ((1 - share) / factor + share);
  });
  if (between < 0 || !expected.every((e, i) => Math.abs(e - found[i]!) <= 1e-5 * e) || found.length !== headDim(keys) / 2)
    keys.refuse("holds rope_freqs.weight of another scaling than Llama 3's; give the model's safetensors folder");
  return { rope_type: "llama3", factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: context };
}

/** Metadata of the architecture that changes nothing that is computed. */
const harmless = new Set(["vocab_size", "rope.scaling.finetuned", "rope.scaling.original_context_length"]);

/** The keys of one architecture, and which of them have been asked for. */
class Keys {
  private readonly asked = new Set<string>(harmless);

  constructor(
    private readonly facts: Pick<GgufFacts, "path" | "metadata">,
    private readonly architecture: string,
  ) {}

  has(key: string): boolean {
    this.asked.add(key);
    return this.facts.metadata.has(`${this.architecture}.${key}`);
  }

  number(key: string, fallback?: number): number {
    const value = this.get(key, fallback);
    // Some converters write one value for each layer.
    const single = Array.isArray(value) && value.length > 0 && value.every((v) => v === value[0]) ? value[0] : value;
    if (typeof single !== "number") return this.refuse(`has ${key} ${excerpt(value)}, expected a number`);
    return single;
  }

  /** A float32, as the shortest decimal that stands for it. */
  float(key: string, fallback?: number): number {
    return shortest(this.number(key, fallback));
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.get(key, fallback);
    return typeof value === "boolean" ? value : this.refuse(`has ${key} ${excerpt(value)}, expected true or false`);
  }

  text(key: string, fallback: string): string {
    const value = this.get(key, fallback);
    return typeof value === "string" ? value : this.refuse(`has ${key} ${excerpt(value)}, expected a text`);
  }

  /** Refuses keys of the architecture that nothing asked for, such as those of mixtures of experts. */
  refuseUnknown(): void {
    const prefix = `${this.architecture}.`;
    for (const [key, value] of this.facts.metadata) {
      if (!key.startsWith(prefix) || this.asked.has(key.slice(prefix.length)) || value === 0 || value === false) continue;
      this.refuse(`has ${excerpt(key)} ${excerpt(value)}, which is not supported; give the model's safetensors folder`);
    }
  }

  refuse(what: string): never {
    throw new LayergradError("model", `${this.facts.path}: the ${this.architecture} model ${what}.`);
  }

  private get(key: string, fallback?: GgufScalar): GgufValue | undefined {
    this.asked.add(key);
    return this.facts.metadata.get(`${this.architecture}.${key}`) ?? fallback;
  }
}

/** The shortest decimal that rounds to a float32. */
export function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}
