import type { ClaimFinding, Judgement, View } from "../analysis/findings.ts";
import { commandLine } from "./commands.ts";
import { count } from "./format.ts";
import { guide } from "./guide.ts";
import { Html, html, jsonForScript } from "./html.ts";
import type { Provenance, ReportData, ReportRun } from "./report-data.ts";
import { subjectOf, UNKNOWN_MODEL } from "./runs.ts";
import type { ReportTable } from "./table.ts";
import { badge, tableHtml } from "./table-html.ts";

/** What the page is put together from. */
export interface PageParts {
  readonly data: ReportData;
  readonly tables: readonly ReportTable[];
  /** Files of figures beside the page, for readers without JavaScript: path, and what it shows. */
  readonly images: readonly { readonly path: string; readonly title: string }[];
  readonly script: string;
  readonly style: string;
  /** Those that figures are laid out with, by weight. */
  readonly fonts: readonly { readonly weight: number; readonly bytes: Uint8Array }[];
}

/**
 * The report as one HTML file that needs nothing else: text, tables and data are in it, the script draws the figures. Without JavaScript
 * findings, tables and guide can be read as they are, and figures are those of the files beside it.
 */
export function pageHtml({ data, tables, images, script, style, fonts }: PageParts): string {
  const byName = new Map(tables.map((table) => [table.name, table]));
  const verdicts = byName.get("verdicts");
  const others = tables.filter((table) => table !== verdicts);
  const sections = [
    ...(data.findings.length > 0 ? [{ id: "findings", title: "Findings", body: findingsSection(data, verdicts) }] : []),
    { id: "figures", title: "Figures", body: figuresSection(images) },
    { id: "tables", title: "Tables", body: others.map(tableSection) },
    { id: "guide", title: "How to read this", body: guide() },
    { id: "provenance", title: "Where the numbers come from", body: provenanceSection(data) },
  ];
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; font-src data:; img-src 'self' data: file:">
<title>${data.title} · Layergrad report</title>
<link rel="icon" href="data:,">
<style>${new Html(style)}${fonts.map(fontFace)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="masthead">
  <div class="bar">
    <p class="kicker">Layergrad report</p>
    <div class="tools" data-needs-script hidden>
      <button type="button" id="theme">Dark</button>
      <button type="button" id="print">Print</button>
    </div>
  </div>
  <h1>${data.title}</h1>
  <p class="lead">${summary(data)}</p>
  <nav aria-label="Sections"><ul>${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul></nav>
</header>
<main id="main">
${sections.map(
  ({ id, title, body }) => html`<section id="${id}" aria-labelledby="${id}-title">
<h2 id="${id}-title">${title}</h2>
${body}
</section>
`,
)}</main>
<footer>
  <p>Made ${dateOf(data.made)} with Layergrad ${data.version}. The same report again: <code>${commandLine("report", data.paths, { ...data.options, out: "report" })}</code></p>
  <p>The method is that of arXiv 2410.23743 (ACL 2025) and arXiv 2504.10766 (ACL 2026).</p>
</footer>
<div id="tip" aria-hidden="true" hidden></div>
<script type="application/json" id="report-data">${jsonForScript(data)}</script>
<script>${new Html(script.replaceAll("</script", "<\\/script"))}</script>
</body>
</html>
`.text;
}

const fontFace = ({ weight, bytes }: PageParts["fonts"][number]): Html =>
  new Html(
    `@font-face{font-family:Inter;font-weight:${weight};src:url(data:font/ttf;base64,${Buffer.from(bytes).toString("base64")})format("truetype")}`,
  );

const dateOf = (iso: string): string =>
  new Date(iso).toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric", timeZone: "UTC" });

const list = (items: readonly string[]): string =>
  items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;

function summary({ runs, absent }: ReportData): string {
  const unique = (of: (run: ReportRun) => string): string[] => [...new Set(runs.map(of))];
  const stated = unique((run) => run.attributes.model.name).filter((name) => name !== UNKNOWN_MODEL);
  const modes = unique((run) => (run.attributes.model.name === UNKNOWN_MODEL ? "" : run.attributes.mode)).filter((mode) => mode !== "");
  const rows = runs.reduce((sum, run) => sum + run.rows.used, 0);
  const datasets = unique((run) => run.attributes.data.dataset);
  const without = absent.length === 0 ? "" : ` ${count(absent.length, "run")} had no numbers yet.`;
  const some = (items: readonly string[], what: string): string =>
    items.length > 6 ? count(items.length, what) : `${what}${items.length === 1 ? "" : "s"} ${list(items)}`;
  return `${count(rows, "row")} in ${count(runs.length, "run")}: ${stated.length > 0 ? `${some(stated, "model")}; ${some(modes, "mode")}` : "model and mode not stated"}; ${some(datasets, "data set")}.${without}`;
}

function findingsSection({ findings }: ReportData, table: ReportTable | undefined): Html {
  return html`
<p class="measure">The papers' claims, each judged twice. <strong>As published</strong>: all labels of a response count in the loss. <strong>Controlled</strong>: what else differs between the conditions, above all the number of labels, is held equal; what remains is the direct effect.</p>
${findings.map(
  (study) => html`${findings.length > 1 ? html`<h3>${study.study}</h3>` : null}
<table class="verdicts">
<caption class="hidden">Verdicts on the papers' claims${findings.length > 1 ? `, ${study.study}` : ""}</caption>
<thead><tr><th scope="col">Claim</th><th scope="col">Model</th><th scope="col">As published</th><th scope="col">Controlled</th></tr></thead>
<tbody>${study.claims.map(verdictRows)}</tbody>
</table>`,
)}
${table ? downloads("verdicts") : null}
<div data-needs-script hidden>
  <h3>Effects, as published and under controls</h3>
  <label class="field">Model and mode <select id="forest-subject"></select></label>
  <div id="forest"></div>
</div>
<h3>Reasons</h3>
<p class="measure">Every number behind the verdicts, with intervals and q values: <a href="#table-effects">effects</a>.</p>
${findings.map((study) => study.claims.map(claimDetails))}`;
}

function verdictRows({ id, title, judgements }: ClaimFinding): Html[] {
  return judgements.map(
    ({ subject, published, controlled }, i) => html`<tr>
${i === 0 ? html`<th scope="rowgroup" rowspan="${judgements.length}"><span class="claim-title"><span class="letter">${id}</span><span>${title}</span></span></th>` : null}
<td class="subject">${subject}</td><td data-label="As published">${badge(published.verdict)}</td><td data-label="Controlled">${badge(controlled.verdict)}</td></tr>
`,
  );
}

const claimDetails = ({ id, title, text, judgements }: ClaimFinding): Html => html`
<details class="claim"><summary><span class="claim-title"><span class="letter">${id}</span><span>${title}</span></span></summary>
<p class="measure">${text}</p>
${judgements.map(judgementDetails)}
</details>`;

function judgementDetails({ subject, published, controlled }: Judgement): Html {
  const part = (
    view: View,
    name: string,
  ): Html => html`<p class="measure"><strong>${name}:</strong> ${badge(view.verdict)} <span class="reason">${view.reason}.</span></p>
${view.parts.length > 1 ? html`<ul class="parts">${view.parts.map((each) => html`<li>${each.text}: ${badge(each.verdict)} <span class="reason">${each.reason}</span></li>`)}</ul>` : null}`;
  return html`<h4>${subject}</h4>${part(published, "As published")}${part(controlled, "Controlled")}`;
}

function figuresSection(images: PageParts["images"]): Html {
  return html`
<noscript><p>Choosing and drawing figures here takes JavaScript; these are the files beside this page.</p>
<ul>${images.map(({ path, title }) => html`<li><a href="${path}">${title}</a></li>`)}</ul>
${images.slice(0, 8).map(({ path, title }) => html`<img src="${path}" alt="${title}">`)}</noscript>
<form id="choices" class="controls" aria-label="What the figures show" data-needs-script hidden>
  <label class="field">Model and mode <select id="subject"></select></label>
  <label class="field">Data set <select id="dataset"></select></label>
  <label class="field">Statistic <select id="statistic"></select></label>
  <label class="field">Projection <select id="module"></select></label>
  <label class="check"><input type="checkbox" id="paper-style"> Curves as the paper draws them</label>
  <fieldset><legend>Conditions</legend><div id="conditions"></div></fieldset>
</form>
<div id="gallery" aria-live="off"></div>`;
}

const downloads = (name: string): Html =>
  html`<p class="links"><a href="tables/${name}.csv" download>CSV</a> <a href="tables/${name}.md">Markdown</a> <a href="tables/${name}.tex">LaTeX</a></p>`;

/** Rows above which a table is closed at first. */
const OPEN_ROWS = 24;

const tableSection = (table: ReportTable): Html => html`
<details class="table" id="table-${table.name}"${table.rows.length <= OPEN_ROWS ? html` open` : null}><summary>${table.title} <span class="count">${count(table.rows.length, "row")}</span></summary>
<p class="measure note">${table.note}</p>
${tableHtml(table)}
${downloads(table.name)}
</details>`;

/** Runs that share model, options and versions, once; then each run's data. */
function provenanceSection({ runs, absent, seed, resamples }: ReportData): Html {
  const groups = new Map<string, { of: Provenance; runs: ReportRun[] }>();
  for (const run of runs) {
    if (run.provenance === null) continue;
    const { model, revision, hashes, options, versions } = run.provenance;
    const key = JSON.stringify([model, revision, hashes.weights, hashes.tokenizer, options, versions]);
    const group = groups.get(key) ?? { of: run.provenance, runs: [] };
    groups.set(key, group);
    group.runs.push(run);
  }
  const unknown = runs.filter(({ provenance }) => provenance === null);
  return html`
<p class="measure">Curves and comparisons: seed ${seed}, ${resamples}; findings have a seed and resamples of their own. Numbers in this page have five significant digits.</p>
${[...groups.values()].map(provenanceGroup)}
${
  unknown.length > 0
    ? html`<p class="measure">Without a manifest, so that model and options are not known: ${unknown.map(({ name }) => name).join("; ")}.</p>`
    : null
}
${
  absent.length > 0
    ? html`<details><summary>Runs without numbers <span class="count">${count(absent.length, "run")}</span></summary><ul>${absent.map(({ name, reason }) => html`<li>${name}: ${reason}</li>`)}</ul></details>`
    : null
}`;
}

function provenanceGroup({ of, runs }: { readonly of: Provenance; readonly runs: readonly ReportRun[] }): Html {
  const pairs = (entries: Readonly<Record<string, string>>): Html[] =>
    Object.entries(entries).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`);
  const { data: _, ...hashes } = of.hashes;
  const { labels, ...options } = of.options;
  return html`<details class="provenance"><summary>${subjectOf(runs[0]!.attributes)}${labels === "all" ? "" : `, labels ${labels}`} <span class="count">${count(runs.length, "run")}</span></summary>
<h4>Model</h4><dl class="pairs">${pairs({ model: of.model, ...(of.revision && { revision: of.revision }), ...(of.type && { type: of.type }), ...hashes })}</dl>
<h4>Options</h4><dl class="pairs">${pairs({ labels: labels!, ...options })}</dl>
<h4>Versions</h4><dl class="pairs">${pairs(of.versions)}</dl>
<h4>Runs</h4>
${tableHtml({
  title: "Runs, their data and times",
  columns: [
    { label: "Run", kind: "text" },
    { label: "Data file", kind: "text" },
    { label: "Rows in it", kind: "number" },
    { label: "SHA-256", kind: "text" },
    { label: "Started (UTC)", kind: "text" },
    { label: "Ended (UTC)", kind: "text" },
  ],
  rows: runs.map(({ path, provenance }) => {
    const { data, hashes: all, started, ended } = provenance!;
    return [path, data.file, data.rows, all.data!, timeOf(started), ended === null ? "not ended" : timeOf(ended)];
  }),
})}
</details>`;
}

const timeOf = (iso: string): string => iso.slice(0, 19).replace("T", " ");
