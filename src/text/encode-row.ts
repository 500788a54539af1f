import { type ChatTemplate, type PromptMode, promptText } from "./prompt.ts";
import type { Row } from "./row.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Why a row has no loss, as it stands in skipped.jsonl. The last two: it was to count as many labels as its twin in other data. */
export type SkipReason =
  | "empty response"
  | "response truncated away"
  | "no label left after merging"
  | "no twin with its instruction"
  | "no label in its twin";

/** A row as the model sees it. */
export interface EncodedRow {
  /** Position in the data set, from zero. */
  readonly row: number;
  /** Prompt and response together. */
  readonly text: string;
  /** Token ids, special tokens included, cut on the right to the maximum length; shape [T]. */
  readonly inputIds: Int32Array;
  /** Number of tokens of the prompt encoded by itself, uncut: labels begin there. Can exceed T. */
  readonly labelStart: number;
  /** Tokens that enter the loss: positions max(labelStart, 1) … T − 1, since nothing comes before position 0. */
  readonly nLabels: number;
  /** Tokens of the whole text before the cut. */
  readonly nTokensUntruncated: number;
  /** Whether the first `labelStart` ids differ from the prompt's own: a token spans the border between prompt and response. */
  readonly boundaryMerged: boolean;
  /** Present where no label is left. */
  readonly skip?: SkipReason;
}

export interface EncodeRowOptions {
  readonly mode: PromptMode;
  /** The cut, in tokens; special tokens count. */
  readonly maxLength: number;
  /**
   * Whether a BOS that the template writes replaces the tokenizer's own. By default both stand, as in the published figures.
   */
  readonly singleBos: boolean;
}

/**
 * Builds a row's text and tokens with the reference's rules. The prompt is encoded by itself, and its token count decides where labels
 * begin, also where tokens merge across the border. The reference searches for the response's last occurrence in the text,
 * which is always the text's end.
 *
 * @param template - The model's chat template; base mode needs none.
 * @param index - The row's position in its data set.
 * @throws {LayergradError} `model` where the template fails, `data` where the row is no Unicode text.
 */
export function encodeRow(
  tokenizer: Tokenizer,
  template: ChatTemplate | undefined,
  row: Row,
  index: number,
  { mode, maxLength, singleBos }: EncodeRowOptions,
): EncodedRow {
  const prompt = promptText(row, mode, template);
  const text = prompt + row.output;
  const encode = (part: string): number[] => {
    const ids = tokenizer.encode(part);
    const doubled = tokenizer.bosId !== undefined && ids[0] === tokenizer.bosId && ids[1] === tokenizer.bosId;
    return singleBos && mode === "instruct" && doubled ? ids.slice(1) : ids;
  };
  const ids = encode(text);
  const promptIds = row.output === "" ? ids : encode(prompt);
  const labelStart = promptIds.length;
  const inputIds = Int32Array.from(ids.slice(0, maxLength));
  const nLabels = Math.max(0, inputIds.length - Math.max(labelStart, 1));
  const encoded = {
    row: index,
    text,
    inputIds,
    labelStart,
    nLabels,
    nTokensUntruncated: ids.length,
    boundaryMerged: promptIds.some((id, position) => id !== ids[position]),
  };
  if (nLabels > 0) return encoded;
  const skip = row.output === "" ? "empty response" : labelStart >= maxLength ? "response truncated away" : "no label left after merging";
  return { ...encoded, skip };
}
