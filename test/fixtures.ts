import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";

/** The project's own copy of the PyTorch fixtures. */
export const fixtures = fileURLToPath(new URL("./fixtures/", import.meta.url));

/** A folder with more models and data sets, where one is given. */
export const shared = process.env.LAYERGRAD_SHARED;

/** What PyTorch gives for one matrix. */
export interface ExpectedMatrix {
  readonly M_mean: number;
  readonly M_max: number;
  readonly M_min: number;
  readonly frobenius_norm: number;
  readonly S_sum: number;
  readonly S_max: number;
  readonly S_min: number;
  readonly effective_rank: number | null;
  readonly S_list?: readonly number[];
}

/** One side of an entry: float32 as the published scripts print it, or float64 as the truth. */
export interface ExpectedNumbers {
  readonly loss: number;
  readonly params: Readonly<Record<string, ExpectedMatrix>>;
  readonly cosine_sim_qkvo?: Readonly<Record<string, Readonly<Record<string, number>>>> | null;
  readonly cosine_adjacent?: Readonly<Record<string, readonly number[]>> | null;
}

export interface ExpectedRow {
  readonly row: number;
  readonly text: string;
  readonly max_length: number;
  readonly input_ids: readonly number[];
  readonly label_start: number;
  readonly n_label_tokens: number;
  readonly status: "ok" | "nan";
  readonly f32: ExpectedNumbers;
  readonly f64: ExpectedNumbers;
}

/** Expected entries of one model, mode and set, plain or gzipped. */
export function readExpected(path: string): ExpectedRow[] {
  const bytes = readFileSync(path);
  return JSON.parse((path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8"));
}

export const fixtureModel = (name: string): string => join(fixtures, "models", name);

export const expectedPath = (model: string, mode: string, set: string): string =>
  join(fixtures, "expected", `${model}.${mode}.${set}.json`);
