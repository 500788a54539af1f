import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { ErrorKind } from "../../src/errors.ts";
import type { RunOptions } from "../../src/run/run.ts";
import { fixtureModel, fixtures } from "../fixtures.ts";
import { namedTensors, patchFile, withHeader } from "../safetensors.ts";

/** What a case may break: a folder of its own, and the run's folder, which holds two recorded rows of the call that is in order. */
export interface Place {
  readonly folder: string;
  readonly out: string;
}

/** One broken input of a run. */
export interface Case {
  readonly title: string;
  /** The error's kind, which decides the exit status. */
  readonly kind: ErrorKind;
  /** What the sentence says: the file or place by name, what is wrong, and what to do. */
  readonly sentence: RegExp;
  /** Breaks something and tells how the call differs from the one that is in order. */
  readonly arrange: (place: Place) => Partial<RunOptions>;
  /** Also through the command line: as these options. */
  readonly cli?: true;
  /** A new folder is made, since what was found belongs there: the reasons of rows that were skipped. */
  readonly leavesReasons?: true;
}

const llama = fixtureModel("llama");
const inFolder = (base: string, change: (copy: string) => void, folder: string): Partial<RunOptions> => {
  const copy = join(folder, "model");
  cpSync(base, copy, { recursive: true });
  change(copy);
  return { model: copy };
};

type Arrange = Case["arrange"];
const model =
  (change: (copy: string) => void, more: Partial<RunOptions> = {}): Arrange =>
  ({ folder }) => ({ ...inFolder(llama, change, folder), ...more });
const shards =
  (change: (copy: string) => void): Arrange =>
  ({ folder }) =>
    inFolder(fixtureModel("llama31"), change, folder);

const rewrite = (name: string, change: (text: string) => string) => (copy: string) =>
  writeFileSync(join(copy, name), change(readFileSync(join(copy, name), "utf8")));
const json = (name: string, change: (value: Record<string, unknown>) => void) =>
  rewrite(name, (text) => {
    const value = JSON.parse(text) as Record<string, unknown>;
    change(value);
    return JSON.stringify(value);
  });
const config = (fields: Record<string, unknown>): Arrange => model(json("config.json", (value) => Object.assign(value, fields)));

type Bpe = { model: { vocab: Record<string, number>; merges: unknown[] } } & Record<string, unknown>;
const tokenizer = (change: (value: Bpe) => void): Arrange => model(json("tokenizer.json", (value) => change(value as Bpe)));
const template = (source: string): Arrange =>
  model((copy) => writeFileSync(join(copy, "chat_template.jinja"), source), { mode: "instruct" });

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
const WEIGHTS = "model.safetensors";
const header = (change: (value: Header) => void): Arrange =>
  model((copy) =>
    withHeader(join(copy, WEIGHTS), (text) => {
      const value = JSON.parse(text) as Header;
      change(value);
      return JSON.stringify(value);
    }),
  );
const K = "model.layers.0.self_attn.k_proj.weight";
const weights = (change: (bytes: Buffer) => Uint8Array | string): Arrange =>
  model((copy) => writeFileSync(join(copy, WEIGHTS), change(readFileSync(join(copy, WEIGHTS)))));
const headerLength = (length: bigint): Arrange =>
  model((copy) => patchFile(join(copy, WEIGHTS), 0, new Uint8Array(BigUint64Array.of(length).buffer)));

const INDEX = "model.safetensors.index.json";
type Index = { weight_map: Record<string, string> };
const index = (change: (value: Index) => void): Arrange => shards(json(INDEX, (value) => change(value as Index)));

const data =
  (name: string, content: string | Uint8Array): Arrange =>
  ({ folder }) => {
    writeFileSync(join(folder, name), content);
    return { data: join(folder, name) };
  };
const row = (fields: Record<string, unknown>): string => JSON.stringify({ instruction: "a", output: "b", ...fields });
const parquet = readFileSync(join(fixtures, "data", "chat.zstd.parquet"));

const output =
  (change: (out: string) => void): Arrange =>
  ({ out }) => {
    change(out);
    return {};
  };
const put = (name: string, text: string) => output((out) => writeFileSync(join(out, name), text));

