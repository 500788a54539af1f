import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { fixtures } from "../../test/fixtures.ts";
import { LayergradError } from "../errors.ts";
import type { ColumnOptions } from "./columns.ts";
import { readRows, selectRows } from "./rows.ts";

const folder = mkdtempSync(join(tmpdir(), "layergrad-rows-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
function file(content: string | Uint8Array, extension = "json"): string {
  const path = join(folder, `${count++}.${extension}`);
  writeFileSync(path, content);
  return path;
}
const rows = async (content: string | Uint8Array, extension?: string) => (await readRows(file(content, extension))).rows;
const row = { instruction: "a", input: "", output: "b" };

describe("readRows", () => {
  it("reads a list, a missing or null input as empty, and ignores other fields", async () => {
    expect(
      await rows(
        '[{"instruction":"a","input":"i","output":""},{"output":"b","instruction":"a","score":NaN},{"instruction":"a","input":null,"output":"b"}]',
      ),
    ).toEqual([{ instruction: "a", input: "i", output: "" }, row, row]);
  });
  it("reads one row a line, with CR LF, blank lines, and U+2028 inside a text", async () => {
    const lines = '{"instruction":"a","output":"b"}\r\n\r\n{"instruction":"a\u2028","output":"b"}\n';
    expect(await rows(lines, "jsonl")).toEqual([row, { ...row, instruction: "a\u2028" }]);
  });
  it.each(["json", "jsonl"])("skips a byte order mark in .%s", async (extension) => {
    const one = '{"instruction":"a","output":"b"}';
    expect(await rows(`\ufeff${extension === "json" ? `[${one}]` : one}`, extension)).toEqual([row]);
  });
  it("gives the SHA-256 of the bytes, the mark included", async () => {
    const content = '\ufeff[{"instruction":"a","output":"b"}]';
    expect((await readRows(file(content))).sha256).toBe(createHash("sha256").update(content).digest("hex"));
  });

  it.each([
    ['[{"instruction":"a"}]', "json", ', row 0: "output" must be a text, found nothing'],
    [
      '[{"instruction":"a","output":"b"},{"instruction":7,"output":"b"}]',
      "json",
      ', row 1: "instruction" must be a text, found the number 7',
    ],
    ['[{"instruction":"a","input":[],"output":"b"}]', "json", ', row 0: "input" must be a text, found a list'],
    ['{"instruction":"a","output":"b"}\n{"output":"b"}', "jsonl", ', line 2: "instruction" must be a text, found nothing'],
    ["[1]", "json", ", row 0: a row must be an object"],
    [`[{"messages":[{"role":${"[".repeat(20_000)}${"]".repeat(20_000)},"content":"a"}]}]`, "json", 'no turn of the role "assistant"'],
    [`[{"${"a".repeat(70_000)}":"b"}]`, "json", `the columns are "${"a".repeat(120)}…", and`],
    ["[[]]", "json", "found a list"],
    ['{"rows":[]}', "json", "must hold a JSON list of rows, found an object"],
    ["3", "json", "found the number 3"],
    ["[]", "json", "holds no rows"],
    ["", "json", "is empty"],
    ["\ufeff \n", "jsonl", "is empty"],
    ['[\n{"instruction":"a",\n"output" "b"}]', "json", ', line 3: invalid JSON, which cannot go on with "\\"b\\"}]"'],
    ['[{"instruction":"a","output":"b"}', "json", ", line 1: invalid JSON, which ends too early"],
    ['[{"instruction":"a","output":"b\n"}]', "json", ", line 1: invalid JSON"],
    ['{"instruction":"a","output":"b"}\n{"instruction":"a","output":"b"}', "json", "name it .jsonl"],
    [
      '{"instruction":"a","output":"b"}\n{"instruction":"a"',
      "jsonl",
      ", line 2: invalid JSON, which ends too early; each line must hold one row",
    ],
    ['[{"instruction":"a","output":"\\ud83d"}]', "json", 'row 0: "output" holds half of a surrogate pair'],
    [Uint8Array.of(0x5b, 0xff, 0x5d), "json", "is not UTF-8"],
  ])("says what is wrong and where: %j", async (content, extension, message) => {
    const path = file(content, extension);
    await expect(readRows(path)).rejects.toThrow(expect.objectContaining({ kind: "data", message: expect.stringContaining(message) }));
    await expect(readRows(path)).rejects.toThrow(path);
  });
  it("says why a file cannot be read", async () => {
    await expect(readRows(folder)).rejects.toThrow("it is a folder");
    await expect(readRows(join(folder, "none.json"))).rejects.toThrow("no such file");
  });

  it("reads back any rows of whole characters, and refuses any other text with an error of the data", async () => {
    const text = fc.string({ unit: "binary" });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.record({ instruction: text, input: text, output: text }), { minLength: 1 }), async (given) => {
        expect(await rows(JSON.stringify(given, null, 1))).toEqual(given);
        expect(await rows(given.map((one) => JSON.stringify(one)).join("\n"), "jsonl")).toEqual(given);
      }),
      { numRuns: 30, seed: 1 },
    );
    await fc.assert(
      fc.asyncProperty(fc.string(), fc.constantFrom("json", "jsonl"), async (content, extension) => {
        await rows(content, extension).catch((error) => expect(error).toBeInstanceOf(LayergradError));
      }),
      { numRuns: 100, seed: 1 },
    );
  });
});

