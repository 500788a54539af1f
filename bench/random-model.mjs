// A model folder of random weights in a given shape, bf16 safetensors in shards: what a checkpoint of that size is to a disk and a planner.
//
//   node bench/random-model.mjs FOLDER [--shape Llama-2-7B] [--layers N] [--tokenizer FOLDER]
//
// Matrices are N(0, 0.02²), norms 1: one block of random values, begun at another place for each tensor. The tokenizer is another model's.
import { closeSync, copyFileSync, existsSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { buildBlock } from "../dist/models/block.js";
import { readModel } from "../dist/models/registry.js";
import { seeded } from "../dist/analysis/random.js";
import { shallower, shapes, weightShapes } from "./shapes.mjs";

/** Values of the random block: a prime, so that tensors whose sizes are powers of 2 do not repeat each other. */
const BLOCK = 4_194_301;
const STANDARD_DEVIATION = 0.02;
const LAYERS_PER_SHARD = 8;

/** Upper half of a float32's bits, rounded to nearest even: what bf16 stores. */
function bfloat16(values) {
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  return Uint16Array.from(bits, (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16);
}

function randomBlock() {
  const random = seeded("random model");
  return bfloat16(Array.from({ length: BLOCK }, () => STANDARD_DEVIATION * random.normal()));
}

/** Tensors of a model by shard: some layers each, the embedding with the first, norm and head with the last. */
function shardsOf(config) {
  const { family, spec } = readModel(config);
  const tensors = weightShapes(spec, buildBlock(family, spec));
  const count = Math.ceil(spec.layers / LAYERS_PER_SHARD);
  const size = Math.ceil(tensors.length / count);
  return Array.from({ length: count }, (_, i) => tensors.slice(i * size, (i + 1) * size));
}

function writeShard(path, tensors, block) {
  const header = {};
  let end = 0;
  for (const [name, shape] of tensors) {
    const begin = end;
    end += 2 * shape.reduce((a, b) => a * b);
    header[name] = { dtype: "BF16", shape, data_offsets: [begin, end] };
  }
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(path, "w");
  writeSync(file, length);
  writeSync(file, json);
  const ones = bfloat16(new Float32Array(65536).fill(1));
  for (const [index, [name, shape]] of tensors.entries()) {
    const source = name.includes("norm") ? ones : block;
    let left = shape.reduce((a, b) => a * b);
    for (let at = (index * 104_729) % source.length; left > 0; at = 0) {
      const part = source.subarray(at, Math.min(source.length, at + left));
      writeSync(file, part);
      left -= part.length;
    }
  }
  closeSync(file);
}

/** Writes the folder; what is there already is taken to be it. */
export function writeRandomModel(folder, config, tokenizer) {
  if (existsSync(join(folder, "model.safetensors.index.json"))) return;
  mkdirSync(folder, { recursive: true });
  const shards = shardsOf(config);
  const block = randomBlock();
  const weightMap = {};
  for (const [i, tensors] of shards.entries()) {
    const file = `model-${`${i + 1}`.padStart(5, "0")}-of-${`${shards.length}`.padStart(5, "0")}.safetensors`;
    writeShard(join(folder, file), tensors, block);
    for (const [name] of tensors) weightMap[name] = file;
  }
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) copyFileSync(join(tokenizer, file), join(folder, file));
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  // Last, as its presence says that the folder is whole.
  writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map: weightMap }));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      shape: { type: "string", default: "Llama-2-7B" },
      layers: { type: "string" },
      tokenizer: { type: "string", default: fileURLToPath(new URL("../demo/base", import.meta.url)) },
    },
  });
  const config = shapes[values.shape];
  writeRandomModel(positionals[0], values.layers ? shallower(config, Number(values.layers)) : config, values.tokenizer);
}