/** The lock of a process that lives: the tests' own parent. Without what tells it from a later one, as on a system without /proc. */
const liveLock = JSON.stringify({ token: "t", pid: process.ppid, hostname: hostname(), process: null, started: "2026-01-01T00:00:00Z" });

const again = "download|save it again|leave it";
const original = "use the model's original (file|config\\.json)";
const says = (where: string, what: string, advice: string): RegExp => new RegExp(`${where}.*${what}.*(${advice})`);

/** Broken weights, configurations, tokenizers, templates, data, output folders and options, as a run meets them. */
export const cases: readonly Case[] = [
  // Weights in one file.
  {
    title: "weights cut off in the data",
    kind: "model",
    sentence: says(WEIGHTS, "truncated", again),
    arrange: weights((b) => b.subarray(0, 500_000)),
    cli: true,
  },
  {
    title: "weights cut off in the header",
    kind: "model",
    sentence: says(WEIGHTS, "only 100 bytes in all", again),
    arrange: weights((b) => b.subarray(0, 100)),
  },
  { title: "weights of no bytes", kind: "model", sentence: says(WEIGHTS, "has 0 bytes", again), arrange: weights(() => "") },
  {
    title: "weights with a byte too many",
    kind: "model",
    sentence: says(WEIGHTS, "1 bytes after its last tensor", again),
    arrange: weights((b) => Buffer.concat([b, Buffer.of(0)])),
  },
  {
    title: "a header of 2⁶³ bytes",
    kind: "model",
    sentence: says(WEIGHTS, "9223372036854775808 bytes, more than", again),
    arrange: headerLength(2n ** 63n),
  },
  {
    title: "a header longer than the file",
    kind: "model",
    sentence: says(WEIGHTS, "header of 99000000 bytes", again),
    arrange: headerLength(99_000_000n),
  },
  {
    title: "a header cut off by its own length",
    kind: "model",
    sentence: says(WEIGHTS, "not valid JSON in UTF-8 \\(which ends too early\\)", again),
    arrange: headerLength(60n),
  },
  {
    title: "a header with a key twice",
    kind: "model",
    sentence: says(WEIGHTS, `names "${K}" twice`, again),
    arrange: model((copy) => withHeader(join(copy, WEIGHTS), (text) => text.replace("model.layers.1.self_attn.k_proj.weight", K))),
  },
  {
    title: "tensors that overlap",
    kind: "model",
    sentence: says(WEIGHTS, "overlap", again),
    arrange: header((h) => {
      h["model.layers.1.self_attn.k_proj.weight"]!.data_offsets = h[K]!.data_offsets;
    }),
  },
  {
    title: "a tensor beyond the file's end",
    kind: "model",
    sentence: says(WEIGHTS, `${K}" ends at byte`, again),
    arrange: header((h) => {
      h[K]!.data_offsets = [2 ** 40, 2 ** 40 + 8192];
    }),
  },
  {
    title: "a tensor that ends before it begins",
    kind: "model",
    sentence: says(WEIGHTS, "end before they begin", again),
    arrange: header((h) => {
      h[K]!.data_offsets.reverse();
    }),
  },
  {
    title: "a negative offset",
    kind: "model",
    sentence: says(WEIGHTS, "data_offsets \\[-8,0\\]", again),
    arrange: header((h) => {
      h[K]!.data_offsets = [-8, 0];
    }),
  },
  {
    title: "a shape whose product wraps round",
    kind: "model",
    sentence: says(WEIGHTS, "takes \\d+ bytes, but its data_offsets span", again),
    arrange: header((h) => {
      h[K]!.shape = [2 ** 32, 2 ** 32, 2048];
    }),
  },
  {
    title: "a negative size",
    kind: "model",
    sentence: says(WEIGHTS, "shape \\[-32,64\\]", again),
    arrange: header((h) => {
      h[K]!.shape[0] = -32;
    }),
  },
  {
    title: "a dtype that no one knows",
    kind: "model",
    sentence: says(WEIGHTS, 'dtype "F31"', "save the model in"),
    arrange: header((h) => {
      h[K]!.dtype = "F31";
    }),
  },
  {
    title: "integers where a weight is expected",
    kind: "model",
    sentence: says(K, "I32", "save the model in"),
    arrange: header((h) => {
      h[K]!.dtype = "I32";
    }),
    cli: true,
  },
  {
    title: "a weight of another shape",
    kind: "model",
    sentence:
      /Tensor model\.layers\.0\.self_attn\.k_proj\.weight has shape \[64,32\], but config\.json implies \[32,64\]; the files do not belong together/,
    arrange: header((h) => {
      h[K]!.shape.reverse();
    }),
  },
  {
    title: "a weight that is missing",
    kind: "model",
    sentence: says(`no tensor ${K}`, "config.json", "may be incomplete"),
    arrange: model((copy) => withHeader(join(copy, WEIGHTS), (text) => text.replace(K, K.replace("k_proj", "kk_proj")))),
  },
  {
    title: "a web page for weights",
    kind: "model",
    sentence: says(WEIGHTS, "web page", again),
    arrange: weights(() => "<!doctype html><title>404</title>"),
  },
  {
    title: "a Git LFS pointer for weights",
    kind: "model",
    sentence: says(WEIGHTS, "Git LFS pointer", "git lfs pull"),
    arrange: weights(() => "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
  },
  {
    title: "a pickle for weights",
    kind: "model",
    sentence: says("model", "pickle that can run code", "convert it"),
    arrange: model((copy) => {
      rmSync(join(copy, WEIGHTS));
      writeFileSync(join(copy, "pytorch_model.bin"), "PK");
    }),
  },
  {
    title: "a folder for weights",
    kind: "model",
    sentence: says(WEIGHTS, "(folder|regular file)", "give a folder|download"),
    arrange: model((copy) => {
      rmSync(join(copy, WEIGHTS));
      mkdirSync(join(copy, WEIGHTS));
    }),
  },
  {
    title: "a link to nothing for weights",
    kind: "model",
    sentence: says(WEIGHTS, "no such file", "download"),
    arrange: model((copy) => {
      rmSync(join(copy, WEIGHTS));
      symlinkSync("../../blobs/gone", join(copy, WEIGHTS));
    }),
  },
  {
    title: "a link out of the folder to what are no weights",
    kind: "model",
    sentence: says(WEIGHTS, "(header|bytes|less than)", again),
    arrange: model((copy) => {
      rmSync(join(copy, WEIGHTS));
      symlinkSync("/etc/passwd", join(copy, WEIGHTS));
    }),
  },
  {
    title: "no weights at all",
    kind: "model",
    sentence: says("model", "has no weights", "download them"),
    arrange: model((copy) => rmSync(join(copy, WEIGHTS))),
  },
  {
    title: "NaN in a weight that every row meets",
    kind: "data",
    sentence: /basic\.json: none of the chosen rows could be measured; skipped\.jsonl in .* says why/,
    leavesReasons: true,
    arrange: model((copy) =>
      patchFile(
        join(copy, WEIGHTS),
        namedTensors(join(copy, WEIGHTS)).get("model.norm.weight")!.offset,
        new Uint8Array(Float32Array.of(Number.NaN).buffer),
      ),
    ),
  },

  // Weights in shards.
  {
    title: "a shard that is missing",
    kind: "model",
    sentence: says(INDEX, "model-00002-of-00003.safetensors.*not in the folder", "download the missing shard"),
    arrange: shards((copy) => rmSync(join(copy, "model-00002-of-00003.safetensors"))),
  },
  {
    title: "shards without their index",
    kind: "model",
    sentence: says("model", `no ${INDEX}`, "download that file too"),
    arrange: shards((copy) => rmSync(join(copy, INDEX))),
  },
  {
    title: "an index that lies",
    kind: "model",
    sentence: says(INDEX, "which does not hold it", again),
    arrange: index(({ weight_map: m }) => {
      for (const name in m) m[name] = "model-00001-of-00003.safetensors";
    }),
  },
  {
    title: "an index that leads out of the folder",
    kind: "model",
    sentence: says(INDEX, "plain name of a .safetensors file", "do not use this download"),
    arrange: index(({ weight_map: m }) => {
      m[K] = "../../../etc/passwd.safetensors";
    }),
    cli: true,
  },
  {
    title: "an index with an absolute path",
    kind: "model",
    sentence: says(INDEX, "plain name", "do not use this download"),
    arrange: index(({ weight_map: m }) => {
      m[K] = "/etc/model.safetensors";
    }),
  },
  {
    title: "an index of numbers",
    kind: "model",
    sentence: says(INDEX, "to no file name", again),
    arrange: index(({ weight_map: m }) => {
      m[K] = 1 as never;
    }),
  },
  {
    title: "an index without tensors",
    kind: "model",
    sentence: says(INDEX, "lists no tensors", again),
    arrange: index((value) => {
      value.weight_map = {};
    }),
  },
  {
    title: "an index that is no JSON",
    kind: "model",
    sentence: says(INDEX, "not valid JSON in line 1, which ends too early", again),
    arrange: shards((copy) => writeFileSync(join(copy, INDEX), "{")),
  },

  // config.json.
  {
    title: "no config.json",
    kind: "model",
    sentence: says("model", "no config.json", "give a model folder"),
    arrange: model((copy) => rmSync(join(copy, "config.json"))),
  },
  {
    title: "a config.json cut off",
    kind: "model",
    sentence: says("config.json", "not valid JSON in line 4, which ends too early", again),
    arrange: model(rewrite("config.json", (text) => text.slice(0, 50))),
  },
  {
    title: "a config.json that is a list",
    kind: "model",
    sentence: says("config.json", "no JSON object", again),
    arrange: model(rewrite("config.json", () => "[]")),
  },
  {
    title: "a folder called config.json",
    kind: "model",
    sentence: says("config.json", "is a folder", "expected a file"),
    arrange: model((copy) => {
      rmSync(join(copy, "config.json"));
      mkdirSync(join(copy, "config.json"));
    }),
  },
  {
    title: "a billion layers",
    kind: "model",
    sentence: says("config.json", "num_hidden_layers must be an integer from 1 to 1000, found 1000000000", original),
    arrange: config({ num_hidden_layers: 1e9 }),
    cli: true,
  },
  {
    title: "more layers than the weights have",
    kind: "model",
    sentence: says("no tensor model.layers.4.", "config.json", "incomplete"),
    arrange: config({ num_hidden_layers: 1000 }),
  },
  {
    title: "a head count that does not divide",
    kind: "model",
    sentence: says("config.json", "hidden_size 64 is not a multiple of num_attention_heads 6", "original config.json"),
    arrange: config({ num_attention_heads: 6 }),
  },
  {
    title: "an ε of NaN",
    kind: "model",
    sentence: says("config.json", "rms_norm_eps must be a positive number, found NaN", original),
    arrange: model(rewrite("config.json", (text) => text.replace("1e-05", "NaN"))),
  },
  {
    title: "a negative width",
    kind: "model",
    sentence: says("config.json", "hidden_size must be .* found -64", original),
    arrange: config({ hidden_size: -64 }),
  },
  {
    title: "a text for a number",
    kind: "model",
    sentence: says("config.json", 'vocab_size must be .* found "625"', original),
    arrange: config({ vocab_size: "625" }),
  },
  {
    title: "null for a number",
    kind: "model",
    sentence: says("config.json", "hidden_size must be .* found (null|nothing)", original),
    arrange: config({ hidden_size: null }),
  },
  {
    title: "lists nested ten thousand deep for a number",
    kind: "model",
    sentence: says("config.json", "hidden_size must be .* found \\(deeply nested\\)", original),
    arrange: model(
      rewrite("config.json", (text) => text.replace('"hidden_size": 64', `"hidden_size": ${"[".repeat(10_000)}${"]".repeat(10_000)}`)),
    ),
  },
  {
    title: "rotary angles that overflow",
    kind: "model",
    sentence: says("config.json", "angles that are not finite", "original config.json"),
    arrange: config({ rope_scaling: { rope_type: "linear", factor: Number.MIN_VALUE } }),
  },
  {
    title: "a family's name of 70,000 letters",
    kind: "model",
    sentence: says("config.json", 'model_type "a{120}…" is not supported', "choose another model"),
    arrange: config({ model_type: "a".repeat(70_000) }),
  },

  // tokenizer.json.
  {
    title: "no tokenizer",
    kind: "model",
    sentence: says("model", "no tokenizer.json", "download it"),
    arrange: model((copy) => rmSync(join(copy, "tokenizer.json"))),
  },
  {
    title: "a tokenizer cut off",
    kind: "model",
    sentence: says("tokenizer.json", "not valid JSON in line 1", again),
    arrange: model(rewrite("tokenizer.json", (text) => text.slice(0, 5000))),
    cli: true,
  },
  {
    title: "a vocabulary of nothing",
    kind: "model",
    sentence: says("tokenizer.json", "model.vocab is empty", original),
    arrange: tokenizer((t) => {
      t.model.vocab = {};
    }),
  },
  {
    title: "a merge of a token that is not there",
    kind: "model",
    sentence: says("tokenizer.json", 'model.merges\\[0\\] is of the token "ghost"', original),
    arrange: tokenizer((t) => {
      t.model.merges[0] = ["ghost", "a"];
    }),
  },
  {
    title: "a merge that is a number",
    kind: "model",
    sentence: says("tokenizer.json", "model.merges\\[1\\] must be a pair of tokens", original),
    arrange: tokenizer((t) => {
      t.model.merges[1] = 7;
    }),
  },
  {
    title: "an id that a 32-bit integer cannot hold",
    kind: "model",
    sentence: says("tokenizer.json", "must be a whole number from 0 to 2147483647, found 4294967296", original),
    arrange: tokenizer((t) => {
      t.model.vocab.a = 2 ** 32;
    }),
  },
  {
    title: "a negative id",
    kind: "model",
    sentence: says("tokenizer.json", "found -1", original),
    arrange: tokenizer((t) => {
      t.model.vocab.a = -1;
    }),
  },
  {
    title: "ids that the model has no embeddings for",
    kind: "model",
    sentence: says("model", "gives token \\d+ in row 0, but the model has 625 embeddings", "do not belong together"),
    arrange: tokenizer((t) => {
      for (const token in t.model.vocab) t.model.vocab[token]! += 10_000;
    }),
  },
  {
    title: "a pattern that is none",
    kind: "model",
    sentence: says("tokenizer.json", "Invalid regular expression", original),
    arrange: tokenizer((t) => {
      t.pre_tokenizer = { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" };
    }),
  },
  {
    title: "a tokenizer of another sort",
    kind: "model",
    sentence: says("tokenizer.json", '"Unigram" is not supported', "only BPE is"),
    arrange: tokenizer((t) => {
      Object.assign(t.model, { type: "Unigram" });
    }),
  },

  // The chat template.
  {
    title: "no chat template",
    kind: "model",
    sentence: says("model", "no chat template", "use --mode base"),
    arrange: model(
      json("tokenizer_config.json", (c) => {
        delete c.chat_template;
      }),
      { mode: "instruct" },
    ),
  },
  {
    title: "a template that is none",
    kind: "model",
    sentence: says("chat template", "cannot be read", "use --mode base"),
    arrange: template("{% for x in %}"),
    cli: true,
  },
  {
    title: "a template that loops without end",
    kind: "model",
    sentence: says("chat template", "more than 100000 rounds", "use --mode base"),
    arrange: template("{% for a in range(1000) %}{% for b in range(1000) %}{{ a }}{% endfor %}{% endfor %}"),
  },
  {
    title: "a template that calls itself without end",
    kind: "model",
    sentence: says("chat template", "failed", "use --mode base"),
    arrange: template("{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}"),
  },
  {
    title: "a template that doubles its text without end",
    kind: "model",
    sentence: says("chat template", "does not come to an end|rounds", "use --mode base"),
    arrange: template("{% set ns = namespace(t='aaaaaaaa') %}{% for a in range(1000) %}{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}"),
  },
  {
    title: "a template that refuses, in several lines",
    kind: "model",
    sentence: says("chat template", "failed: no system turn, please", "use --mode base"),
    arrange: template("{{ raise_exception('no system turn,\n  please.') }}"),
  },
  {
    title: "a template that writes half a character",
    kind: "model",
    sentence: says("chat template", "half of a surrogate pair", "use --mode base"),
    arrange: model(
      json("tokenizer_config.json", (c) => {
        c.chat_template = "a\ud800b";
      }),
      { mode: "instruct" },
    ),
  },

  // Data.
  {
    title: "no data file",
    kind: "data",
    sentence: says("gone.json cannot be read", "no such file", "give the path"),
    arrange: ({ folder }) => ({ data: join(folder, "gone.json") }),
  },
  {
    title: "a folder for data",
    kind: "data",
    sentence: says("rows.json cannot be read", "it is a folder", "give the path"),
    arrange: ({ folder }) => {
      mkdirSync(join(folder, "rows.json"));
      return { data: join(folder, "rows.json") };
    },
  },
  { title: "data of no bytes", kind: "data", sentence: says("rows.json", "is empty", "must hold rows"), arrange: data("rows.json", "") },
  { title: "a list of no rows", kind: "data", sentence: says("rows.json", "no rows", "at least one"), arrange: data("rows.json", "[]") },
  {
    title: "JSON broken in line 3",
    kind: "data",
    sentence: says("rows.json, line 3", "invalid JSON, which cannot go on with", "correct it there"),
    arrange: data("rows.json", `[\n${row({})},\n{"instruction" "a"}]`),
    cli: true,
  },
  {
    title: "JSON that ends too early",
    kind: "data",
    sentence: says("rows.json, line 2", "which ends too early", "correct it there"),
    arrange: data("rows.json", `[${row({})},\n{"instr`),
  },
  {
    title: "JSONL broken in line 2",
    kind: "data",
    sentence: says("rows.jsonl, line 2", "invalid JSON", "each line must hold one row"),
    arrange: data("rows.jsonl", `${row({})}\r\n{]\r\n`),
  },
  {
    title: "CSV with a quote that is not closed",
    kind: "data",
    sentence: says("rows.csv", "invalid CSV", "correct it there"),
    arrange: data("rows.csv", 'instruction,output\na,b\n"c,d\n'),
  },
  {
    title: "CSV with a cell too few",
    kind: "data",
    sentence: says("rows.csv", "line 3", "correct it there"),
    arrange: data("rows.csv", "instruction,output\na,b\nc\n"),
  },
  {
    title: "CSV with a column twice",
    kind: "data",
    sentence: says("rows.csv", '"output" twice', "rename one"),
    arrange: data("rows.csv", "instruction,output,output\na,b,c\n"),
  },
  {
    title: "Parquet cut off",
    kind: "data",
    sentence: says("rows.parquet", "cannot be read as Parquet", "fetch or write it again"),
    arrange: data("rows.parquet", parquet.subarray(0, parquet.length - 100)),
  },
  {
    title: "Parquet with damage in the middle",
    kind: "data",
    sentence: says("rows.parquet", "cannot be read as Parquet|must be", "again|remove it|column"),
    arrange: data("rows.parquet", Buffer.concat([parquet.subarray(0, 1200), Buffer.alloc(2000, 255), parquet.subarray(3200)])),
  },
  {
    title: "a text called Parquet",
    kind: "data",
    sentence: says("rows.parquet", "cannot be read as Parquet", "fetch or write it again"),
    arrange: data("rows.parquet", row({})),
  },
  {
    title: "half a surrogate pair",
    kind: "data",
    sentence: says('rows.json, row 1: "output"', "half of a surrogate pair", "remove it"),
    arrange: data("rows.json", `[${row({})},{"instruction":"a","output":"\\ud83d"}]`),
  },
  {
    title: "bytes that are no UTF-8",
    kind: "data",
    sentence: says("rows.json", "not UTF-8", "convert it"),
    arrange: data("rows.json", Buffer.of(0x5b, 0x22, 0xff, 0x22, 0x5d)),
  },
  {
    title: "a row without an instruction",
    kind: "data",
    sentence: says("rows.json, row 0", '"instruction" must be a text, found nothing', "--instruction-column"),
    arrange: data("rows.json", '[{"output":"b"}]'),
  },
  {
    title: "a row without a response",
    kind: "data",
    sentence: says("rows.json, row 1", '"output" must be a text, found nothing', "correct the row"),
    arrange: data("rows.json", `[${row({})},${row({ output: null })}]`),
  },
  {
    title: "a text of 50 MB",
    kind: "data",
    sentence: says('rows.json, row 1: "output"', "has 50000000 characters, more than the 4000000", "shorten the row"),
    arrange: data("rows.json", `[${row({})},${row({ output: "a".repeat(50_000_000) })}]`),
  },
  {
    title: "rows that are numbers",
    kind: "data",
    sentence: says("rows.json, row 0", "must be an object.*found the number 1", "remove it"),
    arrange: data("rows.json", "[1, 2]"),
  },
  {
    title: "responses that are all empty",
    kind: "data",
    sentence: /rows\.json: none of the chosen rows could be measured; skipped\.jsonl in .* says why/,
    leavesReasons: true,
    arrange: data("rows.json", `[${row({ output: "" })}]`),
    cli: true,
  },

  // The output folder.
  {
    title: "the folder of another run",
    kind: "output",
    sentence: says("out", "holds a run of another maxLength \\(recorded 1024, now 99\\)", "--overwrite"),
    arrange: () => ({ maxLength: 99 }),
    cli: true,
  },
  {
    title: "a file for a folder",
    kind: "output",
    sentence: says("file", "a file of that name is there already", "choose another folder"),
    arrange: ({ folder }) => {
      writeFileSync(join(folder, "file"), "");
      return { out: join(folder, "file") };
    },
  },
  {
    title: "a folder below a file",
    kind: "output",
    sentence: says("file/out", "a part of the path is a file", "choose another folder"),
    arrange: ({ folder }) => {
      writeFileSync(join(folder, "file"), "");
      return { out: join(folder, "file", "out") };
    },
  },
  {
    title: "a manifest that is no JSON",
    kind: "output",
    sentence: says("manifest.json", "not valid JSON in line 1", "choose another folder"),
    arrange: put("manifest.json", "{ not"),
    cli: true,
  },
  {
    title: "a manifest of another program",
    kind: "output",
    sentence: says("manifest.json", "not written by layergrad", "choose another folder"),
    arrange: put("manifest.json", '{"name":"webapp"}'),
  },
  {
    title: "a manifest of a later version",
    kind: "output",
    sentence: says("manifest.json", "version 99", "choose another folder"),
    arrange: output((out) =>
      json("manifest.json", (m) => {
        m.manifestVersion = 99;
      })(out),
    ),
  },
  {
    title: "a manifest without its options",
    kind: "output",
    sentence: says("manifest.json", "lacks a part", "choose another folder"),
    arrange: output((out) =>
      json("manifest.json", (m) => {
        delete m.options;
      })(out),
    ),
  },
  {
    title: "a manifest nested without end",
    kind: "output",
    sentence: says("manifest.json", "nested more deeply", "choose another folder"),
    arrange: output((out) =>
      rewrite("manifest.json", (t) => t.replace('"matrices": [', `"matrices": [${"[".repeat(5000)}${"]".repeat(5000)},`))(out),
    ),
  },
  {
    title: "records without a manifest",
    kind: "output",
    sentence: says("records.jsonl", "without a manifest.json", "choose another folder"),
    arrange: output((out) => rmSync(join(out, "manifest.json"))),
  },
  {
    title: "a foreign line among the records",
    kind: "output",
    sentence: says("records.jsonl:1", "layergrad did not write it", "remove the line"),
    arrange: output((out) => rewrite("records.jsonl", (t) => `{"loss":1}\n${t}`)(out)),
  },
  {
    title: "a folder called records.jsonl",
    kind: "output",
    sentence: says("records.jsonl", "not a regular file", "choose another folder"),
    arrange: output((out) => {
      rmSync(join(out, "records.jsonl"));
      mkdirSync(join(out, "records.jsonl"));
    }),
  },
  {
    title: "the lock of a process that lives",
    kind: "output",
    sentence: says("run.lock", `process ${process.ppid} works in this folder`, "wait until it ends"),
    arrange: put("run.lock", liveLock),
  },
  {
    title: "a lock that is damaged",
    kind: "output",
    sentence: says("run.lock", "is damaged", "remove this file"),
    arrange: put("run.lock", "?"),
  },

  // Options and memory.
  {
    title: "rows beyond the file",
    kind: "usage",
    sentence: says("--rows 4:9", "holds no row of a file of 4 rows", "give A:B"),
    arrange: () => ({ rows: "4:9" }),
    cli: true,
  },
  {
    title: "a day that does not exist",
    kind: "usage",
    sentence: says("date", "existing day", '"2025-02-30"'),
    arrange: () => ({ date: "2025-02-30" }),
  },
  {
    title: "labels that are none",
    kind: "usage",
    sentence: says("--labels", "must be all, first:K", '"most"'),
    arrange: () => ({ labels: "most" }),
  },
  {
    title: "less memory than the model needs",
    kind: "resource",
    sentence: /at least \d+\.\d GB of memory and may use \d\.\d GB: give it more with --memory/,
    arrange: () => ({ memory: 1e6 }),
    cli: true,
  },
];
