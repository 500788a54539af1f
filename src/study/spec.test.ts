import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LayergradError } from "../errors.ts";
import { parseStudy, readStudy, type StudySpec } from "./spec.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-spec-"));
  mkdirSync(join(folder, "my"));
  for (const file of ["good.jsonl", "bad.jsonl", "odd name.csv"]) writeFileSync(join(folder, "my", file), "");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const parse = (text: string): StudySpec => parseStudy(text, join(folder, "study.yaml"));
const models = "models: [{ name: base, path: demo/base, kind: base }]";
/** A study of one model on one data set, and more. */
const study = (more: string): StudySpec => parse(`out: runs\n${models}\ndata: [demo/sums]\n${more}`);

/** The message, without the folder of the file. */
function refusal(text: string): string {
  try {
    parse(text);
  } catch (error) {
    expect(error).toBeInstanceOf(LayergradError);
    expect((error as LayergradError).kind).toBe("usage");
    return (error as Error).message.replaceAll(`${folder}/`, "");
  }
  throw new Error("not refused");
}

describe("a study.yaml", () => {
  it("gives models, data, options and rows, with paths from its own folder", () => {
    const spec = parse(`
name: paper
out: runs/paper
models:
  - { name: base, path: demo/base, kind: base, family: mini }
  - { name: tuned, path: my, kind: instruct, family: mini, modes: [base, instruct], step: 2000 }
  - { name: unknown, path: my }
data:
  - aqua/none
  - math/algebra/*
  - file: my/good.jsonl
  - { file: my/bad.jsonl, name: quality/bad, task: quality, dataset: mine, condition: low, irrelevant: true, columns: { output: answer } }
rows: 0:100
limit: 10
options:
  max_length: 512
  matrices: attention
  spectrum: true
  cosines: false
  single_bos: true
  date: 2026-11-23
  label_seed: 0
  draws: 9
  batch_tokens: 2048
  threads: 2
  memory: 6GB
`);
    expect(spec).toMatchObject({ name: "paper", out: join(folder, "runs", "paper") });
    expect(spec.models.map(({ model: place, ...model }) => ["path" in place && place.path.slice(-9), model])).toEqual([
      ["demo/base", { name: "base", kind: "base", family: "mini", modes: ["base"] }],
      [join(folder, "my").slice(-9), { name: "tuned", kind: "instruct", family: "mini", modes: ["base", "instruct"], step: 2000 }],
      [join(folder, "my").slice(-9), { name: "unknown", kind: null, family: null, modes: ["base"] }],
    ]);
    expect(spec.parts).toEqual([
      {
        rows: "0:100",
        limit: 10,
        items: [
          { name: "aqua/none", task: "cot", dataset: "aqua", condition: "none", irrelevant: false, reference: "aqua/none" },
          {
            name: "math/algebra/simplified",
            task: "math",
            dataset: "algebra",
            condition: "simplified",
            irrelevant: false,
            reference: "math/algebra/simplified",
          },
          {
            name: "math/algebra/detailed",
            task: "math",
            dataset: "algebra",
            condition: "detailed",
            irrelevant: false,
            reference: "math/algebra/detailed",
          },
          { name: "good", task: "own", dataset: "own", condition: "good", irrelevant: false, reference: join(folder, "my", "good.jsonl") },
          {
            name: "quality/bad",
            task: "quality",
            dataset: "mine",
            condition: "low",
            irrelevant: true,
            reference: join(folder, "my", "bad.jsonl"),
            columns: { outputColumn: "answer" },
          },
        ].map((data) => ({ data, labels: { name: "all", choice: "all" } })),
      },
    ]);
    expect(spec.options).toEqual({
      maxLength: 512,
      matrices: "attention",
      spectrum: true,
      cosines: false,
      singleBos: true,
      date: "2026-11-23",
      labelSeed: 0,
      draws: 9,
      batchTokens: 2048,
      threads: 2,
      memory: 6e9,
    });
  });

  it("takes data of the Hub by their reference and a name", () => {
    const { items } = parse(`out: runs\n${models}\ndata: { file: "hf:owner/data#main/train", name: hub }`).parts[0]!;
    expect(items[0]!.data).toMatchObject({ name: "hub", reference: "hf:owner/data#main/train" });
  });

  it("is called after its file where it has no name; keys without a value are as if left out", () => {
    expect(study("rows:\noptions:\ncontrols:")).toMatchObject({ name: "study", options: {}, parts: [{}] });
  });

  it("takes each data set once, however often patterns match it", () => {
    const names = (data: string) => parse(`out: runs\n${models}\ndata: ${data}`).parts[0]!.items.map((item) => item.data.name);
    expect(names('["aqua/*", aqua/none, aqua/none/irrelevant]')).toEqual([
      "aqua/none",
      "aqua/simplified",
      "aqua/detailed",
      "aqua/none/irrelevant",
    ]);
    expect(names('"wiki/*/irrelevant"').length).toBe(4);
    // The first paper's files, the catalogue's eight groups.
    expect(names("[aqua, gsm8k, strategyqa, ecqa, creak, sensemaking, math, wiki]").length).toBe(56);
    expect(names("demo").length).toBe(20);
  });
});

