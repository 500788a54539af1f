import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { LayergradError } from "../errors.ts";
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
