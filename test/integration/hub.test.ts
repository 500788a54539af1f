import { spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { measureRows } from "../../src/run/measure-rows.ts";
import { openModel } from "../../src/run/open-model.ts";
import { run as measure } from "../../src/run/run.ts";
import { estimateStudy } from "../../src/study/dry-run.ts";
import { parseStudy } from "../../src/study/spec.ts";
import { readManifest } from "../../src/store/index.ts";
import { cliFile, recordsOf, refused, start, succeeds } from "../cli.ts";
import { fixtureModel, fixtures } from "../fixtures.ts";
import { repositoryOf, serveHub, type TestHub } from "../hub-server.ts";

const qwen2 = repositoryOf(fixtureModel("qwen2"), { "pytorch_model.bin": "no need", "README.md": "no need" });
const weights = qwen2.files.get("model.safetensors")!;
const rows = join(fixtures, "data", "basic.json");

let folder = "";
let hub: TestHub;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-hub-"));
  hub = await serveHub({ "tiny/qwen2": qwen2, "tiny/llama31": repositoryOf(fixtureModel("llama31")) });
  vi.stubEnv("HF_HOME", join(folder, "home"));
  vi.stubEnv("HF_ENDPOINT", hub.url);
  for (const name of ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]) vi.stubEnv(name, "");
});
afterEach(async () => {
  await hub.close();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const run = (model: string, out: string, ...more: string[]): string[] => [
  "run",
  "--model",
  model,
  "--data",
  rows,
  "--out",
  join(folder, out),
  ...more,
];
const snapshot = (): string[] => {
  const path = join(folder, "home", "hub", "models--tiny--qwen2", "snapshots", qwen2.commit);
  return existsSync(path) ? readdirSync(path).sort() : [];
};
const texts = ["config.json", "tokenizer.json", "tokenizer_config.json"];

/** The weights' first half at once, and the rest never. */
function stall(): Promise<void> {
  return new Promise((resolve) => {
    hub.fault = (_, response, content) => {
      if (!content?.equals(weights)) return false;
      response.writeHead(200, { "content-length": content.length });
      response.write(content.subarray(0, content.length / 2), () => setTimeout(resolve, 200));
      return true;
    };
  });
}

describe("a model of the Hub", () => {
  it("runs by its id, the second time offline, with the numbers of the folder", async () => {
    const { stderr } = await succeeds(...run("tiny/qwen2", "online"));
    expect(stderr).toContain("loading 4 layers of tiny/qwen2");
    expect(snapshot()).toEqual(["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]);
    const { files, ...model } = readManifest(join(folder, "online"))!.model;
    expect(model).toEqual({ folder: "tiny/qwen2", id: "tiny/qwen2", revision: qwen2.commit, type: "qwen2" });
    expect(Object.keys(files)).toEqual(snapshot());

    vi.stubEnv("HF_HUB_OFFLINE", "1");
    const asked = hub.asked.length;
    expect((await succeeds(...run("tiny/qwen2", "online"))).stdout).toContain("nothing was left to do");
    await succeeds(...run("tiny/qwen2", "offline"));
    expect(hub.asked.length).toBe(asked);
    await succeeds(...run(fixtureModel("qwen2"), "folder"));
    // The same identity too, so that either may go on with the other's folder.
    const { identity } = readManifest(join(folder, "folder"))!;
    expect(readManifest(join(folder, "online"))!.identity).toEqual(identity);
    for (const name of ["online", "offline"]) expect(recordsOf(join(folder, name))).toEqual(recordsOf(join(folder, "folder")));
  });

  it("is taken at a revision, whose commit the manifest keeps", async () => {
    const old = repositoryOf(fixtureModel("qwen2"), { "README.md": "older" });
    hub.revisions.set("tiny/qwen2 v1", old);
    await succeeds(...run("tiny/qwen2", "out", "--revision", "v1", "--limit", "1"));
    expect(readManifest(join(folder, "out"))!.model).toMatchObject({ id: "tiny/qwen2", revision: old.commit });
    expect(await refused(3, ...run("tiny/qwen2", "out", "--revision", "v2"))).toContain('tiny/qwen2 has no revision "v2"');
  });

  it("goes on after its branch has moved if the files are the same, and by the manifest's commit if not", async () => {
    await succeeds(...run("tiny/qwen2", "out", "--limit", "1"));
    const moved = repositoryOf(fixtureModel("qwen2"), { "README.md": "newer" });
    hub.repositories.set("tiny/qwen2", moved);
    await succeeds(...run("tiny/qwen2", "out", "--limit", "2"));
    expect(recordsOf(join(folder, "out")).length).toBe(2);
    expect(readManifest(join(folder, "out"))!.model.revision).toBe(moved.commit);
    hub.repositories.set("tiny/qwen2", repositoryOf(fixtureModel("qwen2"), { "chat_template.jinja": "other" }));
    expect(await refused(5, ...run("tiny/qwen2", "out"))).toContain("tokenizer");
    await succeeds(...run("tiny/qwen2", "out", "--revision", readManifest(join(folder, "out"))!.model.revision!));
  });

  it("is looked at and turned into tokens without its weights", async () => {
    const { stdout } = await succeeds("inspect", "tiny/qwen2");
    expect(stdout).toContain(`tiny/qwen2 at ${qwen2.commit.slice(0, 12)}: Qwen2 (qwen2), 0.2 million parameters`);
    expect(stdout).toContain("weights on the Hub, 385 kB to download");
    const tokens = ["--data", rows, "--json"];
    const [byId, byPath] = await Promise.all([
      succeeds("tokens", "--model", "tiny/qwen2", ...tokens),
      succeeds("tokens", "--model", fixtureModel("qwen2"), ...tokens),
    ]);
    expect(byId.stdout).toBe(byPath.stdout);
    expect(snapshot()).toEqual(texts);
  });

  it("is looked at offline on its small files alone", async () => {
    const file = join(folder, "study.yaml");
    writeFileSync(file, `out: runs\nmodels: [tiny/qwen2]\ndata: [{ file: ${rows} }]\n`);
    const looks = [
      ["inspect", "tiny/qwen2"],
      ["tokens", "--model", "tiny/qwen2", "--data", rows],
      ["study", file, "--dry-run"],
    ];
    const online: string[] = [];
    for (const look of looks) online.push((await succeeds(...look)).stdout);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    const asked = hub.asked.length;
    const offline: string[] = [];
    for (const look of looks) offline.push((await succeeds(...look)).stdout);
    expect(hub.asked.length).toBe(asked);
    expect(offline[0]).toContain("weights on the Hub, whose size cannot be asked now");
    expect(offline[1]).toBe(online[1]);
    expect(offline[2]).toContain("Weights on the Hub that are not here yet, whose size cannot be asked now, are downloaded first");
    expect(await refused(3, ...run("tiny/qwen2", "out"))).toContain("tiny/qwen2 at main is without model.safetensors in the cache");
  });

  it("of a family that is not supported is refused before its weights come", async () => {
    const config = JSON.stringify({ ...(JSON.parse(qwen2.files.get("config.json")!.toString()) as object), model_type: "mamba" });
    hub.repositories.set("tiny/mamba", repositoryOf(fixtureModel("qwen2"), { "config.json": config }));
    expect(await refused(3, ...run("tiny/mamba", "out"))).toMatch(
      /: \/.+\/models--tiny--mamba\/snapshots\/[0-9a-f]{40}\/config\.json: model_type "mamba" is not supported/,
    );
    expect(hub.asked.some(({ url }) => url.includes("model.safetensors"))).toBe(false);
  });

  it("is a folder where one has that path, and a path is never an id", async () => {
    // Folders of the project, from which the tests are run.
    expect(await refused(3, "inspect", "test/integration")).toContain("test/integration: has no config.json");
    expect(await refused(3, "inspect", "./tiny/qwen2")).toContain("./tiny/qwen2: there is no such folder");
    expect(await refused(2, ...run(fixtureModel("qwen2"), "out", "--revision", "main"))).toContain(
      "is a path, and --revision is for models of the Hub",
    );
    for (const neither of ["gpt2", "tiny/qwen2/model.safetensors", "https://huggingface.co/tiny/qwen2"])
      expect(await refused(3, "inspect", neither)).toContain(`${neither}: there is no such folder or file, nor is it an id of the Hub`);
    expect(hub.asked).toEqual([]);
  });

  it("that is not there is refused in a sentence, by exit status 3", async () => {
    expect(await refused(3, ...run("tiny/none", "out"))).toContain(
      "tiny/none: there is no such folder, and the Hub has no model of that id",
    );
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect(await refused(3, ...run("tiny/qwen2", "out"))).toContain("tiny/qwen2 at main is not in the cache");
    expect(existsSync(join(folder, "out"))).toBe(false);
  });

  it("is taken by the library too, but not at a revision once it is open", async () => {
    const rows = [{ instruction: "2 + 2 =", output: "4" }];
    const losses = async (model: Parameters<typeof measureRows>[0]) => {
      const found: unknown[] = [];
      for await (const result of measureRows(model, rows)) found.push("loss" in result && result.loss);
      return found;
    };
    expect(await losses({ model: "tiny/qwen2", revision: qwen2.commit })).toEqual(await losses(fixtureModel("qwen2")));
    const model = await openModel("tiny/qwen2");
    await expect(measure({ model, revision: "main", data: "demo/sums/none", out: join(folder, "out") })).rejects.toMatchObject({
      kind: "usage",
    });
    model.checkpoint.close();
  });

  it("shows the data's mistakes before it is fetched", async () => {
    expect(await refused(4, "run", "--model", "tiny/qwen2", "--data", join(folder, "none.json"), "--out", join(folder, "out"))).toContain(
      "none.json",
    );
    expect(hub.asked).toEqual([]);
  });
});

describe("a GGUF file of the Hub", () => {
  it("is opened by its path in the repository, the second time offline, and is the file", async () => {
    const file = join(fixtures, "gguf", "qwen2.gguf");
    hub.repositories.set("tiny/quants", repositoryOf(undefined, { "q8/qwen2.gguf": readFileSync(file), "q8/other.gguf": "no need" }));
    const id = "tiny/quants/q8/qwen2.gguf";
    expect(await refused(3, "inspect", id)).toContain(
      `${id} is on the Hub and not here yet (0.1 GB), and all that can be said of it is in the file; a run of it fetches it.`,
    );
    const [online, local] = await Promise.all([openModel(id), openModel(file)]);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    const offline = await openModel(id);
    for (const { source, spec, checkpoint } of [online, offline]) {
      expect(source).toEqual({ folder: id, id: "tiny/quants", revision: hub.repositories.get("tiny/quants")!.commit });
      expect(spec).toEqual(local.spec);
      expect(await checkpoint.hashes()).toEqual(await local.checkpoint.hashes());
      checkpoint.close();
    }
    local.checkpoint.close();
    expect(hub.asked.some(({ url }) => url.includes("other.gguf"))).toBe(false);
  });
});

describe("an adapter", () => {
  const lora = join(fixtures, "lora", "rslora");
  const base = fixtureModel("phi3");

  it("of the Hub gives the numbers of its folder, and is another identity than the model alone", async () => {
    hub.repositories.set("tiny/phi3", repositoryOf(base));
    hub.repositories.set("tiny/lora", repositoryOf(lora, { "README.md": "no need" }));
    const commit = hub.repositories.get("tiny/lora")!.commit;
    await succeeds(...run("tiny/phi3", "hub", "--adapter", "tiny/lora@main"));
    expect(readManifest(join(folder, "hub"))!.model).toMatchObject({
      id: "tiny/phi3",
      adapter: { folder: "tiny/lora@main", id: "tiny/lora", revision: commit },
    });
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await succeeds(...run(base, "folder", "--adapter", lora));
    expect(readManifest(join(folder, "folder"))!.model).toMatchObject({ folder: base, adapter: { folder: lora } });
    expect(readManifest(join(folder, "folder"))!.identity).toEqual(readManifest(join(folder, "hub"))!.identity);
    expect(recordsOf(join(folder, "folder"))).toEqual(recordsOf(join(folder, "hub")));
    expect(await refused(5, ...run(base, "folder"))).toContain("weights");
    expect(hub.asked.some(({ url }) => url.includes("README"))).toBe(false);
  });

  it("is looked at before the model's weights come, by its path and by its id, also where none are to come", async () => {
    hub.repositories.set("tiny/phi3", repositoryOf(base));
    const config = JSON.stringify({ ...(JSON.parse(readFileSync(join(lora, "adapter_config.json"), "utf8")) as object), use_dora: true });
    const dora = join(folder, "dora");
    cpSync(lora, dora, { recursive: true });
    writeFileSync(join(dora, "adapter_config.json"), config);
    hub.repositories.set("tiny/dora", repositoryOf(lora, { "adapter_config.json": config }));
    const empty = join(folder, "empty");
    mkdirSync(empty);
    for (const [adapter, message] of [
      [dora, `${join(dora, "adapter_config.json")}: has use_dora true`],
      ["tiny/dora", "adapter_config.json: has use_dora true"],
      [empty, `${empty}: has no adapter_config.json; give the folder of a PEFT adapter.`],
      ["./gone", "./gone: there is no such folder; give the folder of a PEFT adapter."],
      ["gone", "gone: there is no such folder or file, nor is it an id of the Hub; give the folder of a PEFT adapter, or an id of one."],
    ] as const)
      for (const weights of [true, false])
        await expect(openModel({ model: "tiny/phi3", adapter }, { weights })).rejects.toMatchObject({
          kind: "model",
          message: expect.stringContaining(message) as string,
        });
    expect(hub.asked.filter(({ store }) => store)).toEqual([]);
    const study = (adapter: string) =>
      parseStudy(`out: a\nmodels: [{ model: tiny/phi3, adapter: ${adapter} }]\ndata: demo/sums/none`, join(folder, "s.yaml"));
    for (const adapter of ["dora", "tiny/dora"]) await expect(estimateStudy(study(adapter))).rejects.toThrow("has use_dora true");
  });

  it("whose weights are on the Hub leaves a folder's model to be looked at, and not to be computed", async () => {
    hub.repositories.set("tiny/lora", repositoryOf(lora));
    const bytes = readFileSync(join(lora, "adapter_model.safetensors")).length;
    const model = await openModel({ model: base, adapter: "tiny/lora" }, { weights: false });
    expect(model).toMatchObject({ source: { adapter: { id: "tiny/lora" } }, weights: { absent: bytes } });
    await expect(model.checkpoint.read("model.norm.weight")).rejects.toThrow("the weights are not here");
    expect(hub.asked.filter(({ store }) => store)).toEqual([]);
  });

  it("of the Hub is refused as a model, with what to do", async () => {
    hub.repositories.set("tiny/lora", repositoryOf(lora));
    expect(await refused(3, "inspect", "tiny/lora")).toContain(
      "tiny/lora is an adapter; give the model that it was trained on with --model",
    );
    expect(await refused(3, ...run("tiny/qwen2", "out", "--adapter", "tiny/qwen2"))).toContain("tiny/qwen2 has no adapter_config.json");
  });
});

describe("a download that is ended", () => {
  it.each([
    ["SIGINT", 130],
    ["SIGKILL", null],
  ] as const)("by %s goes on where it stopped", async (signal, status) => {
    const stalled = stall();
    const { child, ended } = start(run("tiny/qwen2", "out"));
    await stalled;
    child.kill(signal);
    expect(await ended).toMatchObject({ status, stdout: "" });
    expect(snapshot()).toEqual(texts);
    hub.fault = undefined;
    const { stderr } = await succeeds(...run("tiny/qwen2", "out", "--quiet"));
    expect(stderr).toBe("");
    const half = Math.floor(weights.length / 2);
    expect(hub.asked.at(-1)).toMatchObject({ store: true, range: `bytes=${half}-` });
    const blobs = join(folder, "home", "hub", "models--tiny--qwen2", "blobs");
    expect(readdirSync(blobs).filter((name) => name.includes("."))).toEqual([]);
  });
});

describe("a disk that fills up", () => {
  // A limit on the size of files stands in for it.
  it.skipIf(process.platform === "win32")("ends the run with one sentence, and keeps what came", async () => {
    const script = `ulimit -f 200; exec "$0" "$@"`;
    const child = spawn("sh", ["-c", script, process.execPath, cliFile, ...run("tiny/qwen2", "out", "--quiet")], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const status = await new Promise((resolve) => child.on("close", resolve));
    expect([status, stderr]).toEqual([
      5,
      expect.stringMatching(/^layergrad: .+: the download cannot be written \(HF_HUB_CACHE names another folder\): .+ \(EFBIG\); .+\.\n$/),
    ]);
    await succeeds(...run("tiny/qwen2", "out"));
    expect(hub.asked.at(-1)!.range).toMatch(/^bytes=[1-9]\d+-$/);
  });
});

describe("a study of models of the Hub", () => {
  const yaml = (): string => {
    const path = join(folder, "study.yaml");
    writeFileSync(
      path,
      `out: runs\nmodels:\n  - tiny/qwen2\n  - { name: llama, model: tiny/llama31, revision: main, kind: base }\ndata: [{ file: ${rows} }]\nlimit: 2\n`,
    );
    return path;
  };

  it("is planned without their weights, then fetches and runs them", async () => {
    const file = yaml();
    const { stdout } = await succeeds("study", file, "--dry-run");
    expect(stdout).toMatch(/Weights on the Hub that are not here yet, 981 kB, are downloaded first/);
    expect(snapshot()).toEqual(texts);
    expect(existsSync(join(folder, "runs"))).toBe(false);
    await succeeds("study", file, "--quiet");
    const model = (name: string) => readManifest(join(folder, "runs", name, "base", "basic"))!.model;
    expect(model("qwen2")).toMatchObject({ folder: "tiny/qwen2", id: "tiny/qwen2", revision: qwen2.commit });
    expect(model("llama")).toMatchObject({ id: "tiny/llama31", type: "llama" });
    const again = await succeeds("study", file, "--dry-run");
    expect(again.stdout).not.toContain("downloaded");
  });

  it("counts a model once that it names twice, and the disk where it goes", async () => {
    const models = "[{ name: a, model: tiny/qwen2 }, { name: b, model: tiny/qwen2, modes: [base] }, tiny/llama31]";
    const spec = parseStudy(`out: a\nmodels: ${models}\ndata: [{ file: ${rows} }]`, join(folder, "study.yaml"));
    const llama = readdirSync(fixtureModel("llama31")).filter((name) => name.endsWith(".safetensors"));
    const shards = llama.reduce((sum, name) => sum + statSync(join(fixtureModel("llama31"), name)).size, 0);
    const { download, freeCache } = await estimateStudy(spec);
    expect(download).toBe(weights.length + shards);
    expect(freeCache).toBeGreaterThan(0);
    expect(await refused(3, "study", specOf("tiny/quants/a.gguf"), "--dry-run")).toContain("has no model of that id");
    hub.repositories.set("tiny/quants", repositoryOf(undefined, { "a.gguf": "GGUF" }));
    expect(await refused(3, "study", specOf("tiny/quants/a.gguf"), "--dry-run")).toContain(
      "tiny/quants/a.gguf is on the Hub and not here yet (0.1 GB), and all that can be said of it is in the file; a run of it fetches it.",
    );
  });
  const specOf = (model: string): string => {
    const path = join(folder, "one.yaml");
    writeFileSync(path, `out: one\nmodels: [${model}]\ndata: [{ file: ${rows} }]`);
    return path;
  };

  it("takes an id for one, though the working directory has a folder of that path", async () => {
    // A folder of the project, from which the tests are run.
    hub.repositories.set("test/integration", qwen2);
    const spec = parseStudy(`out: a\nmodels: [test/integration]\ndata: [{ file: ${rows} }]`, join(folder, "study.yaml"));
    expect((await estimateStudy(spec)).runs.map((run) => run.folder)).toEqual(["integration/base/basic"]);
    expect(hub.asked.length).toBeGreaterThan(0);
  });

  const spec = (model: string) => () =>
    parseStudy(`out: a\nmodels: [${model}]\ndata: demo`, join(folder, "study.yaml")).models.map(({ name, model: place, ...rest }) => [
      name,
      place,
      rest,
    ]);
  it("has ids as texts or with a revision and an adapter", () => {
    expect(spec("a/b")()).toEqual([["b", { hub: "a/b" }, { kind: null, family: null, modes: ["base"] }]]);
    expect(spec("{ model: a/b/q/c.Q4_0.gguf, revision: v1, adapter: x/lora }")()[0]).toMatchObject([
      "c.Q4_0",
      { hub: "a/b/q/c.Q4_0.gguf" },
      { revision: "v1", adapter: { hub: "x/lora" } },
    ]);
  });
  it.each([
    ["gpt2", 'model must be an id of the Hub such as Qwen/Qwen2-1.5B, found "gpt2"'],
    ["{ model: a/b, path: x }", 'a model has "path", a folder, or "model", an id of the Hub, and not both'],
    ["{ name: x, path: demo/base, revision: main }", "a revision is of a model of the Hub"],
    ["{ model: a/b, revision: ../x }", "revision must be a branch, a tag or a commit"],
    ["{ model: a/b, adapter: ./gone }", '"./gone" is no id of the Hub; correct the path'],
    ["{ name: x, path: a/b }", 'download the model or correct the path, or write "model: a/b" for one of the Hub'],
  ])("refuses %s", (model, message) => expect(spec(model)).toThrow(message));
});