describe("controls", () => {
  const labelsOf = (spec: StudySpec) => spec.parts[1]!.items.map(({ data, labels }) => [data.name, labels.name, labels.choice]);

  it("count as many labels as a condition of the same data set, of the irrelevant one where the data are irrelevant", () => {
    const spec = study('controls: [{ data: "**/detailed/**", labels: [last:@none, "random:8", sweep], limit: 2 }]');
    expect(labelsOf(spec)).toEqual(
      [
        ["demo/sums/detailed", "demo/sums/none"],
        ["demo/sums/detailed/irrelevant", "demo/sums/none/irrelevant"],
      ].flatMap(([data, twin]) => [
        [data, `last:@${twin}`, `last:@${twin}`],
        [data, "random:8", "random:8"],
        [data, "sweep", "sweep"],
      ]),
    );
    expect(spec.parts[1]).toMatchObject({ limit: 2 });
  });

  it("take a name of the study or of the catalogue behind the @ as well; runs get own data by path, the index by name", () => {
    const own = `out: runs\n${models}\ndata: [{ file: my/good.jsonl }, { file: my/bad.jsonl }]\n`;
    const control = (label: string) => parse(`${own}controls: [{ data: bad, labels: ${label} }]`);
    expect(labelsOf(control("first:@good"))).toEqual([["bad", "first:@good", `first:@${join(folder, "my", "good.jsonl")}`]]);
    expect(labelsOf(control("first:@aqua/none"))).toEqual([["bad", "first:@aqua/none", "first:@aqua/none"]]);
  });

  it("may share a part of the file with the rest of it by YAML's anchors", () => {
    const spec = parse(`out: runs\n${models}\ndata: &all [aqua/none, aqua/detailed]\ncontrols: [{ data: *all, labels: sweep }]`);
    expect(labelsOf(spec).map(([name]) => name)).toEqual(["aqua/none", "aqua/detailed"]);
  });

  it("are over the study's rows and limit, each of them unless they have their own", () => {
    expect(study("limit: 9\ncontrols: [{ data: demo/sums/detailed, labels: sweep }]").parts[1]).toMatchObject({ limit: 9 });
    const control = (keys: string) => study(`rows: "0:0.5"\nlimit: 9\ncontrols: [{ data: demo/sums/detailed, labels: sweep, ${keys} }]`);
    for (const [keys, rows, limit] of [
      ["rows: 3:5", "3:5", 9],
      ["limit: 2", "0:0.5", 2],
      ["rows: 3:5, limit: 1", "3:5", 1],
    ] as const)
      expect(control(keys).parts[1]).toMatchObject({ rows, limit });
  });
});

