import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { catalogue } from "../../src/data/catalogue.ts";
import type { ShuffledRow } from "../../src/data/shuffle.ts";
import { cli, cliFile, refused, start, succeeds } from "../cli.ts";
import { fixtures, shared } from "../fixtures.ts";
import { serve, type TestServer } from "../http.ts";

let folder = "";
let server: TestServer | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-data-"));
  vi.stubEnv("LAYERGRAD_DATA", join(folder, "data"));
  vi.stubEnv("HF_TOKEN", "");
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const data = (...args: string[]) => succeeds("data", ...args);
const needsShared = shared ? "" : " (set LAYERGRAD_SHARED to a folder with data/)";
const filesHere = (): string[] => {
  const here = join(folder, "data");
  return existsSync(here) ? readdirSync(here, { recursive: true, withFileTypes: true }).flatMap((e) => (e.isFile() ? [e.name] : [])) : [];
};
function write(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

const parquet = readFileSync(join(fixtures, "data", "chat.snappy.parquet"));
/** A Hub with one data set of one split. */
async function hub(parquetAnswer: (response: Parameters<Parameters<typeof serve>[0]>[1]) => void = (r) => r.end(parquet)): Promise<void> {
  server = await serve((request, response) => {
    if (request.url === "/api/datasets/o/n/parquet")
      response.end('{"default":{"train":["https://huggingface.co/api/datasets/o/n/parquet/default/train/0.parquet"]}}');
    else parquetAnswer(response);
  });
  vi.stubEnv("HF_ENDPOINT", server.url);
}

describe("layergrad data list", () => {
  it("shows every name with its rows and whether it is here, and says the same as JSON", async () => {
    const [{ stdout, stderr }, json] = await Promise.all([data("list"), data("list", "--json")]);
    for (const { name } of catalogue) expect(stdout).toMatch(new RegExp(`^${name} .* (no|bundled)$`, "m"));
    expect(stdout).toMatch(/^wiki\/unpopular +wiki +unpopular +454 +0\.2 MB +no$/m);
    expect(stdout).toContain(`0 of the papers' 88 files are in ${join(folder, "data")}`);
    expect(stderr).toBe("");
    const entries = JSON.parse(json.stdout) as { name: string; here: string; irrelevant: boolean }[];
    expect(entries.map((e) => e.name)).toEqual(catalogue.map((f) => f.name));
    expect(entries.filter((e) => e.here === "bundled").length).toBe(20);
    expect(entries[1]).toMatchObject({
      name: "aqua/none/irrelevant",
      task: "cot",
      dataset: "aqua",
      condition: "none",
      irrelevant: true,
      rows: 500,
    });
  });
});

describe("layergrad data pull", () => {
  it.skipIf(!shared)(`takes the paper's 56 files from a folder, and finds them here the next time${needsShared}`, async () => {
    const from = join(shared!, "data", "layer-gradient");
    const { stdout, stderr } = await data("pull", "--paper", "--from", from);
    expect(stdout).toMatch(/^56 data sets: 56 copied \(\d+\.\d MB\); the data folder is .+\n$/);
    expect(stderr.trimEnd().split("\n").length).toBe(56);
    expect(stderr).toContain("\n56/56 wiki/unpopular/irrelevant: copied, 0.2 MB\n");
    expect((await data("pull", "--paper", "--quiet")).stdout).toContain("56 here already");
    expect((await data("list")).stdout).toContain("56 of the papers' 88 files are in");
    expect(filesHere().length).toBe(56);
    const { stdout: shown } = await data("show", "strategyqa/none/irrelevant");
    expect(shown).toContain("250 of 500 responses are, letter for letter, the correct file's");
  });

  it.skipIf(!shared)(`downloads a group of names from a mirror${needsShared}`, async () => {
    const root = join(shared!, "data", "layer-gradient");
    server = await serve((request, response) => response.end(readFileSync(join(root, request.url!.split("/data/")[1]!))));
    vi.stubEnv("LAYERGRAD_DATA_URL", server.url);
    const results = JSON.parse((await data("pull", "gsm8k", "--json")).stdout) as { name: string; state: string }[];
    expect(results.map((r) => [r.name, r.state])).toEqual(
      ["none", "simplified", "detailed"].flatMap((c) => [`gsm8k/${c}`, `gsm8k/${c}/irrelevant`]).map((name) => [name, "downloaded"]),
    );
    expect(server.asked.length).toBe(6);
    expect((await data("show", "gsm8k/none", "--rows", "0:1")).stdout).toContain("gsm8k/none: 500 rows\n");
  });

  it("fails with one sentence where the mirror has no such file, or another, and leaves nothing behind", async () => {
    server = await serve((request, response) => (request.url!.includes("wiki") ? response.end("[]") : response.writeHead(404).end()));
    vi.stubEnv("LAYERGRAD_DATA_URL", server.url);
    expect(await refused(4, "data", "pull", "aqua/none")).toMatch(
      /aqua_train_no_cot\.json answers 404 Not Found; check LAYERGRAD_DATA_URL/,
    );
    expect(await refused(4, "data", "pull", "wiki/unpopular")).toContain(
      "is not the file that the catalogue knows as wiki/unpopular: 2 bytes",
    );
    expect(await refused(4, "data", "show", "aqua/none")).toContain('run "layergrad data pull aqua/none"');
    expect(filesHere()).toEqual([]);
  });

  it("fetches a data set of the Hub, which is then opened by the same name", async () => {
    await hub();
    expect((await data("pull", "hf:o/n")).stdout).toContain("1 data set: 1 downloaded");
    await server!.close();
    const { stdout } = await data("show", "hf:o/n", "--rows", "1:2", "--json");
    expect(JSON.parse(stdout)).toMatchObject({
      name: "hf:o/n",
      rows: 50,
      columns: { messages: "messages" },
      shown: [{ row: 1, instruction: "Be brief.\nWhat is 1 + 1?\nLet me think: ½ of it is 1.\nAnd?", input: "", output: "2" }],
    });
  });

  it("killed while a file comes in, leaves nothing that is taken for it", async () => {
    let halfway = (): void => {};
    const half = new Promise<void>((resolve) => {
      halfway = resolve;
    });
    await hub((response) => {
      response.writeHead(200, { "content-length": parquet.length });
      response.write(parquet.subarray(0, 2000), halfway);
    });
    const { child, ended } = start(["data", "pull", "hf:o/n"]);
    await half;
    while (!filesHere().some((name) => name.endsWith(".tmp"))) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill("SIGKILL");
    expect((await ended).signal).toBe("SIGKILL");
    expect(await refused(4, "data", "show", "hf:o/n")).toContain("is not here yet");
    await server!.close();
    await hub();
    await data("pull", "hf:o/n");
    await data("show", "hf:o/n");
  });

  // A limit on the size of files stands in for a full disk.
  it.skipIf(process.platform === "win32")(
    "fails with one sentence where a file cannot be written to its end, and removes the part",
    async () => {
      await hub();
      const script = `ulimit -f 2; exec "$0" "$@"`;
      const child = spawn("sh", ["-c", script, process.execPath, cliFile, "data", "pull", "hf:o/n"], {
        stdio: ["ignore", "ignore", "pipe"],
      });
      let stderr = "";
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        stderr += text;
      });
      const status = await new Promise((resolve) => child.on("close", resolve));
      expect([status, stderr]).toEqual([5, expect.stringMatching(/^layergrad: .+0\.parquet cannot be written: .+ \(EFBIG\); .+\.\n$/)]);
      expect(filesHere()).toEqual([]);
    },
  );

  it("refuses as a usage error what it cannot choose by", async () => {
    const refusals: [string[], string][] = [
      [[], "say what to pull: names, --paper for the 56 files of the paper, or --all."],
      [["aqua/nun"], "aqua/nun is no name of the catalogue"],
      [["hf:o"], "names no data set of the Hub"],
      [["hf:o/n", "--from", "/"], "--from is for the papers' files"],
    ];
    await Promise.all(refusals.map(async ([args, message]) => expect(await refused(2, "data", "pull", ...args)).toContain(message)));
  });

  it("has nothing to fetch of the miniature", async () => {
    expect((await data("pull", "demo/sums", "--quiet")).stdout).toMatch(/^6 data sets: 6 bundled/);
  });
});

