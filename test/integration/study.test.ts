import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Findings } from "../../src/analysis/findings.ts";
import { readManifest, runFiles } from "../../src/store/index.ts";
import type { StudyEstimate } from "../../src/study/dry-run.ts";
import type { StudySummary } from "../../src/study/run-study.ts";
import { cli, recordsOf, refused, start, succeeds } from "../cli.ts";

let parent = "";
let folder = "";
let count = 0;
beforeAll(() => {
  parent = mkdtempSync(join(tmpdir(), "layergrad-study-cli-"));
});
beforeEach(() => {
  folder = join(parent, String(count++));
});
afterAll(() => rmSync(parent, { recursive: true, force: true }));

const LIMIT = 4;

/** Two models on two bundled files, a row a pack, and own data where given. */
function writeStudy(name = "study", own = ""): string {
  const path = join(parent, `${name}.yaml`);
  writeFileSync(
    path,
    `name: ${name}
out: ${folder}
models:
  - { name: base, path: demo/base, kind: base, family: miniature }
  - { name: tuned, path: demo/instruct, kind: instruct, family: miniature }
data: [demo/compare/none, demo/compare/simplified${own}]
limit: ${LIMIT}
options: { batch_tokens: 1, threads: 1 }
`,
  );
  return path;
}

const runs = ["base/base", "tuned/instruct"].flatMap((model) =>
  ["none", "simplified"].map((condition) => `${model}/demo-compare-${condition}`),
);
const allRecords = (study: string) => runs.map((run) => recordsOf(join(study, run)));

/** Lines of a file that may end in a torn one. */
const wholeLines = (path: string): number => (existsSync(path) ? readFileSync(path, "utf8").split("\n").length - 1 : 0);
const linesDone = (study: string): number => runs.reduce((sum, run) => sum + wholeLines(join(study, run, runFiles.records)), 0);

