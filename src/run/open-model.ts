import { LayergradError } from "../errors.ts";
import { type Checkpoint, openCheckpoint } from "../io/checkpoint.ts";
import type { Family, ModelSpec } from "../models/family.ts";
import { readModel } from "../models/registry.ts";
import { checkTensors } from "../runtime/engine.ts";
import { type EncodedRow, encodeRow } from "../text/encode-row.ts";
import { type ChatTemplate, createChatTemplate, findChatTemplate, type PromptMode } from "../text/prompt.ts";
import type { Row } from "../text/row.ts";
import { parseDay } from "../text/strftime.ts";
import { createTokenizer, type Tokenizer } from "../text/tokenizer.ts";

/** A model folder, checked, with its weights still on disk. */
export interface Model {
  readonly checkpoint: Checkpoint;
  readonly family: Family;
  readonly spec: ModelSpec;
  readonly tokenizer: Tokenizer;
}

/** How rows become tokens. */
export interface TextOptions {
  readonly mode: PromptMode;
  /** Tokens; what is longer is cut on the right. */
  readonly maxLength: number;
  /** Drop the second BOS that a template's own BOS causes. */
  readonly singleBos: boolean;
  /** The date a template's clock shows, `YYYY-MM-DD`. */
  readonly date: string;
}

/**
 * Opens a Hugging Face folder: family, sizes, tokenizer and the presence of every weight are checked, no weight is read.
 *
 * @throws {LayergradError} `model`: what is wrong with which file.
 */
export async function openModel(folder: string): Promise<Model> {
  const checkpoint = await openCheckpoint(folder);
  try {
    const { family, spec } = readModel(checkpoint.config);
    checkTensors(checkpoint, family, spec);
    const tokenizer = createTokenizer(checkpoint.files);
    return { checkpoint, family, spec, tokenizer };
  } catch (error) {
    checkpoint.close();
    throw error;
  }
}

/** Refuses instruct mode for a model without a chat template, before anything is computed or written. */
export function checkMode({ checkpoint }: Model, mode: PromptMode): void {
  if (mode === "instruct" && findChatTemplate(checkpoint.files.tokenizerConfig, checkpoint.files.chatTemplate) === undefined) {
    throw new LayergradError(
      "model",
      `${checkpoint.folder}: the model has no chat template, so it cannot be run with --mode instruct; use --mode base.`,
    );
  }
}

/**
 * Turns rows into tokens for this model.
 *
 * @throws {LayergradError} `usage` for a date that is none, in either mode.
 */
export function rowEncoder({ checkpoint, spec, tokenizer }: Model, options: TextOptions): (row: Row, index: number) => EncodedRow {
  parseDay(options.date);
  const { tokenizerConfig, chatTemplate: jinja } = checkpoint.files;
  const template: ChatTemplate | undefined =
    options.mode === "instruct"
      ? createChatTemplate({ tokenizerConfig, ...(jinja === undefined ? {} : { jinja }), modelType: spec.modelType, date: options.date })
      : undefined;
  return (row, index) => {
    const encoded = encodeRow(tokenizer, template, row, index, options);
    const unknown = encoded.inputIds.find((id) => id >= spec.vocabulary);
    if (unknown !== undefined) {
      throw new LayergradError(
        "model",
        `${checkpoint.folder}: the tokenizer gives token ${unknown} in row ${index}, but the model has ${spec.vocabulary} embeddings; the files do not belong together.`,
      );
    }
    return encoded;
  };
}
