import { existsSync } from "node:fs";
import { isAbsolute } from "node:path";
import { LayergradError } from "../errors.ts";
import { type FetchOptions, fetchModel, type FetchedModel } from "../hub/fetch-model.ts";
import { type ModelId, parseModelId, withRevision } from "../hub/model-id.ts";
import { checkAdapter } from "../io/lora.ts";
import type { ModelDescription } from "../store/index.ts";

/** Where a model or an adapter is, said so that what happens to lie in the working directory changes nothing. */
export type ModelPlace = { readonly path: string } | { readonly hub: string };

/** A model as a user names it. */
export interface ModelReference {
  /** A model folder, a GGUF file, or an id of the Hub: `owner/name`, `owner/name@revision`, `owner/name/path/file.gguf`. Of a text, what exists as a path is one. */
  readonly model: string | ModelPlace;
  /** Branch, tag or commit of a model of the Hub. Default `main`. */
  readonly revision?: string | undefined;
  /** A LoRA adapter in PEFT's format to merge into the weights: a folder, or an id of the Hub. */
  readonly adapter?: string | ModelPlace | undefined;
}

/** Where a model's files are. */
export interface Located extends Partial<Pick<FetchedModel, "weights">> {
  /** A folder or a GGUF file. */
  readonly path: string;
  readonly adapter?: {
    /** Its folder. */
    readonly path: string;
    /** Bytes of its weights that are not here; null where only the Hub could tell. */
    readonly absent: number | null;
  };
  readonly source: Pick<ModelDescription, "folder" | "id" | "revision" | "adapter">;
}

/**
 * Finds a model's files on the disk, and fetches those of the Hub. The adapter comes first: it is the smaller of the two, and refused before
 * the model's weights come.
 */
export async function locateModel(reference: ModelReference, options: Omit<FetchOptions, "kind">): Promise<Located> {
  const model = resolve(reference.model, reference.revision);
  const adapter = reference.adapter === undefined ? undefined : await locateAdapter(reference.adapter, options);
  const { path, weights, ...source } = await fetched(model, nameOf(reference.model), { ...options, kind: "model" });
  const located = { path, ...(weights ? { weights } : {}), source };
  return adapter ? { ...located, adapter: adapter.files, source: { ...source, adapter: adapter.source } } : located;
}

async function locateAdapter(
  given: string | ModelPlace,
  options: Omit<FetchOptions, "kind">,
): Promise<{ readonly files: NonNullable<Located["adapter"]>; readonly source: NonNullable<ModelDescription["adapter"]> }> {
  const check = (folder: string): void => void checkAdapter(folder, { weights: false });
  const { path, weights, ...source } = await fetched(resolve(given, undefined, "adapter"), nameOf(given), {
    ...options,
    kind: "adapter",
    check,
  });
  const absent = weights ? weights.absent : 0;
  checkAdapter(path, { weights: absent === 0 });
  return { files: { path, absent }, source };
}

const nameOf = (given: string | ModelPlace): string => (typeof given === "string" ? given : "hub" in given ? given.hub : given.path);

/** A path, or an id of the Hub. Of a text, a path is what exists as one, or is written as one. */
function resolve(given: string | ModelPlace, revision: string | undefined, what: "model" | "adapter" = "model"): string | ModelId {
  const name = nameOf(given);
  if (isPath(given)) {
    if (revision === undefined) return name;
    throw new LayergradError("usage", `${name} is a path, and --revision is for models of the Hub; leave it out.`);
  }
  const id = parseModelId(name);
  if (id) return withRevision(id, revision);
  const example =
    what === "model" ? "the path of a model folder, or an id such as Qwen/Qwen2-1.5B" : "the folder of a PEFT adapter, or an id of one";
  throw new LayergradError("model", `${name}: there is no such folder or file, nor is it an id of the Hub; give ${example}.`);
}

function isPath(given: string | ModelPlace): boolean {
  if (typeof given !== "string") return "path" in given;
  return isAbsolute(given) || /^\.{1,2}([/\\]|$)/.test(given) || given.includes("\\") || existsSync(given);
}

async function fetched(
  located: string | ModelId,
  folder: string,
  options: FetchOptions,
): Promise<{ path: string; weights?: FetchedModel["weights"]; folder: string; id?: string; revision?: string }> {
  if (typeof located === "string") return { path: located, folder };
  const { path, id, commit, weights } = await fetchModel(located, options);
  return { path, weights, folder, id, revision: commit };
}
