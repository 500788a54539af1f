import { excerpt, LayergradError } from "../errors.ts";
import type { GgufValue } from "./gguf-file.ts";

type Json = Readonly<Record<string, unknown>>;

/** Kinds of tokens, by ggml's numbers. */
const kinds = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

const GPT2_BYTES = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const splitOn = (digits: string): Json => ({
  type: "Sequence",
  pretokenizers: [
    {
      type: "Split",
      pattern: {
        Regex: `${CONTRACTIONS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
      },
      behavior: "Isolated",
      invert: false,
    },
    { ...GPT2_BYTES, use_regex: false },
  ],
});

interface Splitting {
  readonly preTokenizer: Json;
  readonly normalizer?: Json;
  /** A word that is a token is not merged. */
  readonly ignoreMerges?: boolean;
  /** Where the file does not say whether a text begins with BOS. */
  readonly addsBos?: boolean;
}

const llama3: Splitting = { preTokenizer: splitOn("\\p{N}{1,3}"), ignoreMerges: true, addsBos: true };

/** What `tokenizer.ggml.pre` stands for, where that is known exactly: a rule in the original tokenizer's file, of which the GGUF keeps the name. */
const splittings: Readonly<Record<string, Splitting>> = {
  "gpt-2": { preTokenizer: { ...GPT2_BYTES, use_regex: true } },
  smollm: {
    preTokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Digits", individual_digits: true },
        { ...GPT2_BYTES, use_regex: true },
      ],
    },
  },
  "llama-bpe": llama3,
  "llama-v3": llama3,
  llama3,
  qwen2: { preTokenizer: splitOn("\\p{N}"), normalizer: { type: "NFC" } },
};

/** The text side of a model, as a Hugging Face folder has it. */
export interface GgufTokenizer {
  /** tokenizer.json */
  readonly tokenizerJson: Json;
  /** tokenizer_config.json: special tokens and the chat template. */
  readonly tokenizerConfig: Json;
}

/**
 * Rebuilds tokenizer.json and tokenizer_config.json from a GGUF file's vocabulary.
 *
 * @throws {LayergradError} `"model"` where the vocabulary is malformed, or does not say enough for the original's exact tokens.
 */
export function tokenizerOf(metadata: ReadonlyMap<string, GgufValue>, path: string): GgufTokenizer {
  const vocabulary = new Vocabulary(metadata, path);
  const model = metadata.get("tokenizer.ggml.model");
  if (model === "gpt2") return byteLevel(vocabulary);
  if (model === "llama") return sentencePiece(vocabulary);
  return vocabulary.refuse(`a tokenizer of the kind ${excerpt(model)}, of which only "gpt2" and "llama" are read`);
}

/** tokenizer_config.json alone: special tokens and the chat template. */
export const tokenizerConfigOf = (metadata: ReadonlyMap<string, GgufValue>, path: string): Json => new Vocabulary(metadata, path).config();

/** Byte-level BPE, whose merges the file holds. */
function byteLevel(vocabulary: Vocabulary): GgufTokenizer {
  const pre = vocabulary.metadata.get("tokenizer.ggml.pre");
  const splitting = typeof pre === "string" && Object.hasOwn(splittings, pre) ? splittings[pre] : undefined;
  if (!splitting) {
    return vocabulary.refuse(
      `a vocabulary whose texts are split by the rule ${excerpt(pre)} (tokenizer.ggml.pre), of which only ${Object.keys(splittings).map(excerpt).join(", ")} are known exactly`,
    );
  }
  const model = {
    type: "BPE",
    unk_token: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: splitting.ignoreMerges === true,
    vocab: vocabulary.ids(),
    merges: vocabulary.texts("merges").map((merge) => {
      const cut = merge.indexOf(" ", 1);
      return [merge.slice(0, cut), merge.slice(cut + 1)];
    }),
  };
  return vocabulary.files(model, splitting.preTokenizer, splitting.normalizer ?? null, splitting.addsBos === true);
}

/** SentencePiece's BPE, whose merges follow from the scores as they do in the conversion by Python's transformers. */
function sentencePiece(vocabulary: Vocabulary): GgufTokenizer {
  if (vocabulary.kindsOf.includes(kinds.userDefined)) {
    vocabulary.refuse(
      "a SentencePiece vocabulary with user-defined pieces (as Gemma's), of whose merges the file does not say enough for exact tokens",
    );
  }
  const ids = vocabulary.ids();
  const unknown = vocabulary.tokens[vocabulary.kindsOf.indexOf(kinds.unknown)];
  const model = {
    type: "BPE",
    unk_token: unknown ?? null,
    fuse_unk: true,
    byte_fallback: vocabulary.kindsOf.includes(kinds.byte),
    ignore_merges: false,
    vocab: ids,
    merges: mergesFrom(vocabulary.pieces(), ids),
  };
  const spaces = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const prepend = vocabulary.flag("add_space_prefix", true) ? [{ type: "Prepend", prepend: "▁" }] : [];
  return vocabulary.files(model, null, { type: "Sequence", normalizers: [...prepend, spaces] }, true);
}

/** Most characters of a SentencePiece token, and of all together, as every way to split each of them is looked up. Real ones have some tens, and 2 million. */
const MAX_PIECE_CHARACTERS = 1000;
const MAX_CHARACTERS = 2 ** 23;

/**
 * Merges in the order in which SentencePiece makes them: each piece that two others make up, the best score first; of one score as the
 * pieces come in the vocabulary, and of one piece as its parts do. That is the conversion that Llama 2's tokenizer.json was made with; since
 * 2024 transformers orders the ways to make one piece by their lengths.
 */
function mergesFrom(pieces: ReadonlyMap<string, number>, ids: Readonly<Record<string, number>>): [string, string][] {
  const merges: { readonly pair: [string, string]; readonly score: number }[] = [];
  const lengths = new Set([...pieces.keys()].map((piece) => piece.length));
  for (const [piece, score] of pieces) {
    const pairs: [string, string][] = [];
    // Through a surrogate pair too: half of one is no piece.
    for (let i = 1; i < piece.length; i++) {
      if (!lengths.has(i) || !lengths.has(piece.length - i)) continue;
      const pair: [string, string] = [piece.slice(0, i), piece.slice(i)];
      if (pieces.has(pair[0]) && pieces.has(pair[1])) pairs.push(pair);
    }
    pairs.sort((a, b) => ids[a[0]]! - ids[b[0]]! || ids[a[1]]! - ids[b[1]]!);
    for (const pair of pairs) merges.push({ pair, score });
  }
  // Stable: what has the same score keeps its order.
  merges.sort((a, b) => b.score - a.score);
  return merges.map(({ pair }) => pair);
}

/** The file's tokens with their kinds, checked. */
class Vocabulary {
  readonly tokens: readonly string[];
  readonly kindsOf: readonly number[];

  constructor(
    readonly metadata: ReadonlyMap<string, GgufValue>,
    private readonly path: string,
  ) {
    this.tokens = this.texts("tokens");
    this.kindsOf = this.numbers("token_type");
  }

  /** Ids of all tokens that a text can have. */
  ids(): Record<string, number> {
    const ids: Record<string, number> = Object.create(null);
    for (const [id, token] of this.tokens.entries()) {
      if (this.kindsOf[id] === kinds.unused) continue;
      if (ids[token] !== undefined) this.refuse(`the token ${excerpt(token)} twice`);
      ids[token] = id;
    }
    return ids;
  }

  /** Scores of the pieces that merges make. */
  pieces(): Map<string, number> {
    const scores = this.numbers("scores");
    const pieces = new Map<string, number>();
    let characters = 0;
    for (const [id, token] of this.tokens.entries()) {
      if (this.kindsOf[id] !== kinds.normal) continue;
      if (token.length > MAX_PIECE_CHARACTERS)
        this.refuse(`the token ${excerpt(token)} of ${token.length} characters, more than the ${MAX_PIECE_CHARACTERS} allowed`);
      characters += token.length;
      if (characters > MAX_CHARACTERS) this.refuse(`tokens of more than the ${MAX_CHARACTERS} characters allowed together`);
      pieces.set(token, scores[id]!);
    }
    return pieces;
  }

  files(model: Json, preTokenizer: Json | null, normalizer: Json | null, addsBos: boolean): GgufTokenizer {
    const begins = this.flag("add_bos_token", addsBos) ? this.needed("bos") : [];
    const ends = this.flag("add_eos_token", false) ? this.needed("eos") : [];
    const piece = ({ token }: Special): Json => ({ SpecialToken: { id: token, type_id: 0 } });
    const named = [...begins, ...ends].map(({ id, token }) => [token, { id: token, ids: [id], tokens: [token] }]);
    return {
      tokenizerJson: {
        version: "1.0",
        added_tokens: this.added(),
        normalizer,
        pre_tokenizer: preTokenizer,
        post_processor: {
          type: "TemplateProcessing",
          single: [...begins.map(piece), { Sequence: { id: "A", type_id: 0 } }, ...ends.map(piece)],
          special_tokens: Object.fromEntries(named),
        },
        model,
      },
      tokenizerConfig: this.config(),
    };
  }

  config(): Json {
    const template = this.metadata.get("tokenizer.chat_template");
    const token = (name: string): string | null => this.special(name)?.token ?? null;
    return {
      bos_token: token("bos"),
      eos_token: token("eos"),
      unk_token: token("unknown"),
      pad_token: token("padding"),
      ...(typeof template === "string" ? { chat_template: template } : {}),
    };
  }

  texts(key: string): readonly string[] {
    const values = this.metadata.get(`tokenizer.ggml.${key}`);
    if (!Array.isArray(values) || !values.every((v) => typeof v === "string")) return this.refuse(`no list of texts tokenizer.ggml.${key}`);
    return values;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.metadata.get(`tokenizer.ggml.${key}`) ?? fallback;
    return typeof value === "boolean" ? value : this.refuse(`tokenizer.ggml.${key} ${excerpt(value)}, expected true or false`);
  }

  refuse(what: string): never {
    throw new LayergradError(
      "model",
      `${this.path}: has ${what}; put the original model's tokenizer.json (and tokenizer_config.json) beside the file.`,
    );
  }

  /** Tokens that are found in a text before it is split. Phi-3's swallow the white space after them, of which the file says nothing. */
  private added(): Json[] {
    const swallows = this.metadata.get("general.architecture") === "phi3";
    return this.tokens.flatMap((content, id) => {
      const kind = this.kindsOf[id];
      if (kind !== kinds.control && kind !== kinds.userDefined && kind !== kinds.unknown) return [];
      const special = kind !== kinds.userDefined;
      const rstrip = swallows && kind === kinds.control && !["<s>", "<|endoftext|>"].includes(content);
      return [{ id, content, single_word: false, lstrip: false, rstrip, normalized: false, special }];
    });
  }

  private special(name: string): Special | undefined {
    const id = this.metadata.get(`tokenizer.ggml.${name}_token_id`);
    if (id === undefined) return undefined;
    const token = typeof id === "number" ? this.tokens[id] : undefined;
    if (token === undefined) return this.refuse(`the ${name} token ${excerpt(id)}, which is none of its ${this.tokens.length}`);
    return { id: id as number, token };
  }

  private needed(name: string): readonly Special[] {
    const token = this.special(name);
    return token ? [token] : this.refuse(`add_${name}_token but no ${name}_token_id`);
  }

  private numbers(key: string): readonly number[] {
    const values = this.metadata.get(`tokenizer.ggml.${key}`);
    if (!Array.isArray(values) || values.length !== this.tokens.length || !values.every((v) => typeof v === "number"))
      return this.refuse(`no list of ${this.tokens.length} numbers tokenizer.ggml.${key}`);
    return values;
  }
}

interface Special {
  readonly id: number;
  readonly token: string;
}
