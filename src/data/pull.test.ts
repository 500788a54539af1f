import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { cutShort, serve, type TestServer } from "../../test/http.ts";
import { type CatalogueFile, findCatalogueFile } from "./catalogue.ts";
import { dataFolder } from "./folder.ts";
import { catalogueFilePath, catalogueFileUrl, pullFile } from "./pull.ts";

// Attempts follow each other at once.
vi.mock("node:timers/promises", () => ({ setTimeout: async () => {} }));

const content = Buffer.from(JSON.stringify([{ instruction: "a", output: "b".repeat(10_000) }]));
const real = findCatalogueFile("aqua/none")!;
/** A file like the catalogue's, with bytes that a test can have. */
const file: CatalogueFile = { ...real, rows: 1, bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") };
const path = "/MingLiiii/Layer_Gradient/e2072e8daa9f250cea025b2d3fa9590a901ca766/data/cot_500/aqua_train_no_cot.json";

let folder = "";
let server: TestServer | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-pull-"));
  vi.stubEnv("LAYERGRAD_DATA", join(folder, "data"));
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

async function mirror(answer: Parameters<typeof serve>[0]): Promise<TestServer> {
  server = await serve(answer);
  vi.stubEnv("LAYERGRAD_DATA_URL", `${server.url}/`);
  return server;
}
const filesIn = (below: string): string[] =>
  existsSync(below) ? readdirSync(below, { recursive: true, withFileTypes: true }).flatMap((e) => (e.isFile() ? [e.name] : [])) : [];
/** Expects a refusal and nothing left behind, and gives the sentence. */
async function refused(kind: string, from?: string): Promise<string> {
  const error = await pullFile(file, { from }).then(
    () => undefined,
    (reason: unknown) => reason as Error & { kind: string },
  );
  expect(error).toMatchObject({ name: "LayergradError", kind });
  expect(filesIn(dataFolder())).toEqual([]);
  return error!.message;
}

describe("pullFile from the network", () => {
  it("asks GitHub for the file at the commit, or a mirror", () => {
    expect(catalogueFileUrl(real)).toBe(`https://raw.githubusercontent.com${path}`);
    vi.stubEnv("LAYERGRAD_DATA_URL", "http://localhost:1/mirror/");
    expect(catalogueFileUrl(real)).toBe(`http://localhost:1/mirror${path}`);
    expect(catalogueFileUrl(findCatalogueFile("quality/reward/wizardlm/low")!)).toContain(
      "MingLiiii/Gradient_Unified/f86e985b7b7de720e0178de4afb8d953083da070/_data/10k_version/reward/wiz_10k_lowest_200.json",
    );
  });

  it("downloads it once, byte for byte, and leaves nothing beside it", async () => {
    const { asked } = await mirror((_, response) => response.end(content));
    expect(await pullFile(file)).toBe("downloaded");
    expect(asked).toEqual([path]);
    expect(readFileSync(catalogueFilePath(file))).toEqual(content);
    expect(filesIn(dataFolder())).toEqual(["aqua_train_no_cot.json"]);
    expect(await pullFile(file)).toBe("here");
    expect(asked.length).toBe(1);
  });

  it("fetches again what was changed since", async () => {
    await mirror((_, response) => response.end(content));
    await pullFile(file);
    writeFileSync(catalogueFilePath(file), Buffer.alloc(content.length));
    expect(await pullFile(file)).toBe("downloaded");
    expect(readFileSync(catalogueFilePath(file))).toEqual(content);
  });

  it.each([500, 503, 429])("tries again after %i", async (status) => {
    const { asked } = await mirror((_, response, before) => (before < 2 ? response.writeHead(status).end() : response.end(content)));
    expect(await pullFile(file)).toBe("downloaded");
    expect(asked.length).toBe(3);
  });

  it("tries again where the connection breaks off, with nothing of the torn part in the file", async () => {
    await mirror((_, response, before) => (before === 0 ? cutShort(response, content) : response.end(content)));
    expect(await pullFile(file)).toBe("downloaded");
    expect(readFileSync(catalogueFilePath(file))).toEqual(content);
  });

  it("gives up where it breaks off time and again", async () => {
    const { asked } = await mirror((_, response) => cutShort(response, content));
    expect(await refused("data")).toMatch(
      /aqua_train_no_cot\.json broke off: .+; check the network, or take the files from a checkout of .+ with --from <folder>\.$/,
    );
    expect(asked.length).toBe(4);
  });

  it("says so where the server answers 500 for good, or has no such file", async () => {
    await mirror((_, response) => response.writeHead(500).end());
    expect(await refused("data")).toContain(`${server!.url}${path} answers 500 Internal Server Error; check LAYERGRAD_DATA_URL, or`);
    await server!.close();
    const { asked } = await mirror((_, response) => response.writeHead(404).end());
    expect(await refused("data")).toContain("answers 404 Not Found");
    expect(asked.length).toBe(1);
  });

  it("refuses other bytes, more of them or fewer", async () => {
    for (const other of [Buffer.alloc(content.length), content.subarray(0, 100), Buffer.concat([content, content]), Buffer.alloc(0)]) {
      await server?.close();
      await mirror((_, response) => response.end(other));
      expect(await refused("data")).toContain(`is not the file that the catalogue knows as aqua/none: ${other.length} bytes with SHA-256`);
    }
  });

  it("says so where nobody answers", async () => {
    const { close } = await mirror((_, response) => response.end(content));
    await close();
    server = undefined;
    expect(await refused("data")).toContain("cannot be reached: the connection was refused (ECONNREFUSED); check the network, or take");
    vi.stubEnv("LAYERGRAD_DATA_URL", "http://layergrad.invalid");
    expect(await refused("data")).toContain("cannot be reached: there is no such host, or no network");
  });

  it("leaves nothing behind where two calls fetch the same file", async () => {
    await mirror((_, response) => response.end(content));
    expect(await Promise.all([pullFile(file), pullFile(file)])).toEqual(["downloaded", "downloaded"]);
    expect(filesIn(dataFolder())).toEqual(["aqua_train_no_cot.json"]);
  });
});

describe("pullFile where it cannot write", () => {
  it.skipIf(process.getuid?.() === 0)("says so of a folder without permission", async () => {
    mkdirSync(dataFolder(), { mode: 0o500 });
    await mirror((_, response) => response.end(content));
    expect(await refused("output")).toContain("cannot be written: permission denied (EACCES); set LAYERGRAD_DATA to a folder");
    chmodSync(dataFolder(), 0o700);
  });
  it("says so where a file stands in the folder's place", async () => {
    writeFileSync(dataFolder(), "");
    await mirror((_, response) => response.end(content));
    const error = await pullFile(file).catch((e: unknown) => e);
    expect(error).toMatchObject({
      kind: "output",
      message: expect.stringContaining("a part of the path is a file, not a folder (ENOTDIR); set LAYERGRAD_DATA"),
    });
  });
});

describe("pullFile from a folder", () => {
  const put = (...parts: string[]): void => {
    mkdirSync(join(folder, ...parts, "cot_500"), { recursive: true });
    writeFileSync(join(folder, ...parts, "cot_500", "aqua_train_no_cot.json"), content);
  };

  it.each([
    ["a checkout", ["data"]],
    ["its data folder", []],
    ["a folder of both papers' data", ["layer-gradient"]],
  ])("copies from %s", async (_, below) => {
    put("from", ...below);
    expect(await pullFile(file, { from: join(folder, "from") })).toBe("copied");
    expect(readFileSync(catalogueFilePath(file))).toEqual(content);
  });

  it("refuses another version, a folder without the file, and one that is none", async () => {
    put("from");
    writeFileSync(join(folder, "from", "cot_500", "aqua_train_no_cot.json"), "[]");
    expect(await refused("data", join(folder, "from"))).toMatch(
      /is not the file that the catalogue knows as aqua\/none: 2 bytes.+check out MingLiiii\/Layer_Gradient at e2072e8/,
    );
    for (const from of [join(folder, "none"), join(folder, "from", "cot_500", "aqua_train_no_cot.json")])
      expect(await refused("data", from)).toMatch(/has no cot_500\/aqua_train_no_cot\.json \(aqua\/none\).+give a checkout of https/);
  });
});

describe("the bundled files", () => {
  it("need no pull", async () => {
    const bundled = findCatalogueFile("demo/sums/none")!;
    expect(await pullFile(bundled)).toBe("bundled");
    expect(readFileSync(catalogueFilePath(bundled)).length).toBe(bundled.bytes);
  });
});

describe("dataFolder", () => {
  it.each([
    [{ LAYERGRAD_DATA: "here" }, "linux", "here"],
    [{ XDG_CACHE_HOME: "/caches" }, "linux", "/caches/layergrad/data"],
    [{ XDG_CACHE_HOME: "relative" }, "linux", `${homedir()}/.cache/layergrad/data`],
    [{}, "linux", `${homedir()}/.cache/layergrad/data`],
    [{}, "darwin", `${homedir()}/Library/Caches/layergrad/data`],
    [{ LOCALAPPDATA: "/local" }, "win32", "/local/layergrad/data"],
    [{}, "win32", `${homedir()}/AppData/Local/layergrad/data`],
  ] as const)("with %j on %s is %s", (environment, platform, expected) => {
    expect(dataFolder(environment, platform)).toBe(join(expected));
  });
});
