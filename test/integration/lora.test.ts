import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openCheckpoint, openWeightFile } from "../../src/io/checkpoint.ts";
import { openModelFiles } from "../../src/io/open-weights.ts";
import { expectedPath, fixtureModel, fixtures, readExpected } from "../fixtures.ts";
import { measure } from "../measure.ts";
import { withHeader } from "../safetensors.ts";

const folder = mkdtempSync(join(tmpdir(), "layergrad-lora-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const adapters = { patterns: "llama31", rslora: "phi3" } as const;
const adapterFolder = (name: string): string => join(fixtures, "lora", name);

describe("an adapter that PEFT saved", () => {
  it.each(Object.entries(adapters))("%s on %s: merges into the weights of PEFT's merge_and_unload in float64", async (name, base) => {
    const merged = await openModelFiles(fixtureModel(base), { adapter: adapterFolder(name) });
    const plain = await openCheckpoint(fixtureModel(base));
    const expected = openWeightFile(adapterFolder(name), "expected.safetensors", "adapter_config.json");
    const changed = changedBy(name);
    expect(expected.tensors.size).toBeGreaterThan(3);
    for (const tensor of merged.tensors.keys()) {
      const found = await merged.read(tensor);
      if (expected.tensors.has(tensor)) {
        const truth = await expected.read(tensor);
        // Both add in float64 and round once: a unit in the last place where the sums straddle a border.
        expect(Math.max(...found.map((value, i) => Math.abs(value - truth[i]!) / Math.abs(truth[i]!)))).toBeLessThan(2 ** -22);
        expect(found.filter((value, i) => value !== truth[i]).length).toBeLessThan(found.length / 1000);
      } else if (!changed.has(tensor)) {
        expect(found).toEqual(await plain.read(tensor));
      }
    }
    expect([...changed].every((tensor) => merged.tensors.has(tensor))).toBe(true);
    for (const model of [merged, plain, expected]) model.close();
  });

  it.each(Object.entries(adapters))("%s on %s: is measured as a folder of the merged weights is", async (name, base) => {
    const merged = await openModelFiles(fixtureModel(base), { adapter: adapterFolder(name) });
    const saved = join(folder, `${name}-merged`);
    cpSync(fixtureModel(base), saved, { recursive: true, filter: (path) => !path.includes("safetensors") });
    const tensors: Record<string, { shape: readonly number[]; values: Float32Array }> = {};
    for (const [tensor, { shape }] of merged.tensors) tensors[tensor] = { shape, values: await merged.read(tensor) };
    writeSafetensors(join(saved, "model.safetensors"), tensors);
    const whole = await openCheckpoint(saved);
    const rows = readExpected(expectedPath(base, "base", "basic"))
      .slice(0, 3)
      .map((e) => ({ row: e.row, inputIds: e.input_ids, labelStart: e.label_start }));
    const records = await measure({ checkpoint: merged }, [rows]);
    expect(records).toEqual(await measure({ checkpoint: whole }, [rows]));
    const plain = await openCheckpoint(fixtureModel(base));
    expect(records[0]!.loss).not.toBe((await measure({ checkpoint: plain }, [rows]))[0]!.loss);
    for (const model of [merged, whole, plain]) model.close();
  });

  it("makes another identity of the weights, and leaves the text side alone", async () => {
    const adapter = adapterFolder("patterns");
    const merged = await openModelFiles(fixtureModel("llama31"), { adapter });
    const plain = await openCheckpoint(fixtureModel("llama31"));
    const [with_, without] = [await merged.hashes(), await plain.hashes()];
    expect(with_.weights).not.toBe(without.weights);
    expect(with_.tokenizer).toBe(without.tokenizer);
    expect(Object.keys(with_.files).filter((name) => !(name in without.files))).toEqual([
      "adapter/adapter_config.json",
      "adapter/adapter_model.safetensors",
    ]);
    merged.close();
    plain.close();
    await expect(merged.read("model.layers.0.self_attn.q_proj.weight")).rejects.toThrow("after close()");
  });

  it("gives the rows of a merged matrix as the whole has them", async () => {
    const merged = await openModelFiles(fixtureModel("llama31"), { adapter: adapterFolder("patterns") });
    const name = "model.layers.0.self_attn.q_proj.weight";
    const whole = await merged.read(name);
    expect(await merged.readRows(name, [5, 0, 5])).toEqual(
      Float32Array.from([5, 0, 5].flatMap((row) => [...whole.subarray(row * 64, (row + 1) * 64)])),
    );
    merged.close();
  });
});

/** The tensors that PEFT's merge changed, as the fixture's generator found. */
function changedBy(name: string): Set<string> {
  const bytes = readFileSync(join(adapterFolder(name), "expected.safetensors"));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + Number(bytes.readBigUInt64LE(0))));
  return new Set((header.__metadata__.changed as string).split(","));
}

