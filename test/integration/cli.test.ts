import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RunSummary } from "../../src/run/run.ts";
import { type MatrixStatistics, readManifest } from "../../src/store/index.ts";
import { cli, type Ended, matrixOf, recordsOf, refused, skippedOf, start, succeeds } from "../cli.ts";
import { expectedPath, fixtureModel, fixtures, readExpected } from "../fixtures.ts";
import { demoData, demoModel } from "../measure.ts";
import { namedTensors, patchFile, withHeader } from "../safetensors.ts";

const llama = fixtureModel("llama");
const basic = join(fixtures, "data", "basic.json");
const edge = join(fixtures, "data", "edge.json");

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-cli-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let count = 0;
const newFolder = (): string => join(folder, `out-${++count}`);
const onBasic = (out: string, ...more: readonly string[]): string[] => ["run", "--model", llama, "--data", basic, "--out", out, ...more];
const rowsOf = (out: string): number[] => recordsOf(out).map((r) => r.row);
const summaryOf = ({ stdout }: Ended): RunSummary => JSON.parse(stdout) as RunSummary;

function writeData(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

/** A copy of a model folder, changed. */
function modelCopy(name: string, change: (copy: string) => void, from = llama): string {
  const copy = join(folder, name);
  cpSync(from, copy, { recursive: true });
  change(copy);
  return copy;
}

function changeJson(path: string, change: (value: Record<string, unknown>) => Record<string, unknown>): void {
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>)));
}

