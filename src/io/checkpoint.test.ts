import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { LayergradError } from "../errors.ts";
import { openCheckpoint } from "./checkpoint.ts";

const fixtures = fileURLToPath(new URL("../../test/fixtures/models/", import.meta.url));
const root = mkdtempSync(join(tmpdir(), "layergrad-checkpoint-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folder = "";
let count = 0;
beforeEach(() => {
  folder = join(root, `model-${count++}`);
  mkdirSync(folder);
});

/** A safetensors file of these tensors, one after the other. */
function safetensors(tensors: Record<string, { dtype: string; shape: number[]; bytes: Uint8Array }>): Buffer {
  let at = 0;
  const header: Record<string, unknown> = {};
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [at, at + bytes.length] };
    at += bytes.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, ...Object.values(tensors).map(({ bytes }) => bytes)]);
}

const put = (name: string, content: string | Uint8Array) => writeFileSync(join(folder, name), content);
const bytesOf = (values: ArrayBufferView) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
const bf16 = (values: readonly number[]) =>
  bytesOf(new Uint16Array(new Uint32Array(new Float32Array(values).buffer).map((bits) => bits >>> 16)));

function putModel(weights: Uint8Array = safetensors({ w: { dtype: "F32", shape: [1], bytes: new Uint8Array(4) } })): void {
  put("config.json", '{"model_type":"llama"}');
  put("tokenizer.json", "{}");
  put("model.safetensors", weights);
}

function putShards(weightMap: Record<string, unknown>, shards: Record<string, Uint8Array>): void {
  put("config.json", "{}");
  put("tokenizer.json", "{}");
  put("model.safetensors.index.json", JSON.stringify({ weight_map: weightMap }));
  for (const [name, bytes] of Object.entries(shards)) put(name, bytes);
}

