import type { SweepLabels, SweepRow, SweepStep } from "../analysis/sweep.ts";
import { LayergradError } from "../errors.ts";
import { firstJsonError } from "../io/json-error.ts";
import { parsePythonJson } from "../io/python-json.ts";
import { readLines } from "./records-reader.ts";

/**
 * Reads the sweeps of a records.jsonl that was written with `--labels sweep`: of each row the nuclear norms at every step. Rows without a
 * sweep are passed over, as is a last line that is cut off.
 *
 * @param path - The file.
 * @throws {LayergradError} `data`; names file and line.
 */
export async function readSweeps(path: string): Promise<SweepRow[]> {
  const rows: SweepRow[] = [];
  for await (const line of readLines(path, "data")) {
    const text = line.bytes.toString("utf8");
    if (text.trim() === "") continue;
    const fail = (what: string, cause?: unknown): LayergradError =>
      new LayergradError("data", `${path}:${line.number}: ${what}`, cause === undefined ? undefined : { cause });
    let record: unknown;
    try {
      record = parsePythonJson(text);
    } catch (error) {
      if (!line.terminated) return rows;
      throw fail(`is not valid JSON, ${firstJsonError(text, { bareNumbers: true }).found}; remove the line.`, error);
    }
    const row = toSweepRow(record, fail);
    if (row !== null) rows.push(row);
  }
  return rows;
}

type Fail = (what: string) => LayergradError;

function toSweepRow(record: unknown, fail: Fail): SweepRow | null {
  if (!isObject(record)) throw fail("is no JSON object, expected one record a line.");
  const { instruction, output, sweep } = record;
  if (sweep === undefined) return null;
  if (typeof instruction !== "string" || typeof output !== "string") throw fail("instruction or output is no string.");
  const nLabels = count(record.n_labels);
  if (nLabels === null) throw fail("has a sweep but no n_labels.");
  if (!Array.isArray(sweep)) throw fail("sweep is no array of steps.");
  return {
    row: count(record.row),
    instruction,
    output,
    nTokens: count(record.n_tokens),
    nLabels,
    steps: sweep.map((step, i) => toStep(step, (what) => fail(`sweep[${i}]${what}`))),
  };
}

function toStep(step: unknown, fail: Fail): SweepStep {
  if (!isObject(step)) throw fail(" is no object.");
  const { labels, loss, nuclear_norm: norms } = step;
  if (labels !== "first" && labels !== "random") throw fail('.labels is neither "first" nor "random".');
  const k = count(step.k);
  if (k === null || k === 0) throw fail(".k is no whole number above 0.");
  if (typeof loss !== "number") throw fail(".loss is no number.");
  if (!isObject(norms) || !Object.values(norms).every((layers) => Array.isArray(layers) && layers.every((n) => typeof n === "number")))
    throw fail(".nuclear_norm is no object of arrays of numbers.");
  return { labels: labels satisfies SweepLabels, k, loss, nuclearNorm: norms as Record<string, number[]> };
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

const count = (value: unknown): number | null => (Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : null);