describe("layergrad run", () => {
  it("writes records that agree with PyTorch, tells the result on standard output and the progress on standard error", async () => {
    const out = newFolder();
    const { stdout, stderr } = await succeeds(...onBasic(out, "--spectrum", "--cosines"));
    const expected = readExpected(expectedPath("llama", "base", "basic"));
    expect(stdout).toMatch(
      /^4 of 4 rows recorded in .+records\.jsonl\n4 rows and 503 tokens in this call, [^\n]+ at most \d\.\d GB planned\n$/,
    );
    expect(stderr).toContain("loading 4 layers of ");
    expect(stderr).toMatch(/4\/4 rows \(100 %\)/);
    const records = recordsOf(out);
    expect(rowsOf(out)).toEqual([0, 1, 2, 3]);
    for (const [i, { f64, input_ids, label_start, n_label_tokens }] of expected.entries()) {
      const record = records[i]!;
      expect(record).toMatchObject({ n_tokens: input_ids.length, label_start, n_labels: n_label_tokens });
      expect(Math.abs(record.loss / f64.loss - 1)).toBeLessThan(1e-6);
      // The fixtures' own tolerances; agreement.test.ts compares every statistic.
      for (const [name, m] of Object.entries(f64.params)) {
        const ours = (record as unknown as Record<string, MatrixStatistics>)[name]!;
        expect(Math.abs(ours.S_sum / m.S_sum - 1), name).toBeLessThan(3e-5);
        expect(ours.S_list!.length).toBeGreaterThan(0);
      }
      expect(record.cosine_adjacent!.v_proj!.length).toBe(3);
    }
    const manifest = readManifest(out)!;
    expect(manifest.identity).toMatchObject({ mode: "base", maxLength: 1024, spectrum: true, cosines: true, singleBos: false });
    expect(manifest.times.sessions.map((s) => s.status)).toEqual(["done"]);
  });

  it("called again has nothing left to do, and loads no model for it", async () => {
    const out = newFolder();
    await succeeds(...onBasic(out));
    const before = readFileSync(join(out, "records.jsonl"));
    const { stdout, stderr } = await succeeds(...onBasic(out));
    expect(stdout).toMatch(/^4 of 4 rows recorded in .+\nnothing was left to do\n$/);
    expect(stderr).not.toContain("loading");
    expect(readFileSync(join(out, "records.jsonl"))).toEqual(before);
  });

  it("takes rows by number, by fraction and up to a limit, and goes on with the rest in the same folder", async () => {
    const out = newFolder();
    await succeeds(...onBasic(out, "--rows", "1:3", "--limit", "1"));
    expect(rowsOf(out)).toEqual([1]);
    await succeeds(...onBasic(out, "--rows", "0.5:1.0"));
    expect(rowsOf(out)).toEqual([1, 2, 3]);
    const { stdout } = await succeeds(...onBasic(out, "--limit", "2", "--batch-tokens", "64", "--threads", "1", "--memory", "2GB"));
    expect(stdout).toContain("2 of 2 rows recorded");
    expect(rowsOf(out)).toEqual([0, 1, 2, 3]);
  });

  it("--json gives the whole result as one line of JSON, --quiet leaves standard error empty", async () => {
    const out = newFolder();
    const ended = await succeeds("run", "--model", llama, "--data", edge, "--max-length", "160", "--out", out, "--json", "--quiet");
    expect(ended.stderr).toBe("");
    expect(ended.stdout.trimEnd().split("\n").length).toBe(1);
    const summary = summaryOf(ended);
    const nan = readExpected(expectedPath("llama", "base", "edge")).filter((e) => e.status === "nan");
    expect(summary).toMatchObject({ folder: out, requested: 11, recorded: 11 - nan.length, skipped: nan.length, interrupted: false });
    expect(Object.values(summary.reasons).reduce((a, b) => a + b, 0)).toBe(nan.length);
    expect(summary.computed.rows).toBe(11 - nan.length);
    expect(skippedOf(out).map((s) => s.row)).toEqual(nan.map((e) => e.row));
    expect(summaryOf(await succeeds("run", "--model", llama, "--data", edge, "--max-length", "160", "--out", out, "--json"))).toMatchObject(
      {
        recorded: 11 - nan.length,
        skipped: nan.length,
        computed: { rows: 0, tokens: 0 },
      },
    );
  });

  it.each([
    ["reference", ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]],
    ["mlp", ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]],
  ])("--matrices %s records those of every layer and no others", async (choice, modules) => {
    const out = newFolder();
    await succeeds(...onBasic(out, "--limit", "1", "--matrices", choice));
    const [record] = recordsOf(out);
    const keys = Object.keys(record!).filter((key) => key.startsWith("model."));
    expect(keys).toEqual([0, 1, 2, 3].flatMap((layer) => modules.map((module) => `model.layers.${layer}.${module}.weight`)));
    for (const module of modules) expect(matrixOf(record!, 3, module)).not.toHaveProperty("S_list");
    expect(record).not.toHaveProperty("cosine_adjacent");
  });

  it("--max-length cuts rows on the right and skips those whose response is gone, with the reason", async () => {
    const out = newFolder();
    await succeeds(...onBasic(out, "--max-length", "100"));
    const expected = readExpected(expectedPath("llama", "base", "basic"));
    const cut = expected.filter((e) => e.label_start >= 100).map((e) => e.row);
    expect(skippedOf(out).map((s) => [s.row, s.reason])).toEqual(cut.map((row) => [row, "response truncated away"]));
    expect(recordsOf(out).map((r) => r.n_tokens)).toEqual(
      expected.filter((e) => e.label_start < 100).map((e) => Math.min(100, e.input_ids.length)),
    );
  });

  it("--single-bos drops the BOS that the template doubles, and only that", async () => {
    const [twice, once] = [newFolder(), newFolder()];
    await succeeds(...onBasic(twice, "--mode", "instruct", "--limit", "2"));
    await succeeds(...onBasic(once, "--mode", "instruct", "--limit", "2", "--single-bos"));
    const counts = (out: string) => recordsOf(out).map((r) => [r.n_tokens, r.label_start, r.n_labels] as const);
    expect(counts(once)).toEqual(counts(twice).map(([tokens, labelStart, labels]) => [tokens - 1, labelStart - 1, labels]));
    expect(counts(twice)[0]![0]).toBe(readExpected(expectedPath("llama", "instruct", "basic"))[0]!.input_ids.length);
    expect(recordsOf(once)[0]!.loss).not.toBe(recordsOf(twice)[0]!.loss);
  });

  it("--date is what a template's clock shows; a later call keeps the folder's date, and another one is refused", async () => {
    const clock = modelCopy("clock", (copy) => {
      changeJson(join(copy, "tokenizer_config.json"), (c) => ({
        ...c,
        chat_template: "{{ strftime_now('%d %b %Y') }}\n{{ messages[-1]['content'] }}\n",
      }));
    });
    const out = newFolder();
    const call = ["run", "--model", clock, "--data", basic, "--out", out, "--mode", "instruct", "--limit"];
    await succeeds(...call, "1", "--date", "2024-02-29");
    await succeeds(...call, "2");
    expect(readManifest(out)!.identity.date).toBe("2024-02-29");
    expect(rowsOf(out)).toEqual([0, 1]);
    expect(await refused(5, ...call, "2", "--date", "2024-03-01")).toContain("date (recorded 2024-02-29, now 2024-03-01)");
    const { stdout } = await succeeds(
      "tokens",
      "--model",
      clock,
      "--data",
      basic,
      "--mode",
      "instruct",
      "--limit",
      "1",
      "--date",
      "2024-02-29",
      "--json",
    );
    expect((JSON.parse(stdout) as { text: string }).text).toMatch(/^29 Feb 2024\n/);
  });

  it("goes on only with the same identity; --overwrite starts anew", async () => {
    const out = newFolder();
    await succeeds(...onBasic(out, "--limit", "2"));
    for (const [change, named] of [
      [["--mode", "instruct"], "mode"],
      [["--max-length", "90"], "maxLength"],
      [["--matrices", "all"], "matrices"],
      [["--spectrum"], "spectrum"],
      [["--cosines"], "cosines"],
    ] as const) {
      const sentence = await refused(5, ...onBasic(out, ...change));
      expect(sentence).toContain(`holds a run of another ${named}`);
      expect(sentence).toContain("--overwrite");
    }
    expect(await refused(5, "run", "--model", llama, "--data", edge, "--out", out)).toContain("holds a run of another data");
    expect(await refused(5, "run", "--model", fixtureModel("llama31"), "--data", basic, "--out", out)).toContain(
      "holds a run of another weights",
    );
    expect(rowsOf(out)).toEqual([0, 1]);
    await succeeds(...onBasic(out, "--matrices", "mlp", "--rows", "3:4", "--overwrite"));
    expect(rowsOf(out)).toEqual([3]);
  });

  it("skips a row whose loss is not finite, with the reason; its pack-mates' numbers keep every digit", async () => {
    // An embedding of ∞ for a token that occurs in one row alone.
    const { stdout } = await succeeds("tokens", "--model", llama, "--data", basic, "--json");
    const ids = stdout
      .trimEnd()
      .split("\n")
      .map((line) => new Set((JSON.parse(line) as { input_ids: number[] }).input_ids));
    const token = [...ids[1]!].find((id) => [0, 2, 3].every((row) => !ids[row]!.has(id)))!;
    const broken = modelCopy("broken", (copy) => {
      const file = join(copy, "model.safetensors");
      const embedding = namedTensors(file).get("model.embed_tokens.weight")!;
      expect(embedding).toMatchObject({ dtype: "F32", shape: [625, 64] });
      patchFile(file, embedding.offset + token * 64 * 4, Buffer.from(Float32Array.of(Number.POSITIVE_INFINITY).buffer));
    });
    const [whole, out] = [newFolder(), newFolder()];
    await succeeds(...onBasic(whole, "--spectrum", "--cosines"));
    const ended = await succeeds("run", "--model", broken, "--data", basic, "--out", out, "--spectrum", "--cosines");
    expect(ended.stdout).toMatch(/3 of 4 rows recorded in [^\n]+\n1 skipped, see skipped\.jsonl: 1 non-finite loss\n/);
    expect(skippedOf(out)).toEqual([expect.objectContaining({ row: 1, reason: "non-finite loss" })]);
    expect(recordsOf(out)).toEqual(recordsOf(whole).filter((r) => r.row !== 1));
    expect((await succeeds("run", "--model", broken, "--data", basic, "--out", out, "--spectrum", "--cosines")).stdout).toContain(
      "nothing was left to do",
    );
  });
});

