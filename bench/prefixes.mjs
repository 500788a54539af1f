// What sharing the forward pass of equal prefixes could save at most: counts tokens, runs no model.
//
//   npm run build && node bench/prefixes.mjs --model FOLDER --data FILE|FOLDER [--data …] [--mode base|instruct …] [--forward-share 0.4]
//        [--limit 500] [--batch-tokens 1024] [--max-length 1024] [--json FILE]
//
// Of a folder, the files that the catalogue knows. A token is shared where an earlier row of the same pack begins with the same tokens up to
// and including it. Only its forward pass could be saved: the backward pass and the weight gradients are each row's own.
import { existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { catalogue } from "../dist/data/catalogue.js";
import { readRows } from "../dist/io/rows.js";
import { openModel, rowEncoder } from "../dist/run/open-model.js";
import { packRows } from "../dist/runtime/packing.js";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string" },
    data: { type: "string", multiple: true, default: [] },
    mode: { type: "string", multiple: true, default: ["base", "instruct"] },
    "forward-share": { type: "string", default: "0.4" },
    limit: { type: "string", default: "500" },
    "batch-tokens": { type: "string", default: "1024" },
    "max-length": { type: "string", default: "1024" },
    json: { type: "string" },
  },
});
const forwardShare = Number(flags["forward-share"]);
const batchTokens = Number(flags["batch-tokens"]);

/** Data files by name; those of one group, if they have one, answer the same instructions. */
function dataFiles(path) {
  if (!statSync(path).isDirectory()) return [{ name: path, path }];
  return catalogue
    .map((file) => ({ file, path: join(path, file.path) }))
    .filter((each) => existsSync(each.path))
    .map(({ file: { name, attributes }, path }) => ({
      name,
      path,
      ...(["cot", "math", "wiki"].includes(attributes.task) && {
        group: `${attributes.dataset}${attributes.irrelevant ? "/irrelevant" : ""}`,
      }),
    }));
}

/** `Map.groupBy`, which Node 20 lacks. */
function groupBy(items, keyOf) {
  const groups = new Map();
  for (const item of items) {
    const key = keyOf(item);
    groups.set(key, [...(groups.get(key) ?? []), item]);
  }
  return groups;
}

function commonPrefix(a, b) {
  const shorter = Math.min(a.length, b.length);
  let length = 0;
  while (length < shorter && a[length] === b[length]) length++;
  return length;
}

/** Tokens of a pack that an earlier row of it has computed. */
const sharedTokens = (pack) =>
  pack.reduce(
    (sum, { inputIds }, i) => sum + Math.max(0, ...pack.slice(0, i).map((earlier) => commonPrefix(earlier.inputIds, inputIds))),
    0,
  );

const tokensOf = (rows) => rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
const sharedShare = (rows) => packRows(rows, batchTokens).reduce((sum, pack) => sum + sharedTokens(pack), 0) / tokensOf(rows);

/** In dictionary order of their token ids, so that rows of equal prefixes are neighbours. */
const byTokens = (rows) =>
  rows.toSorted(({ inputIds: a }, { inputIds: b }) => {
    const at = commonPrefix(a, b);
    return (a[at] ?? -1) - (b[at] ?? -1);
  });

/** Rows of several files, those of one instruction together, in the order in which instructions first come. */
const byInstruction = (rows) => [...groupBy(rows, ({ instruction }) => instruction).values()].flat();

/** Of rows in a given order and in that of their tokens, the shares that could be shared. */
const measured = (rows) => ({
  rows: rows.length,
  tokensPerRow: tokensOf(rows) / rows.length,
  inOrder: sharedShare(rows),
  byTokens: sharedShare(byTokens(rows)),
});

const model = await openModel(flags.model, { weights: false });
const results = [];
for (const mode of flags.mode) {
  const encode = rowEncoder(model, { mode, maxLength: Number(flags["max-length"]), singleBos: false, date: "2026-01-01" });
  const files = [];
  for (const { path, ...file } of flags.data.flatMap(dataFiles)) {
    const { rows } = await readRows(path);
    const encoded = rows.slice(0, Number(flags.limit)).map((row, i) => ({ ...encode(row, i), instruction: row.instruction }));
    files.push({ ...file, rows: encoded.filter(({ skip }) => skip === undefined) });
  }
  results.push(...files.map(({ name, rows }) => ({ mode, data: name, merged: 1, ...measured(rows) })));
  for (const [group, members] of groupBy(files, ({ group }) => group))
    if (group !== undefined && members.length > 1)
      results.push({ mode, data: group, merged: members.length, ...measured(byInstruction(members.flatMap(({ rows }) => rows))) });
}
model.checkpoint.close();

/** Several results as one: shares of all their tokens. */
function together(data, parts) {
  const rows = parts.reduce((sum, r) => sum + r.rows, 0);
  const tokens = parts.reduce((sum, r) => sum + r.rows * r.tokensPerRow, 0);
  const share = (key) => parts.reduce((sum, r) => sum + r.rows * r.tokensPerRow * r[key], 0) / tokens;
  return { mode: parts[0].mode, data, rows, tokensPerRow: tokens / rows, inOrder: share("inOrder"), byTokens: share("byTokens") };
}
for (const parts of groupBy(results, ({ mode, merged }) => `${mode} ${merged > 1}`).values())
  results.push(together(parts[0].merged > 1 ? "all, files of a data set together" : "all, each file by itself", parts));

const percent = (x) => `${(100 * x).toFixed(1)} %`;
const columns = [
  ["mode", (r) => r.mode],
  ["data", (r) => (r.merged > 1 ? `${r.data}, ${r.merged} files together` : r.data)],
  ["rows", (r) => r.rows],
  ["tokens a row", (r) => r.tokensPerRow.toFixed(0)],
  ["shared, rows in order", (r) => percent(r.inOrder)],
  ["shared, rows by tokens", (r) => percent(r.byTokens)],
  ["saved of a row's time, at most", (r) => percent(forwardShare * Math.max(r.inOrder, r.byTokens))],
];
const lines = [columns.map(([name]) => name), columns.map(() => "---"), ...results.map((r) => columns.map(([, cell]) => String(cell(r))))];
console.log(`Packs of ${batchTokens} tokens; the forward pass taken to be ${percent(forwardShare)} of a row's time.\n`);
console.log(lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n"));
if (flags.json) writeFileSync(flags.json, `${JSON.stringify({ batchTokens, forwardShare, results }, null, 2)}\n`);
