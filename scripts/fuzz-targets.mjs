// What scripts/fuzz.mjs breaks, and what must hold of the answer. Every target refuses a mutant with a LayergradError of one of its kinds, or
// gives an answer that agrees with itself and, as far as one was written down here, with an independent reading of the same bytes.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { readRows } from "../dist/io/rows.js";
import { readSafetensorsHeader } from "../dist/io/safetensors.js";
import { openModel, rowEncoder } from "../dist/run/open-model.js";
import { contentHash, RunFolder } from "../dist/store/index.js";
import { readTable } from "../dist/store/table-reader.js";
import { readStudy } from "../dist/study/spec.js";
import { studyTemplate, templateNames } from "../dist/study/templates.js";
import { mutate } from "./fuzz-mutations.mjs";

const root = fileURLToPath(new URL("../", import.meta.url));
const fixtures = join(root, "test/fixtures");
const models = readdirSync(join(fixtures, "models")).map((name) => join(fixtures, "models", name));

/** An answer that is not right: a bug as much as a crash is. */
export class WrongAnswer extends Error {}

function check(holds, what) {
  if (!holds) throw new WrongAnswer(what);
}

/**
 * @typedef Sample A file that is in order.
 * @property {string} name As it is to be called.
 * @property {Buffer} bytes
 * @property {"json" | "text" | "binary"} form
 * @property {string} [folder] The model folder that it belongs to.
 *
 * @typedef Target
 * @property {readonly string[]} kinds Of the errors that it may give.
 * @property {(work: string) => Sample[] | Promise<Sample[]>} samples In a folder of this process's own.
 * @property {(random: import("../dist/analysis/random.js").Random, sample: Sample, other: Sample) => Buffer} [mutate] Where bytes alone are not enough.
 * @property {(path: string, sample: Sample, mutant: Buffer) => unknown} answer Reads the mutant, which is written at `path`, and checks what it got.
 * @property {(mutant: Buffer, sample: Sample) => boolean} [sameContent] Whether the answer must be the sample's; by default for the very same bytes.
 */

const jsonOf = (bytes) => {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
};
/** Whether two texts are the same JSON; keys that are there twice make a text that is no sample's. */
const sameJson = (mutant, { bytes }) =>
  mutant.length === bytes.length && isDeepStrictEqual(jsonOf(mutant), jsonOf(bytes)) && jsonOf(bytes) !== undefined;

/** Copies of the fixtures' model folders, of which one file is to be broken. */
const modelSamples = (file) => (work) =>
  models
    .filter((model) => existsSync(join(model, file)))
    .map((model) => {
      const folder = join(work, file, model.split("/").at(-1));
      cpSync(model, folder, { recursive: true });
      return { name: file, bytes: readFileSync(join(model, file)), form: "json", folder };
    });

/** Ids as a text: an id may be -0 where the file has it so, which is no other. */
const idList = (ids) => [...ids].join();

const texts = ["What is 2 + 2? It's 4.\n", "ÄÖ Ⅷ 12345 \u{1F600} <s></s><|eot_id|>\t\t x", `${" ".repeat(70)}${"a".repeat(50)}!`];

async function withModel(reference, use) {
  const model = await openModel(reference);
  try {
    return await use(model);
  } finally {
    model.checkpoint.close();
  }
}

/** Ids of some texts, which must be the same the second time. */
function encodedTexts(model) {
  const encode = rowEncoder(model, { mode: "base", maxLength: 1024, singleBos: false, date: "2026-01-01" });
  return texts.map((text, row) => {
    const { inputIds } = encode({ instruction: text, input: "", output: text }, row);
    check(idList(model.tokenizer.encode(`${text}\n${text}`)) === idList(inputIds), "the same text gives other ids the second time");
    check(
      inputIds.every((id) => id >= 0 && id < model.spec.vocabulary),
      `an id is none of the model's: ${inputIds}`,
    );
    return [...inputIds];
  });
}

