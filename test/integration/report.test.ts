import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { seeded } from "../../src/analysis/random.ts";
import type { RunAttributes } from "../../src/analysis/study-index.ts";
import type { ReportData } from "../../src/report/report-data.ts";
import { refused, succeeds } from "../cli.ts";

const LAYERS = 6;
const ROWS = 8;

let parent = "";
let study = "";
let report = "";

/** Records of one run: rows of an instruction each, some signs in them that markup, CSV and JSON read as their own. */
function writeRecords(folder: string, seed: string, labels: number): void {
  const random = seeded(seed);
  mkdirSync(folder, { recursive: true });
  const lines = Array.from({ length: ROWS }, (_, row) => {
    const size = (5 / Math.sqrt(labels)) * Math.exp(0.2 * random.normal());
    const matrices = Array.from({ length: LAYERS }, (_, layer) =>
      ["q", "k", "v", "o"].map((p, m) => {
        const S_sum = size * (1 + Math.abs(3 - layer) + m) * Math.exp(0.05 * random.normal());
        const statistics = {
          M_mean: 0,
          M_max: 1,
          M_min: -1,
          frobenius_norm: S_sum / 2,
          S_sum,
          S_max: S_sum / 3,
          S_min: 0,
          effective_rank: 2 + labels / 20,
          S_list: [S_sum / 3, S_sum / 3, S_sum / 3],
        };
        return [`model.layers.${layer}.self_attn.${p}_proj.weight`, statistics];
      }),
    ).flat();
    return JSON.stringify({
      instruction: `${row}: is 1 < 2, & "so" on? </script><b>`,
      output: `${seed}, ${row}`,
      loss: 0.5 + 0.1 * size,
      row,
      n_tokens: 20 + labels,
      label_start: 20,
      n_labels: labels + (row % 3),
      ...Object.fromEntries(matrices),
    });
  });
  writeFileSync(join(folder, "records.jsonl"), `${lines.join("\n")}\n`);
}

const conditions = { none: 2, simplified: 20, detailed: 80 } as const;

function writeStudy(): void {
  const runs = (["aqua", "gsm8k"] as const).flatMap((dataset) =>
    Object.entries(conditions).flatMap(([condition, labels]) =>
      [false, true].map((irrelevant): RunAttributes => {
        const name = `${dataset}/${condition}${irrelevant ? "/irrelevant" : ""}`;
        const folder = name.replaceAll("/", "-");
        writeRecords(join(study, folder), name, labels);
        return {
          folder,
          model: { name: "tiny", kind: "base", family: null },
          mode: "base",
          data: { name, task: "cot", dataset, condition, irrelevant },
          labels: "all",
        };
      }),
    ),
  );
  const missing: RunAttributes = { ...runs[0]!, folder: "not-run", data: { ...runs[0]!.data, name: "ecqa/none", dataset: "ecqa" } };
  writeFileSync(join(study, "study.json"), JSON.stringify({ name: "A study of <two> sets", runs: [...runs, missing] }));
}

beforeAll(async () => {
  parent = mkdtempSync(join(tmpdir(), "layergrad-report-"));
  study = join(parent, "study");
  report = join(parent, "report");
  writeStudy();
  const { stdout } = await succeeds("report", study, "--out", report, "--resamples", "200");
  expect(stdout).toContain(`12 runs, ${12 * ROWS} rows`);
  expect(stdout).toContain("1 runs have no numbers yet");
});
afterAll(() => rmSync(parent, { recursive: true, force: true }));

