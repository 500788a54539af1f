import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { fixtures, shared } from "../../test/fixtures.ts";
import { cutShort, serve, type TestServer } from "../../test/http.ts";
import { findCatalogueFile } from "./catalogue.ts";
import { parseHubReference, pullHub } from "./hub.ts";
import { openRows } from "./open-rows.ts";
import { catalogueFilePath } from "./pull.ts";

// Attempts follow each other at once.
vi.mock("node:timers/promises", () => ({ setTimeout: async () => {} }));

let folder = "";
let server: TestServer | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-open-"));
  vi.stubEnv("LAYERGRAD_DATA", join(folder, "data"));
  vi.stubEnv("HF_TOKEN", "");
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const parquet = readFileSync(join(fixtures, "data", "chat.zstd.parquet"));
const sha256 = (...parts: Uint8Array[]) => createHash("sha256").update(Buffer.concat(parts)).digest("hex");

describe("openRows of a name", () => {
  it("opens the bundled files, with what they are of", async () => {
    const { name, rows, paths, attributes, sha256 } = await openRows("demo/sums/none/irrelevant");
    expect(rows.length).toBe(64);
    expect(paths).toEqual([catalogueFilePath(findCatalogueFile("demo/sums/none/irrelevant")!)]);
    expect({ name, sha256 }).toEqual({ name: "demo/sums/none/irrelevant", sha256: findCatalogueFile(name)!.sha256 });
    expect(attributes).toEqual({ name, task: "cot", dataset: "sums", condition: "none", irrelevant: true });
  });
  it("says how to pull what is not here", async () => {
    await expect(openRows("aqua/none")).rejects.toThrow(
      expect.objectContaining({
        kind: "data",
        message: 'aqua/none is not here yet; run "layergrad data pull aqua/none", which fetches it.',
      }),
    );
  });
  it("refuses a pulled file that was changed", async () => {
    const path = catalogueFilePath(findCatalogueFile("aqua/none")!);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, '[{"instruction":"a","output":"b"}]');
    await expect(openRows("aqua/none")).rejects.toThrow("is not, or no longer, the file that the catalogue knows as aqua/none");
  });
  it.skipIf(!shared)(`fetches it where that is asked for${shared ? "" : " (set LAYERGRAD_SHARED to a folder with data/)"}`, async () => {
    const file = findCatalogueFile("wiki/unpopular")!;
    server = await serve((_, response) => response.end(readFileSync(join(shared!, "data", file.collection.name, file.path))));
    vi.stubEnv("LAYERGRAD_DATA_URL", server.url);
    expect((await openRows("wiki/unpopular", { pull: true })).rows.length).toBe(454);
    expect((await openRows("wiki/unpopular")).rows.length).toBe(454);
    expect(server.asked.length).toBe(1);
  });
  it.each([
    ["aqua", "aqua is a group of the catalogue; choose one of aqua/none, aqua/none/irrelevant,"],
    ["aqua/nun", 'aqua/nun is neither a file nor a name of the catalogue; "layergrad data list" shows the names.'],
    ["rows.json", "rows.json cannot be read: no such file or folder"],
  ])("refuses %s", async (reference, message) => {
    await expect(openRows(reference)).rejects.toThrow(expect.objectContaining({ kind: "data", message: expect.stringContaining(message) }));
  });
});

describe("openRows of a file", () => {
  it("reads it by its columns, and is told nothing of what it is of", async () => {
    const path = join(folder, "rows.csv");
    writeFileSync(path, "question,answer\na,b\n");
    const opened = await openRows(path, { instructionColumn: "question", outputColumn: "answer" });
    expect(opened).toEqual({
      name: path,
      paths: [path],
      rows: [{ instruction: "a", input: "", output: "b" }],
      sha256: sha256(readFileSync(path)),
      columns: { instruction: "question", input: "input", output: "answer" },
    });
  });
  it("takes a file without an extension for a JSON list", async () => {
    const path = join(folder, "rows");
    writeFileSync(path, '[{"instruction":"a","output":"b"}]');
    expect((await openRows(path)).rows.length).toBe(1);
  });
});