describe("layergrad data show", () => {
  it("shows rows, lengths and hash of a bundled file", async () => {
    const { stdout } = await data("show", "demo/sums/none", "--rows", "0:2");
    expect(stdout).toMatch(
      /^demo\/sums\/none: 64 rows\nfile +.+sums_none\.json\nSHA-256 +9bd8fb6e3aecdb885f44b2f7adcb125512e56dd10f78310c3a2e2d61c93c6466\n/,
    );
    expect(stdout).toContain("── row 0 ──\nDia buys 4 boxes with 11 cards in each box. How many cards does Dia buy?\n── response ──\n44\n");
    expect(stdout.match(/── row/g)!.length).toBe(2);
  });
  it("reads CSV by its columns, counts characters, and shows control characters as text", async () => {
    const path = write("rows.csv", "question,answer\nWhat?,\u{1f600}\u001b[2J\nWhy so?,no\n");
    const { stdout } = await data("show", path, "--instruction-column", "question", "--output-column", "answer");
    expect(stdout).toContain("columns     instruction from question, input from input, output from answer\n");
    expect(stdout).toContain("prompts     6 characters on average (5 to 7)\n");
    expect(stdout).toContain("responses   4 characters on average (2 to 5)\n");
    expect(stdout).toContain("\u{1f600}\\u001b[2J\n");
  });
  it("says which columns there are where the usual ones are missing", async () => {
    const path = write("rows.csv", "question,answer\nWhat?,that\n");
    expect(await refused(4, "data", "show", path)).toContain(
      'the columns are "question", "answer", and --instruction-column says which of them to take.',
    );
  });
  it("counts no equal answer in the irrelevant files of the miniature", async () => {
    expect((await data("show", "demo/compare/none/irrelevant")).stdout).toContain("collisions  0 of 64 responses");
  });
});

