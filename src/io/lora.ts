import { statSync } from "node:fs";
import { join } from "node:path";
import { excerpt, LayergradError } from "../errors.ts";
import {
  type Checkpoint,
  type CheckpointHashes,
  combineSums,
  listFolder,
  openWeightFile,
  readDescription,
  type SafetensorsCheckpoint,
  textModelName,
} from "./checkpoint.ts";
import { isTarget, type LoraConfig, readLoraConfig, scalingOf } from "./lora-config.ts";

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";

/** What an adapter changes of one weight: W + scaling·B·A, or W replaced whole. */
type Change =
  | { readonly kind: "low-rank"; readonly a: string; readonly b: string; readonly rank: number; readonly scaling: number }
  | { readonly kind: "replaced"; readonly by: string };

/**
 * A model with a PEFT LoRA merged into its weights: W + scaling·B·A, scaling = alpha/r or, with use_rslora, alpha/√r. The product is added
 * up in float64 and the sum rounded once to float32. Tensors of `modules_to_save` replace the model's. The text side stays the model's own.
 *
 * Each tensor is merged as it is read, so that nothing is kept in memory.
 *
 * @param base - Is closed with the result.
 * @param folder - Holds adapter_config.json and adapter_model.safetensors.
 * @throws {LayergradError} `"model"`: what of the adapter is not supported, damaged, or does not belong to this model.
 */
export function mergeAdapter(base: Checkpoint, folder: string): Checkpoint {
  const config = checkAdapter(folder);
  const adapter = openWeightFile(folder, WEIGHTS, CONFIG);
  try {
    return new MergedCheckpoint(base, adapter, changesOf(base, adapter, config));
  } catch (error) {
    adapter.close();
    throw error;
  }
}

/**
 * Checks a PEFT folder as far as that needs no weights: its files and its configuration.
 *
 * @param weights - Whether they are to be there.
 * @throws {LayergradError} `"model"`: what of the adapter is missing or not supported.
 */
export function checkAdapter(folder: string, { weights = true }: { readonly weights?: boolean } = {}): LoraConfig {
  const fail = (what: string): LayergradError => new LayergradError("model", `${folder}: ${what}.`);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) throw fail("there is no such folder; give the folder of a PEFT adapter");
  const entries = listFolder(folder);
  if (!entries.includes(CONFIG)) throw fail(`has no ${CONFIG}; give the folder of a PEFT adapter`);
  if (weights && !entries.includes(WEIGHTS)) {
    const pickle = entries.includes("adapter_model.bin");
    throw fail(
      pickle
        ? "has its weights only as adapter_model.bin, a pickle that can run code and is not read; save it again with PEFT's save_pretrained"
        : `has no ${WEIGHTS}; download it`,
    );
  }
  return readLoraConfig(readDescription(folder, CONFIG), join(folder, CONFIG));
}

/** What the adapter's tensors change, by the weight's name; every one must have its place. */
function changesOf(base: Checkpoint, adapter: Checkpoint, config: LoraConfig): Map<string, Change> {
  const changes = new Map<string, Change>();
  for (const stored of adapter.tensors.keys()) {
    const fail = (what: string): LayergradError =>
      new LayergradError("model", `${join(adapter.folder, WEIGHTS)}: tensor ${excerpt(stored)} ${what}.`);
    const { module, savedModule, part } = partsOf(stored);
    const merge = "merge it with PEFT's merge_and_unload and give the result";
    if (part === "unsupported") throw fail(`belongs to a kind of adapter that is not read, only LoRA of linear layers; ${merge}`);
    const name = part === "whole" ? module : `${module}.weight`;
    const target = base.tensors.get(name)?.shape;
    if (!target) throw fail(`meets no weight of the model, which has no ${name}; the adapter belongs to another model`);
    if (isTied(base) && (name === EMBEDDING || name === HEAD))
      throw fail(`changes an embedding that is the output head as well, which is not supported; ${merge}`);
    if (part === "B") {
      if (!adapter.tensors.has(stored.replace("lora_B", "lora_A"))) throw fail("has no lora_A beside it; download the adapter again");
      continue;
    }
    if (changes.has(name)) throw fail("changes a weight that another of its tensors changes too; save the adapter again");
    changes.set(
      name,
      part === "A" ? lowRank(adapter, { a: stored, savedModule, target }, config, fail) : replaced(adapter, stored, target, fail),
    );
  }
  if (changes.size === 0) throw new LayergradError("model", `${join(adapter.folder, WEIGHTS)}: holds no tensors; download it again.`);
  refuseGaps(base, adapter, changes, config);
  return changes;
}

/** That the layers' weights which the configuration names are all changed: PEFT saves them all, so a file that lacks some is damaged. */
function refuseGaps(base: Checkpoint, adapter: Checkpoint, changes: ReadonlyMap<string, Change>, config: LoraConfig): void {
  const targets = [...base.tensors].flatMap(([name, { shape }]) => {
    const [, module, layer] = /^(model\.layers\.(\d+)\..+)\.weight$/.exec(name) ?? [];
    return module !== undefined && shape.length === 2 && isTarget(config, module, Number(layer)) ? [name] : [];
  });
  const missing = targets.filter((name) => !changes.has(name));
  if (missing.length > 0)
    throw new LayergradError(
      "model",
      `${join(adapter.folder, WEIGHTS)}: lacks the matrices of ${missing.length} of the ${targets.length} weights that ${CONFIG} names, such as ${excerpt(missing[0])}; download the adapter again.`,
    );
}

const EMBEDDING = "model.embed_tokens.weight";
const HEAD = "lm_head.weight";