describe("parseHubReference", () => {
  it.each([
    ["hf:openai/gsm8k", { kind: "split", id: "openai/gsm8k", config: undefined, split: undefined }],
    ["hf:openai/gsm8k#train", { kind: "split", id: "openai/gsm8k", config: undefined, split: "train" }],
    ["hf:openai/gsm8k#main/train", { kind: "split", id: "openai/gsm8k", config: "main", split: "train" }],
    ["hf:a/b/rows.jsonl", { kind: "file", id: "a/b", revision: "main", path: "rows.jsonl" }],
    ["hf:a/b@v1.0/data/rows.csv", { kind: "file", id: "a/b", revision: "v1.0", path: "data/rows.csv" }],
  ])("%s", (reference, parsed) => expect(parseHubReference(reference)).toEqual(parsed));

  it.each([
    ["hf:gsm8k", "names no data set of the Hub"],
    ["hf:", "names no data set"],
    ["hf:a/b#", "names no data set"],
    ["hf:a/b#/train", "names no data set"],
    ["hf:a/b#x/y/z", "names no data set"],
    ["hf:a/..", "names no data set"],
    ["hf:../b#train", "names no data set"],
    ["hf:a/b/../../rows.json", "names no data set"],
    ["hf:a/b@../rows.json", "names no data set"],
    ["hf:a/b/..\\rows.json", "names no data set"],
    ["hf:a/b@main", "a revision needs the path of a file"],
    ["hf:a/b@main#train", "a revision needs the path of a file"],
    ["hf:a/b/model.bin", "must be JSON, JSONL, CSV or Parquet"],
  ])("refuses %s", (reference, message) =>
    expect(() => parseHubReference(reference)).toThrow(
      expect.objectContaining({ kind: "usage", message: expect.stringContaining(message) }),
    ),
  );
});

