// Random weights in the shapes of real models: speed depends on the shape alone.

/** config.json of the models whose shapes are measured. */
export const shapes = {
  "SmolLM2-135M": {
    model_type: "llama",
    hidden_act: "silu",
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49152,
    rms_norm_eps: 1e-5,
    rope_theta: 100000,
    tie_word_embeddings: true,
  },
  "Qwen2-1.5B": {
    model_type: "qwen2",
    hidden_act: "silu",
    hidden_size: 1536,
    intermediate_size: 8960,
    num_hidden_layers: 28,
    num_attention_heads: 12,
    num_key_value_heads: 2,
    vocab_size: 151936,
    rms_norm_eps: 1e-6,
    rope_theta: 1000000,
    tie_word_embeddings: true,
  },
  "Gemma-2-2B": {
    model_type: "gemma2",
    hidden_activation: "gelu_pytorch_tanh",
    hidden_size: 2304,
    intermediate_size: 9216,
    num_hidden_layers: 26,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 256,
    vocab_size: 256000,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    query_pre_attn_scalar: 256,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30,
    sliding_window: 4096,
    tie_word_embeddings: true,
  },
  "Llama-2-7B": {
    model_type: "llama",
    hidden_act: "silu",
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    vocab_size: 32000,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: false,
  },
};

/** The same shape with fewer layers, for a quick look. */
export const shallower = (config, layers) => ({ ...config, num_hidden_layers: Math.min(layers, config.num_hidden_layers) });

/** Name and shape of every tensor of a model. */
export const weightShapes = (spec, block) => [
  ["model.embed_tokens.weight", [spec.vocabulary, spec.hidden]],
  ...Array.from({ length: spec.layers }, (_, i) => [...block.weights].map(([name, shape]) => [`model.layers.${i}.${name}`, shape])).flat(),
  ["model.norm.weight", [spec.hidden]],
  ...(spec.tiedEmbeddings ? [] : [["lm_head.weight", [spec.vocabulary, spec.hidden]]]),
];

const TABLE = 2 ** 20;

function gaussianTable() {
  let state = 42;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 0) / 4294967296;
  };
  return Float32Array.from({ length: TABLE }, () => Math.sqrt(-2 * Math.log(uniform() + 1e-9)) * Math.cos(2 * Math.PI * uniform()));
}

/** A model of random weights that lives in memory, as the engine reads one. */
export function randomModel(config, weightShapes) {
  const table = gaussianTable();
  const tensors = new Map(weightShapes.map(([name, shape]) => [name, { shape }]));
  const values = (name, from, count, scale) => {
    const out = new Float32Array(count);
    let at = ([...name].reduce((h, c) => (Math.imul(h, 31) + c.charCodeAt(0)) | 0, 7) >>> 0) + from;
    for (let i = 0; i < count; i++, at++) out[i] = table[(at * 7 + (at >>> 12)) & (TABLE - 1)] * scale;
    return out;
  };
  const scaleOf = (shape) => (shape.length === 1 ? 0.1 : 1 / Math.sqrt(shape[1]));
  return {
    config,
    tensors,
    async read(name) {
      const { shape } = tensors.get(name);
      const out = values(
        name,
        0,
        shape.reduce((a, b) => a * b),
        scaleOf(shape),
      );
      return name.includes("norm") ? out.map((v) => 1 + v) : out;
    },
    async readRows(name, rows) {
      const { shape } = tensors.get(name);
      const out = new Float32Array(rows.length * shape[1]);
      for (const [i, row] of Array.from(rows).entries()) out.set(values(name, row * shape[1], shape[1], scaleOf(shape)), i * shape[1]);
      return out;
    },
  };
}

/** Rows of random tokens: lengths spread around the mean, by a fifth or as told, labels at the end. */
export function randomRows(count, tokens, labels, vocabulary, spread = 0.2) {
  return Array.from({ length: count }, (_, row) => {
    const length = Math.round(tokens * (1 + spread * Math.sin(2.4 * row + 1)));
    const inputIds = Int32Array.from({ length }, (_, i) => (Math.imul(row * 7919 + i + 1, 2654435761) >>> 0) % vocabulary);
    return { row, inputIds, labelStart: length - Math.max(1, Math.round((labels / tokens) * length)) };
  });
}
