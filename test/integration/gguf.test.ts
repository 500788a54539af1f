import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type Checkpoint, openCheckpoint } from "../../src/io/checkpoint.ts";
import { openModelFiles } from "../../src/io/open-weights.ts";
import { readModel } from "../../src/models/registry.ts";
import { openModel, rowEncoder } from "../../src/run/open-model.ts";
import { createTokenizer } from "../../src/text/tokenizer.ts";
import { expectedPath, fixtureModel, fixtures, readExpected, shared } from "../fixtures.ts";
import { type GgufEntry, type GgufTensorParts, ggufBytes } from "../gguf.ts";
import { measure } from "../measure.ts";

const folder = mkdtempSync(join(tmpdir(), "layergrad-gguf-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bytesOf = (array: Float32Array): Buffer => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
const isEqual = (a: Float32Array, b: Float32Array): boolean => a.length === b.length && Buffer.compare(bytesOf(a), bytesOf(b)) === 0;

/** What no GGUF file can say of the tests' models, and what is taken for it. */
const assumed: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  gemma2: { query_pre_attn_scalar: 24 },
  gemma3_text: { query_pre_attn_scalar: 20, layer_types: undefined, sliding_window_pattern: 6 },
};

/** The files that test/fixtures/gguf/generate.py wrote: a layer of each model, and the first rows of its embedding. */
const models = ["llama31", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "olmo2"];
const EMBEDDINGS = 32;

describe("a GGUF file that llama.cpp's package wrote from a model", () => {
  it.each(models)("%s: gives the sizes, the settings and every value of the model's folder", async (model) => {
    const file = await openModelFiles(join(fixtures, "gguf", `${model}.gguf`));
    const whole = await openCheckpoint(fixtureModel(model));
    const config: Record<string, unknown> = { ...whole.config, ...assumed[model], num_hidden_layers: 1, vocab_size: EMBEDDINGS };
    if (config.layer_types !== undefined) config.layer_types = (config.layer_types as string[]).slice(0, 1);
    expect(readModel(file.config).spec).toEqual(readModel(config).spec);

    const names = [...whole.tensors.keys()].filter((name) => !/^model\.layers\.[1-9]/.test(name));
    expect([...file.tensors.keys()].toSorted()).toEqual(names.toSorted());
    const offset = model.startsWith("gemma") ? 1 : 0;
    for (const name of names) {
      const { shape } = file.tensors.get(name)!;
      const truth = (await whole.read(name)).subarray(
        0,
        shape.reduce((n, size) => n * size, 1),
      );
      const found = await file.read(name);
      // A norm stored as 1 + w has lost the last bits of a small w; what is multiplied with is the same.
      if (offset && name.endsWith("norm.weight"))
        expect([
          name,
          isEqual(
            found.map((w) => 1 + w),
            truth.map((w) => 1 + w),
          ),
        ]).toEqual([name, true]);
      else expect([name, isEqual(found, truth)]).toEqual([name, true]);
    }
    expect(await file.readRows("model.embed_tokens.weight", [3, 31, 3])).toEqual(
      await whole.readRows("model.embed_tokens.weight", [3, 31, 3]),
    );
    file.close();
    whole.close();
  });

  it.each(["llama31", "qwen2", "qwen3", "olmo2"])("%s: its byte-level vocabulary gives the tokens of PyTorch's records", async (model) => {
    const file = await openModelFiles(join(fixtures, "gguf", `${model}.gguf`));
    const tokenizer = createTokenizer(file.files);
    for (const set of ["basic", "edge"])
      for (const { text, input_ids, max_length } of readExpected(expectedPath(model, "base", set)))
        expect(tokenizer.encode(text).slice(0, max_length)).toEqual(input_ids);
    file.close();
  });
});

/** Writes a folder's model as llama.cpp's converter does, for an architecture with rows interleaved. */
async function writeLlama(model: Checkpoint, path: string): Promise<void> {
  const { hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, rms_norm_eps, rope_theta } =
    model.config as Record<string, number>;
  const names: Readonly<Record<string, string>> = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
  };
  const inBlock: Readonly<Record<string, string>> = {
    input_layernorm: "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    post_attention_layernorm: "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
  };
  const tensors: GgufTensorParts[] = [];
  for (const [name, { shape }] of model.tensors) {
    const [, layer, part] = /^model\.layers\.(\d+)\.(.+)\.weight$/.exec(name) ?? [];
    const values = await model.read(name);
    const heads = part === "self_attn.q_proj" ? num_attention_heads! : part === "self_attn.k_proj" ? num_key_value_heads! : 0;
    const data = heads === 0 ? values : interleaved(values, shape as [number, number], heads);
    tensors.push({ name: names[name] ?? `blk.${layer}.${inBlock[part!]}.weight`, type: 0, shape, data: bytesOf(data) });
  }
  const metadata: GgufEntry[] = [
    ["general.architecture", "string", "llama"],
    ["llama.block_count", "uint32", num_hidden_layers!],
    ["llama.context_length", "uint32", 2048],
    ["llama.embedding_length", "uint32", hidden_size!],
    ["llama.feed_forward_length", "uint32", intermediate_size!],
    ["llama.attention.head_count", "uint32", num_attention_heads!],
    ["llama.attention.head_count_kv", "uint32", num_key_value_heads!],
    ["llama.attention.layer_norm_rms_epsilon", "float32", rms_norm_eps!],
    ["llama.rope.freq_base", "float32", rope_theta!],
  ];
  writeFileSync(path, ggufBytes({ metadata, tensors }));
}