describe("layergrad data shuffle", () => {
  const rows = [..."aaab"].map((output, i) => ({ instruction: `question ${i}`, output }));

  it("writes a twin beside the file, with the rows marked whose answers stay equal", async () => {
    const path = write("mine.jsonl", rows.map((row) => JSON.stringify(row)).join("\n"));
    const { stdout } = await data("shuffle", path);
    const twin = join(folder, "mine_irrelevant.json");
    expect(stdout).toBe(`4 rows in ${twin}, seed 0; 2 rows cannot but have a response equal to their own and are marked "collision"\n`);
    const shuffled = JSON.parse(readFileSync(twin, "utf8")) as ShuffledRow[];
    expect(shuffled.map((row) => row.instruction)).toEqual(rows.map((row) => row.instruction));
    expect(shuffled.map((row) => row.output).toSorted()).toEqual(["a", "a", "a", "b"]);
    expect(shuffled.map((row) => row.collision ?? false)).toEqual(shuffled.map((row, i) => row.output === rows[i]!.output));
    expect(shuffled.filter((row) => row.collision).length).toBe(2);
    // It is a data file like any other.
    expect((await data("show", twin)).stdout).toContain("4 rows");
  });
  it("repeats with the seed, and gives the result as JSON", async () => {
    const [one, two, three] = ["1", "2", "3"].map((name) => join(folder, `${name}.json`)) as [string, string, string];
    const { stdout } = await data("shuffle", "demo/sums/none", "--out", one, "--seed", "7", "--json");
    expect(JSON.parse(stdout)).toEqual({ file: one, rows: 64, collisions: 0, seed: "7" });
    await Promise.all([
      data("shuffle", "demo/sums/none", "--out", two, "--seed", "7"),
      data("shuffle", "demo/sums/none", "--out", three, "--seed", "8"),
    ]);
    expect(readFileSync(two)).toEqual(readFileSync(one));
    expect(readFileSync(three)).not.toEqual(readFileSync(one));
  });
  it("leaves a file alone that is there already", async () => {
    const path = write("mine.json", rows);
    write("mine_irrelevant.json", "mine");
    expect(await refused(5, "data", "shuffle", path)).toContain("is there already and is left alone");
    expect(readFileSync(join(folder, "mine_irrelevant.json"), "utf8")).toBe("mine");
  });
  it("asks where to write the twin of what is no file of the user's", async () => {
    expect(await refused(2, "data", "shuffle", "demo/sums/none")).toContain("say where the twin goes with --out <file>");
  });
  it("says so where it cannot write", async () => {
    const path = write("mine.json", rows);
    mkdirSync(join(folder, "sub"));
    expect(await refused(5, "data", "shuffle", path, "--out", join(folder, "none", "twin.json"))).toContain("cannot be written");
  });
});

describe("layergrad data", () => {
  it("alone shows what there is, and refuses another word", async () => {
    const [ended, unknown, fast] = await Promise.all([cli("data"), refused(2, "data", "frobnicate"), refused(2, "data", "list", "--fast")]);
    expect(ended).toMatchObject({ status: 2, stdout: "" });
    for (const command of ["list", "pull", "show", "shuffle"]) expect(ended.stderr).toContain(command);
    expect(unknown).toContain("unknown command 'frobnicate'");
    expect(fast).toContain("unknown option '--fast'");
  });
});
