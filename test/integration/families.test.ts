import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { Checkpoint } from "../../src/io/checkpoint.ts";
import { openModel } from "../../src/run/open-model.ts";
import { Engine, type ModelSource } from "../../src/runtime/engine.ts";
import { beyond, compare, declareSizes, noErrors, ours, tinyTolerances } from "../agreement.ts";
import { expectedPath, fixtureModel, readExpected } from "../fixtures.ts";
import { allStatistics, measure } from "../measure.ts";
import { withHeader } from "../safetensors.ts";

const folder = mkdtempSync(join(tmpdir(), "layergrad-families-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const rowsOf = (model: string) =>
  readExpected(expectedPath(model, "base", "basic")).map((e) => ({ row: e.row, inputIds: e.input_ids, labelStart: e.label_start }));

/** A Phi-3 as the Llama that it is but for its fused matrices, which are cut into theirs. */
async function asLlama(checkpoint: Checkpoint): Promise<ModelSource> {
  const { hidden_size, intermediate_size, num_attention_heads, num_key_value_heads } = checkpoint.config as Record<string, number>;
  const narrow = (hidden_size! / num_attention_heads!) * num_key_value_heads!;
  const cuts: Record<string, readonly (readonly [string, number])[]> = {
    qkv_proj: [
      ["q_proj", hidden_size!],
      ["k_proj", narrow],
      ["v_proj", narrow],
    ],
    gate_up_proj: [
      ["gate_proj", intermediate_size!],
      ["up_proj", intermediate_size!],
    ],
  };
  const tensors = new Map<string, { readonly shape: readonly number[]; readonly data: Float32Array }>();
  for (const [name, { shape }] of checkpoint.tensors) {
    const data = await checkpoint.read(name);
    const fused = Object.keys(cuts).find((key) => name.includes(`.${key}.`));
    if (!fused) tensors.set(name, { shape, data });
    let from = 0;
    for (const [part, rows] of cuts[fused!] ?? []) {
      const width = shape[1]!;
      tensors.set(name.replace(fused!, part), { shape: [rows, width], data: data.slice(from * width, (from + rows) * width) });
      from += rows;
    }
  }
  return {
    config: { ...checkpoint.config, model_type: "llama" },
    tensors,
    read: async (name) => tensors.get(name)!.data,
    readRows: (name, rows) => checkpoint.readRows(name, rows),
  };
}

describe("Phi-3's fused matrices", () => {
  it("are measured in parts as well, which are what the same model with its matrices apart gives", async () => {
    const model = await openModel(fixtureModel("phi3"));
    const rows = rowsOf("phi3");
    const fused = await measure(model, [rows], { matrices: "all" });
    const source = await asLlama(model.checkpoint);
    const engine = await Engine.open(source, { ...allStatistics, matrices: "all" });
    const apart = await engine.measure(rows);
    await engine.close();
    model.checkpoint.close();
    const errors = noErrors();
    for (const [i, truth] of apart.entries()) {
      const expected = { loss: truth.loss, params: truth.matrices, ...truth.cosines };
      declareSizes(expected, Object.fromEntries(Object.keys(truth.matrices).map((name) => [name, source.tensors.get(name)!.shape])));
      const known = Object.entries(fused[i]!.matrices).filter(([name]) => name in truth.matrices);
      expect(known.length).toBe(7 * 4);
      compare(errors, `row ${i}`, { ...ours(fused[i]!), matrices: Object.fromEntries(known) }, expected);
    }
    expect(beyond(errors, tinyTolerances)).toEqual([]);
  });

  it("stand in the records of each choice under their own names", async () => {
    const model = await openModel(fixtureModel("phi3"));
    const names = async (matrices: "reference" | "attention" | "mlp") => {
      const [first] = await measure(model, [rowsOf("phi3").slice(0, 1)], { matrices, cosines: false, spectrum: false });
      return Object.keys(first!.matrices).flatMap((name) => /^model\.layers\.0\.(?:self_attn|mlp)\.(.+)\.weight$/.exec(name)?.[1] ?? []);
    };
    expect(await names("reference")).toEqual(["qkv_proj", "q_proj", "k_proj", "v_proj", "o_proj"]);
    expect(await names("attention")).toEqual(await names("reference"));
    expect(await names("mlp")).toEqual(["gate_up_proj", "gate_proj", "up_proj", "down_proj"]);
    model.checkpoint.close();
  });
});

describe("OLMo 2's square MLP matrices", () => {
  it("are among those the reference chooses", async () => {
    const model = await openModel(fixtureModel("olmo2"));
    const [row] = await measure(model, [rowsOf("olmo2").slice(0, 1)]);
    expect(Object.keys(row!.matrices).filter((name) => name.includes(".mlp.")).length).toBe(3 * 4);
    model.checkpoint.close();
  });
});

describe("a multimodal checkpoint of Gemma 3", () => {
  /** The text model's folder with its tensors renamed, beside one of a vision tower. */
  function multimodal(name: string, rename: (tensor: string) => string): string {
    const target = join(folder, name);
    cpSync(fixtureModel("gemma3_text"), target, { recursive: true });
    const text_config = JSON.parse(readFileSync(join(target, "config.json"), "utf8"));
    writeFileSync(join(target, "config.json"), JSON.stringify({ model_type: "gemma3", text_config, vision_config: { hidden_size: 8 } }));
    withHeader(join(target, "model.safetensors"), (header) => {
      const tensors = Object.entries(JSON.parse(header) as Record<string, { data_offsets?: number[] }>);
      const end = Math.max(...tensors.map(([, { data_offsets }]) => data_offsets?.[1] ?? 0));
      const vision = { "vision_tower.vision_model.embeddings.empty": { dtype: "F32", shape: [0], data_offsets: [end, end] } };
      const renamed = tensors.map(([key, value]) => [key === "__metadata__" ? key : rename(key), value]);
      return JSON.stringify({ ...Object.fromEntries(renamed), ...vision });
    });
    return target;
  }

  it.each([
    ["language_model.model.layers…", (name: string) => `language_model.${name}`],
    ["model.language_model.layers…", (name: string) => name.replace(/^model\./, "model.language_model.")],
  ])("stored as %s gives its text model's numbers, under the same keys", async (title, rename) => {
    const text = await openModel(fixtureModel("gemma3_text"));
    const whole = await openModel(multimodal(title.slice(0, 8), rename));
    const rows = rowsOf("gemma3_text");
    expect(whole.checkpoint.tensors.has("model.layers.0.self_attn.q_proj.weight")).toBe(true);
    expect(await measure(whole, [rows])).toEqual(await measure(text, [rows]));
    text.checkpoint.close();
    whole.checkpoint.close();
  });

  it("that holds a tensor under both names is refused", async () => {
    const target = multimodal("twice", (name) =>
      name.includes("layers.1.") ? name.replace("model.layers.1.", "language_model.model.layers.0.") : name,
    );
    await expect(openModel(target)).rejects.toThrow(
      /holds tensor "model\.layers\.0\..+" under two names, ".*" being one; download it again\.$/,
    );
  });
});