describe("layergrad tokens", () => {
  it("--json prints the fixtures' own tokens and labels, a line a row", async () => {
    const { stdout, stderr } = await succeeds(
      "tokens",
      "--model",
      llama,
      "--data",
      edge,
      "--max-length",
      "160",
      "--mode",
      "instruct",
      "--json",
    );
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const expected = readExpected(expectedPath("llama", "instruct", "edge"));
    expect(lines.map(({ skipped: _, ...line }) => line)).toEqual(
      expected.map((e) => ({ row: e.row, text: e.text, input_ids: e.input_ids, label_start: e.label_start, n_labels: e.n_label_tokens })),
    );
    expect(lines.map((line) => line.skipped !== undefined)).toEqual(expected.map((e) => e.status === "nan"));
    expect(stderr).toBe("");
  });

  it("leaves off without an error when its reader has seen enough, as with `| head -1`", async () => {
    const { child, ended } = start(["tokens", "--model", demoModel("base"), "--data", demoData("wiki_popular_1000"), "--json"]);
    child.stdout!.once("data", () => child.stdout!.destroy());
    expect(await ended).toMatchObject({ status: 0, signal: null, stderr: "" });
  });
});

describe("layergrad inspect", () => {
  it("--json gives sizes, the parameter count of the files and estimates that grow with the row", async () => {
    const { stdout } = await succeeds("inspect", llama, "--json", "--threads", "1");
    const told = JSON.parse(stdout) as Record<string, unknown> & {
      estimates: { tokens: number; seconds: number; memory: number; leastMemory: number }[];
    };
    const elements = [...namedTensors(join(llama, "model.safetensors")).values()].reduce(
      (sum, t) => sum + t.shape.reduce((a, b) => a * b, 1),
      0,
    );
    expect(told).toMatchObject({
      modelType: "llama",
      layers: 4,
      hidden: 64,
      heads: 4,
      keyValueHeads: 2,
      vocabulary: 625,
      parameters: elements,
    });
    expect(told.matrices).toContainEqual({ name: "self_attn.k_proj", shape: [32, 64] });
    for (const [i, e] of told.estimates.entries()) {
      expect(e.memory).toBeGreaterThanOrEqual(e.leastMemory);
      if (i > 0) expect(e.seconds).toBeGreaterThan(told.estimates[i - 1]!.seconds);
    }
  });

  it("counts what the demo's own description says: 2,346,112 parameters, tied embeddings counted once", async () => {
    const { stdout } = await succeeds("inspect", demoModel("base"), "--json", "--matrices", "all");
    expect(JSON.parse(stdout)).toMatchObject({ parameters: 2_346_112, tiedEmbeddings: true, layers: 12 });
    expect((JSON.parse(stdout) as { matrices: unknown[] }).matrices.length).toBe(7);
  });
});