const isTied = ({ config, tensors }: Checkpoint): boolean => config.tie_word_embeddings === true || !tensors.has(HEAD);

type Fail = (what: string) => LayergradError;

function replaced(adapter: Checkpoint, stored: string, target: readonly number[], fail: Fail): Change {
  const { shape } = adapter.tensors.get(stored)!;
  if (shape.join() !== target.join())
    throw fail(`has the shape [${shape}], the model's has [${target}]; the adapter belongs to another model`);
  return { kind: "replaced", by: stored };
}

/** A matrix A, and the weight that it and its B change. */
interface LowRank {
  readonly a: string;
  /** As the adapter names it, to which its patterns refer. */
  readonly savedModule: string;
  /** Shape of the weight. */
  readonly target: readonly number[];
}

function lowRank(adapter: Checkpoint, { a, savedModule, target }: LowRank, config: LoraConfig, fail: Fail): Change {
  const b = a.replace("lora_A", "lora_B");
  const [shapeA, shapeB] = [adapter.tensors.get(a)!.shape, adapter.tensors.get(b)?.shape];
  if (!shapeB) throw fail("has no lora_B beside it; download the adapter again");
  const [out, width] = target;
  const { rank, scaling } = scalingOf(config, savedModule);
  if (target.length !== 2 || shapeA.join() !== [rank, width].join() || shapeB.join() !== [out, rank].join()) {
    throw fail(
      `has the shape [${shapeA}] and its lora_B [${shapeB}], expected [${rank},${width}] and [${out},${rank}]; the adapter belongs to another model`,
    );
  }
  return { kind: "low-rank", a, b, rank, scaling };
}

/** Whose part an adapter's tensor is, by its name. */
interface Parts {
  /** Under its name in the base model; of a part that is whole, the tensor's. */
  readonly module: string;
  /** As the adapter names it. */
  readonly savedModule: string;
  readonly part: "A" | "B" | "whole" | "unsupported";
}

function partsOf(stored: string): Parts {
  const name = stored.replace(/^base_model\.model\./, "");
  const of = (savedModule: string, part: Parts["part"]): Parts => ({ module: textModelName(savedModule), savedModule, part });
  const lora = /^(.+)\.lora_([AB])(?:\.default)?\.weight$/.exec(name);
  if (lora) return of(lora[1]!, lora[2] as "A" | "B");
  if (/\.(lora_|hada_|lokr_|ia3_|oft_|prompt)/.test(name)) return of(name, "unsupported");
  return of(name.replace(/\.modules_to_save(?:\.default)?\./, "."), "whole");
}

class MergedCheckpoint implements Checkpoint {
  readonly folder: string;
  readonly adapter: string;
  readonly config: Checkpoint["config"];
  readonly files: Checkpoint["files"];
  readonly tensors: Checkpoint["tensors"];
  #hashes: Promise<CheckpointHashes> | undefined;

  constructor(
    private readonly base: Checkpoint,
    private readonly changed: SafetensorsCheckpoint,
    private readonly changes: ReadonlyMap<string, Change>,
  ) {
    this.folder = base.folder;
    this.adapter = changed.folder;
    this.config = base.config;
    this.files = base.files;
    this.tensors = base.tensors;
  }

  async read(name: string, target?: Float32Array): Promise<Float32Array> {
    const change = this.changes.get(name);
    if (change?.kind === "replaced") return this.changed.read(change.by, target);
    const weight = await this.base.read(name, target);
    if (!change) return weight;
    const [a, b] = await Promise.all([this.changed.read(change.a), this.changed.read(change.b)]);
    addProduct(weight, a, b, change);
    return weight;
  }

  async readRows(name: string, indices: ArrayLike<number>, target?: Float32Array): Promise<Float32Array> {
    const change = this.changes.get(name);
    if (change?.kind === "replaced") return this.changed.readRows(change.by, indices, target);
    const rows = await this.base.readRows(name, indices, target);
    if (!change) return rows;
    const [a, b] = await Promise.all([this.changed.read(change.a), this.changed.readRows(change.b, indices)]);
    addProduct(rows, a, b, change);
    return rows;
  }

  readDirectly(): void {
    this.base.readDirectly?.();
  }

  hashes(): Promise<CheckpointHashes> {
    this.#hashes ??= this.#hashAll();
    return this.#hashes;
  }

  close(): void {
    this.changed.close();
    this.base.close();
  }

  /** The adapter's files make another identity of the weights. */
  async #hashAll(): Promise<CheckpointHashes> {
    const base = await this.base.hashes();
    const own = Object.entries((await this.changed.hashes()).files).map(([name, sum]): [string, string] => [`adapter/${name}`, sum]);
    return {
      weights: combineSums([["base", base.weights], ...own]),
      tokenizer: base.tokenizer,
      files: { ...base.files, ...Object.fromEntries(own) },
    };
  }
}

/**
 * weight + scaling·B·A, row by row in float64.
 *
 * @param weight - Shape `[out, width]`, changed in place.
 * @param a - Shape `[rank, width]`.
 * @param b - Shape `[out, rank]`.
 */
function addProduct(weight: Float32Array, a: Float32Array, b: Float32Array, { rank, scaling }: { rank: number; scaling: number }): void {
  const width = a.length / rank;
  const sum = new Float64Array(width);
  for (let row = 0; row * width < weight.length; row++) {
    sum.fill(0);
    for (let k = 0; k < rank; k++) {
      const factor = scaling * b[row * rank + k]!;
      const from = k * width;
      for (let i = 0; i < width; i++) sum[i]! += factor * a[from + i]!;
    }
    const at = row * width;
    for (let i = 0; i < width; i++) weight[at + i]! += sum[i]!;
  }
}