async function refusal(path = folder): Promise<string> {
  const error = await openCheckpoint(path).then(
    (checkpoint) => checkpoint.close(),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(LayergradError);
  expect((error as LayergradError).kind).toBe("model");
  return (error as LayergradError).message;
}

describe("openCheckpoint", () => {
  it.each(["llama", "llama31", "llama2", "qwen2"])("reads every tensor of the fixture %s as its bytes say", async (name) => {
    const checkpoint = await openCheckpoint(join(fixtures, name));
    const files = readdirSync(join(fixtures, name)).filter((file) => file.endsWith(".safetensors"));
    const stored = files.flatMap((file) => {
      const bytes = readFileSync(join(fixtures, name, file));
      const start = 8 + Number(bytes.readBigUInt64LE(0));
      const header = JSON.parse(bytes.toString("utf8", 8, start)) as Record<string, { dtype: string; data_offsets: [number, number] }>;
      return Object.entries(header)
        .filter(([key]) => key !== "__metadata__")
        .map(
          ([
            key,
            {
              dtype,
              data_offsets: [begin, end],
            },
          ]) => ({ key, dtype, bytes: bytes.subarray(start + begin, start + end) }),
        );
    });
    expect([...checkpoint.tensors.keys()].sort()).toEqual(stored.map(({ key }) => key).sort());
    for (const { key, dtype, bytes } of stored) {
      const expected: number[] = [];
      for (let at = 0; at < bytes.length; at += dtype === "F32" ? 4 : 2) {
        if (dtype === "F32") expected.push(bytes.readFloatLE(at));
        else if (dtype === "BF16") expected.push(Buffer.from([0, 0, bytes[at]!, bytes[at + 1]!]).readFloatLE(0));
        else {
          const half = bytes.readUInt16LE(at);
          const exponent = (half >> 10) & 31;
          const size = exponent ? (1 + (half & 1023) / 1024) * 2 ** (exponent - 15) : (half & 1023) * 2 ** -24;
          expected.push(half >> 15 ? -size : size);
        }
      }
      const values = await checkpoint.read(key);
      expect(Buffer.compare(bytesOf(values), bytesOf(Float32Array.from(expected)))).toBe(0);
      expect(Buffer.compare(bytesOf(checkpoint.readSync(key)), bytesOf(values))).toBe(0);
    }
    checkpoint.close();
  });

  it("gives the text side its files, the optional ones undefined where they are absent", async () => {
    putModel();
    const bare = await openCheckpoint(folder);
    expect(bare.files).toEqual({ tokenizerJson: {}, tokenizerConfig: undefined, chatTemplate: undefined });
    bare.close();
    put("tokenizer_config.json", '{"bos_token":"<s>"}');
    put("chat_template.jinja", "{{ messages }}\n");
    const full = await openCheckpoint(folder);
    expect(full.files).toEqual({ tokenizerJson: {}, tokenizerConfig: { bos_token: "<s>" }, chatTemplate: "{{ messages }}\n" });
    full.close();
  });

  it("takes a config with a bare Infinity, as Python writes it", async () => {
    putModel();
    put("config.json", '{"time_step_limit": [0.0, Infinity], "name": "NaN"}');
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint.config).toEqual({ time_step_limit: [0, Number.POSITIVE_INFINITY], name: "NaN" });
    checkpoint.close();
  });

  it("prefers a whole file to an index beside it, as transformers does", async () => {
    putShards({ other: "model-1.safetensors" }, {});
    putModel();
    const checkpoint = await openCheckpoint(folder);
    expect([...checkpoint.tensors.keys()]).toEqual(["w"]);
    checkpoint.close();
  });

  describe("refuses with a sentence that says what to do", () => {
    it("a folder that is not there", async () =>
      expect(await refusal(join(root, "none"))).toMatch(/there is no such folder; give the path/));
    it("a file, an empty folder", async () => {
      put("weights.txt", "");
      expect(await refusal(join(folder, "weights.txt"))).toContain("is a file; give a .gguf file, or the folder");
      mkdirSync(join(folder, "empty"));
      expect(await refusal(join(folder, "empty"))).toContain("the folder is empty");
    });
    const files: [title: string, names: string[], message: string][] = [
      ["a folder without config", ["tokenizer.json"], "has no config.json"],
      ["a hub cache folder", ["blobs", "refs", "snapshots"], "one revision inside it (snapshots/<revision>)"],
      ["an adapter", ["adapter_config.json", "adapter_model.safetensors"], "give its base model as the model and this as its adapter"],
      ["a folder without tokenizer", ["config.json"], "has no tokenizer.json; download it, or convert"],
      [
        "a SentencePiece tokenizer alone",
        ["config.json", "tokenizer.model"],
        "a SentencePiece tokenizer.model is there, which is not read",
      ],
      ["a folder without weights", ["config.json", "tokenizer.json"], "has no weights"],
      ["pickles", ["config.json", "tokenizer.json", "pytorch_model.bin"], "weights only as pytorch_model.bin, a pickle"],
      [
        "shards without index",
        ["config.json", "tokenizer.json", "model-00001-of-00002.safetensors"],
        "but no model.safetensors.index.json",
      ],
      [
        "weights of another name",
        ["config.json", "tokenizer.json", "consolidated.safetensors"],
        "has consolidated.safetensors but neither",
      ],
      ["an empty weight file", ["config.json", "tokenizer.json", "model.safetensors"], "has 2 bytes, less than a safetensors file needs"],
    ];
    it.each(files)("%s", async (_, names, message) => {
      for (const name of names) put(name, "{}");
      expect(await refusal()).toContain(message);
    });
    it("files that are no JSON, no UTF-8, an LFS pointer, or folders", async () => {
      putModel();
      put("config.json", "{");
      expect(await refusal()).toMatch(/config\.json: is not valid JSON .*; download it again/);
      put("config.json", "[]");
      expect(await refusal()).toContain("config.json: is no JSON object");
      put("config.json", new Uint8Array([0x22, 0xff, 0x22]));
      expect(await refusal()).toContain("config.json: is not UTF-8");
      put("config.json", "version https://git-lfs.github.com/spec/v1\n");
      expect(await refusal()).toContain("git lfs pull");
      rmSync(join(folder, "config.json"));
      mkdirSync(join(folder, "config.json"));
      expect(await refusal()).toContain("config.json: is a folder");
    });
    it("a link into a cache whose file is gone", async () => {
      putModel();
      symlinkSync(join(root, "gone"), join(folder, "tokenizer_config.json"));
      expect(await refusal()).toContain("tokenizer_config.json: cannot be read: no such file");
    });
    it("a truncated weight file, naming the tensor", async () => {
      putModel();
      const bytes = readFileSync(join(folder, "model.safetensors"));
      truncateSync(join(folder, "model.safetensors"), bytes.length - 1);
      expect(await refusal()).toMatch(/model\.safetensors: tensor "w" ends at byte 4 .* truncated/);
    });

    const one = safetensors({ a: { dtype: "U8", shape: [1], bytes: new Uint8Array(1) } });
    it.each([
      ["../model.safetensors"],
      ["/etc/model.safetensors"],
      ["sub/model.safetensors"],
      ["sub\\model.safetensors"],
      ["C:model.safetensors"],
      ["..safetensors"],
      ["a\0.safetensors"],
      ["a\u001b.safetensors"],
      [".safetensors"],
      ["pytorch_model.bin"],
      [""],
    ])("an index that leads to %j", async (shard) => {
      putShards({ a: shard }, {});
      expect(await refusal()).toMatch(/maps tensor "a" to ".*", expected the plain name of a \.safetensors file/);
    });
    it.each([
      ["no weight_map", { metadata: {} }, 'has no "weight_map"'],
      ["a list", [], 'has no "weight_map"'],
      ["a weight_map that is a list", { weight_map: [] }, 'has no "weight_map"'],
      ["an empty weight_map", { weight_map: {} }, "lists no tensors"],
      ["a number for a file", { weight_map: { a: 1 } }, 'maps tensor "a" to no file name'],
    ])("an index with %s", async (_, index, message) => {
      putShards({}, {});
      put("model.safetensors.index.json", JSON.stringify(index));
      expect(await refusal()).toContain(message);
    });
    it("an index that names a tensor twice", async () => {
      putShards({}, { "m.safetensors": one });
      put("model.safetensors.index.json", '{"weight_map":{"a":"m.safetensors","a":"m.safetensors"}}');
      expect(await refusal()).toContain('names "a" twice');
    });
    it("missing shards, by name", async () => {
      putShards({ a: "m1.safetensors", b: "m2.safetensors", c: "m3.safetensors" }, { "m2.safetensors": one });
      expect(await refusal()).toContain('names "m1.safetensors", "m3.safetensors", not in the folder; download the missing shards');
    });
    it("a shard that does not hold what the index says", async () => {
      putShards({ a: "m.safetensors", b: "m.safetensors" }, { "m.safetensors": one });
      expect(await refusal()).toContain('puts tensor "b" into m.safetensors, which does not hold it');
    });
  });

  it("leaves out a shard's tensors that the index does not name there", async () => {
    const u8 = { dtype: "U8", shape: [1], bytes: new Uint8Array(1) };
    putShards(
      { a: "m1.safetensors", b: "m2.safetensors" },
      { "m1.safetensors": safetensors({ a: u8, b: u8 }), "m2.safetensors": safetensors({ b: u8 }) },
    );
    const checkpoint = await openCheckpoint(folder);
    expect([...checkpoint.tensors.values()].map(({ name, file }) => [name, file.slice(-14)])).toEqual([
      ["a", "m1.safetensors"],
      ["b", "m2.safetensors"],
    ]);
    checkpoint.close();
  });
});