describe("layergrad report", () => {
  it("writes each figure as SVG, PNG and CSV, and each table as CSV, Markdown and LaTeX", () => {
    const figures = readdirSync(join(report, "figures"));
    const kinds = ["curves", "mad", "heat-map", "relative-difference", "labels", "loss", "effective-rank", "spectra"];
    for (const kind of kinds)
      for (const ending of ["svg", "png", "csv"]) expect(figures).toContain(`tiny-base-mode--cot-aqua--${kind}.${ending}`);
    expect(
      readFileSync(join(report, "figures", "tiny-base-mode--cot-aqua--curves.png"))
        .subarray(1, 4)
        .toString(),
    ).toBe("PNG");
    const tables = readdirSync(join(report, "tables"));
    for (const name of ["verdicts", "effects", "runs", "norms", "comparisons"])
      for (const ending of ["csv", "md", "tex"]) expect(tables).toContain(`${name}.${ending}`);
  });

  it("states the means of the records: the curve of a condition, layer by layer", () => {
    const lines = readFileSync(join(study, "aqua-none", "records.jsonl"), "utf8")
      .trim()
      .split("\n");
    const ofLayer2 = lines.map((line) => JSON.parse(line)["model.layers.2.self_attn.k_proj.weight"].S_sum as number);
    const mean = ofLayer2.reduce((a, b) => a + b) / ofLayer2.length;
    const row = readFileSync(join(report, "tables", "curves.csv"), "utf8")
      .split("\r\n")
      .map((line) => line.split(","))
      .find((cells) => cells.join().includes("cot/aqua,none,nuclearNorm,K,2,"))!;
    // Mean, low, high and rows end the line; numbers have five digits.
    expect(Number(row.at(-4))).toBe(Number(mean.toPrecision(5)));
  });

  it("holds no path of the machine, and what rows say cannot end its script", () => {
    const page = readFileSync(join(report, "report.html"), "utf8");
    expect(page).not.toContain(parent);
    expect(page.match(/<\/script/g)).toHaveLength(2);
    const data = dataOf(page);
    expect(data.texts).toContain('0: is 1 < 2, & "so" on? </script><b>');
    expect(data.runs.map(({ rows }) => rows.used)).toEqual(Array.from({ length: 12 }, () => ROWS));
    expect(data.comparisons).toHaveLength(2 * (3 + 3));
  });

  it("reports files of records alone, without findings", async () => {
    const out = join(parent, "plain");
    const files = ["aqua-none", "aqua-detailed"].map((run) => join(study, run, "records.jsonl"));
    await succeeds("report", ...files, "--out", out, "--resamples", "200", "--no-png", "--statistic", "effective-rank");
    const page = readFileSync(join(out, "report.html"), "utf8");
    expect(page).not.toContain('id="findings"');
    expect(dataOf(page).statistics).toEqual(["nuclearNorm", "effectiveRank"]);
    expect(readdirSync(join(out, "figures")).filter((name) => name.endsWith(".png"))).toEqual([]);
  });

  it("refuses what is no run, and a choice that leaves nothing", async () => {
    expect(await refused(2, "report", join(parent, "nowhere"))).toContain("is no study's folder");
    expect(await refused(2, "report", study, "--dataset", "wiki", "--out", join(parent, "x"))).toContain("the data sets aqua, gsm8k, ecqa");
  });
});

const dataOf = (page: string): ReportData =>
  JSON.parse(/<script type="application\/json" id="report-data">(.*?)<\/script>/s.exec(page)![1]!) as ReportData;

const executablePath = [
  process.env.LAYERGRAD_CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
].find((path) => path !== undefined && existsSync(path));

