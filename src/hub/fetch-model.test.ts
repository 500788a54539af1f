import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { fixtureModel } from "../../test/fixtures.ts";
import { cutShort } from "../../test/http.ts";
import { etagOf, refuse, repositoryOf, serveHub, type TestHub } from "../../test/hub-server.ts";
import { Lock } from "../store/lock.ts";
import { CachedRepository } from "./cache.ts";
import { partialOf } from "./fetch-blob.ts";
import { type FetchOptions, fetchModel } from "./fetch-model.ts";
import { parseModelId } from "./model-id.ts";

// Attempts follow each other at once; a turn of the event loop lets others work.
vi.mock("node:timers/promises", () => ({ setTimeout: () => new Promise((resolve) => setImmediate(resolve)) }));

const qwen2 = repositoryOf(fixtureModel("qwen2"), { "README.md": "no need", "pytorch_model.bin": "no need", "onnx/model.onnx": "no need" });
const llama31 = repositoryOf(fixtureModel("llama31"));
const needed = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
const weights = qwen2.files.get("model.safetensors")!;

let folder = "";
let hub: TestHub;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-hub-"));
  hub = await serveHub({ "o/qwen2": qwen2, "o/llama31": llama31 });
  vi.stubEnv("HF_HUB_CACHE", folder);
  vi.stubEnv("HF_HOME", join(folder, "home"));
  vi.stubEnv("HF_ENDPOINT", hub.url);
  for (const name of ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_SYMLINKS"])
    vi.stubEnv(name, undefined);
});
afterEach(async () => {
  await hub.close();
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const notes: string[] = [];
beforeEach(() => void notes.splice(0));
const fetched = (id = "o/qwen2", options: Partial<FetchOptions> = {}) =>
  fetchModel(parseModelId(id)!, { kind: "model", weights: true, watch: { note: (note) => notes.push(note) }, ...options });
/** Expects a refusal and gives its sentence. */
async function refusal(id?: string, options?: Partial<FetchOptions>, kind = "model"): Promise<string> {
  const error = await fetched(id, options).then(
    () => undefined,
    (reason: unknown) => reason as Error,
  );
  expect(error).toMatchObject({ name: "LayergradError", kind });
  expect(error!.message).toMatch(/\.$/);
  return error!.message;
}
const cache = (id = "o/qwen2") => new CachedRepository(id);
const blobOf = (name: string): string => cache().blob(etagOf(name, qwen2.files.get(name)!));
const blobs = (): string[] => readdirSync(join(cache().folder, "blobs")).sort();
const askedFor = (part: string) => hub.asked.filter(({ url }) => url.includes(part));
/** Requests for the weights' bytes. */
const askedForWeights = () => askedFor(etagOf("model.safetensors", weights)).filter(({ store }) => store);
const faultOnWeights = (answer: (...args: [...Parameters<NonNullable<TestHub["fault"]>>, number]) => boolean): void => {
  let times = 0;
  hub.fault = (request, response, content) => (content?.equals(weights) ? answer(request, response, content, times++) : false);
};

describe("fetchModel", () => {
  it("fetches what is needed and nothing else, byte for byte, in the layout of Python's cache", async () => {
    const { path, commit, weights: size } = await fetched();
    expect(commit).toBe(qwen2.commit);
    expect(size).toEqual({ bytes: weights.length, absent: 0 });
    const repository = join(folder, "models--o--qwen2");
    expect(path).toBe(join(repository, "snapshots", qwen2.commit));
    expect(readdirSync(path).sort()).toEqual(needed);
    for (const name of needed) {
      const etag = etagOf(name, qwen2.files.get(name)!);
      expect(readlinkSync(join(path, name))).toBe(join("..", "..", "blobs", etag));
      expect(readFileSync(join(path, name)).equals(qwen2.files.get(name)!)).toBe(true);
    }
    expect(blobs()).toEqual(needed.map((name) => etagOf(name, qwen2.files.get(name)!)).sort());
    expect(readFileSync(join(repository, "refs", "main"), "utf8")).toBe(qwen2.commit);
    expect(readdirSync(folder).sort()).toEqual([".locks", "models--o--qwen2"]);
  });

  it("fetches nothing twice, and asks for nothing offline", async () => {
    const { path } = await fetched();
    const files = askedFor("/resolve/").length;
    await fetched();
    expect(askedFor("/resolve/").length).toBe(files);
    const requests = hub.asked.length;
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect(await fetched()).toMatchObject({ path, commit: qwen2.commit, weights: { absent: 0 } });
    expect(hub.asked.length).toBe(requests);
  });

  it("reads the index and fetches the shards that it names, of a listing in several pages", async () => {
    const { path } = await fetched("o/llama31");
    expect(readdirSync(path).filter((name) => name.endsWith(".safetensors")).length).toBe(3);
    expect(askedFor("cursor=").length).toBeGreaterThan(0);
    rmSync(join(path, "model-00002-of-00003.safetensors"));
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect(await refusal("o/llama31")).toMatch(/^o\/llama31 at main is without model-00002-of-00003\.safetensors in the cache/);
  });

  it("takes branches, tags, pull requests and commits, and keeps the commit of each", async () => {
    const other = repositoryOf(fixtureModel("qwen2"), { "tokenizer_config.json": "{}" });
    hub.revisions.set("o/qwen2 refs/pr/1", other);
    expect((await fetched("o/qwen2@refs%2Fpr%2F1")).commit).toBe(other.commit);
    expect(readFileSync(join(cache().folder, "refs", "refs", "pr", "1"), "utf8")).toBe(other.commit);
    expect((await fetched(`o/qwen2@${qwen2.commit}`)).commit).toBe(qwen2.commit);
    expect(readdirSync(join(cache().folder, "refs"))).toEqual(["refs"]);
    // What both have is here once.
    expect(blobs().length).toBe(needed.length + 1);
    expect(askedForWeights().length).toBe(1);
  });

  it("follows a branch that has moved, and keeps the older commit", async () => {
    await fetched();
    const moved = repositoryOf(fixtureModel("qwen2"), { "config.json": `${qwen2.files.get("config.json")!.toString()}\n` });
    hub.repositories.set("o/qwen2", moved);
    expect((await fetched()).commit).toBe(moved.commit);
    expect(readdirSync(join(cache().folder, "snapshots")).sort()).toEqual([qwen2.commit, moved.commit].sort());
    expect(cache().commitOf("main")).toBe(moved.commit);
  });

  it("leaves the weights where they are if they are not asked for, and says how large they are", async () => {
    const { path, weights: size } = await fetched("o/qwen2", { weights: false });
    expect(size).toEqual({ bytes: weights.length, absent: weights.length });
    expect(readdirSync(path)).toEqual(needed.filter((name) => name !== "model.safetensors"));
    expect(askedForWeights()).toEqual([]);
    expect((await fetched("o/qwen2", { weights: false, kind: "model" })).path).toBe(path);
    expect((await fetched()).weights.absent).toBe(0);
  });

  it("has the small files checked before it fetches the weights", async () => {
    const check = (path: string): void => {
      expect(readdirSync(path)).toEqual(needed.filter((name) => name !== "model.safetensors"));
      throw new Error("no such family");
    };
    await expect(fetched("o/qwen2", { check })).rejects.toThrow("no such family");
    expect(askedForWeights()).toEqual([]);
  });

  it("fetches one GGUF file, wherever it lies", async () => {
    const gguf = Buffer.from("GGUF and so on");
    hub.repositories.set("o/quants", repositoryOf(undefined, { "q4/a b.gguf": gguf, "q4/other.gguf": "x", "README.md": "x" }));
    const { path } = await fetched("o/quants/q4/a b.gguf");
    expect(readFileSync(path).equals(gguf)).toBe(true);
    expect(path.endsWith(join("q4", "a b.gguf"))).toBe(true);
    expect(readlinkSync(path)).toBe(join("..", "..", "..", "blobs", etagOf("a b.gguf", gguf)));
    expect(await refusal("o/quants/a b.gguf")).toBe("o/quants has no a b.gguf; nor any other GGUF file beside it.");
    expect(await refusal("o/quants/q9/a b.gguf")).toContain("has no such file or folder");
    expect(await refusal("o/quants/q4/ab.gguf")).toContain("there is q4/a b.gguf, q4/other.gguf.");
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect((await fetched("o/quants/q4/a b.gguf")).path).toBe(path);
  });

  it("fetches an adapter", async () => {
    hub.repositories.set(
      "o/lora",
      repositoryOf(undefined, { "adapter_config.json": "{}", "adapter_model.safetensors": "x", "README.md": "x" }),
    );
    const { path } = await fetched("o/lora", { kind: "adapter" });
    expect(readdirSync(path)).toEqual(["adapter_config.json", "adapter_model.safetensors"]);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect((await fetched("o/lora", { kind: "adapter" })).path).toBe(path);
  });

  it("tells how far it is, without going back, up to all of it", async () => {
    const states: [number, number][] = [];
    await fetched("o/qwen2", { watch: { download: ({ bytes, total }) => states.push([bytes, total]) } });
    const text = states.findIndex(([, total]) => total === weights.length);
    for (const part of [states.slice(0, text), states.slice(text)]) {
      expect(part.map(([bytes]) => bytes)).toEqual(part.map(([bytes]) => bytes).toSorted((a, b) => a - b));
      expect(part.at(-1)![0]).toBe(part.at(-1)![1]);
    }
  });
});

describe("a cache without symbolic links", () => {
  it("holds the files themselves, as Python's does there", async () => {
    vi.stubEnv("HF_HUB_DISABLE_SYMLINKS", "1");
    const { path } = await fetched();
    for (const name of needed) expect(lstatSync(join(path, name)).isFile()).toBe(true);
    expect(blobs()).toEqual([]);
    const requests = hub.asked.length;
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await fetched();
    expect(hub.asked.length).toBe(requests);
  });
  it("copies a blob that was there before", async () => {
    await fetched();
    rmSync(cache().path(qwen2.commit, "config.json"));
    vi.stubEnv("HF_HUB_DISABLE_SYMLINKS", "1");
    const { path } = await fetched();
    expect(lstatSync(join(path, "config.json")).isFile()).toBe(true);
    expect(existsSync(blobOf("config.json"))).toBe(true);
  });
});

describe("a download that was interrupted", () => {
  const partial = (): string => partialOf(blobOf("model.safetensors"));
  /** What an earlier call left behind. */
  function left(bytes: Uint8Array): void {
    mkdirSync(dirname(partial()), { recursive: true });
    writeFileSync(partial(), bytes);
  }
  const whole = async (): Promise<void> => {
    const { path } = await fetched();
    expect(readFileSync(join(path, "model.safetensors")).equals(weights)).toBe(true);
    expect(existsSync(partial())).toBe(false);
  };

  it("goes on where the connection broke off, again and again", async () => {
    faultOnWeights((request, response, _, times) => {
      if (times >= 9) return false;
      // Each time a little more, ten times more often than attempts without progress would be made.
      const start = Number(/\d+/.exec(request.headers.range ?? "0")![0]);
      response.writeHead(start > 0 ? 206 : 200, {
        "content-length": weights.length - start,
        ...(start > 0 ? { "content-range": `bytes ${start}-${weights.length - 1}/${weights.length}` } : {}),
      });
      // What comes together with the end of a connection may be lost.
      response.write(weights.subarray(start, start + 20_000), () => setTimeout(() => response.destroy(), 30));
      return true;
    });
    await whole();
    const ranges = askedForWeights().map(({ range }) => range);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.length).toBe(10);
    expect(new Set(ranges).size).toBeGreaterThan(4);
  });

  it("goes on from an earlier call's piece, without fetching it again", async () => {
    left(weights.subarray(0, 100_000));
    await whole();
    expect(askedForWeights().map(({ range }) => range)).toEqual(["bytes=100000-"]);
  });

  it("needs no request where only the name was missing", async () => {
    left(weights);
    await whole();
    expect(askedForWeights()).toEqual([]);
  });

  it.each([
    ["longer than the file", () => Buffer.concat([weights, Buffer.from("x")])],
    ["damaged", () => Buffer.alloc(100_000)],
    ["damaged and whole", () => Buffer.alloc(weights.length)],
  ])("starts anew from a piece that is %s", async (_, bytes) => {
    left(bytes());
    await whole();
    expect(askedForWeights().at(-1)!.range).toBeUndefined();
  });

  it("takes the whole from a server that knows no ranges", async () => {
    left(weights.subarray(0, 1000));
    faultOnWeights((_, response, content) => {
      response.end(content);
      return true;
    });
    await whole();
    expect(askedForWeights().length).toBe(1);
  });

  it.each([
    ["has no such range", 416, "bytes */5"],
    ["sends another part", 206, "bytes 7-9/10"],
  ])("starts anew where a server %s", async (_, status, range) => {
    left(weights.subarray(0, 1000));
    faultOnWeights((request, response) => {
      if (request.headers.range === undefined) return false;
      response.writeHead(status, { "content-range": range }).end("abc");
      return true;
    });
    await whole();
  });

  it("keeps what came when the user ends it", async () => {
    const controller = new AbortController();
    faultOnWeights((_, response, content) => {
      response.writeHead(200, { "content-length": content!.length });
      response.write(content!.subarray(0, 50_000));
      return true;
    });
    const ended = fetched("o/qwen2", {
      signal: controller.signal,
      watch: { download: ({ bytes, total }) => total === weights.length && bytes === 50_000 && controller.abort() },
    });
    await expect(ended).rejects.toMatchObject({ name: "AbortError" });
    expect(readFileSync(partial()).equals(weights.subarray(0, 50_000))).toBe(true);
    hub.fault = undefined;
    await whole();
    expect(askedForWeights().at(-1)!.range).toBe("bytes=50000-");
  });
});

describe("a server that fails", () => {
  it.each([500, 502, 429])("is asked again after %i", async (status) => {
    const seen = new Set<string>();
    hub.fault = (request, response) => {
      if (seen.has(request.url!)) return false;
      seen.add(request.url!);
      response.writeHead(status).end();
      return true;
    };
    await fetched();
  });

  it("is given up after four attempts, with the address and what to do", async () => {
    faultOnWeights((_, response) => {
      response.writeHead(503).end();
      return true;
    });
    expect(await refusal()).toMatch(/resolve\/[0-9a-f]{40}\/model\.safetensors answers 503 Service Unavailable; try again later\.$/);
    expect(askedForWeights().length).toBe(4);
  });

  it("that sends wrong bytes is not believed, and nothing of them is kept", async () => {
    faultOnWeights((_, response, content) => {
      response.end(Buffer.alloc(content!.length));
      return true;
    });
    expect(await refusal()).toContain("sends other bytes than the Hub announces (hash ");
    expect(blobs().some((name) => name.includes(etagOf("model.safetensors", weights)))).toBe(false);
    expect(cache().has(qwen2.commit, "model.safetensors")).toBe(false);
  });

  it.each([
    ["too many", () => Buffer.concat([weights, Buffer.from("x")]), "sends more than the"],
    ["too few", () => weights.subarray(1), "bytes; check the network"],
  ])("that sends %s bytes is not believed", async (_, bytes, message) => {
    faultOnWeights((_, response) => {
      // Without a length, so that only the count can tell.
      response.write(bytes(), () => response.end());
      return true;
    });
    expect(await refusal()).toContain(message);
  });

  it("of a network's login page is told from the file", async () => {
    faultOnWeights((_, response) => {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end("<html>Log in</html>");
      return true;
    });
    expect(await refusal()).toContain("answers with a web page in place of the file; a network's login page or a proxy does so");
    hub.fault = (_, response) => {
      response.end("<html>Log in</html>");
      return true;
    };
    expect(await refusal("o/llama31")).toContain(
      "does not answer as the Hub does: an answer that is no JSON cannot be read; check HF_ENDPOINT",
    );
  });

  it("that sends round in circles is given up", async () => {
    faultOnWeights((request, response) => {
      response.writeHead(302, { location: request.url }).end();
      return true;
    });
    expect(await refusal()).toContain("redirect count exceeded");
  });

  it.each([
    [{ sha: "../../x", id: "o/qwen2" }, "what it says of o/qwen2"],
    [{}, "what it says of o/qwen2"],
  ])("that is no Hub is not believed: %j", async (info, message) => {
    hub.fault = (_, response) => {
      response.end(JSON.stringify(info));
      return true;
    };
    expect(await refusal()).toContain(`does not answer as the Hub does: ${message} cannot be read`);
  });

  /** Lists a repository's files and one more, in place of its own of that path. */
  const listing = (entry: { readonly path: string } & object): void => {
    const files = [...qwen2.files].map(([path, bytes]) => ({ type: "file", path, size: bytes.length, oid: "a".repeat(40) }));
    answeringTree((response) =>
      response.end(JSON.stringify([...files.filter(({ path }) => path !== entry.path), { type: "file", ...entry }])),
    );
  };
  const answeringTree = (answer: (response: ServerResponse) => void): void => {
    hub.fault = (request, response) => {
      if (!request.url!.includes("/tree/")) return false;
      answer(response);
      return true;
    };
  };

  it.each([{ size: 1, oid: "../../evil" }, { size: -1, oid: "a".repeat(40) }, { size: "1", oid: "a".repeat(40) }, { size: 1 }])(
    "that says %j of a file that is needed is not believed",
    async (entry) => {
      listing({ path: "config.json", ...entry });
      expect(await refusal()).toContain("what its list of the files of o/qwen2 says of config.json cannot be read");
    },
  );

  it("may say of others what it will, or name them as no file here can be named", async () => {
    hub.repositories.set("o/odd", repositoryOf(fixtureModel("qwen2"), { "shot 12:30.png": "x", "../../../evil": "x" }));
    const { path } = await fetched("o/odd");
    expect(readdirSync(path).sort()).toEqual(needed);
    for (const entry of [
      { path: "README.md", size: "?" },
      { path: "../../../evil", size: 1, oid: "a".repeat(40) },
    ]) {
      listing(entry);
      // The listing's hashes are not those of the files: what is refused comes after it was read.
      expect(await refusal()).toContain("sends other bytes than the Hub announces");
    }
  });

  it.each(["null", "[]", '"x"', "3"])("that answers %s for a model is not believed", async (json) => {
    hub.fault = (_, response) => {
      response.end(json);
      return true;
    };
    expect(await refusal()).toContain("what it says of o/qwen2 cannot be read");
  });

  it.each(["{}", "null", "[null]", "[[]]", '["config.json"]'])("that lists %s is not believed", async (json) => {
    answeringTree((response) => response.end(json));
    expect(await refusal()).toContain("its list of the files of o/qwen2 cannot be read");
  });

  it("that lists pages without end is given up", async () => {
    answeringTree((response) => response.setHeader("link", '</api/models/o/qwen2/tree/main?cursor=1>; rel="next"').end("[]"));
    expect(await refusal()).toContain("its list of the files of o/qwen2, more than 1000 pages, cannot be read");
  });

  it("may name the next page by its path alone", async () => {
    hub.fault = (request, response) => {
      const { setHeader } = response;
      if (request.url!.includes("/tree/"))
        response.setHeader = (name, value) => setHeader.call(response, name, String(value).replace(`<${hub.url}`, "<"));
      return false;
    };
    const { path } = await fetched("o/llama31");
    expect(readdirSync(path).filter((name) => name.endsWith(".safetensors")).length).toBe(3);
    answeringTree((response) => response.setHeader("link", '<http://[>; rel="next"').end("[]"));
    expect(await refusal()).toContain("the address of a listing's next page cannot be read");
  });

  it("is not asked of a commit that is here whole", async () => {
    const { path } = await fetched();
    const asked = hub.asked.length;
    expect(await fetched(`o/qwen2@${qwen2.commit}`)).toMatchObject({ path, weights: { absent: 0 } });
    expect(hub.asked.length).toBe(asked);
    // As Python leaves it, which keeps what it has asked for alone.
    rmSync(join(cache().folder, ".no_exist"), { recursive: true });
    await fetched(`o/qwen2@${qwen2.commit}`);
    expect(hub.asked.length).toBeGreaterThan(asked);
  });

  it("does not matter where the cache has it all", async () => {
    const { path } = await fetched();
    for (const status of [503, 0]) {
      hub.fault = (request, response) => {
        if (status) response.writeHead(status).end();
        else request.socket.destroy();
        return true;
      };
      notes.length = 0;
      const before = hub.asked.length;
      expect((await fetched()).path).toBe(path);
      expect(hub.asked.length).toBe(before + 1);
      expect(notes.join()).toContain(`Going on with o/qwen2 at ${qwen2.commit} from the cache.`);
    }
    // A refusal is another matter.
    hub.fault = (_, response) => {
      refuse(response, 403, "GatedRepo");
      return true;
    };
    expect(await refusal()).toContain("is gated");
  });

  it("cannot be reached: the sentence says so", async () => {
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:1");
    expect(await refusal()).toMatch(
      /^http:\/\/127\.0\.0\.1:1\/api\/models\/o\/qwen2\/.* cannot be reached: .+; check the network, or HF_ENDPOINT if it is set\.$/,
    );
  });
});

describe("a model whose small files alone are here", () => {
  it("does for what needs no weights, offline and where the Hub cannot be reached", async () => {
    for (const id of ["o/qwen2", "o/llama31"]) await fetched(id, { weights: false });
    const [asked, commit] = [hub.asked.length, qwen2.commit];
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    for (const id of ["o/qwen2", "o/llama31"])
      expect(await fetched(id, { weights: false })).toMatchObject({ weights: { bytes: null, absent: null } });
    expect(await refusal()).toContain("o/qwen2 at main is without model.safetensors in the cache");
    expect(hub.asked.length).toBe(asked);
    vi.stubEnv("HF_HUB_OFFLINE", "");
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:1");
    notes.length = 0;
    expect(await fetched("o/qwen2", { weights: false })).toMatchObject({ commit, weights: { absent: null } });
    expect(notes.join()).toContain(`Going on with o/qwen2 at ${commit} from the cache.`);
    expect(await refusal()).toContain("cannot be reached");
  });

  it("follows a branch that has moved, as no older copy is whole", async () => {
    await fetched("o/qwen2", { weights: false });
    const moved = repositoryOf(fixtureModel("qwen2"), { "README.md": "newer" });
    hub.repositories.set("o/qwen2", moved);
    await fetched("o/qwen2", { weights: false });
    expect(cache().commitOf("main")).toBe(moved.commit);
  });
});

describe("a cache that does not know it all", () => {
  it("says offline which files may be on the Hub; those that are not there are known by Python's names", async () => {
    const { path } = await fetched();
    const absence = join(cache().folder, ".no_exist", qwen2.commit);
    expect(readdirSync(absence)).toEqual(["chat_template.jinja"]);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await fetched();
    expect(notes).toEqual([]);
    rmSync(absence, { recursive: true });
    rmSync(join(path, "tokenizer_config.json"));
    await fetched();
    expect(notes).toEqual([
      `o/qwen2 at ${qwen2.commit} is used without tokenizer_config.json, chat_template.jinja, which the Hub may have and the cache has not.`,
    ]);
  });

  it("fetches the tokenizer beside a GGUF file, which opening would prefer, though the file is here", async () => {
    const files = { "q/a.gguf": "GGUF", "q/tokenizer.json": "{}", "q/config.json": "{}", "tokenizer_config.json": "{}" };
    hub.repositories.set("o/quants", repositoryOf(undefined, files));
    const { path, commit } = await fetched("o/quants/q/a.gguf");
    const names = (): string[] => readdirSync(dirname(path)).sort();
    expect(names()).toEqual(["a.gguf", "tokenizer.json"]);
    // As Python leaves it where it was asked for the one file.
    rmSync(join(dirname(path), "tokenizer.json"));
    await fetched(`o/quants@${commit}/q/a.gguf`);
    expect(names()).toEqual(["a.gguf", "tokenizer.json"]);
  });
});

describe("a file in the cache", () => {
  it.each(["", "1"])("of another size than the Hub says is fetched again (links disabled: %j)", async (disabled) => {
    vi.stubEnv("HF_HUB_DISABLE_SYMLINKS", disabled);
    const { path } = await fetched();
    for (const name of ["config.json", "model.safetensors"]) writeFileSync(join(path, name), "cut short");
    await fetched();
    for (const name of ["config.json", "model.safetensors"])
      expect(readFileSync(join(path, name)).equals(qwen2.files.get(name)!)).toBe(true);
  });

  it("that is a damaged index is fetched again, and offline the sentence names it", async () => {
    const { path } = await fetched("o/llama31");
    const index = join(path, "model.safetensors.index.json");
    writeFileSync(index, "{");
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect(await refusal("o/llama31")).toContain(`${index}: is not valid JSON`);
    vi.stubEnv("HF_HUB_OFFLINE", "");
    await fetched("o/llama31");
    expect(readFileSync(index).equals(llama31.files.get("model.safetensors.index.json")!)).toBe(true);
  });
});

describe("what the Hub refuses", () => {
  const answering = (part: string, status: number, code: string, message = ""): void => {
    hub.fault = (request, response) => {
      if (!request.url!.includes(part)) return false;
      response.setHeader("x-error-message", message);
      refuse(response, status, code);
      return true;
    };
  };

  it.each([
    [401, "o/qwen2 is gated: accept its terms at http"],
    [403, "o/qwen2 is gated, and the account of the token has no access: accept its terms at http"],
  ])("a gated model (%i)", async (status, message) => {
    answering("/resolve/", status, "GatedRepo");
    expect(await refusal()).toContain(message);
    expect(askedFor("/resolve/").length).toBe(1);
  });

  it("a model that is not there, or private", async () => {
    expect(await refusal("o/none")).toBe(
      "o/none: there is no such folder, and the Hub has no model of that id, or a private one; check the id, or set HF_TOKEN to a token that may read it.",
    );
  });

  it.each([
    ["datasets", "o/other is a data set of the Hub, not a model; --data takes it as hf:o/other."],
    ["spaces", "o/other is a space of the Hub, not a model; its page says which models it uses."],
  ])("what is one of the %s", async (kind, message) => {
    hub.fault = (request, response) => {
      if (request.url !== `/api/${kind}/o/other`) return false;
      response.end("{}");
      return true;
    };
    expect(await refusal("o/other")).toBe(message);
  });

  it("a revision that is not there", async () => {
    expect(await refusal("o/qwen2@v9")).toContain('o/qwen2 has no revision "v9"; its branches, tags and commits are at http');
  });

  it("a token that it does not know, which is in no message", async () => {
    vi.stubEnv("HF_TOKEN", "hf_secret");
    answering("/api/", 401, "", "Invalid credentials in Authorization header");
    const message = await refusal();
    expect(message).toContain("The Hub does not know the token of HF_TOKEN, or the stored one");
    expect(message).not.toContain("hf_secret");
  });

  it("a model that it has switched off", async () => {
    answering("/resolve/", 403, "", "Access to this resource is disabled.");
    expect(await refusal()).toContain("o/qwen2 is disabled on the Hub");
  });
});

describe("a model that was renamed", () => {
  it("is found by its old name, and the new one is said", async () => {
    hub.renamed.set("old/name", "o/qwen2");
    expect(await fetched("old/name")).toMatchObject({ id: "old/name", commit: qwen2.commit });
    expect(notes).toEqual(["old/name is called o/qwen2 on the Hub now"]);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await fetched("old/name");
  });
});

describe("the token", () => {
  it("is shown to the Hub, and to no host that it sends on to or names", async () => {
    vi.stubEnv("HF_TOKEN", "hf_secret");
    await fetched("o/llama31");
    expect(hub.asked.filter(({ store }) => store).length).toBeGreaterThan(0);
    for (const { store, authorization } of hub.asked) expect(authorization).toBe(store ? undefined : "Bearer hf_secret");
  });

  it("is not shown to a host that a listing's next page is on", async () => {
    vi.stubEnv("HF_TOKEN", "hf_secret");
    const other = await serveHub({});
    hub.fault = (request, response) => {
      if (!request.url!.includes("/tree/")) return false;
      response.setHeader("link", `<${other.url}/next>; rel="next"`).end("[]");
      return true;
    };
    await refusal();
    expect(other.asked.map(({ authorization }) => authorization)).toEqual([undefined]);
    await other.close();
  });
});

describe("the disk", () => {
  it("is looked at before the weights come", async () => {
    // A listing that announces more than any disk has.
    const huge = 10 ** 15;
    hub.fault = (request, response) => {
      if (!request.url!.includes("/tree/")) return false;
      const entries = needed.map((path) => {
        const bytes = qwen2.files.get(path)!;
        const etag = etagOf(path, bytes);
        const size = path === "model.safetensors" ? huge : bytes.length;
        return {
          type: "file",
          path,
          size,
          oid: etag.slice(0, 40),
          ...(etag.length === 64 ? { lfs: { oid: etag, size, pointerSize: 1 } } : {}),
        };
      });
      response.end(JSON.stringify(entries));
      return true;
    };
    expect(await refusal("o/qwen2", {}, "output")).toMatch(
      /^o\/qwen2 takes another 1\.00e\+6 GB of disk, and \S+ GB are free in .+; free some, or let HF_HUB_CACHE name a folder on another disk\.$/,
    );
    expect(askedForWeights()).toEqual([]);
  });

  it("that does not take the branch's commit ends no run", async () => {
    mkdirSync(cache().folder, { recursive: true });
    for (const name of ["refs", ".no_exist"]) writeFileSync(join(cache().folder, name), "in the way");
    expect((await fetched()).weights.absent).toBe(0);
  });

  it.skipIf(process.getuid?.() === 0)("that others filled and this user only reads will do", async () => {
    await fetched();
    chmodSync(cache().folder, 0o500);
    await fetched();
    chmodSync(cache().folder, 0o700);
  });

  it("refuses to write where a file is in the way", async () => {
    writeFileSync(join(folder, "models--o--qwen2"), "");
    expect(await refusal("o/qwen2", {}, "output")).toContain("the cache's folder cannot be made (HF_HUB_CACHE names another)");
  });
});

describe("two downloads at once", () => {
  it("fetch each file once: the second waits for the first", async () => {
    const both = await Promise.all([fetched(), fetched()]);
    expect(both[0]).toEqual(both[1]);
    expect(askedForWeights().length).toBe(1);
    expect(blobs().length).toBe(needed.length);
    expect(notes.join()).toContain("waiting for another download of the same model: ");
  });

  it("do not wait for a dead one", async () => {
    cache().prepare();
    Lock.acquire(cache().lock);
    const holder = JSON.parse(readFileSync(cache().lock, "utf8")) as Record<string, unknown>;
    // A pid beyond those that systems give.
    writeFileSync(cache().lock, JSON.stringify({ ...holder, token: "gone", pid: 2 ** 30 }));
    await fetched();
  });

  it.each([
    [
      "is on another machine",
      (holder: object) => JSON.stringify({ ...holder, hostname: "elsewhere" }),
      "on elsewhere works in this folder",
    ],
    ["left a torn lock", () => "{", "is damaged"],
  ])("do not wait for one that %s, of which nobody can tell when it ends", async (_, write, message) => {
    cache().prepare();
    Lock.acquire(cache().lock);
    writeFileSync(cache().lock, write(JSON.parse(readFileSync(cache().lock, "utf8")) as object));
    const sentence = await refusal("o/qwen2", {}, "output");
    expect(sentence).toContain(`${cache().lock}: `);
    expect(sentence).toContain(message);
    expect(sentence).toContain("remove this file and try again.");
  });

  it("that was cut short leaves nothing that passes for the file", async () => {
    faultOnWeights((_, response, content) => {
      cutShort(response, content!);
      return true;
    });
    await refusal();
    expect(cache().has(qwen2.commit, "model.safetensors")).toBe(false);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect(await refusal()).toContain("is without model.safetensors in the cache");
  });
});