describe("a mistake is told with file, line, column and what to do:", () => {
  const head = `out: runs\n${models}\n`;
  it.each([
    ["no YAML", "out: [runs", /^study\.yaml:1:11: .*; correct it there, or put the text into quotes\.$/],
    ["a key twice", "out: a\nout: b", /^study\.yaml:2:1: Map keys must be unique; correct it there, or put the text into quotes\.$/],
    ["no map", "- a", "study.yaml:1:1: a study must be a map of keys and values, found a list."],
    ["an empty file", "", "study.yaml:1:1: a study must be a map of keys and values, found nothing."],
    ["an unknown key", `${head}dat: x`, 'study.yaml:3:1: a study has no key "dat"; perhaps "data" is meant.'],
    [
      "an unknown key that is like none",
      `${head}data: [demo]\noptions: { colour: red }`,
      /^study\.yaml:4:12: options has no key "colour"; it has max_length, matrices, .*, memory\.$/,
    ],
    ["no data", head, 'study.yaml:1:1: a study needs "data".'],
    ["no folder", `${models}\ndata: [demo]`, 'study.yaml:1:1: a study needs "out", the folder of its runs.'],
    ["no models", "out: runs\nmodels: []\ndata: demo", "study.yaml:2:9: models is an empty list; put at least one value into it."],
    [
      "a model without a path",
      "out: a\nmodels: [{ name: x }]\ndata: demo",
      'study.yaml:2:10: a model needs "path", a folder, or "model", an id of the Hub.',
    ],
    [
      "a model that is not there",
      "out: a\nmodels:\n  - { name: x, path: gone }\ndata: demo",
      "study.yaml:3:22: there is no folder gone; download the model or correct the path.",
    ],
    [
      "a name that is no folder's",
      "out: a\nmodels: [{ name: a/b, path: my }]\ndata: demo",
      'study.yaml:2:18: a model\'s name names a folder, so it must be of letters, digits, ".", "_" and "-", found "a/b".',
    ],
    [
      "two models of one name",
      "out: a\nmodels:\n  - { name: x, path: my }\n  - { name: x, path: demo/base }\ndata: demo",
      'study.yaml:4:5: two of the models are called "x"; give one another name.',
    ],
    [
      "an unknown mode",
      "out: a\nmodels: [{ name: x, path: my, modes: [base, chat] }]\ndata: demo",
      'study.yaml:2:45: a mode must be base or instruct, found "chat".',
    ],
    [
      "a step that is none",
      "out: a\nmodels: [{ name: x, path: my, step: 1.5 }]\ndata: demo",
      /^study\.yaml:2:37: step must be a whole number from 0 on, found "1.5"\.$/,
    ],
    [
      "a mistyped data set",
      `${head}data: [aqua/nome]`,
      'study.yaml:3:8: "aqua/nome" is no name of the catalogue; perhaps "aqua/none" is meant.',
    ],
    ["a pattern without data", `${head}data: ["aqua/x*"]`, /^study\.yaml:3:8: no data of the catalogue match "aqua\/x\*"; /],
    [
      "a pattern that YAML takes for an alias",
      `${head}data: [*/none]`,
      /^study\.yaml:3:8: .*put a pattern that begins with \* into quotes/,
    ],
    ["a file without its key", `${head}data: [my/good.jsonl]`, /^study\.yaml:3:8: .*own data are written as "file: my\/good\.jsonl"\.$/],
    ["a file that is not there", `${head}data: [{ file: no.json }]`, "study.yaml:3:16: there is no file no.json; correct the path."],
    [
      "a file whose name can name no folder",
      `${head}data: [{ file: my/odd name.csv }]`,
      /^study\.yaml:3:16: the name of own data must be .*give it another "name"\.$/,
    ],
    [
      "own data of a catalogue's name",
      `${head}data: [{ file: my/good.jsonl, name: aqua/none }, aqua]`,
      /^study\.yaml:3:\d+: two of the data are called "aqua\/none"/,
    ],
    [
      "a twin of other columns",
      `${head}data: [aqua/none, { file: my/good.jsonl, columns: { output: b } }]\ncontrols: [{ data: good, labels: last:@aqua/none }]`,
      "study.yaml:4:34: aqua/none would be read by the columns of good, which are others; name the columns of both files alike.",
    ],
    ["a data set of the Hub without its key", `${head}data: ["hf:a/b"]`, /^study\.yaml:3:8: .*own data are written as "file: hf:a\/b"\.$/],
    [
      "columns at odds",
      `${head}data: [{ file: my/good.jsonl, columns: { messages: a, output: b } }]`,
      /^study\.yaml:3:40: --messages-column takes the whole row/,
    ],
    [
      "an unknown column",
      `${head}data: [{ file: my/good.jsonl, columns: { answer: b } }]`,
      /^study\.yaml:3:42: columns has no key "answer"; it has instruction, input, output, messages\.$/,
    ],
    [
      "two data of one name",
      `${head}data: [{ file: my/good.jsonl }, { file: my/bad.jsonl, name: good }]`,
      /^study\.yaml:3:33: two of the data are called "good"/,
    ],
    [
      "two data of one condition",
      `${head}data:\n  - { file: my/good.jsonl, condition: none }\n  - { file: my/bad.jsonl, condition: none }`,
      /^study\.yaml:5:5: good and bad are both the condition "none" of the task "own" and the data set "own", irrelevant false, .*"dataset"\.$/,
    ],
    ["rows that are none", `${head}data: demo\nrows: 3-5`, /^study\.yaml:4:7: --rows must be A:B/],
    ["a limit of none", `${head}data: demo\nlimit: 0`, 'study.yaml:4:8: limit must be a whole number from 1 on, found "0".'],
    [
      "an unknown choice",
      `${head}data: demo\noptions: { matrices: some }`,
      /^study\.yaml:4:22: matrices must be reference, attention, mlp or all, found "some"\.$/,
    ],
    ["a size that is none", `${head}data: demo\noptions: { memory: much }`, /^study\.yaml:4:20: memory must be a size such as 6GB/],
    ["a day that is none", `${head}data: demo\noptions: { date: 2026-02-30 }`, /^study\.yaml:4:18: the date must be an existing day/],
    ["too few draws", `${head}data: demo\noptions: { draws: 2 }`, /^study\.yaml:4:19: --draws must be a whole number of at least 8/],
    ["options at odds", `${head}data: demo\noptions: { cosines: true, matrices: mlp }`, /^study\.yaml:4:21: cosines are of attention/],
    ["no flag", `${head}data: demo\noptions: { spectrum: maybe }`, 'study.yaml:4:22: spectrum must be true or false, found "maybe".'],
    [
      "controls of other data",
      `${head}data: aqua\ncontrols: [{ data: gsm8k, labels: sweep }]`,
      /^study\.yaml:4:20: none of the study's data match "gsm8k"; list them/,
    ],
    [
      "a labels rule that is none",
      `${head}data: aqua\ncontrols: [{ data: aqua/detailed, labels: most }]`,
      /^study\.yaml:4:43: --labels must be all, first:K/,
    ],
    [
      "an @ that is neither condition nor name",
      `${head}data: aqua\ncontrols: [{ data: aqua/detailed, labels: last:@short }]`,
      "study.yaml:4:43: @short is neither a condition that aqua/detailed has beside it in this study (none, simplified, detailed) nor a name of data.",
    ],
    [
      "labels of itself",
      `${head}data: aqua\ncontrols: [{ data: aqua/none, labels: last:@none }]`,
      /^study\.yaml:4:39: aqua\/none has as many labels as itself/,
    ],
    [
      "a run twice",
      `${head}data: aqua\ncontrols:\n  - { data: aqua/none, labels: sweep }\n  - { data: "*/none", labels: sweep }`,
      "study.yaml:6:5: aqua/none with the labels sweep is in this study twice; leave one out.",
    ],
    [
      "plain runs once more",
      `${head}data: aqua\ncontrols: [{ data: aqua/none, labels: all }]`,
      /aqua\/none with the labels all is in this study twice/,
    ],
  ])("%s", (_, text, message) => {
    if (typeof message === "string") expect(refusal(text)).toBe(message);
    else expect(refusal(text)).toMatch(message);
  });

  it("a file that is not there", () => {
    expect(() => readStudy(join(folder, "none.yaml"))).toThrow(
      /none\.yaml cannot be read: no such file or folder \(ENOENT\); "layergrad study init" writes one\./,
    );
  });

  it("a file that is no text", () => {
    writeFileSync(join(folder, "binary.yaml"), Buffer.from([0xff, 0xfe, 0x00]));
    expect(() => readStudy(join(folder, "binary.yaml"))).toThrow(/binary\.yaml is not UTF-8; convert it\./);
  });
});