describe("exit status 2, usage:", () => {
  it.each<[string, string[], string]>([
    ["no model", ["run"], "required option '--model <model>' not specified"],
    ["an unknown command", ["frobnicate"], "unknown command 'frobnicate'"],
    ["an unknown option", ["inspect", "model", "--fast"], "unknown option '--fast'"],
    ["an unknown mode", ["run", "--mode", "chat"], "argument 'chat' is invalid"],
    ["a length of zero", ["run", "--max-length", "0"], "It must be a whole number above 0"],
    ["half a thread", ["run", "--threads", "1.5"], "It must be a whole number above 0"],
    ["a size in words", ["run", "--memory", "lots"], 'It must be a size such as "6GB" or "800MB"'],
  ])("%s", async (_, args, message) => expect(await refused(2, ...args)).toContain(message));

  it.each<[string, string[], string]>([
    ["rows that are none", ["--rows", "1-3"], "--rows must be A:B"],
    ["rows beyond the file", ["--rows", "4:9"], "--rows 4:9 holds no row of a file of 4 rows"],
    ["a fraction above one", ["--rows", "0:1.5"], "exceeds 1.0"],
    ["a date that is none", ["--date", "2025-02-30"], 'the date must be an existing day written YYYY-MM-DD, found "2025-02-30"'],
  ])("%s, before the model is looked at or the folder made", async (_, args, message) => {
    const out = newFolder();
    expect(await refused(2, "run", "--model", join(folder, "nowhere"), "--data", basic, "--out", out, ...args)).toContain(message);
    expect(readdirSync(folder)).not.toContain(out.slice(folder.length + 1));
  });

  it("no command at all shows what there is", async () => {
    const ended = await cli();
    expect(ended).toMatchObject({ status: 2, stdout: "" });
    for (const command of ["run", "tokens", "inspect", "demo"]) expect(ended.stderr).toContain(command);
  });

  it("--version and --help are no error", async () => {
    const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
    expect((await succeeds("--version")).stdout).toBe(`${version}\n`);
    expect((await succeeds("run", "--help")).stdout).toContain("--overwrite");
  });
});

