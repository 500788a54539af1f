import { posix } from "node:path";
import { LayergradError } from "../errors.ts";
import { indexFile as INDEX, singleFile as WHOLE } from "../io/checkpoint.ts";

/** Files beside the weights that a model is opened with, those first that it cannot do without. */
const TEXTS = ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
const NEEDED_TEXTS = TEXTS.slice(0, 2);

/** Files beside a GGUF file that take the place of its own tokenizer. */
const GGUF_TEXTS = TEXTS.slice(1);

const ADAPTER = ["adapter_config.json", "adapter_model.safetensors"];

/**
 * The small files that an object of the Hub may have.
 *
 * @param file - Path of the GGUF file, where it is one.
 */
export function possibleTexts(kind: "model" | "adapter", file: string | undefined): readonly string[] {
  if (kind === "adapter") return ADAPTER.slice(0, 1);
  return file === undefined ? TEXTS : GGUF_TEXTS.map((name) => posix.join(posix.dirname(file), name));
}

/** Files to fetch, in two steps: what the first can tell to be of no use spares the second. */
export interface Choice {
  /** Small ones. */
  readonly texts: readonly string[];
  /** The weights; those of an index are known when it is read. */
  readonly weights: readonly string[] | typeof INDEX;
}

/**
 * Chooses what is needed of a repository's files.
 *
 * @param files - Those at the root of the repository.
 * @throws {LayergradError} `model` where it has no model that is read, and what to do.
 */
export function chooseModelFiles(id: string, files: ReadonlySet<string>): Choice {
  const fail = (what: string): LayergradError => new LayergradError("model", `${id} ${what}.`);
  const named = (end: RegExp): string[] => [...files].filter((file) => end.test(file)).sort();
  const ggufs = named(/\.gguf$/i);
  const hasWeights = files.has(WHOLE) || files.has(INDEX);
  if (ggufs.length > 0 && !hasWeights)
    throw fail(
      `holds GGUF files; name one of them, such as ${ggufs
        .slice(0, 3)
        .map((file) => `${id}/${file}`)
        .join(", ")}`,
    );
  if (files.has("adapter_config.json") && !files.has("config.json"))
    throw fail(`is an adapter; give the model that it was trained on with --model, and this with --adapter`);
  if (!files.has("config.json")) throw fail("has no config.json, so it is no model that is read; look for one in the transformers format");
  if (!hasWeights) {
    const [pickle] = named(/\.(bin|pt|pth|ckpt)$/);
    throw fail(
      pickle
        ? `has its weights only as ${pickle}, a pickle that can run code and is not read; see whether a pull request at the Hub offers safetensors (--revision refs/pr/N), or convert it with save_pretrained(…, safe_serialization=True) of Python's transformers`
        : `has neither ${WHOLE} nor ${INDEX}; look for a copy of the model with safetensors`,
    );
  }
  if (!files.has("tokenizer.json"))
    throw fail(
      `has no tokenizer.json${files.has("tokenizer.model") ? ", only a SentencePiece tokenizer.model, which is not read" : ""}; look for a copy of the model that has one, or write it with AutoTokenizer.from_pretrained(…).save_pretrained(…) of Python's transformers and give that folder`,
    );
  return { texts: TEXTS.filter((file) => files.has(file)), weights: files.has(WHOLE) ? [WHOLE] : INDEX };
}

/** As {@link chooseModelFiles}, of an adapter in PEFT's format. */
export function chooseAdapterFiles(id: string, files: ReadonlySet<string>): Choice {
  const missing = ADAPTER.find((file) => !files.has(file));
  if (missing === undefined) return { texts: ADAPTER.slice(0, 1), weights: ADAPTER.slice(1) };
  const instead = files.has("adapter_model.bin")
    ? "; adapter_model.bin is a pickle that can run code and is not read: save it again with PEFT's save_pretrained"
    : "; --adapter takes a LoRA adapter as PEFT saves it";
  throw new LayergradError("model", `${id} has no ${missing}${instead}.`);
}

/** As {@link chooseModelFiles}, of a reference to one GGUF file. */
export function chooseGgufFile(id: string, files: ReadonlySet<string>, file: string): Choice {
  const others = [...files].filter((name) => /\.gguf$/i.test(name)).sort();
  if (!files.has(file))
    throw new LayergradError(
      "model",
      `${id} has no ${file}; ${others.length > 0 ? `there is ${others.join(", ")}` : "nor any other GGUF file beside it"}.`,
    );
  if (/-\d{5}-of-\d{5}\.gguf$/i.test(file))
    throw new LayergradError("model", `${id}/${file} is one part of a divided GGUF file, which is not read; take one that is whole.`);
  return { texts: possibleTexts("model", file).filter((name) => files.has(name)), weights: [file] };
}

/** Files that are not in the cache. */
export interface Missing {
  /** Those without which nothing can be said of the model. */
  readonly texts: readonly string[];
  readonly weights: readonly string[];
}

/**
 * What a snapshot in the cache lacks of a model, by the files' names.
 *
 * @param has - Whether the snapshot has a file.
 * @param shards - The weight files that its index names.
 */
export function missingModelFiles(has: (file: string) => boolean, shards: () => Iterable<string>): Missing {
  const missing = (files: Iterable<string>): string[] => [...files].filter((file) => !has(file)).sort();
  return { texts: missing(NEEDED_TEXTS), weights: missing(!has(WHOLE) && has(INDEX) ? shards() : [WHOLE]) };
}

/** As {@link missingModelFiles}, of an adapter. */
export function missingAdapterFiles(has: (file: string) => boolean): Missing {
  const [texts, weights] = [ADAPTER.slice(0, 1), ADAPTER.slice(1)];
  return { texts: texts.filter((file) => !has(file)), weights: weights.filter((file) => !has(file)) };
}

/** As {@link missingModelFiles}, of a GGUF file, which says all itself. */
export const missingGgufFile = (has: (file: string) => boolean, file: string): Missing => ({
  texts: has(file) ? [] : [file],
  weights: [],
});
