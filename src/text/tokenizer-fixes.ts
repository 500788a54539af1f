import { excerpt, LayergradError } from "../errors.ts";

/**
 * Rewrites a tokenizer.json so that the JavaScript library gives the ids of the Rust original.
 *
 * The library builds the same stages from the same file, but several of them take other decisions: it splits
 * `Digits` on 0-9 only, knows no split behaviour but "isolated" and "removed", and reads `\s` and `\w` as JavaScript
 * does in the stages that have no pattern of their own. Every stage is therefore put into the one form in which both agree,
 * `Split` on an explicit pattern, which the library translates from Oniguruma faithfully. What has no such form is
 * refused: a token more or less moves every number that follows.
 */

type Config = Readonly<Record<string, unknown>>;
const BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;
type Behavior = (typeof BEHAVIORS)[number];

/** Characters of Rust's `regex` crate for `\w`; Oniguruma's differ, and JavaScript's are ASCII only. */
const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200C\\u200D";
/** ASCII punctuation as Rust has it, symbols such as $ and + included, or any of the general category P … */
const PUNCTUATION_TODAY = "[\\p{P}\\u0021-\\u002F\\u003A-\\u0040\\u005B-\\u0060\\u007B-\\u007E]";
/** … but for what entered P after Unicode 8, the tables of the Rust crate (ranges may cover unassigned characters) … */
const PUNCTUATION_SINCE =
  "[\\u061D\\u09FD\\u0A76\\u0C77-\\u0C84\\u1B4E-\\u1B4F\\u1B7D-\\u1B7F\\u2E43-\\u2E5D\\u{10D6E}\\u{10EAD}-\\u{10ED0}\\u{10F55}-\\u{10F89}" +
  "\\u{113D4}-\\u{113D8}\\u{1144B}-\\u{1145D}\\u{11660}-\\u{1166C}\\u{116B9}\\u{1183B}\\u{11944}-\\u{11946}\\u{119E2}" +
  "\\u{11A3F}-\\u{11A46}\\u{11A9A}-\\u{11AA2}\\u{11B00}-\\u{11B09}\\u{11BE1}\\u{11C41}-\\u{11C71}\\u{11EF7}-\\u{11EF8}" +
  "\\u{11F43}-\\u{11F4F}\\u{11FFF}\\u{12FF1}-\\u{12FF2}\\u{16D6D}-\\u{16D6F}\\u{16E97}-\\u{16E9A}\\u{16FE2}\\u{1E5FF}\\u{1E95E}-\\u{1E95F}]";
/** … and with the two that have left it. */
const PUNCTUATION = `(?:(?!${PUNCTUATION_SINCE})${PUNCTUATION_TODAY}|[\\u166D\\u{111C9}])`;
/** GPT-2's pattern, which `ByteLevel` applies by itself; as a `Split` it is read with Oniguruma's `\s` (U+0085 in, U+FEFF out). */
const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** A JSON object of the file, or an error that names the place. */
export function configAt(value: unknown, where: string): Config {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new LayergradError(
      "model",
      `tokenizer.json: ${where} must be an object, found ${describe(value)}; use the model's original file.`,
    );
  return value as Config;
}

function describe(value: unknown): string {
  return value === undefined ? "nothing" : value === null ? "null" : Array.isArray(value) ? "a list" : `a ${typeof value}`;
}

function stringAt(config: Config, key: string, where: string): string {
  const value = config[key];
  if (typeof value !== "string")
    throw new LayergradError(
      "model",
      `tokenizer.json: ${where}.${key} must be a string, found ${describe(value)}; use the model's original file.`,
    );
  return value;
}

function listAt(config: Config, key: string, where: string): readonly unknown[] {
  const value = config[key];
  if (!Array.isArray(value))
    throw new LayergradError(
      "model",
      `tokenizer.json: ${where}.${key} must be a list, found ${describe(value)}; use the model's original file.`,
    );
  return value;
}

function refused(where: string, what: string, why: string): LayergradError {
  return new LayergradError("model", `tokenizer.json: ${where} ${what} is not supported: ${why}.`);
}

