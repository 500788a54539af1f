import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { LayergradError } from "../errors.ts";
import { matrixKey, serialise } from "./record.ts";
import { type ReadRecordsOptions, readLines, readRecords } from "./records-reader.ts";

const folder = mkdtempSync(join(tmpdir(), "layergrad-reader-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, "records.jsonl");

async function read(content: string | Uint8Array, options?: ReadRecordsOptions) {
  writeFileSync(path, content);
  const records = [];
  for await (const record of readRecords(path, options)) records.push(record);
  return records;
}

const statistics = { M_mean: 0, M_max: 1, M_min: -1, frobenius_norm: 1, S_sum: 2, S_max: 1, S_min: 0 };
const authors = (loss: string) =>
  `{"instruction": "a", "output": "b", "loss": ${loss}, "model.layers.0.self_attn.q_proj.weight": ${JSON.stringify(statistics)}, "model.layers.10.self_attn.v_proj.weight": ${JSON.stringify(statistics)}}`;

describe("readRecords", () => {
  it("reads the authors' lines: fewer fields, a bare NaN, no newline at the end", async () => {
    expect(await read(`${authors("NaN")}\n${authors("1.5")}`)).toEqual([
      {
        instruction: "a",
        output: "b",
        loss: Number.NaN,
        matrices: [
          { layer: 0, module: "self_attn.q_proj", statistics },
          { layer: 10, module: "self_attn.v_proj", statistics },
        ],
        line: 1,
      },
      expect.objectContaining({ loss: 1.5, line: 2 }),
    ]);
  });

  it("reads ours with every field, exactly", async () => {
    const full = { ...statistics, S_sum: 0.1 + 0.2, effective_rank: null, stable_rank: 1, rank: 1, S_list: [1, 0.1] };
    const cosines = { cosine_sim_qkvo: { "0": { q_proj_x_o_proj: null } }, cosine_adjacent: { q_proj: [0.5] } };
    const counts = { row: 7, n_tokens: 5, label_start: 2, n_labels: 3 };
    const line = serialise({ instruction: "a", output: "b", loss: 1, ...counts, [matrixKey(0, "k")]: full, ...cosines });
    expect(await read(line)).toEqual([
      {
        instruction: "a",
        output: "b",
        loss: 1,
        ...counts,
        ...cosines,
        matrices: [{ layer: 0, module: "self_attn.k_proj", statistics: full }],
        line: 1,
      },
    ]);
  });

  it("passes over a byte order mark, blank lines and carriage returns", async () =>
    expect((await read(`\uFEFF${authors("1")}\r\n\r\n\n${authors("2")}\r\n`)).map(({ loss, line }) => [loss, line])).toEqual([
      [1, 1],
      [2, 4],
    ]));

  it("takes a null loss for NaN, and infinities for what they are", async () => {
    expect((await read(authors("null")))[0]!.loss).toBeNaN();
    expect((await read(authors("-Infinity")))[0]!.loss).toBe(Number.NEGATIVE_INFINITY);
  });

  it("reads nothing from an empty file", async () => expect(await read("")).toEqual([]));

  it.each<[string, string]>([
    ["[1]", "records.jsonl:2: is no JSON object"],
    ["{}", "records.jsonl:2: instruction is missing"],
    ['{"instruction": "a", "output": 1}', "output is 1, expected a string"],
    ['{"instruction": "a", "output": "b", "loss": "1"}', 'loss is "1", expected a number'],
    ['{"instruction": "a", "output": "b", "loss": 1, "row": -1}', "row is -1"],
    ['{"instruction": "a", "output": "b", "loss": 1, "model.layers.0.x.weight": 3}', "model.layers.0.x.weight is 3"],
    [
      '{"instruction": "a", "output": "b", "loss": 1, "model.layers.0.x.weight": {"M_mean": 1}}',
      "model.layers.0.x.weight.M_max is missing",
    ],
    [authors("1").replace('"S_min":0', '"S_min":0,"S_list":[1,"2"]'), "S_list is an array, expected an array of numbers"],
    [authors("1").replace('"S_min":0', '"S_min":0,"rank":"2"'), 'rank is "2"'],
    ['{"instruction": "a", "cosine_adjacent": 1, "output": "b", "loss": 1}', "cosine_adjacent is 1"],
    ['{"instruction"', "records.jsonl:2: is not valid JSON"],
  ])("names file and line of %s", async (line, message) => {
    await expect(read(`${authors("1")}\n${line}\n`)).rejects.toThrow(message);
    await expect(read(`${authors("1")}\n${line}\n`)).rejects.toSatisfy((error) => error instanceof LayergradError && error.kind === "data");
  });

  it("refuses bytes that are no UTF-8", async () => {
    await expect(read(new Uint8Array([0x22, 0xff, 0x22, 0x0a]))).rejects.toThrow("records.jsonl:1: is not valid JSON in UTF-8");
  });

  it("says of a line that is cut off how it comes and what to do, or leaves it out", async () => {
    const torn = `${authors("1")}\n${authors("2").slice(0, 40)}`;
    await expect(read(torn)).rejects.toThrow("records.jsonl:2: is not valid JSON in UTF-8 (the last line is cut off: a run was killed");
    expect((await read(torn, { tornTail: "ignore" })).length).toBe(1);
    await expect(read(`${torn}\n`, { tornTail: "ignore" })).rejects.toThrow("records.jsonl:2");
  });

  it("names a file that is not there", async () => {
    await expect(readRecords(join(folder, "none")).next()).rejects.toThrow("none: cannot be opened: no such file");
    await expect(readRecords(folder).next()).rejects.toThrow("is not a file");
  });
});

it("lines come whole, with their places, whatever the pieces they are read in", async () => {
  const lengths = [0, 1, (1 << 20) - 3, 0, 1 << 20, (1 << 20) + 1, 3_000_000, 5];
  const lines = lengths.map((length, i) => String.fromCharCode(97 + i).repeat(length));
  writeFileSync(path, lines.join("\n"));
  let at = 0;
  let number = 0;
  for await (const line of readLines(path, "data")) {
    expect(line.bytes.equals(Buffer.from(lines[number]!))).toBe(true);
    const last = number === lines.length - 1;
    expect(line).toMatchObject({ number: ++number, start: at, end: at + line.bytes.length + (last ? 0 : 1), terminated: !last });
    at = line.end;
  }
  expect(number).toBe(lines.length);
});