describe("exit status 3, model:", () => {
  const run = (model: string, ...more: string[]) => refused(3, "run", "--model", model, "--data", basic, "--out", newFolder(), ...more);

  it("a folder that is not there", async () => expect(await run(join(folder, "nowhere"))).toContain("there is no such folder"));
  it("a family that is not supported is named, with those that are", async () => {
    const mamba = modelCopy("mamba", (copy) => changeJson(join(copy, "config.json"), (c) => ({ ...c, model_type: "mamba" })));
    expect(await run(mamba)).toMatch(/model_type "mamba" is not supported, only .*llama.*qwen2/);
    expect(await refused(3, "inspect", mamba)).toContain('"mamba"');
    expect(await refused(3, "tokens", "--model", mamba, "--data", basic)).toContain('"mamba"');
  });
  it("a tensor that is missing is named", async () => {
    const incomplete = modelCopy("incomplete", (copy) =>
      withHeader(join(copy, "model.safetensors"), (h) =>
        h.replace("model.layers.2.mlp.up_proj.weight", "model.layers.2.mlp.up_prog.weight"),
      ),
    );
    expect(await run(incomplete)).toContain("no tensor model.layers.2.mlp.up_proj.weight");
  });
  it("a tensor of another shape is named, with both shapes", async () => {
    const misshapen = modelCopy("misshapen", (copy) =>
      withHeader(join(copy, "model.safetensors"), (h) => {
        const { "model.layers.1.mlp.down_proj.weight": info, ...rest } = JSON.parse(h) as Record<string, { shape: number[] }>;
        return JSON.stringify({ ...rest, "model.layers.1.mlp.down_proj.weight": { ...info, shape: info!.shape.toReversed() } });
      }),
    );
    expect(await run(misshapen)).toContain(
      "Tensor model.layers.1.mlp.down_proj.weight has shape [128,64], but config.json implies [64,128]",
    );
  });
  it("weights that end too early", async () => {
    const torn = modelCopy("torn", (copy) => {
      const file = join(copy, "model.safetensors");
      writeFileSync(file, readFileSync(file).subarray(0, 500_000));
    });
    expect(await run(torn)).toContain("model.safetensors");
  });
  it("no tokenizer", async () => {
    const mute = modelCopy("mute", (copy) => rmSync(join(copy, "tokenizer.json")));
    expect(await run(mute)).toContain("has no tokenizer.json");
  });
  it("a tokenizer of another model, whose tokens have no embedding", async () => {
    const foreign = modelCopy("foreign", (copy) => cpSync(join(demoModel("base"), "tokenizer.json"), join(copy, "tokenizer.json")));
    expect(await run(foreign)).toMatch(/the tokenizer gives token \d+ in row \d+, but the model has 625 embeddings/);
  });
  it("instruct mode without a chat template", async () => {
    expect(await run(demoModel("base"), "--mode", "instruct")).toContain("no chat template");
  });
});