/** The pattern of a `Split` or `Replace` as an Oniguruma expression. */
function patternAt(config: Config, where: string): string {
  const pattern = configAt(config.pattern, `${where}.pattern`);
  if (typeof pattern.Regex === "string") return foldCaseAsOniguruma(pattern.Regex, where);
  return stringAt(pattern, "String", `${where}.pattern`).replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

/**
 * Under `(?i:…)` Oniguruma also matches the two letters outside ASCII that fold into ASCII ones,
 * ſ (U+017F) for s and K (U+212A) for k, where the library only swaps A-Z and a-z.
 */
function foldCaseAsOniguruma(regex: string, where: string): string {
  const group = /\(\?i:((?:[\x20-\x27\x2A-\x5A\x5E-\x7E]|\[[a-zA-Z]+\])*)\)/g;
  if (regex.replace(group, "").includes("(?i"))
    throw refused(where, "a case-insensitive group other than plain ASCII text", "Unicode case folding differs");
  return regex.replace(group, (_, body: string) => {
    const folded = body.replace(/\[([a-zA-Z]+)\]|[sSkK]/g, (atom, set: string | undefined) => {
      const letters = set ?? atom;
      const extra = `${/s/i.test(letters) ? "\\u017F" : ""}${/k/i.test(letters) ? "\\u212A" : ""}`;
      return `[${letters}${extra}]`;
    });
    return `(?i:${folded})`;
  });
}

/** Capturing groups to plain ones: `String.prototype.split` would hand the captures back as pieces. */
function withoutCaptures(regex: string, where: string): string {
  let inClass = 0;
  let out = "";
  for (let i = 0; i < regex.length; i++) {
    const char = regex[i]!;
    if (char === "\\") {
      if (inClass === 0 && /[1-9k]/.test(regex[i + 1] ?? ""))
        throw refused(where, "a back-reference in a split pattern", "its groups are renumbered");
      out += char + (regex[++i] ?? "");
      continue;
    }
    if (char === "[") inClass++;
    else if (char === "]" && inClass > 0) inClass--;
    out += char === "(" && inClass === 0 && regex[i + 1] !== "?" ? "(?:" : char;
  }
  return out;
}

/**
 * A `Split` with any of Rust's five behaviours in the library's two. The three that merge a match with a neighbour become
 * an isolated split on a longer match; `invert` swaps the roles of match and gap, hence "previous" and "next".
 */
function split(regex: string, behavior: Behavior, invert: boolean, where: string): Config {
  const pattern = withoutCaptures(regex, where);
  const isolated = (source: string) => ({ type: "Split", pattern: { Regex: source }, behavior: "Isolated", invert: false });
  switch (behavior) {
    case "Isolated":
      return isolated(pattern);
    case "Removed":
      return { type: "Split", pattern: { Regex: pattern }, behavior: "Removed", invert };
    case "Contiguous":
      return isolated(`(?:${pattern})+`);
    case "MergedWithPrevious":
    case "MergedWithNext":
      return (behavior === "MergedWithPrevious") !== invert
        ? // The second alternative takes a tail without a match whole: tried from each of its characters it would cost n².
          isolated(`[\\s\\S]*?(?:${pattern})|[\\s\\S]+`)
        : isolated(`(?:${pattern})(?:(?!${pattern})[\\s\\S])*`);
  }
}

function behaviorAt(config: Config, where: string, fallback?: Behavior): Behavior {
  const name = config.behavior ?? fallback;
  const known = BEHAVIORS.find((behavior) => behavior === name);
  if (known === undefined) throw refused(where, `the behavior ${excerpt(name)}`, "the original knows no such split");
  return known;
}

const sequence = (parts: readonly Config[]): Config => ({ type: "Sequence", pretokenizers: parts });

/** The pre-tokenizer in the library's terms; null where text is not split before the merges. */
export function adaptPreTokenizer(value: unknown, where = "pre_tokenizer", mayBeInside = false): Config | null {
  if (value === null || value === undefined) return null;
  const config = configAt(value, where);
  switch (config.type) {
    case "Sequence":
      return sequence(
        listAt(config, "pretokenizers", where)
          .map((part, i) => adaptPreTokenizer(part, `${where}.pretokenizers[${i}]`, mayBeInside || i > 0))
          .filter((part) => part !== null),
      );
    case "ByteLevel": {
      const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false };
      const parts = [];
      // Before the split, as in the original; the library's own prefix would come after ours.
      // (V8 finds a zero-width match after a look-behind in the middle of surrogate pairs too: the pattern consumes a character.)
      if (config.add_prefix_space !== false) parts.push({ type: "Replace", pattern: { Regex: "\\A([^ ])" }, content: " $1" });
      if (config.use_regex !== false) parts.push(split(GPT2, "Isolated", false, where));
      return sequence([...parts, bytes]);
    }
    case "Split":
      return split(patternAt(config, where), behaviorAt(config, where), config.invert === true, where);
    case "Digits":
      return split(config.individual_digits === true ? "\\p{N}" : "\\p{N}+", "Isolated", false, where);
    case "Punctuation":
      return split(PUNCTUATION, behaviorAt(config, where, "Isolated"), false, where);
    case "Whitespace":
      return split(`[${WORD}]+|[^${WORD}\\s]+`, "Removed", true, where);
    case "WhitespaceSplit":
      return split("\\s+", "Removed", false, where);
    case "BertPreTokenizer":
      return sequence([split("\\s+", "Removed", false, where), split(PUNCTUATION, "Isolated", false, where)]);
    case "CharDelimiterSplit":
      return split(patternAt({ pattern: { String: config.delimiter } }, where), "Removed", false, where);
    case "FixedLength":
      return split(`[\\s\\S]{1,${integer(config.length, `${where}.length`)}}`, "Isolated", false, where);
    case "Metaspace": {
      const replacement = stringAt(config, "replacement", where);
      const prepend = config.prepend_scheme ?? "always";
      if (config.add_prefix_space === false && prepend !== "never")
        throw refused(
          where,
          `with add_prefix_space false and prepend_scheme ${excerpt(prepend)}`,
          "the original refuses the contradiction too",
        );
      if (prepend === "first" && mayBeInside)
        throw refused(
          where,
          'Metaspace with prepend_scheme "first" after another pre-tokenizer',
          "only the first piece of a text may get the prefix",
        );
      const mark = { type: "Metaspace", replacement, prepend_scheme: prepend, split: false };
      // The library never splits here; the original does unless told otherwise.
      const pattern = patternAt({ pattern: { String: replacement } }, where);
      return config.split === false ? mark : sequence([mark, split(pattern, "MergedWithNext", false, where)]);
    }
    default:
      throw refused(where, `of type ${excerpt(config.type)}`, "the JavaScript tokenizer library has no exact counterpart");
  }
}