describe("openRows of a data set of the Hub", () => {
  /** A Hub with one data set; its listing names the public Hub's addresses, as the real one does whatever its own. */
  async function hub(
    listing: unknown,
    refuse: (path: string, token: string | undefined, before: number) => number = () => 200,
  ): Promise<TestServer> {
    server = await serve((request, response, before) => {
      const path = request.url!;
      const status = refuse(path, request.headers.authorization, before);
      if (status !== 200) response.writeHead(status).end();
      else if (path === "/api/datasets/o/n/parquet") response.end(JSON.stringify(listing));
      else if (/\.parquet$/.test(path)) response.end(parquet);
      else response.end('{"instruction":"a","output":"b"}\n');
    });
    vi.stubEnv("HF_ENDPOINT", server.url);
    return server;
  }
  const address = (config: string, split: string, i: number) =>
    `https://huggingface.co/api/datasets/o/n/parquet/${config}/${split}/${i}.parquet`;
  const one = { default: { train: [address("default", "train", 0)] } };
  const many = {
    main: { train: [address("main", "train", 0), address("main", "train", 1)], test: [address("main", "test", 0)] },
    "so/cratic": { test: [address("so%2Fcratic", "test", 0)] },
  };

  it("says how to pull it, fetches it where asked, and then has it here", async () => {
    const { asked } = await hub(one);
    await expect(openRows("hf:o/n")).rejects.toThrow('hf:o/n is not here yet; run "layergrad data pull hf:o/n"');
    expect(asked).toEqual([]);
    const opened = await openRows("hf:o/n", { pull: true });
    expect(opened).toMatchObject({ name: "hf:o/n", sha256: sha256(parquet), columns: { messages: "messages" } });
    expect(opened.rows.length).toBe(50);
    expect(asked).toEqual(["/api/datasets/o/n/parquet", "/api/datasets/o/n/parquet/default/train/0.parquet"]);
    expect(await openRows("hf:o/n")).toEqual(opened);
    expect(await openRows("hf:o/n", { pull: true })).toEqual(opened);
    expect(asked.length).toBe(2);
  });

  it("joins the files of a split", async () => {
    await hub(many);
    const { rows, sha256: hash, paths } = await openRows("hf:o/n#main/train", { pull: true });
    expect([rows.length, paths.length, hash]).toEqual([100, 2, sha256(parquet, parquet)]);
  });

  it.each([
    ["hf:o/n", "it has several splits; choose one of #main/train, #main/test, #so/cratic/test."],
    ["hf:o/n#test", "it has several splits"],
    ["hf:o/n#main/dev", "there is no such split; choose one of #main/train"],
  ])("%s leaves open what is meant", async (reference, message) => {
    await hub(many);
    await expect(openRows(reference, { pull: true })).rejects.toThrow(
      expect.objectContaining({ kind: "data", message: expect.stringContaining(message) }),
    );
  });
  it("takes a split by its name alone where only one configuration has it", async () => {
    await hub(many);
    expect((await openRows("hf:o/n#train", { pull: true })).rows.length).toBe(100);
  });

  it("fetches a file at a revision, slashes and all", async () => {
    const { asked } = await hub(one);
    expect((await openRows("hf:o/n@refs%2Fpr%2F1/data/my rows.jsonl", { pull: true })).rows).toEqual([
      { instruction: "a", input: "", output: "b" },
    ]);
    await openRows("hf:o/n/rows.jsonl", { pull: true });
    expect(asked).toEqual(["/datasets/o/n/resolve/refs%2Fpr%2F1/data/my%20rows.jsonl", "/datasets/o/n/resolve/main/rows.jsonl"]);
  });

  it("shows the token to the Hub, and to no other host that the Hub sends it on to", async () => {
    const seen: (string | undefined)[] = [];
    const store = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.end(parquet);
    });
    vi.stubEnv("HF_TOKEN", "hf_secret");
    server = await serve((request, response) => {
      seen.push(request.headers.authorization);
      if (request.url === "/api/datasets/o/n/parquet") response.end(JSON.stringify(one));
      else response.writeHead(302, { location: `${store.url}/signed` }).end();
    });
    vi.stubEnv("HF_ENDPOINT", server.url);
    expect((await openRows("hf:o/n", { pull: true })).rows.length).toBe(50);
    expect(seen).toEqual(["Bearer hf_secret", "Bearer hf_secret", undefined]);
    await store.close();
  });

  it("shows the stored token where HF_TOKEN is not set", async () => {
    const seen: (string | undefined)[] = [];
    vi.stubEnv("HF_TOKEN", "");
    writeFileSync(join(folder, "token"), "hf_stored\n");
    vi.stubEnv("HF_TOKEN_PATH", join(folder, "token"));
    server = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.end(request.url === "/api/datasets/o/n/parquet" ? JSON.stringify(one) : parquet);
    });
    vi.stubEnv("HF_ENDPOINT", server.url);
    await openRows("hf:o/n", { pull: true });
    expect(seen).toEqual(["Bearer hf_stored", "Bearer hf_stored"]);
  });

  it("asks nothing offline, and opens what was pulled before", async () => {
    const { asked } = await hub(one);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await expect(pullHub("hf:o/n")).rejects.toThrow(
      "hf:o/n cannot be fetched while HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set; unset it.",
    );
    expect(asked).toEqual([]);
    vi.stubEnv("HF_HUB_OFFLINE", "");
    await pullHub("hf:o/n");
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await openRows("hf:o/n");
  });

  it.each([
    [401, "set HF_TOKEN to a token that may read o/n"],
    [403, "after accepting its terms"],
    [404, "check the name; what is private or gated needs HF_TOKEN"],
    [500, "answers 500 Internal Server Error; try again later"],
  ])("says what to do about %i", async (status, message) => {
    await hub(one, () => status);
    await expect(openRows("hf:o/n", { pull: true })).rejects.toThrow(
      expect.objectContaining({ kind: "data", message: expect.stringContaining(message) }),
    );
  });

  it.each([{ default: { train: [] } }, { default: { train: ["no address"] } }, { default: { train: [3] } }])(
    "refuses the listing %j",
    async (listing) => {
      await hub(listing);
      await expect(openRows("hf:o/n", { pull: true })).rejects.toThrow("does not list Parquet files as the Hub does");
    },
  );
  it.each([[], null, "text", {}])("finds no split in the listing %j", async (listing) => {
    await hub(listing);
    await expect(openRows("hf:o/n", { pull: true })).rejects.toThrow("there is no such split; choose one of none");
  });
  it("keeps names of a stranger's listing inside the data folder", async () => {
    await hub({ "..": { "..": [address("x", "y", 0)] } });
    const [path] = (await openRows("hf:o/n", { pull: true })).paths;
    expect(path!.startsWith(join(folder, "data", "hub", "o", "n"))).toBe(true);
    expect(readdirSync(folder)).toEqual(["data"]);
  });

  it("does not take an interrupted pull for the whole, neither the first nor a later one", async () => {
    await hub(many);
    await pullHub("hf:o/n#main/train");
    await server!.close();
    server = await serve((request, response) => {
      if (request.url === "/api/datasets/o/n/parquet") response.end(JSON.stringify(many));
      else if (request.url!.endsWith("0.parquet")) response.end(parquet);
      else cutShort(response, parquet);
    });
    vi.stubEnv("HF_ENDPOINT", server.url);
    for (const reference of ["hf:o/n#main/train", "hf:o/n#train"]) {
      await expect(pullHub(reference)).rejects.toThrow("broke off");
      await expect(openRows(reference)).rejects.toThrow("is not here yet");
    }
  });
});
