import { LayergradError } from "../errors.ts";
import { configAt } from "./tokenizer-fixes.ts";

/** A piece of a text: an added token, or text for the normalizer or the model. `start` counts UTF-16 units in the text searched. */
export type Piece = { readonly id: number } | { readonly text: string; readonly start: number };

interface AddedToken {
  readonly content: string;
  readonly id: number;
  readonly singleWord: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

interface TrieNode {
  readonly next: Map<number, TrieNode>;
  token?: AddedToken;
}

// Rust's `regex` crate: \w and \s, which JavaScript reads otherwise.
const ENDS_WITH_WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200C\u200D]$/u;
const STARTS_WITH_WORD = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200C\u200D]/u;
const SPACE = /\p{White_Space}/u;

/** Finds added tokens, leftmost and longest first, with the options of the Rust original (the library ignores `single_word`). */
class Matcher {
  readonly #root: TrieNode = { next: new Map() };

  add(token: AddedToken, content: string): void {
    let node = this.#root;
    for (let i = 0; i < content.length; i++) {
      const unit = content.charCodeAt(i);
      const child = node.next.get(unit) ?? { next: new Map() };
      node.next.set(unit, child);
      node = child;
    }
    node.token ??= token;
  }

  split(text: string): Piece[] {
    const pieces: Piece[] = [];
    let from = 0;
    for (let at = 0; at < text.length; ) {
      const [token, length] = this.#longest(text, at);
      if (!token) {
        at++;
        continue;
      }
      let start = at;
      let end = at + length;
      at = end;
      if (
        token.singleWord &&
        (ENDS_WITH_WORD.test(text.slice(Math.max(0, start - 2), start)) || STARTS_WITH_WORD.test(text.slice(end, end + 2)))
      )
        continue;
      if (token.lstrip) while (start > from && SPACE.test(text[start - 1]!)) start--;
      if (token.rstrip) while (end < text.length && SPACE.test(text[end]!)) end++;
      if (start > from) pieces.push({ text: text.slice(from, start), start: from });
      pieces.push({ id: token.id });
      from = end;
    }
    if (from < text.length) pieces.push({ text: text.slice(from), start: from });
    return pieces;
  }

  #longest(text: string, at: number): [AddedToken | undefined, number] {
    let node: TrieNode | undefined = this.#root;
    let found: AddedToken | undefined;
    let length = 0;
    for (let i = at; i < text.length; i++) {
      node = node.next.get(text.charCodeAt(i));
      if (!node) break;
      if (node.token) {
        found = node.token;
        length = i + 1 - at;
      }
    }
    return [found, length];
  }
}

/**
 * The tokens of a file's `added_tokens`, which are found in a text before the model sees it: first those that look at the raw text,
 * then, in what is left and normalised, those marked `normalized`.
 */
export class AddedTokens {
  readonly #raw = new Matcher();
  readonly #normalized = new Matcher();
  readonly #normalize: (text: string) => string;

  /**
   * The original disregards the ids of the list: a token that the model knows has the model's id, any other the next free one.
   *
   * @param vocab - The model's own tokens.
   * @throws {LayergradError} `model` where the list is malformed.
   */
  constructor(list: unknown, vocab: ReadonlyMap<string, number>, normalize: (text: string) => string) {
    this.#normalize = normalize;
    if (list !== undefined && list !== null && !Array.isArray(list))
      throw new LayergradError("model", "tokenizer.json: added_tokens must be a list; use the model's original file.");
    const seen = new Set<string>();
    let next = vocab.size;
    for (const [i, item] of ((list ?? []) as unknown[]).entries()) {
      const config = configAt(item, `added_tokens[${i}]`);
      const { content } = config;
      if (typeof content !== "string")
        throw new LayergradError("model", `tokenizer.json: added_tokens[${i}].content must be a string; use the model's original file.`);
      if (content === "" || seen.has(content)) continue;
      const id = vocab.get(content) ?? next;
      seen.add(content);
      next = Math.max(next, id + 1);
      const token: AddedToken = {
        content,
        id,
        singleWord: config.single_word === true,
        lstrip: config.lstrip === true,
        rstrip: config.rstrip === true,
      };
      const normalized = typeof config.normalized === "boolean" ? config.normalized : config.special !== true;
      if (normalized) this.#normalized.add(token, normalize(content));
      else this.#raw.add(token, content);
    }
  }

  /** Cuts a text at its added tokens; the text pieces come back normalised, `start` is 0 for the one that begins the text. */
  split(text: string): Piece[] {
    return this.#raw.split(text).flatMap((piece) => {
      if ("id" in piece) return [piece];
      return this.#normalized
        .split(this.#normalize(piece.text))
        .map((inner) => ("id" in inner ? inner : { text: inner.text, start: piece.start + inner.start }));
    });
  }
}