/** Text as the content of a JavaScript replacement, where `$` would refer to the match. */
const literal = (text: string): string => text.replaceAll("$", "$$$$");

const replace = (regex: string, content: string): Config => ({ type: "Replace", pattern: { Regex: regex }, content });

/** The normalizer in the library's terms. */
export function adaptNormalizer(value: unknown, where = "normalizer"): Config | null {
  if (value === null || value === undefined) return null;
  const config = configAt(value, where);
  switch (config.type) {
    case "Sequence":
      return {
        type: "Sequence",
        normalizers: listAt(config, "normalizers", where)
          .map((part, i) => adaptNormalizer(part, `${where}.normalizers[${i}]`))
          .filter((part) => part !== null),
      };
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return { type: config.type };
    case "Replace":
      return replace(patternAt(config, where), literal(stringAt(config, "content", where)));
    case "Prepend":
      // An empty text stays empty, which the library forgets.
      return replace("\\A([\\s\\S])", `${literal(stringAt(config, "prepend", where))}$1`);
    case "Strip": {
      // JavaScript's trim takes U+FEFF and leaves U+0085. The look-behind keeps a long run of spaces inside from costing n².
      const ends = [
        ...(config.strip_left === false ? [] : ["\\A\\s+"]),
        ...(config.strip_right === false ? [] : ["(?<!\\s)\\s+\\z|\\A\\s+\\z"]),
      ];
      return { type: "Sequence", normalizers: ends.map((end) => replace(end, "")) };
    }
    case "Lowercase":
      // Character by character in the original: JavaScript alone turns a final Σ into ς.
      return { type: "Sequence", normalizers: [replace("Σ", "σ"), { type: "Lowercase" }] };
    default:
      throw refused(where, `of type ${excerpt(config.type)}`, "the JavaScript tokenizer library has no exact counterpart");
  }
}