/** Row i of a head's first half comes before row i of its second. */
function interleaved(values: Float32Array, [rows, width]: readonly [number, number], heads: number): Float32Array {
  const out = new Float32Array(values.length);
  const half = rows / heads / 2;
  let to = 0;
  for (let head = 0; head < heads; head++)
    for (let i = 0; i < half; i++)
      for (const side of [0, 1]) {
        const from = (head * 2 + side) * half + i;
        out.set(values.subarray(from * width, (from + 1) * width), to++ * width);
      }
  return out;
}

describe("a folder with one GGUF file and the original's tokenizer beside it", () => {
  const place = join(folder, "whole");

  it("is measured as the model's own folder is, number for number", async () => {
    const whole = await openCheckpoint(fixtureModel("llama"));
    mkdirSync(place);
    await writeLlama(whole, join(place, "model.F32.gguf"));
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) copyFileSync(join(fixtureModel("llama"), name), join(place, name));
    const file = await openModelFiles(place);
    expect(file.files).toEqual(whole.files);
    const rows = readExpected(expectedPath("llama", "base", "basic"))
      .slice(0, 4)
      .map((e) => ({ row: e.row, inputIds: e.input_ids, labelStart: e.label_start }));
    expect(await measure({ checkpoint: file }, [rows])).toEqual(await measure({ checkpoint: whole }, [rows]));
    const hashes = await file.hashes();
    expect(Object.keys(hashes.files)).toEqual(["model.F32.gguf"]);
    expect(hashes.weights).not.toBe((await whole.hashes()).weights);
    file.close();
    whole.close();
  });

  it("is refused where it has several, or a read asks for what is not there", async () => {
    const file = await openModelFiles(place);
    await expect(file.read("model.layers.9.mlp.up_proj.weight")).rejects.toThrow('has no tensor "model.layers.9.mlp.up_proj.weight"');
    await expect(file.readRows("model.embed_tokens.weight", [1e6])).rejects.toThrow("a tokenizer that does not belong to these weights");
    await expect(file.readRows("model.norm.weight", [0])).rejects.toThrow("is no table");
    file.close();
    file.close();
    await expect(file.read("model.norm.weight")).rejects.toThrow("read after close()");
    copyFileSync(join(place, "model.F32.gguf"), join(place, "model.other.GGUF"));
    await expect(openModelFiles(place)).rejects.toThrow(
      "has 2 GGUF files (model.F32.gguf, model.other.GGUF); give the path of one of them.",
    );
    const one = await openModelFiles(join(place, "model.other.GGUF"));
    expect(one.folder).toBe(join(place, "model.other.GGUF"));
    one.close();
  });

  it("whose tensors are not all of the architecture is refused by name", async () => {
    const strange = join(folder, "strange.gguf");
    const bytes = readFileSync(join(fixtures, "gguf", "qwen2.gguf"));
    for (const [name, other, message] of [
      ["blk.0.attn_q.bias", "blk.0.attn_x.bias", "is none of its architecture's that are read; give the model's safetensors folder"],
      ["token_embd.weight", "token_embd.weighs", "has no token_embd.weight, so it holds no language model"],
    ] as const) {
      const changed = Buffer.from(bytes);
      changed.write(other, changed.indexOf(name));
      writeFileSync(strange, changed);
      await expect(openModelFiles(strange)).rejects.toThrow(message);
    }
  });

  it("that has safetensors too is read from those", async () => {
    const both = join(folder, "both");
    cpSync(fixtureModel("qwen2"), both, { recursive: true });
    copyFileSync(join(fixtures, "gguf", "llama31.gguf"), join(both, "model.gguf"));
    const model = await openModelFiles(both);
    expect(model.config.model_type).toBe("qwen2");
    model.close();
  });
});