describe("readRows with columns of other names", () => {
  const questions = '[{"question":"a","context":null,"answer":"b","id":7}]';

  it("takes the columns that the options name, and says which they were", async () => {
    const options = { instructionColumn: "question", inputColumn: "context", outputColumn: "answer" };
    const { rows, columns } = await readRows(file(questions), options);
    expect(rows).toEqual([row]);
    expect(columns).toEqual({ instruction: "question", input: "context", output: "answer" });
  });
  it("says nothing of the columns where they have the usual names, named or not", async () => {
    const path = file('[{"instruction":"a","output":"b"}]');
    expect(await readRows(path)).not.toHaveProperty("columns");
    expect(await readRows(path, { instructionColumn: "instruction" })).not.toHaveProperty("columns");
  });
  it("gives one hash whatever the columns", async () => {
    const path = file('[{"instruction":"a","output":"b"}]');
    expect((await readRows(path, { outputColumn: "instruction" })).sha256).toBe((await readRows(path)).sha256);
  });

  it.each<[string, ColumnOptions, string]>([
    [
      questions,
      {},
      ', row 0: "instruction" must be a text, found nothing; the columns are "question", "context", "answer", "id", and --instruction-column says which of them to take.',
    ],
    [questions, { instructionColumn: "question" }, '"output" must be a text, found nothing; the columns are "question"'],
    [questions, { instructionColumn: "question", outputColumn: "anser" }, "--output-column says which"],
    [
      questions,
      { instructionColumn: "question", outputColumn: "id" },
      '"id" must be a text, found the number 7; correct the row or remove it.',
    ],
    [questions, { instructionColumn: "question", outputColumn: "answer", inputColumn: "contxt" }, 'no row has "contxt"; the columns are'],
    [questions, { messagesColumn: "chat" }, '"chat" must be a list of turns, found nothing; the columns are "question"'],
  ])("%s with %j: %s", async (content, options, message) => {
    await expect(readRows(file(content), options)).rejects.toThrow(
      expect.objectContaining({ kind: "data", message: expect.stringContaining(message) }),
    );
  });
  it("refuses a list of turns and single columns at once", async () => {
    await expect(readRows(file(questions), { messagesColumn: "m", outputColumn: "answer" })).rejects.toThrow(
      expect.objectContaining({ kind: "usage" }),
    );
  });
});

describe("readRows of conversations", () => {
  const chat = (...turns: unknown[]) => JSON.stringify([{ messages: turns }]);
  const turn = (role: string, content: unknown) => ({ role, content });

  it("takes the last turn of the model as the output, and the turns before it, the system's too, as the instruction", async () => {
    const turns = [
      turn("system", "s"),
      turn("user", "u"),
      turn("assistant", "a"),
      turn("user", "v"),
      turn("assistant", "b"),
      turn("user", "w"),
    ];
    const { rows, columns } = await readRows(file(chat(...turns)));
    expect(rows).toEqual([{ instruction: "s\nu\na\nv", input: "", output: "b" }]);
    expect(columns).toEqual({ messages: "messages" });
  });
  it("reads ShareGPT's names, and content in parts", async () => {
    const conversations = [
      { from: "human", value: "u" },
      { from: "gpt", value: "a" },
    ];
    expect(await rows(JSON.stringify([{ conversations, id: 1 }]))).toEqual([{ instruction: "u", input: "", output: "a" }]);
    const parts = [
      { type: "text", text: "u" },
      { type: "text", text: "v" },
    ];
    expect(await rows(chat(turn("user", parts), turn("assistant", "a")))).toEqual([{ instruction: "uv", input: "", output: "a" }]);
  });
  it("gives an empty instruction where nothing comes before the response", async () => {
    expect(await rows(chat(turn("assistant", "a")))).toEqual([{ instruction: "", input: "", output: "a" }]);
  });
  it("prefers instruction and output where a file has those as well, and any column that is named", async () => {
    const both = JSON.stringify([{ instruction: "a", output: "b", messages: [], chosen: [turn("user", "u"), turn("assistant", "c")] }]);
    expect(await rows(both)).toEqual([row]);
    expect((await readRows(file(both), { messagesColumn: "chosen" })).rows).toEqual([{ instruction: "u", input: "", output: "c" }]);
  });

  it.each([
    [chat(turn("user", "u")), ', row 0: "messages" has no turn of the role "assistant" to be the response, found the string "user"'],
    [chat(), "found no turn at all"],
    ['[{"messages":"hello"}]', '"messages" must be a list of turns, found the string "hello"'],
    [chat(turn("user", null), turn("assistant", "a")), '"messages", turn 0: "content" must be a text, found null'],
    [chat(turn("user", [{ type: "image_url" }]), turn("assistant", "a")), 'turn 0: "content" must be a text, found nothing'],
    [chat("u", turn("assistant", "a")), 'turn 0: a turn must be an object {"role", "content"}, found the string "u"'],
    [chat(turn("assistant", "\ud83d")), 'turn 0: "content" holds half of a surrogate pair'],
  ])("says what is wrong and where: %s", async (content, message) => {
    await expect(rows(content)).rejects.toThrow(expect.objectContaining({ kind: "data", message: expect.stringContaining(message) }));
  });
});

