import { join } from "node:path";
import { LayergradError } from "../errors.ts";
import type { DownloadWatcher } from "../hub/fetch-model.ts";
import { type Checkpoint, readModelTexts } from "../io/checkpoint.ts";
import { openModelFiles } from "../io/open-weights.ts";
import type { Family, ModelSpec } from "../models/family.ts";
import { readModel } from "../models/registry.ts";
import { checkTensors } from "../runtime/model-source.ts";
import { gigabytes } from "../runtime/planner.ts";
import type { ModelDescription } from "../store/index.ts";
import { type EncodedRow, encodeRow } from "../text/encode-row.ts";
import { type ChatTemplate, createChatTemplate, findChatTemplate, type PromptMode } from "../text/prompt.ts";
import type { Row } from "../text/row.ts";
import { parseDay } from "../text/strftime.ts";
import { createTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import { type Located, locateModel, type ModelReference } from "./locate-model.ts";
import { withoutWeights } from "./without-weights.ts";

/** A model, checked, with its weights still on disk. */
export interface Model {
  readonly checkpoint: Checkpoint;
  readonly family: Family;
  readonly spec: ModelSpec;
  readonly tokenizer: Tokenizer;
  /** Where it is from. */
  readonly source: ModelOrigin;
  /**
   * Of the weight files, and of those that are on the Hub and not here, the adapter's too, bytes; null where only the Hub could tell, and
   * was not asked or could not be reached.
   */
  readonly weights: { readonly bytes: number | null; readonly absent: number | null };
}

/** As a manifest has it. */
export type ModelOrigin = Pick<ModelDescription, "folder" | "id" | "revision" | "adapter">;

export interface OpenModelOptions {
  /** Whether weights of a model of the Hub are needed: false leaves those that are not here where they are. Default true. */
  readonly weights?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly watch?: DownloadWatcher | undefined;
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
 * Opens a model: family, sizes, tokenizer and the presence of every weight are checked, no weight is read. A model of the Hugging Face Hub
 * is fetched into the cache first, where it is not there yet, and refused before its weights come where it is of no use.
 *
 * @param model - A Hugging Face folder, a GGUF file, or an id of the Hub such as `Qwen/Qwen2-1.5B`; with a revision or an adapter beside it.
 * @throws {LayergradError} `model`: what is wrong with which file, or why the Hub does not give it; `usage` for a revision of what has none;
 * `output` where the cache cannot take it.
 */
export async function openModel(model: string | ModelReference, options: OpenModelOptions = {}): Promise<Model> {
  const reference = typeof model === "string" ? { model } : model;
  const located = await locateModel(reference, {
    weights: options.weights ?? true,
    signal: options.signal,
    watch: options.watch,
    check: (folder) => void textSide(folder, readModelTexts(folder)),
  });
  const { weights = { bytes: null, absent: 0 }, adapter = { absent: 0 } } = located;
  const absent = weights.absent === null || adapter.absent === null ? null : weights.absent + adapter.absent;
  const opened = weights.absent === 0 ? await openWhole(located) : openTexts(located);
  if (absent === 0) return opened;
  opened.checkpoint.close();
  return { ...opened, checkpoint: withoutWeights(opened.checkpoint), weights: { ...opened.weights, absent } };
}

const textSide = (
  folder: string,
  { config, files }: Pick<Checkpoint, "config" | "files">,
): Pick<Model, "family" | "spec" | "tokenizer"> => ({
  ...readModel(config, /\.gguf$/i.test(folder) ? folder : join(folder, "config.json")),
  tokenizer: createTokenizer(files),
});

async function openWhole({ path, adapter, source }: Located): Promise<Model> {
  const checkpoint = await openModelFiles(path, adapter?.absent === 0 ? { adapter: adapter.path } : {});
  try {
    const model = { ...textSide(checkpoint.folder, checkpoint), checkpoint, source };
    checkTensors(checkpoint, model.family, model.spec);
    const bytes = [...checkpoint.tensors.values()].reduce((sum, tensor) => sum + tensor.byteLength, 0);
    return { ...model, weights: { bytes, absent: 0 } };
  } catch (error) {
    checkpoint.close();
    throw error;
  }
}

/** A model whose weights are not here: enough to look at it and to turn rows into tokens. */
function openTexts({ path, source, weights }: Located): Model {
  if (/\.gguf$/i.test(path)) {
    const size = weights?.absent ? ` (${gigabytes(weights.absent)})` : "";
    throw new LayergradError(
      "model",
      `${source.folder} is on the Hub and not here yet${size}, and all that can be said of it is in the file; a run of it fetches it.`,
    );
  }
  const texts = readModelTexts(path);
  return { ...textSide(path, texts), checkpoint: withoutWeights({ folder: path, ...texts }), source, weights: weights! };
}

/** Refuses instruct mode for a model without a chat template, before anything is computed or written. */
export function checkMode({ checkpoint, source }: Model, mode: PromptMode): void {
  if (mode === "instruct" && findChatTemplate(checkpoint.files.tokenizerConfig, checkpoint.files.chatTemplate) === undefined) {
    throw new LayergradError(
      "model",
      `${source.folder}: the model has no chat template, so it cannot be run with --mode instruct; use --mode base.`,
    );
  }
}

/**
 * Turns rows into tokens for this model.
 *
 * @throws {LayergradError} `usage` for a date that is none, in either mode.
 */
export function rowEncoder({ checkpoint, spec, tokenizer, source }: Model, options: TextOptions): (row: Row, index: number) => EncodedRow {
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
        `${source.folder}: the tokenizer gives token ${unknown} in row ${index}, but the model has ${spec.vocabulary} embeddings; the files do not belong together.`,
      );
    }
    return encoded;
  };
}