describe("reading", () => {
  const table = Array.from({ length: 5 }, (_, row) => [row, row + 0.5, -row]);
  const open = async () => {
    putModel(
      safetensors({
        odd: { dtype: "U8", shape: [1], bytes: new Uint8Array(1) },
        table: { dtype: "BF16", shape: [5, 3], bytes: bf16(table.flat()) },
        double: { dtype: "F64", shape: [1], bytes: new Uint8Array(8) },
        vector: { dtype: "F32", shape: [2], bytes: bytesOf(new Float32Array([1, Number.NaN])) },
        none: { dtype: "F16", shape: [0, 4], bytes: new Uint8Array(0) },
      }),
    );
    return openCheckpoint(folder);
  };

  it("gathers rows in the order asked for, repetitions included, as the whole table has them", async () => {
    const checkpoint = await open();
    for (const indices of [[], [3], [4, 0, 0, 2, 3, 4], [2, 2], [0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]) {
      expect([...(await checkpoint.readRows("table", indices))]).toEqual(indices.flatMap((row) => table[row]!));
    }
    expect([...(await checkpoint.readRows("table", Int32Array.of(1, 4)))]).toEqual([...table[1]!, ...table[4]!]);
    expect([...(await checkpoint.readRowRange("table", 1, 3))]).toEqual([...table[1]!, ...table[2]!]);
    expect((await checkpoint.readRowRange("table", 5, 5)).length).toBe(0);
    checkpoint.close();
  });

  it("reads into a part of a larger array", async () => {
    const checkpoint = await open();
    const whole = new Float32Array(8).fill(9);
    await checkpoint.readRows("table", [2], whole.subarray(1, 4));
    await checkpoint.read("vector", whole.subarray(4, 6));
    expect([...whole]).toEqual([9, 2, 2.5, -2, 1, Number.NaN, 9, 9]);
    await expect(checkpoint.read("vector", whole)).rejects.toThrow("target has 8 values, expected 2");
    checkpoint.close();
  });

  it("takes a tensor of an unsupported dtype until it is read", async () => {
    const checkpoint = await open();
    await expect(checkpoint.read("double")).rejects.toThrow('tensor "double" is stored as F64, expected F32, F16 or BF16');
    expect(() => checkpoint.readSync("odd")).toThrow("is stored as U8");
    checkpoint.close();
  });

  it("names what it is asked for and does not have", async () => {
    const checkpoint = await open();
    await expect(checkpoint.read("missing")).rejects.toThrow('has no tensor "missing"');
    await expect(checkpoint.readRows("table", [1, 5])).rejects.toThrow('row 5 of "table" was asked for, which has 5 rows');
    await expect(checkpoint.readRows("table", [-1])).rejects.toThrow("row -1");
    await expect(checkpoint.readRows("table", [0.5])).rejects.toThrow("row 0.5");
    await expect(checkpoint.readRows("none", [0])).rejects.toThrow("which has 0 rows");
    await expect(checkpoint.readRowRange("table", 3, 6)).rejects.toThrow("rows 3 to 6");
    await expect(checkpoint.readRows("vector", [0])).rejects.toThrow("has the shape [2], expected two dimensions");
    expect((await checkpoint.read("none")).length).toBe(0);
    checkpoint.close();
  });

  it("says so where the file shrank, and where it was closed", async () => {
    const checkpoint = await open();
    truncateSync(join(folder, "model.safetensors"), 20);
    await expect(checkpoint.read("table")).rejects.toThrow('ended inside tensor "table": the file was changed while it was in use');
    expect(() => checkpoint.readSync("vector")).toThrow("ended inside");
    checkpoint.close();
    checkpoint.close();
    await expect(checkpoint.read("table")).rejects.toThrow("after close()");
  });
});

describe("hashes", () => {
  const sha256 = (text: string | Uint8Array) => createHash("sha256").update(text).digest("hex");

  it("are SHA-256 sums of the files and of their names and sums, in name order", async () => {
    putModel();
    put("chat_template.jinja", "x");
    const checkpoint = await openCheckpoint(folder);
    const sum = (name: string) => sha256(readFileSync(join(folder, name)));
    const names = ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json"];
    expect(await checkpoint.hashes()).toEqual({
      weights: sha256(`config.json\0${sum("config.json")}\nmodel.safetensors\0${sum("model.safetensors")}\n`),
      tokenizer: sha256(`chat_template.jinja\0${sum("chat_template.jinja")}\ntokenizer.json\0${sum("tokenizer.json")}\n`),
      files: Object.fromEntries(names.map((name) => [name, sum(name)])),
    });
    checkpoint.close();
  });

  it("of weights change with a weight, of the tokenizer with a template, and with nothing else", async () => {
    cpSync(join(fixtures, "llama31"), folder, { recursive: true });
    const hashes = async () => {
      const checkpoint = await openCheckpoint(folder);
      checkpoint.close();
      return checkpoint.hashes();
    };
    const before = await hashes();
    put("README.md", "other");
    expect(await hashes()).toEqual(before);
    put("chat_template.jinja", "other");
    const template = await hashes();
    expect([template.weights === before.weights, template.tokenizer === before.tokenizer]).toEqual([true, false]);
    const shard = readFileSync(join(folder, "model-00002-of-00003.safetensors"));
    shard[shard.length - 1]! ^= 1;
    put("model-00002-of-00003.safetensors", shard);
    const weights = await hashes();
    expect([weights.weights === before.weights, weights.tokenizer === template.tokenizer]).toEqual([false, true]);
  });
});