describe.skipIf(executablePath === undefined)(
  `the report's page in Chromium${executablePath === undefined ? " (none found: set LAYERGRAD_CHROMIUM)" : ""}`,
  () => {
    let browser: Browser;
    let page: Page;
    let said: string[] = [];
    beforeAll(async () => {
      browser = await chromium.launch({ executablePath: executablePath!, args: ["--no-sandbox"] });
    });
    afterAll(() => browser.close());
    afterEach(async () => {
      await page.close();
      expect(said).toEqual([]);
    });

    async function open(options: { readonly width?: number; readonly colorScheme?: "light" | "dark" } = {}): Promise<void> {
      const { width = 1440, colorScheme = "light" } = options;
      said = [];
      page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
      const url = pathToFileURL(join(report, "report.html")).href;
      page.on("console", (message) => said.push(message.text()));
      page.on("pageerror", (error) => said.push(String(error)));
      page.on("request", (request) => {
        if (request.url() !== url && !request.url().startsWith("data:")) said.push(`requested ${request.url()}`);
      });
      await page.goto(url);
      await drawn();
    }
    const drawn = () => page.waitForSelector("#gallery[data-drawn]");
    const heading = () => page.locator('[data-kind="curves"] svg > title').textContent();

    it("draws every figure, with a name for those who do not see it", async () => {
      await open();
      const figures = await page
        .locator("#gallery figure")
        .evaluateAll((all) =>
          all.map((figure) => [
            (figure as HTMLElement).dataset.kind,
            figure.querySelector("svg > title")?.textContent !== "" && figure.querySelectorAll("svg *").length > 20,
          ]),
        );
      expect(figures).toEqual(
        ["curves", "mad", "heat-map", "relative-difference", "labels", "loss", "effective-rank", "spectra"].map((kind) => [kind, true]),
      );
      expect(await page.locator("#forest svg").count()).toBe(1);
    });

    it("is worked by keyboard: another data set, a condition less, one projection", async () => {
      await open();
      expect(await heading()).toContain("aqua");
      await page.focus("#dataset");
      await page.keyboard.press("ArrowDown");
      await page.waitForFunction(() => document.querySelector('[data-kind="curves"] svg > title')?.textContent?.includes("gsm8k"));
      await drawn();
      const dots = () => page.locator('[data-kind="labels"] svg [data-tip]').count();
      const before = await dots();
      await page.focus("#conditions input");
      await page.keyboard.press("Space");
      await drawn();
      expect(before - (await dots())).toBe(ROWS);
      await page.focus("#module");
      await page.keyboard.press("ArrowDown");
      await drawn();
      const opener = page.locator('[data-kind="curves"] [data-opens="numbers"]');
      await opener.focus();
      await page.keyboard.press("Enter");
      expect(await opener.getAttribute("aria-expanded")).toBe("true");
      expect(await page.locator('[data-kind="curves"] tbody tr').count()).toBe(2 * LAYERS);
    });

    it("gives a figure's numbers as a file, and the command that makes the figure again", async () => {
      await open();
      const figure = page.locator('[data-kind="curves"]');
      const [file] = await Promise.all([page.waitForEvent("download"), figure.locator('[data-get="csv"]').click()]);
      const lines = readFileSync(await file.path(), "utf8")
        .trim()
        .split("\r\n");
      expect(lines[0]).toBe("Model,Data set,Condition,Statistic,Projection,Layer,Mean,Mean low,Mean high,Rows");
      expect(lines).toHaveLength(1 + 3 * 4 * LAYERS);
      await figure.locator('[data-opens="command"]').click();
      expect(await figure.locator("code").textContent()).toBe(
        "layergrad report study --statistic nuclear-norm --resamples 200 --model tiny --mode base --dataset aqua --out report",
      );
    });

    it("shows a clear ring round what has the focus", async () => {
      await open();
      await page.keyboard.press("Tab");
      await page.keyboard.press("Tab");
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement!).outlineWidth);
      expect(Number.parseFloat(outline)).toBeGreaterThanOrEqual(2);
    });

    it("tells a row's text, and a layer's value with its interval, under the pointer", async () => {
      await open();
      await page.locator('[data-kind="labels"] svg [data-tip]').first().hover({ force: true });
      expect(await page.locator("#tip").textContent()).toContain('is 1 < 2, & "so" on? </script><b>');
      await page.locator('[data-kind="curves"] svg [data-tip]').nth(2).hover({ force: true });
      expect(await page.locator("#tip").textContent()).toMatch(/[\d.]+ \[[\d.]+, [\d.]+\]/);
    });

    it("sorts tables by number, nothing last, and says which way", async () => {
      await open();
      await page.evaluate(() => {
        document.querySelector<HTMLDetailsElement>("#table-runs")!.open = true;
      });
      const labels = () =>
        page.locator("#table-runs tbody tr").evaluateAll((rows) => rows.map((row) => Number(row.children[7]!.getAttribute("data-value"))));
      const header = page.locator("#table-runs thead th").nth(7);
      await header.locator("button").press("Enter");
      const ascending = await labels();
      expect(ascending).toEqual(ascending.toSorted((a, b) => a - b));
      expect(await header.getAttribute("aria-sort")).toBe("ascending");
      await header.locator("button").press("Enter");
      expect(await labels()).toEqual(ascending.toReversed());
    });

    it("fits its window from 320 px to 4k, with all tables and details open", async () => {
      await open();
      for (const width of [320, 768, 1440, 3840]) {
        await page.setViewportSize({ width, height: 900 });
        await page.evaluate(() => {
          for (const details of document.querySelectorAll("details")) details.open = true;
        });
        await page.waitForTimeout(250);
        await drawn();
        const [content, figure] = await page.evaluate(() => [
          document.documentElement.scrollWidth,
          Math.max(...Array.from(document.querySelectorAll(".plot svg"), (svg) => svg.getBoundingClientRect().right)),
        ]);
        expect(content, `${width} px`).toBeLessThanOrEqual(width);
        expect(figure, `${width} px`).toBeLessThanOrEqual(width);
      }
    });

    it("is dark where the reader's system is, and changes by its button", async () => {
      await open({ colorScheme: "dark" });
      const colours = () =>
        page.evaluate(() => [
          getComputedStyle(document.documentElement).backgroundColor,
          document.querySelector('[data-kind="curves"] svg > rect')!.getAttribute("fill"),
        ]);
      expect(await colours()).toEqual(["rgb(20, 23, 28)", "#14171c"]);
      await page.click("#theme");
      await drawn();
      expect(await colours()).toEqual(["rgb(255, 255, 255)", "#ffffff"]);
    });

    it("prints on white without its controls", async () => {
      await open({ colorScheme: "dark" });
      const pdf = await page.pdf({ format: "A4" });
      expect(pdf.subarray(0, 5).toString()).toBe("%PDF-");
      expect(pdf.length).toBeGreaterThan(20_000);
      await page.emulateMedia({ media: "print" });
      expect(await page.locator("#choices").isVisible()).toBe(false);
      expect(await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)).toBe("rgb(255, 255, 255)");
    });

    it("can be read without JavaScript: findings, tables, and the figures beside it", async () => {
      const context = await browser.newContext({ javaScriptEnabled: false });
      page = await context.newPage();
      said = [];
      await page.goto(pathToFileURL(join(report, "report.html")).href);
      expect(await page.locator(".verdicts tbody tr").count()).toBeGreaterThan(5);
      expect(await page.locator("noscript img").first().isVisible()).toBe(true);
      expect(await page.locator("#choices").isVisible()).toBe(false);
    });
  },
);