describe("layergrad study", () => {
  it("killed at any moment and started again ends with the uninterrupted study's records, to the last digit", async () => {
    const study = writeStudy();
    const whole = folder;
    const began = performance.now();
    const { stdout, stderr } = await succeeds("study", study);
    const duration = performance.now() - began;
    expect(stdout).toContain(`Study study: 4 of 4 runs done in ${whole}`);
    expect(stdout).toContain(`${4 * LIMIT} rows recorded, 0 skipped; ${4 * LIMIT} rows in this call`);
    expect(stderr).toContain(`run 4 of 4, ${4 * LIMIT}/${4 * LIMIT} rows (100 %)`);
    for (const file of ["study.json", "findings.md", "findings.json"]) expect(existsSync(join(whole, file))).toBe(true);
    const expected = allRecords(whole);
    expect(expected.map((records) => records.length)).toEqual(runs.map(() => LIMIT));

    folder = join(parent, "killed");
    writeStudy();
    let within = 0;
    // At the first row at once, so that one kill at least falls within; then at other moments, wherever they fall.
    for (const share of [undefined, 0.4, 0.65, 0.9, 0.5]) {
      const { child, ended } = start(["study", study]);
      const timer =
        share === undefined
          ? setInterval(() => linesDone(folder) > 0 && child.kill("SIGKILL"), 2)
          : setTimeout(() => child.kill("SIGKILL"), share * duration);
      const { status, signal, stderr: said } = await ended;
      clearTimeout(timer);
      if (signal === null) expect(status, said).toBe(0);
      const there = linesDone(folder);
      if (there > 0 && there < 4 * LIMIT) within++;
    }
    await succeeds("study", study, "--quiet");
    expect(allRecords(folder)).toEqual(expected);
    expect(within).toBeGreaterThan(0);
  }, 240_000);

  it("interrupted ends with status 130, keeps what is finished and says how to go on; findings wait for the end", async () => {
    const study = writeStudy("interrupted");
    const { child, ended } = start(["study", study]);
    const until = performance.now() + 60_000;
    while (linesDone(folder) < 2) {
      if (performance.now() > until) throw new Error("the study wrote nothing in 60 s");
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    child.kill("SIGINT");
    const { status, stdout, stderr } = await ended;
    expect([status, stdout]).toEqual([130, expect.stringContaining("interrupted: the same call goes on from here")]);
    expect(stderr).toContain("interrupted: ending cleanly");
    const kept = linesDone(folder);
    expect(kept).toBeLessThan(4 * LIMIT);
    expect(existsSync(join(folder, "findings.json"))).toBe(false);
    const begun = runs.filter((run) => existsSync(join(folder, run)));
    expect(begun.map((run) => existsSync(join(folder, run, runFiles.lock)))).toEqual(begun.map(() => false));
    expect(readManifest(join(folder, begun.at(-1)!))!.times.sessions[0]!.status).toBe("interrupted");
    const resumed = await succeeds("study", study, "--quiet", "--json");
    expect(resumed.stderr).toBe("");
    const { finished } = JSON.parse(resumed.stdout) as StudySummary;
    expect(finished.reduce((sum, run) => sum + run.computed, 0)).toBe(4 * LIMIT - kept);
  });

  it("with a data file without a usable row does all other runs, reports it and ends with its exit status", async () => {
    const empty = join(parent, "empty.json");
    writeFileSync(empty, JSON.stringify([{ instruction: "2 + 2 =", output: "" }]));
    const study = writeStudy("failing", `, { file: ${empty} }`);
    const { status, stdout, stderr } = await cli("study", study, "--only", "tuned");
    expect(status, stderr).toBe(4);
    expect(stdout).toContain("2 of 3 runs done");
    expect(stdout).toMatch(/^failed: .*tuned\/instruct\/empty: .*none of the chosen rows could be measured/m);
    expect(stderr).toContain("tuned/instruct/empty failed: ");
    expect(readdirSync(join(folder, "tuned", "instruct")).toSorted()).toEqual(["demo-compare-none", "demo-compare-simplified", "empty"]);
    expect(JSON.parse(readFileSync(join(folder, "failures.json"), "utf8"))).toMatchObject([{ kind: "data" }]);
  });

  it("--dry-run prints runs, rows, time, memory and disk, and writes nothing", async () => {
    const study = writeStudy("dry");
    const { stdout, stderr } = await succeeds("study", study, "--dry-run");
    expect(stderr).toBe("");
    const lines = stdout.split("\n");
    expect(lines[0]).toMatch(/^run +rows +done +tokens +about +memory +disk$/);
    expect(lines.slice(2, 6).map((line) => line.split(/ +/).slice(0, 3))).toEqual(runs.map((run) => [run, String(LIMIT), "0"]));
    expect(lines[6]).toMatch(new RegExp(`^still to do +${4 * LIMIT} `));
    expect(stdout).toMatch(/Study dry: 4 runs into .*, about .* on this machine; .* of disk are free, that is enough\./);
    expect(existsSync(folder)).toBe(false);
    const json = JSON.parse((await succeeds("study", study, "--dry-run", "--json", "--only", "base")).stdout) as StudyEstimate;
    expect(json.runs.map((run) => run.folder)).toEqual(runs.slice(0, 2));
  });

  it("refuses a study.yaml that is wrong with one sentence that names the place, and one that is not there", async () => {
    const study = writeStudy("wrong");
    writeFileSync(study, readFileSync(study, "utf8").replace("limit:", "limits:"));
    expect(await refused(2, "study", study)).toBe(`layergrad: ${study}:7:1: a study has no key "limits"; perhaps "limit" is meant.`);
    expect(await refused(2, "study", join(parent, "none.yaml"))).toContain('"layergrad study init" writes one');
  });
});

describe("the miniature", () => {
  it("shows in 16 rows a file what its README says: fast above slow, right told from wrong by chains, unpopular above popular", async () => {
    const path = join(parent, "miniature.yaml");
    const conditions = ["none", "simplified", "detailed", "none/irrelevant", "detailed/irrelevant"].map((name) => `demo/sums/${name}`);
    const data = [...conditions, "demo/wiki/popular-100", "demo/wiki/popular-500", "demo/wiki/popular-1000", "demo/wiki/unpopular"];
    writeFileSync(
      path,
      `name: miniature\nout: ${folder}\nmodels: [{ name: base, path: demo/base, kind: base }]\ndata: [${data.join(", ")}]\nlimit: 16\n`,
    );
    await succeeds("study", path, "--quiet");
    const { claims } = JSON.parse(readFileSync(join(folder, "findings.json"), "utf8")) as Findings;
    const views = new Map(claims.map(({ id, judgements }) => [id, judgements[0]!]));
    const verdicts = (view: "published" | "controlled") => ["a", "b", "e", "f"].map((id) => views.get(id)![view].verdict);
    expect(verdicts("published")).toEqual(["supported", "supported", "supported", "supported"]);
    // The labels of bare answers and chains do not overlap, so that a regression cannot tell the direct effect.
    expect(views.get("a")!.controlled.verdict).toBe("undecided");
    // The README's means of the V projection over 16 rows are in the ratio 3.43 : 0.204 : 0.048.
    const ratios = views.get("a")!.published.parts.map(({ part, lines }) => [part, lines[0]!.pooled.tests[2]!.value] as const);
    expect(Object.fromEntries(ratios)).toEqual({ detailed: expect.closeTo(71, -1.7), simplified: expect.closeTo(16.8, -0.9) });
    const rd = views.get("d")!.published.parts.map(({ part, verdict }) => [part, verdict]);
    expect(rd).toContainEqual(["detailed", "supported"]);
  }, 120_000);
});

describe("layergrad study init", () => {
  it("writes a study that can be run, says how, and replaces nothing without being told", async () => {
    const path = join(parent, "init.yaml");
    const { stdout } = await succeeds("study", "init", "--out", path);
    expect(stdout).toContain(`layergrad study ${path} --dry-run`);
    expect(readFileSync(path, "utf8")).toMatch(/^# The study in miniature/);
    expect(await refused(5, "study", "init", "paper", "--out", path)).toMatch(/init\.yaml cannot be written: .*--force replaces it/);
    expect(readFileSync(path, "utf8")).toMatch(/^# The study in miniature/);
    await succeeds("study", "init", "paper", "--out", path, "--force");
    expect(readFileSync(path, "utf8")).toMatch(/^# The first paper's study/);
    const { stdout: dry } = await succeeds("study", "init", "controls", "--data", "a.json", "b.json", "--out", path, "--force");
    expect(dry).toContain("written");
    expect(readFileSync(path, "utf8")).toMatch(/condition: none\n[\s\S]*last:@none /);
  });

  it("refuses a template that there is none of", async () => {
    expect(await refused(2, "study", "init", "everything")).toContain("Allowed choices are miniature, paper, own, trajectory, controls");
  });
});
