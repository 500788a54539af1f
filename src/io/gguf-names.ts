/** Where a tensor of a GGUF file stands in a Hugging Face checkpoint, and how llama.cpp's converter has changed it. */
export interface TensorPlace {
  /** The checkpoint's name. */
  readonly name: string;
  /** Heads whose rows were reordered for ggml's rotary layout. */
  readonly permutedHeads?: number;
  /** What was added to each value. */
  readonly added?: number;
}

/** Names outside the blocks. */
const outer: Readonly<Record<string, string>> = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};

const llamaBlock: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

const headNorms = { attn_q_norm: "self_attn.q_norm", attn_k_norm: "self_attn.k_norm" };

const afterNorms = { post_attention_norm: "post_attention_layernorm", post_ffw_norm: "post_feedforward_layernorm" };

const gemma2Block = { ...llamaBlock, ...afterNorms, ffn_norm: "pre_feedforward_layernorm" };

/** Names of a block's tensors by architecture, without the layer and the `.weight` or `.bias` at the end. */
const blocks: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  llama: llamaBlock,
  qwen2: llamaBlock,
  qwen3: { ...llamaBlock, ...headNorms },
  gemma: llamaBlock,
  gemma2: gemma2Block,
  gemma3: { ...gemma2Block, ...headNorms },
  phi3: { ...llamaBlock, attn_qkv: "self_attn.qkv_proj", ffn_up: "mlp.gate_up_proj" },
  olmo2: { ...llamaBlock, ...headNorms, ...afterNorms },
};

/** Architectures whose norms are stored as the factor 1 + w that Gemma multiplies with. */
const offsetNorms = new Set(["gemma", "gemma2", "gemma3"]);

/**
 * The place of a tensor, undefined where the architecture has none of that name.
 *
 * @param heads - Query and key heads, by the matrix they belong to.
 */
export function placeOf(
  architecture: string,
  stored: string,
  heads: Readonly<Record<"attn_q" | "attn_k", number>>,
): TensorPlace | undefined {
  const added = offsetNorms.has(architecture) && stored.endsWith("_norm.weight") ? { added: 1 } : {};
  const whole = outer[stored];
  if (whole !== undefined) return { name: whole, ...added };
  const match = /^blk\.(\d{1,4})\.(\w+)\.(weight|bias)$/.exec(stored);
  if (!match) return undefined;
  const [, layer, matrix, kind] = match;
  const names = blocks[architecture] ?? {};
  if (!Object.hasOwn(names, matrix!)) return undefined;
  const permuted = architecture === "llama" && (matrix === "attn_q" || matrix === "attn_k") ? { permutedHeads: heads[matrix] } : {};
  return { name: `model.layers.${Number(layer)}.${names[matrix!]}.${kind}`, ...added, ...permuted };
}

/**
 * The file's row of a checkpoint's row: within a head of n rows the first and second half were interleaved, so that the pairs (i, i + n/2)
 * that are rotated together lie side by side.
 */
export function storedRow(row: number, rowsPerHead: number): number {
  const half = rowsPerHead / 2;
  const within = row % rowsPerHead;
  return row - within + (within % half) * 2 + Math.floor(within / half);
}