function writeSafetensors(path: string, tensors: Readonly<Record<string, { shape: readonly number[]; values: Float32Array }>>): void {
  const header: Record<string, unknown> = {};
  let at = 0;
  for (const [name, { shape, values }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape, data_offsets: [at, at + values.byteLength] };
    at += values.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const data = Object.values(tensors).map(({ values }) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  writeFileSync(path, Buffer.concat([length, json, ...data]));
}

describe("an adapter is refused", () => {
  let copies = 0;

  /** A copy of a fixture, changed. */
  function changed(change: (copy: string) => void, name = "patterns"): string {
    const copy = join(folder, `copy-${copies++}`);
    cpSync(adapterFolder(name), copy, { recursive: true });
    change(copy);
    return copy;
  }

  const withConfig = (fields: Readonly<Record<string, unknown>>) =>
    changed((copy) => {
      const path = join(copy, "adapter_config.json");
      writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...fields }));
    });

  /** With some of its tensors only. */
  async function withTensors(isKept: (name: string) => boolean, fields: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const copy = withConfig(fields);
    const whole = openWeightFile(copy, "adapter_model.safetensors", "adapter_config.json");
    const kept: Record<string, { shape: readonly number[]; values: Float32Array }> = {};
    for (const [name, { shape }] of whole.tensors) if (isKept(name)) kept[name] = { shape, values: await whole.read(name) };
    whole.close();
    writeSafetensors(join(copy, "adapter_model.safetensors"), kept);
    return copy;
  }

  const withNames = (rename: (name: string) => string, order = (names: string[]) => names) =>
    changed((copy) =>
      withHeader(join(copy, "adapter_model.safetensors"), (header) => {
        const tensors = JSON.parse(header);
        return JSON.stringify(Object.fromEntries(order(Object.keys(tensors)).map((name) => [rename(name), tensors[name]])));
      }),
    );

  const refusal = async (adapter: string, base = "llama31"): Promise<string> => {
    const error = await openModelFiles(fixtureModel(base), { adapter }).catch((e: Error) => e);
    expect(error).toMatchObject({ name: "LayergradError", kind: "model" });
    return (error as Error).message;
  };

  const q = "base_model.model.model.layers.0.self_attn.q_proj";
  const modules = ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"];

  it.each<[string, Readonly<Record<string, unknown>>, string]>([
    ["of another type", { peft_type: "LOHA" }, 'of the type "LOHA", of which only "LORA" is read'],
    ["a prompt", { peft_type: "PREFIX_TUNING" }, 'of the type "PREFIX_TUNING"'],
    ["DoRA", { use_dora: true }, "has use_dora true, which is not supported"],
    ["with biases", { bias: "all" }, 'has bias "all", which is not supported'],
    ["with layers replicated", { layer_replication: [[0, 2]] }, "has layer_replication [[0,2]], which is not supported"],
    ["begun from the base's singular vectors", { init_lora_weights: "pissa" }, 'has init_lora_weights "pissa", which is not supported'],
    ["of rank 0", { r: 0 }, "has r 0, expected a positive integer"],
    ["without alpha", { lora_alpha: null }, "has lora_alpha null, expected a number"],
    ["with a regular expression", { rank_pattern: { "(a+)+b": 2 } }, 'has the rank_pattern "(a+)+b", a regular expression'],
    ["whose rank is another than its matrices'", { r: 4 }, "expected [4,"],
  ])("%s", async (_, fields, message) => {
    expect(await refusal(withConfig(fields))).toContain(message);
  });

  it("that lacks a layer its configuration names", async () => {
    expect(await refusal(await withTensors((name) => !/layers\.[34]\.self_attn/.test(name)))).toMatch(
      /adapter_model\.safetensors: lacks the matrices of 4 of the 15 weights that adapter_config\.json names, such as "model\.layers\.\d\.self_attn\.[qv]_proj\.weight"; download the adapter again/,
    );
  });

  it("in a dtype that is not read, of which the adapter is told", async () => {
    const odd = changed((copy) =>
      withHeader(join(copy, "adapter_model.safetensors"), (header) => header.replace('"dtype":"F32"', '"dtype":"I32"')),
    );
    expect(await refusal(odd)).toMatch(/adapter_model\.safetensors: tensor ".*" is stored as I32, .*; save the adapter in one of these\./);
  });

  it.each<[string, (name: string) => string, string]>([
    ["an A alone", (name) => (name === `${q}.lora_B.weight` ? "model.norm.weight" : name), "has no lora_B beside it"],
    ["a weight that the model lacks", (name) => name.replace("layers.3.", "layers.30."), "meets no weight of the model"],
    [
      "an embedding's matrices",
      (name) => name.replace(`${q}.lora_A.weight`, "base_model.model.model.embed_tokens.lora_embedding_A"),
      "of adapter that is not read",
    ],
    ["DoRA's magnitudes", (name) => name.replace(`${q}.lora_A.weight`, `${q}.lora_magnitude_vector`), "of adapter that is not read"],
    [
      "a whole tensor of another shape",
      (name) => name.replace(`${q}.lora_A`, "base_model.model.lm_head"),
      "the adapter belongs to another model",
    ],
  ])("for %s", async (_, rename, message) => {
    expect(await refusal(withNames(rename))).toContain(message);
  });

  it("for an embedding that is the head as well", async () => {
    const config = { peft_type: "LORA", r: 3, lora_alpha: 3 };
    const adapter = changed((copy) => {
      writeFileSync(join(copy, "adapter_config.json"), JSON.stringify(config));
      const tensor = { shape: [640, 64], values: new Float32Array(640 * 64) };
      writeSafetensors(join(copy, "adapter_model.safetensors"), { "base_model.model.model.embed_tokens.weight": tensor });
    });
    expect(await refusal(adapter, "qwen2")).toContain("changes an embedding that is the output head as well, which is not supported");
  });

  it("for a matrix B alone", async () => {
    const alone = withNames(
      (name) => (name === `${q}.lora_A.weight` ? "model.norm.weight" : name),
      (names) => names.toReversed(),
    );
    expect(await refusal(alone)).toContain("has no lora_A beside it");
  });

  it("of another model, of which it says what does not fit", async () => {
    expect(await refusal(adapterFolder("patterns"), "llama2")).toMatch(
      / has the shape \[64\], the model's has \[48\]; the adapter belongs to another model/,
    );
    expect(await refusal(adapterFolder("rslora"), "llama31")).toContain("meets no weight of the model");
  });

  it("without config or weights, or with a pickle alone", async () => {
    expect(await refusal(join(folder, "none"))).toContain("there is no such folder");
    expect(await refusal(changed((copy) => rmSync(join(copy, "adapter_config.json"))))).toContain("has no adapter_config.json");
    expect(await refusal(changed((copy) => rmSync(join(copy, "adapter_model.safetensors"))))).toContain("has no adapter_model.safetensors");
    const pickle = changed((copy) => renameSync(join(copy, "adapter_model.safetensors"), join(copy, "adapter_model.bin")));
    expect(await refusal(pickle)).toContain("a pickle that can run code and is not read");
  });

  it("given as the model, with what to do", async () => {
    await expect(openModelFiles(adapterFolder("patterns"))).rejects.toThrow("give its base model as the model and this as its adapter");
  });

  it.each<[string, Readonly<Record<string, unknown>>]>([
    ["layers_to_transform", { layers_to_transform: [0, 1, 2] }],
    ["exclude_modules", { exclude_modules: [3, 4].flatMap((layer) => modules.map((module) => `layers.${layer}.${module}`)) }],
    ["a regular expression", { target_modules: ".*layers\\.[012]\\..*" }],
  ])("not for layers that its configuration leaves out by %s", async (_, fields) => {
    const adapter = await withTensors((name) => !/layers\.[34]\./.test(name), fields);
    (await openModelFiles(fixtureModel("llama31"), { adapter })).close();
  });

  it.each(["model.language_model.", "language_model.model."])(
    "not for the names that a multimodal model gives its language model, %s, to which its patterns refer",
    async (prefix) => {
      const named = withNames((name) => name.replace("base_model.model.model.", `base_model.model.${prefix}`));
      const path = join(named, "adapter_config.json");
      const settings = JSON.parse(readFileSync(path, "utf8"));
      settings.rank_pattern = { v_proj: 2, [`^${prefix}layers.4.mlp.down_proj`]: 5 };
      writeFileSync(path, JSON.stringify(settings));
      const [a, b] = [
        await openModelFiles(fixtureModel("llama31"), { adapter: named }),
        await openModelFiles(fixtureModel("llama31"), { adapter: adapterFolder("patterns") }),
      ];
      for (const name of b.tensors.keys()) expect(await a.read(name)).toEqual(await b.read(name));
      a.close();
      b.close();
    },
  );

  it("not for the name of the adapter within its keys", async () => {
    const named = withNames((name) => name.replace(/\.lora_([AB])\./, ".lora_$1.default."));
    const [a, b] = [
      await openModelFiles(fixtureModel("llama31"), { adapter: named }),
      await openModelFiles(fixtureModel("llama31"), { adapter: adapterFolder("patterns") }),
    ];
    const name = "model.layers.4.mlp.down_proj.weight";
    expect(await a.read(name)).toEqual(await b.read(name));
    a.close();
    b.close();
  });
});