describe("readRows of CSV", () => {
  it("reads quoted commas, quotes and line ends, with \\n or \\r\\n between rows, and keeps white space", async () => {
    const text = 'instruction,input,output\r\n"a, ""b""\r\nc", d ,e\r\n\r\nf,,g\n';
    expect(await rows(text, "csv")).toEqual([
      { instruction: 'a, "b"\r\nc', input: " d ", output: "e" },
      { instruction: "f", input: "", output: "g" },
    ]);
  });
  it("skips a byte order mark, and does without an input column", async () => {
    expect(await rows("\ufeffinstruction,output\na,b\n", "csv")).toEqual([row]);
  });
  it("reads back any table that RFC 4180 can write", async () => {
    const field = fc.string({ unit: "binary" });
    const quote = (s: string) => `"${s.replaceAll('"', '""')}"`;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.record({ instruction: field, input: field, output: field }), { minLength: 1 }), async (given) => {
        const lines = given.map((r) => [r.instruction, r.input, r.output].map(quote).join(","));
        expect(await rows(["instruction,input,output", ...lines].join("\r\n"), "csv")).toEqual(given);
      }),
      { numRuns: 50, seed: 1 },
    );
  });
  it.each([
    ["instruction,output\na,b,c\n", "invalid CSV: Invalid Record Length: expect 2, got 3 on line 2"],
    ['instruction,output\na,"b\n', "invalid CSV: Quote Not Closed"],
    ["instruction,instruction\na,b\n", 'names the column "instruction" twice'],
    ["question,answer\na,b\n", ', row 0: "instruction" must be a text, found nothing; the columns are "question", "answer"'],
    ["instruction,output\n", "holds no rows"],
    ["", "is empty"],
  ])("says what is wrong and where: %j", async (content, message) => {
    await expect(rows(content, "csv")).rejects.toThrow(
      expect.objectContaining({ kind: "data", message: expect.stringContaining(message) }),
    );
  });
});