const source = shared && join(shared, "models", "smollm2-135m-instruct");

describe.skipIf(!source)(`SmolLM2-135M-Instruct as Q4_1${source ? "" : " (set LAYERGRAD_SHARED to a folder with models/)"}`, () => {
  it("is the unpacked folder's model where its values are rounded to bfloat16, all 134,515,008 of them", async () => {
    const unpacked = join(folder, "unpacked");
    const { status } = spawnSync(process.execPath, [join(shared!, "models", "unpack.mjs"), unpacked], { encoding: "utf8" });
    expect(status).toBe(0);
    const whole = await openCheckpoint(unpacked);
    const file = await openModelFiles(join(source!, "model.Q4_1.gguf"));
    expect(readModel(file.config)).toEqual(readModel(whole.config));
    const bits = new Uint32Array(1);
    const value = new Float32Array(bits.buffer);
    let compared = 0;
    let different = 0;
    for (const [name, { shape }] of whole.tensors) {
      const truth = await whole.read(name);
      const found = await file.read(name);
      expect(file.tensors.get(name)!.shape).toEqual(shape);
      for (let i = 0; i < found.length; i++) {
        value[0] = found[i]!;
        // To nearest, ties to even.
        bits[0] = (bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) & 0xffff0000;
        if (value[0] !== truth[i]) different++;
      }
      compared += found.length;
    }
    expect([compared, different]).toEqual([134_515_008, 0]);
    file.close();
    whole.close();
  });

  it("gives the tokens of PyTorch's records from its own vocabulary and template, in both modes", async () => {
    const alone = join(folder, "smollm2.gguf");
    symlinkSync(join(source!, "model.Q4_1.gguf"), alone);
    const model = await openModel(alone);
    const data = JSON.parse(readFileSync(join(source!, "rows.json"), "utf8"));
    for (const mode of ["base", "instruct"] as const) {
      const encode = rowEncoder(model, { mode, maxLength: 1024, singleBos: false, date: "2025-01-31" });
      const expected = readExpected(join(source!, "expected", `${mode}.json.gz`));
      for (const [i, { input_ids, label_start }] of expected.entries()) {
        const row = encode({ ...data[i], input: data[i].input ?? "" }, i);
        expect([Array.from(row.inputIds), row.labelStart]).toEqual([input_ids, label_start]);
      }
    }
    model.checkpoint.close();
  });
});