function checkSpec(spec) {
  const numbers = [
    "layers",
    "hidden",
    "intermediate",
    "heads",
    "keyValueHeads",
    "headDim",
    "vocabulary",
    "normEps",
    "embeddingScale",
    "scoreScale",
  ];
  for (const name of numbers) check(Number.isFinite(spec[name]) && spec[name] > 0, `${name} is ${spec[name]}`);
  for (const name of ["scoreCap", "logitCap"]) check(spec[name] > 0, `${name} is ${spec[name]}`);
  check(spec.attention.length === spec.layers, `${spec.attention.length} attentions for ${spec.layers} layers`);
  for (const { window, rope } of spec.attention) {
    check(window >= 1, `a window of ${window}`);
    check(rope.inverseFrequencies.length * 2 === spec.headDim, "rotary frequencies of another number than head_dim");
    check(
      rope.inverseFrequencies.every((f) => Number.isFinite(f) && f >= 0),
      `a rotary frequency is no number: ${rope.inverseFrequencies}`,
    );
  }
}

function smallSafetensors() {
  const tensors = {
    a: ["F32", [2, 3], 24],
    "b.weight": ["BF16", [4], 8],
    c: ["F16", [2, 2, 2], 16],
    empty: ["I64", [0, 5], 0],
    scalar: ["F64", [], 8],
  };
  let at = 0;
  const header = { __metadata__: { format: "pt" } };
  for (const [name, [dtype, shape, bytes]] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [at, at + bytes] };
    at += bytes;
  }
  return safetensors(Buffer.from(JSON.stringify(header)), Buffer.alloc(at, 7));
}

function safetensors(header, data) {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, data]);
}

const headerOf = (bytes) => bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0)));

async function rowsOf(path) {
  const { rows } = await readRows(path);
  check(rows.length > 0, "no rows and no error");
  for (const row of rows)
    for (const text of [row.instruction, row.input, row.output])
      check(typeof text === "string" && !/\p{Surrogate}/u.test(text), "a text that is no Unicode");
  return rows;
}

/** A LoRA of rank 4 over two projections of the fixture llama, in zeros. */
function adapterWeights() {
  const header = {};
  let at = 0;
  for (const [module, out] of [
    ["q_proj", 64],
    ["v_proj", 32],
  ])
    for (const [part, shape] of [
      ["lora_A", [4, 64]],
      ["lora_B", [out, 4]],
    ]) {
      const end = at + 4 * shape[0] * shape[1];
      header[`base_model.model.model.layers.0.self_attn.${module}.${part}.weight`] = { dtype: "F32", shape, data_offsets: [at, end] };
      at = end;
    }
  return safetensors(Buffer.from(JSON.stringify(header)), Buffer.alloc(at));
}

/** Rows as a plain reading of the same JSON has them, or undefined where it has none. */
function plainRows(name, bytes) {
  const values = name.endsWith(".json")
    ? jsonOf(bytes)
    : bytes
        .toString("utf8")
        .split("\n")
        .filter((line) => line.trim() !== "")
        .map((line) => jsonOf(Buffer.from(line)));
  if (!Array.isArray(values) || !values.every((row) => typeof row?.instruction === "string" && typeof row?.output === "string"))
    return undefined;
  return values.map(({ instruction, input, output }) => ({ instruction, input: input ?? "", output }));
}

const statistics = {
  M_mean: 0.25,
  M_max: 1,
  M_min: -1,
  frobenius_norm: 1.5,
  S_sum: 2.5,
  S_max: 1,
  S_min: 0,
  effective_rank: 2,
  stable_rank: 1,
  rank: 2,
};
const record = (row) => ({
  instruction: `question ${row}`,
  output: "an answer, ö",
  loss: 1.5 + row,
  row,
  n_tokens: 9,
  label_start: 4,
  n_labels: 5,
  ...Object.fromEntries(
    [0, 1].flatMap((layer) => ["q", "k", "v", "o"].map((p) => [`model.layers.${layer}.self_attn.${p}_proj.weight`, statistics])),
  ),
});
const recordLines = [0, 1, 2, 3].map((row) => `${JSON.stringify(record(row))}\n`).join("");
const hash = "a".repeat(64);
const description = {
  identity: {
    schemaVersion: 1,
    weights: hash,
    tokenizer: hash,
    data: hash,
    mode: "base",
    maxLength: 64,
    singleBos: false,
    date: "2026-01-01",
    matrices: ["self_attn.q_proj"],
    spectrum: false,
    cosines: false,
  },
  model: { folder: "m", files: {} },
  data: { path: "d.json", sha256: hash, rows: 10 },
  options: {},
  versions: {},
};

