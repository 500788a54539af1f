import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers";
import { LayergradError } from "../errors.ts";
import { AddedTokens } from "./added-tokens.ts";
import { adaptModel, adaptNormalizer, adaptPreTokenizer, configAt, specialIds } from "./tokenizer-fixes.ts";

// With the u flag a whole pair is one code point, so that only halves are left to match.
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Bounds of the cache of words: enough for the common words of a language, some megabytes at most. */
const CACHED_WORDS = 50_000;
const CACHED_WORD_LENGTH = 64;

/** Turns text into token ids, as Python's `tokenizers` does with the same tokenizer.json. */
export interface Tokenizer {
  /**
   * The ids of a text with the tokenizer's own special tokens, such as a BOS in front.
   *
   * @throws {LayergradError} `data` where the text holds half a surrogate pair: it is no Unicode text, and the original refuses it too.
   */
  encode(text: string): number[];
  /** The id that {@link encode} puts before every text; undefined where it puts none, or more than one. */
  readonly bosId: number | undefined;
}

/** What a model's folder says about its tokenizer, as parsed JSON. */
export interface TokenizerFiles {
  /** `tokenizer.json`: decides the tokens by itself. */
  readonly tokenizerJson: unknown;
  /** `tokenizer_config.json`: its special tokens and template serve prompts; no id depends on it. */
  readonly tokenizerConfig?: unknown;
}

/**
 * Builds a tokenizer from a model's files. The stages are those of `@huggingface/tokenizers`, put together here rather than by the
 * library, because its own assembly departs from the Rust original in the handling of added tokens, of the first piece of a text
 * and of unknown characters at word borders; see tokenizer-fixes.ts for the stages themselves.
 *
 * Truncation and padding in the file are ignored, as `transformers` does unless asked. What stays different: the classes of characters
 * are those of the engine's Unicode version, where version 0.23 of the original has Unicode 16 in its patterns; a character first
 * assigned in a later one (17 with ICU 78) can be split otherwise. NFD, NFKC and NFKD differ in 21, 171 and 192 characters that were
 * assigned after the original's tables, such as U+32FF; NFC in none.
 *
 * @throws {LayergradError} `model` where the file is malformed or uses a stage that cannot be followed exactly.
 */
export function createTokenizer({ tokenizerJson }: TokenizerFiles): Tokenizer {
  const json = configAt(tokenizerJson, "the file");
  const special = specialIds(json.post_processor);
  const library = assemble({
    model: adaptModel(json.model),
    normalizer: adaptNormalizer(json.normalizer),
    pre_tokenizer: adaptPreTokenizer(json.pre_tokenizer),
    post_processor: null,
    decoder: null,
    added_tokens: [],
  });
  const { normalizer, pre_tokenizer: preTokenizer } = library;
  const model = library.model!;
  const vocab = model.tokens_to_ids;
  const normalize = (text: string) => (normalizer === null ? text : normalizer.normalize(text));
  const added = new AddedTokens(json.added_tokens, vocab, normalize);

  // The library caches tokens by word as well, but as strings and in an order that costs more than most of its hits save.
  const cache = new Map<string, readonly number[]>();
  const idsOf = (word: string): readonly number[] => {
    const known = cache.get(word);
    if (known) return known;
    const ids = model._call([word]).map((token: string) => {
      const id = vocab.get(token);
      if (id === undefined)
        throw new LayergradError(
          "model",
          `tokenizer.json: the unknown token ${JSON.stringify(token)} is not in the vocabulary; use the model's original file.`,
        );
      return id;
    });
    if (word.length <= CACHED_WORD_LENGTH) {
      if (cache.size >= CACHED_WORDS) cache.clear();
      cache.set(word, ids);
    }
    return ids;
  };

  return {
    bosId: special.before.length === 1 ? special.before[0] : undefined,
    encode(text) {
      if (LONE_SURROGATE.test(text))
        throw new LayergradError(
          "data",
          "a text holds half of a surrogate pair, which no tokenizer accepts; remove the character or write it whole.",
        );
      const ids = [...special.before];
      for (const piece of added.split(text)) {
        if ("id" in piece) {
          ids.push(piece.id);
          continue;
        }
        const words =
          preTokenizer === null ? [piece.text] : preTokenizer.pre_tokenize(piece.text, { section_index: piece.start === 0 ? 0 : 1 });
        // Word by word: the library would fuse the unknown characters of neighbouring words into one token.
        for (const word of words) for (const id of idsOf(word)) ids.push(id);
      }
      for (const id of special.after) ids.push(id);
      return ids;
    },
  };
}

function assemble(json: object): LibraryTokenizer {
  try {
    return new LibraryTokenizer(json, {});
  } catch (cause) {
    const reason = (cause instanceof Error ? cause.message : String(cause)).replace(/\s+/g, " ").slice(0, 300);
    throw new LayergradError("model", `tokenizer.json cannot be used: ${reason}; use the model's original file.`, { cause });
  }
}