// The files that scripts/fixtures/parquet_rows.py writes.
describe("readRows of Parquet", () => {
  const parquet = (compression: string) => join(fixtures, "data", `chat.${compression}.parquet`);

  it.each(["snappy", "zstd"])("reads texts over two row groups, %s: row i asks for i + i", async (compression) => {
    const options = { instructionColumn: "question", inputColumn: "context", outputColumn: "answer" };
    const { rows } = await readRows(parquet(compression), options);
    expect(rows).toEqual(
      Array.from({ length: 50 }, (_, i) => ({ instruction: `What is ${i} + ${i}?`, input: i % 3 ? "" : `row ${i}`, output: `${2 * i}` })),
    );
  });
  it("reads lists of turns", async () => {
    const { rows, columns } = await readRows(parquet("zstd"));
    expect(columns).toEqual({ messages: "messages" });
    expect(rows.slice(1, 3)).toEqual([
      { instruction: "Be brief.\nWhat is 1 + 1?\nLet me think: ½ of it is 1.\nAnd?", input: "", output: "2" },
      { instruction: "What is 2 + 2?\nLet me think: ½ of it is 2.\nAnd?", input: "", output: "4" },
    ]);
  });
  it("joins the files of a data set; their hash is that of their bytes one after another", async () => {
    const paths = [parquet("snappy"), parquet("zstd")];
    const { rows, sha256 } = await readRows(paths);
    expect(rows.length).toBe(100);
    expect(rows[50]).toEqual(rows[0]);
    expect(sha256).toBe(createHash("sha256").update(readFileSync(paths[0]!)).update(readFileSync(paths[1]!)).digest("hex"));
  });
  it.each<[ColumnOptions, string]>([
    [{ instructionColumn: "question", outputColumn: "number" }, 'row 0: "number" must be a text, found the number 0'],
    [{ instructionColumn: "question" }, 'found nothing; the columns are "question", "context", "answer", "number", "messages"'],
  ])("names the columns: %j", async (options, message) => {
    await expect(readRows(parquet("snappy"), options)).rejects.toThrow(message);
  });
  it.each(["runs-beyond-page", "negative-columns"])("refuses a file made to take all memory or all time: %s", async (name) => {
    await expect(readRows(join(fixtures, "data", "hostile", `${name}.parquet`))).rejects.toThrow(/cannot be read as Parquet/);
  });
  it.each([
    ["nulls-2100k", "states 2100000 rows, more than the 2000000 read of one file; split it"],
    ["nulls-1500k", "cannot be read as Parquet: parquet file states 1500000 rows, more than the"],
    ["turns-4m", 'states 8000000 values in "messages", more than the 6000000 read of one file; split it'],
  ])("refuses a valid file of more nulls than memory holds, however long its other columns: %s", async (name, message) => {
    const bytes = readFileSync(join(fixtures, "data", "hostile", `${name}.parquet`));
    // Bytes that no column read has: between the data and the footer, whose length stands before the last 4 bytes.
    const footer = bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8);
    await expect(
      rows(Buffer.concat([bytes.subarray(0, footer), Buffer.alloc(700_000), bytes.subarray(footer)]), "parquet"),
    ).rejects.toThrow(expect.objectContaining({ kind: "data", message: expect.stringContaining(message) }));
  });

  it("says so where a file is no Parquet, or cut short", async () => {
    await expect(rows("PAR1 and no more", "parquet")).rejects.toThrow("cannot be read as Parquet");
    await expect(rows("", "parquet")).rejects.toThrow("cannot be read as Parquet");
    await expect(rows(readFileSync(parquet("zstd")).subarray(0, 3000), "parquet")).rejects.toThrow(
      expect.objectContaining({ kind: "data", message: expect.stringContaining("cannot be read as Parquet") }),
    );
  });
});

describe("selectRows", () => {
  it.each([
    [10, undefined, undefined, 0, 10],
    [10, ":", undefined, 0, 10],
    [10, "2:5", undefined, 2, 5],
    [10, "2:", undefined, 2, 10],
    [10, ":5", undefined, 0, 5],
    [10, "2:500", undefined, 2, 10],
    [454, "0:0.1", undefined, 0, 45],
    [500, "0.25:0.5", undefined, 125, 250],
    [100, "0:0.29", undefined, 0, 29],
    [100, "10:.5", undefined, 10, 50],
    [100, "0.5:1.0", undefined, 50, 100],
    [100, "1:", undefined, 1, 100],
    [100, "0.0:1.", undefined, 0, 100],
    [10, "2:5", 2, 2, 4],
    [10, "2:5", 9, 2, 5],
    [10, undefined, 3, 0, 3],
  ])("of %i rows, --rows %s with limit %s is %i to %i", (total, spec, limit, start, end) => {
    expect(selectRows(total, spec, limit)).toEqual({ start, end });
  });

  it("cuts a file into fractions without a gap or an overlap", () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 10_000 }), fc.integer({ min: 1, max: 99 }), (total, percent) => {
        const border = `0.${String(percent).padStart(2, "0")}`;
        expect(selectRows(total, `:${border}`).end).toBe(selectRows(total, `${border}:`).start);
        expect(selectRows(total, `:${border}`).end).toBe(Math.floor((total * percent) / 100));
      }),
      { seed: 1 },
    );
  });

  it.each(["5", "a:b", "-1:5", "1:2:3", "5:5", "6:5", "10:20", "0:0.01", "1.5:", ".:5", "1e1:", "0:0"])(
    "refuses %j of 10 rows as a usage error",
    (spec) => {
      expect(() => selectRows(10, spec)).toThrow(expect.objectContaining({ kind: "usage", message: expect.stringContaining("--rows") }));
    },
  );
  it.each([0, -1, 1.5, Number.NaN])("refuses a limit of %d", (limit) => {
    expect(() => selectRows(10, ":", limit)).toThrow("--limit must be a whole number above 0");
  });
});