describe("exit status 4, data:", () => {
  it.each<[string, string, unknown, string]>([
    ["no such file", "", undefined, "cannot be read: no such file or folder"],
    ["an empty file", "empty.json", "", "is empty"],
    ["no rows", "none.json", [], "holds no rows"],
    ["no JSON", "torn.json", '[{"instruction": "a", "output": "b"},\n{"instruct', "line 2: invalid JSON"],
    ["no list", "object.json", { rows: [] }, "must hold a JSON list of rows, found an object"],
    [
      "a row without a response",
      "no-output.json",
      [{ instruction: "a", output: "b" }, { instruction: "c" }],
      'row 1: "output" must be a text, found nothing',
    ],
    ["a line that is no row", "rows.jsonl", '{"instruction": "a", "output": "b"}\n[1]\n', "line 2: a row must be an object"],
  ])("%s, told before a model is looked for", async (_, name, content, message) => {
    const data = content === undefined ? join(folder, "absent.json") : writeData(name, content);
    expect(await refused(4, "run", "--model", join(folder, "nowhere"), "--data", data, "--out", newFolder())).toContain(message);
  });

  it("no row that could be measured; skipped.jsonl has the reasons", async () => {
    const data = writeData("mute.json", [
      { instruction: "a", output: "" },
      { instruction: "a ".repeat(60), output: "b" },
    ]);
    const out = newFolder();
    const sentence = await refused(4, "run", "--model", llama, "--data", data, "--out", out, "--max-length", "32");
    expect(sentence).toContain("none of the chosen rows could be measured");
    expect(skippedOf(out).map((s) => s.reason)).toEqual(["empty response", "response truncated away"]);
  });
});

describe("exit status 5, output:", () => {
  it("a second process on a folder is refused while the first works there, and names it", async () => {
    const out = newFolder();
    const call = [
      "run",
      "--model",
      demoModel("base"),
      "--data",
      demoData("wiki_popular_1000_irrelevant"),
      "--out",
      out,
      "--batch-tokens",
      "1",
    ];
    const first = start(call);
    const until = performance.now() + 30_000;
    while (!(await recordedSoFar(out)) && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
    const sentence = await refused(5, ...call);
    expect(sentence).toContain(`process ${first.child.pid} works in this folder`);
    first.child.kill("SIGTERM");
    expect((await first.ended).status).toBe(130);
    // The refused one has not touched the first one's lock or lines.
    await succeeds(...call, "--limit", "1");
  });
  it("a folder that cannot be made", async () => {
    const path = writeData("file", "");
    expect(await refused(5, ...onBasic(path))).toContain("the output folder cannot be made: a file of that name is there already");
    expect(await refused(5, ...onBasic(join(path, "below")))).toContain("the output folder cannot be made");
  });
  it("a folder with another program's records, which are left alone, --overwrite or not", async () => {
    const out = newFolder();
    mkdirSync(out);
    writeFileSync(join(out, "records.jsonl"), "mine\n");
    for (const more of [[], ["--overwrite"]]) expect(await refused(5, ...onBasic(out, ...more))).toContain("is left alone");
    expect(readFileSync(join(out, "records.jsonl"), "utf8")).toBe("mine\n");
  });
});

const recordedSoFar = async (out: string): Promise<boolean> => {
  try {
    return readFileSync(join(out, "records.jsonl"), "utf8").includes("\n");
  } catch {
    return false;
  }
};

describe("exit status 6, memory:", () => {
  it("names the least that would do, and that much is enough", async () => {
    const out = newFolder();
    const sentence = await refused(6, ...onBasic(out, "--memory", "100MB", "--quiet"));
    const [, least] = /at least (\d+\.\d GB) of memory and may use 0\.1 GB/.exec(sentence)!;
    const ended = await succeeds(...onBasic(out, "--memory", least!, "--json"));
    const { plan, recorded } = summaryOf(ended);
    expect(recorded).toBe(4);
    expect(plan!.memory).toBeLessThanOrEqual(Number.parseFloat(least!) * 1e9);
  });
});