/** A run's folder in which one file is replaced; tells what is in its records afterwards. */
async function openRun(path, mutant, replaced) {
  const folder = `${path}-run`;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  (await RunFolder.open(folder, description)).close("done");
  writeFileSync(join(folder, "records.jsonl"), recordLines);
  writeFileSync(join(folder, replaced), mutant);
  const before = readFileSync(join(folder, "records.jsonl"));
  let run;
  try {
    run = await RunFolder.open(folder, description);
  } catch (error) {
    check(readFileSync(join(folder, "records.jsonl")).equals(before), "the records of a folder that was refused have changed");
    throw error;
  } finally {
    run?.close("done");
  }
  check(JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8")).identity.data === hash, "the manifest is not the run's");
  return { run, before, after: readFileSync(join(folder, "records.jsonl")) };
}

/** The lines that no one may lose: whole, valid, the first of their row. */
function wholeLines(bytes) {
  const kept = [];
  const rows = new Set();
  for (let start = 0, end = bytes.indexOf(10); end >= 0; start = end + 1, end = bytes.indexOf(10, start)) {
    const value = jsonOf(bytes.subarray(start, end));
    if (value === undefined || rows.has(value?.row)) continue;
    rows.add(value?.row);
    kept.push(bytes.subarray(start, end + 1));
  }
  return Buffer.concat(kept);
}

/** @type {Record<string, Target>} */
export const targets = {
  safetensors: {
    kinds: ["model"],
    samples: () => [
      { name: "small.safetensors", bytes: smallSafetensors(), form: "binary" },
      { name: "shard.safetensors", bytes: readFileSync(join(fixtures, "models/llama31/model-00002-of-00003.safetensors")), form: "binary" },
    ],
    mutate(random, { bytes, form }, other) {
      if (random.below(3) === 0) return mutate(random, bytes, other.bytes, form);
      // The header alone, with its right length, so that the mutation gets past the first eight bytes.
      const header = headerOf(bytes);
      return safetensors(mutate(random, header, headerOf(other.bytes), "json"), bytes.subarray(8 + header.length));
    },
    answer(path, _, mutant) {
      const { tensors, metadata } = readSafetensorsHeader(path);
      const header = jsonOf(headerOf(mutant));
      const { __metadata__ = {}, ...expected } = header;
      check(isDeepStrictEqual(Object.fromEntries(metadata), { ...__metadata__ }), "the metadata are not the header's");
      check(tensors.size === Object.keys(expected).length, "the tensors are not the header's");
      const spans = [...tensors.values()].map(({ name, dtype, shape, offset, byteLength }) => {
        const {
          data_offsets: [begin, end],
        } = expected[name];
        check(dtype === expected[name].dtype && isDeepStrictEqual(shape, expected[name].shape), `${name} is not as the header says`);
        check(
          byteLength === end - begin && offset === mutant.length - (mutant.length - 8 - headerOf(mutant).length) + begin,
          `${name} lies elsewhere`,
        );
        return [offset, offset + byteLength];
      });
      spans.sort(([a, b], [c, d]) => a - c || b - d);
      check(
        spans.reduce((at, [begin, end]) => (begin === at ? end : Number.NaN), 8 + headerOf(mutant).length) === mutant.length,
        "the tensors do not fill the file",
      );
      return [...tensors.values()].map(({ file: _, ...tensor }) => tensor);
    },
    sameContent: (mutant, { bytes }) =>
      mutant.length === bytes.length &&
      headerOf(bytes).equals(mutant.subarray(8, 8 + headerOf(bytes).length)) &&
      mutant.subarray(0, 8).equals(bytes.subarray(0, 8)),
  },

  index: {
    kinds: ["model"],
    samples: modelSamples("model.safetensors.index.json"),
    answer: (_, { folder }) => withModel(folder, ({ checkpoint }) => [...checkpoint.tensors.keys()].sort()),
    sameContent: sameJson,
  },

  config: {
    kinds: ["model"],
    samples: modelSamples("config.json"),
    answer: (_, { folder }) =>
      withModel(folder, ({ spec }) => {
        checkSpec(spec);
        return spec;
      }),
    sameContent: sameJson,
  },

  tokenizer: {
    kinds: ["model"],
    samples: modelSamples("tokenizer.json"),
    answer: (_, { folder }) => withModel(folder, encodedTexts),
    sameContent: sameJson,
  },

  template: {
    kinds: ["model"],
    samples(work) {
      const configs = modelSamples("tokenizer_config.json")(work).filter(({ bytes }) => JSON.parse(bytes).chat_template);
      const sources = configs.flatMap(({ bytes, folder }) => {
        const { chat_template: source } = JSON.parse(bytes);
        return typeof source === "string"
          ? [{ name: "chat_template.jinja", bytes: Buffer.from(source), form: "text", folder: `${folder}-jinja` }]
          : [];
      });
      for (const { folder } of sources) cpSync(folder.replace(/-jinja$/, ""), folder, { recursive: true });
      return [...configs, ...sources];
    },
    answer: (_, { folder }) =>
      withModel(folder, (model) => {
        const encode = rowEncoder(model, { mode: "instruct", maxLength: 1024, singleBos: false, date: "2026-01-01" });
        const { text, inputIds } = encode({ instruction: texts[0], input: "", output: "4" }, 0);
        check(text.endsWith("4") && inputIds.length > 0, "the response is not at the text's end");
        return text;
      }),
    sameContent: (mutant, sample) => (sample.form === "json" ? sameJson(mutant, sample) : mutant.equals(sample.bytes)),
  },

  gguf: {
    kinds: ["model"],
    samples: () =>
      readdirSync(join(fixtures, "gguf"))
        .filter((name) => name.endsWith(".gguf"))
        .map((name) => ({ name, bytes: readFileSync(join(fixtures, "gguf", name)), form: "binary" })),
    mutate(random, { bytes, form }, other) {
      if (random.below(3) === 0) return mutate(random, bytes, other.bytes, form);
      // The beginning, where the sizes are, and the words of the metadata.
      const end = 2000;
      return Buffer.concat([
        mutate(random, bytes.subarray(0, end), other.bytes.subarray(0, end), random.below(2) ? form : "text"),
        bytes.subarray(end),
      ]);
    },
    answer: (path) =>
      withModel(path, async (model) => {
        checkSpec(model.spec);
        const values = await model.checkpoint.readRows("model.embed_tokens.weight", [0, model.spec.vocabulary - 1]);
        check(values.length === 2 * model.spec.hidden, `two embeddings have ${values.length} values`);
        // The fixtures' embeddings are cut short, so that ids may lie beyond them.
        const ids = texts.map((text) => model.tokenizer.encode(text));
        check(
          ids.flat().every((id) => Number.isInteger(id) && id >= 0),
          `an id is none: ${ids}`,
        );
        return [model.spec, ids];
      }),
  },

  adapter: {
    kinds: ["model"],
    samples(work) {
      const folder = join(work, "adapter");
      mkdirSync(folder);
      const weights = adapterWeights();
      const config = Buffer.from(
        JSON.stringify({
          peft_type: "LORA",
          r: 4,
          lora_alpha: 8,
          bias: "none",
          target_modules: ["q_proj", "v_proj"],
          layers_to_transform: [0],
          rank_pattern: {},
        }),
      );
      writeFileSync(join(folder, "adapter_model.safetensors"), weights);
      writeFileSync(join(folder, "adapter_config.json"), config);
      return [
        { name: "adapter_config.json", bytes: config, form: "json", folder },
        { name: "adapter_model.safetensors", bytes: weights, form: "binary", folder },
      ];
    },
    mutate(random, { bytes, form }, other) {
      if (form === "json" || random.below(3) === 0) return mutate(random, bytes, other.bytes, form);
      return safetensors(mutate(random, headerOf(bytes), headerOf(other.bytes), "json"), bytes.subarray(8 + headerOf(bytes).length));
    },
    answer: (_, { folder }) =>
      withModel({ model: join(fixtures, "models", "llama"), adapter: folder }, async ({ checkpoint }) => {
        const merged = await checkpoint.read("model.layers.0.self_attn.q_proj.weight");
        check(merged.length === 64 * 64, `a merged weight has ${merged.length} values`);
        return checkpoint.tensors.size;
      }),
    sameContent: (mutant, sample) => (sample.form === "json" ? sameJson(mutant, sample) : mutant.equals(sample.bytes)),
  },

  data: {
    kinds: ["data"],
    samples() {
      const data = (name) => readFileSync(join(fixtures, "data", name));
      const rows = JSON.parse(data("edge.json"));
      const cell = (text) => `"${(text ?? "").replaceAll('"', '""')}"`;
      return [
        { name: "rows.json", bytes: data("basic.json"), form: "json" },
        { name: "edge.json", bytes: data("edge.json"), form: "json" },
        { name: "rows.jsonl", bytes: Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join("")), form: "text" },
        {
          name: "chat.json",
          bytes: Buffer.from(
            JSON.stringify(
              rows.map((r) => ({
                messages: [
                  { role: "user", content: r.instruction },
                  { role: "assistant", content: r.output },
                ],
              })),
            ),
          ),
          form: "json",
        },
        {
          name: "rows.csv",
          bytes: Buffer.from(
            ["instruction,input,output", ...rows.map((r) => [r.instruction, r.input, r.output].map(cell).join(","))].join("\r\n"),
          ),
          form: "text",
        },
      ];
    },
    async answer(path, { name }, mutant) {
      const rows = await rowsOf(path);
      const plain = /json/.test(name) ? plainRows(name, mutant) : undefined;
      check(plain === undefined || isDeepStrictEqual(plain, rows), "the rows are not the file's");
      return rows;
    },
  },

  parquet: {
    kinds: ["data"],
    samples: () =>
      ["chat.snappy.parquet", "chat.zstd.parquet"].map((name) => ({
        name,
        bytes: readFileSync(join(fixtures, "data", name)),
        form: "binary",
      })),
    answer: rowsOf,
  },

  study: {
    kinds: ["usage"],
    samples(work) {
      for (const file of ["good.jsonl", "bad.jsonl"]) writeFileSync(join(work, file), '{"instruction":"a","output":"b"}\n');
      for (const step of [1000, 2000, 4000]) mkdirSync(join(work, "checkpoints", `step-${step}`), { recursive: true });
      const own = studyTemplate("controls", ["bad.jsonl", "good.jsonl"]);
      return [...templateNames.map((name) => studyTemplate(name)), own].map((text, i) => ({
        name: `study-${i}.yaml`,
        bytes: Buffer.from(text),
        form: "text",
      }));
    },
    answer(path) {
      const { name, out, models: studied, parts } = readStudy(path);
      check(
        name !== "" && out !== "" && studied.length > 0 && parts.length > 0 && parts.every(({ items }) => items.length > 0),
        "a study of nothing",
      );
      return { studied, parts };
    },
  },

  records: {
    kinds: ["data", "output"],
    samples: () => [
      { name: "records.jsonl", bytes: Buffer.from(recordLines), form: "text" },
      { name: "one.jsonl", bytes: Buffer.from(JSON.stringify(record(0))), form: "json" },
    ],
    async answer(path, _, mutant) {
      const { before, after, run } = await openRun(path, mutant, "records.jsonl").catch((error) => {
        if (error.kind !== "output") throw error;
        return {};
      });
      if (run) {
        check(after.equals(wholeLines(before)), "a whole line was lost, or a broken one kept");
        for (const line of after.toString("utf8").split("\n").slice(0, -1)) {
          const value = JSON.parse(line);
          check(run.done.get(value.row) === contentHash(value), `row ${value.row} counts as another`);
        }
      }
      const { modules, layers, rows, values } = await readTable(path);
      check(
        rows.length > 0 && Object.values(values).every((numbers) => numbers.length === rows.length * modules.length * layers),
        "the table's sizes disagree",
      );
      return { modules, layers, rows, values };
    },
  },

  manifest: {
    kinds: ["output"],
    async samples(work) {
      const folder = join(work, "sample");
      (await RunFolder.open(folder, description)).close("done");
      return [{ name: "manifest.json", bytes: readFileSync(join(folder, "manifest.json")), form: "json" }];
    },
    async answer(path, _, mutant) {
      const { before, after } = await openRun(path, mutant, "manifest.json");
      check(after.equals(before), "the records have changed");
      return true;
    },
  },
};