/** The model's own part of the file, checked for what the library passes over in silence. */
export function adaptModel(value: unknown): Config {
  const model = configAt(value, "model");
  const type = model.type ?? (Array.isArray(model.merges) ? "BPE" : undefined);
  if (type !== "BPE") throw refused("model", `of type ${excerpt(type)}`, "only BPE is, which the supported model families use");
  const vocab = configAt(model.vocab, "model.vocab");
  if (Object.keys(vocab).length === 0)
    throw new LayergradError("model", "tokenizer.json: model.vocab is empty, so no text has a token; use the model's original file.");
  for (const token in vocab) integer(vocab[token], `model.vocab[${excerpt(token)}]`);
  for (const [i, merge] of listAt(model, "merges", "model").entries()) checkMerge(merge, vocab, `model.merges[${i}]`);
  if (model.continuing_subword_prefix) throw refused("model", "continuing_subword_prefix", "the JavaScript tokenizer library ignores it");
  if (model.dropout) throw refused("model", "dropout", "it makes tokens random, so that a run could not be repeated");
  return { ...model, type };
}

/** Ids that the post-processor puts before and after a text's own, such as BOS. */
export interface SpecialIds {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** The post-processor for a single text: only its special tokens touch the ids. */
export function specialIds(value: unknown, where = "post_processor"): SpecialIds {
  if (value === null || value === undefined) return { before: [], after: [] };
  const config = configAt(value, where);
  switch (config.type) {
    case "ByteLevel":
      return { before: [], after: [] };
    case "Sequence":
      return listAt(config, "processors", where)
        .map((part, i) => specialIds(part, `${where}.processors[${i}]`))
        .reduce((inner, outer) => ({ before: [...outer.before, ...inner.before], after: [...inner.after, ...outer.after] }), {
          before: [],
          after: [],
        } as SpecialIds);
    case "BertProcessing":
    case "RobertaProcessing":
      return { before: [pairId(config.cls, `${where}.cls`)], after: [pairId(config.sep, `${where}.sep`)] };
    case "TemplateProcessing": {
      const before: number[] = [];
      const after: number[] = [];
      let seen = false;
      for (const [i, item] of listAt(config, "single", where).entries()) {
        const piece = configAt(item, `${where}.single[${i}]`);
        if (piece.Sequence !== undefined) {
          if (seen) throw refused(`${where}.single`, "with the text twice", "a label would have no single place");
          seen = true;
          continue;
        }
        const name = stringAt(configAt(piece.SpecialToken, `${where}.single[${i}].SpecialToken`), "id", `${where}.single[${i}]`);
        const known = configAt(config.special_tokens, `${where}.special_tokens`);
        const ids = listAt(configAt(known[name], `${where}.special_tokens[${excerpt(name)}]`), "ids", `${where}.special_tokens`);
        for (const id of ids) (seen ? after : before).push(integer(id, `${where}.special_tokens[${excerpt(name)}].ids`));
      }
      if (!seen) throw refused(`${where}.single`, "without the text", "nothing of a row would be left");
      return { before, after };
    }
    default:
      throw refused(where, `of type ${excerpt(config.type)}`, "the original knows no such post-processor");
  }
}

/** A merge of two tokens into a third, all of them in the vocabulary; written as a pair, or as one text with a space between. */
function checkMerge(merge: unknown, vocab: Config, where: string): void {
  const pair = typeof merge === "string" ? merge.split(" ") : merge;
  if (!Array.isArray(pair) || pair.length !== 2 || !pair.every((token) => typeof token === "string"))
    throw new LayergradError(
      "model",
      `tokenizer.json: ${where} must be a pair of tokens, found ${describe(merge)}; use the model's original file.`,
    );
  const [left, right] = pair as [string, string];
  const unknown = [left, right, left + right].find((token) => !Object.hasOwn(vocab, token));
  if (unknown !== undefined)
    throw new LayergradError(
      "model",
      `tokenizer.json: ${where} is of the token ${excerpt(unknown)}, which model.vocab does not have; use the model's original file.`,
    );
}

function pairId(value: unknown, where: string): number {
  return integer(Array.isArray(value) ? value[1] : undefined, where);
}

/** Largest id: tokens are held as 32-bit integers. */
const MAX_ID = 2 ** 31 - 1;

/** An id, or a count; both are small. */
function integer(value: unknown, where: string): number {
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > MAX_ID)
    throw new LayergradError(
      "model",
      `tokenizer.json: ${where} must be a whole number from 0 to ${MAX_ID}, found ${typeof value === "number" ? value : describe(value)}; use the model's original file.`,
    );
  return value as number;
}
