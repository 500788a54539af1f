import { seeded } from "../analysis/random.ts";
import { excerpt, LayergradError } from "../errors.ts";
import { buildBlock } from "../models/block.ts";
import { readModel } from "../models/registry.ts";
import { headWeights } from "../models/head.ts";
import { type Backend, interpreterBackend } from "../runtime/backend.ts";
import { checkDevice, type Device } from "../runtime/device.ts";
import { Engine, type ModelSource, type TokenRow, type WeightMode } from "../runtime/engine.ts";
import { headTensor } from "../runtime/model-source.ts";
import { onnxRuntime } from "../runtime/onnx-runtime.ts";
import type { RowStatistics } from "../runtime/row-statistics.ts";
import { SpectrumPool } from "../runtime/spectrum-pool.ts";
import type { MatrixStatistics } from "../spectra/matrix-statistics.ts";

export interface SelftestOptions {
  /** What is tested; default `cpu`. */
  readonly device?: Device | undefined;
  /** Threads on the CPU; default the machine's cores. */
  readonly threads?: number | undefined;
  /** A backend of your own in place of the device's. */
  readonly backend?: Backend | undefined;
}

/** What a selftest compares, as records name it; `sigma1_ratio` is S_max/S_sum. */
export type SelftestStatistic = keyof typeof bounds;

/** One statistic over all rows and matrices. */
export interface SelftestCheck {
  readonly statistic: SelftestStatistic;
  /** Numbers compared. */
  readonly compared: number;
  /** Largest difference from float64, relative to the statistic's scale; Infinity (`null` in JSON) where a number is not finite. */
  readonly error: number;
  /** What it may be. */
  readonly bound: number;
  readonly passed: boolean;
  /** The model, row and matrix with the largest difference. */
  readonly where: string;
}

export interface SelftestReport {
  /** The device; of a backend of your own its name. */
  readonly device: string;
  /** Whether every error is within its bound. */
  readonly passed: boolean;
  readonly seconds: number;
  readonly checks: readonly SelftestCheck[];
}

/** Spacing of float32 numbers above 1. */
const EPSILON = 2 ** -23;

/**
 * Largest differences of honest float32 arithmetic. On these models one rounding or two of a sum of a few hundred terms shows in a loss, and
 * each layer that a cotangent passes adds some: the CPU stays below a fifth of each bound. Results rounded to 10 bits of mantissa, those
 * of TF32 and half precision, exceed every one of them seven times or more.
 */
const bounds = {
  /** Of the loss. */
  loss: 16 * EPSILON,
  /** Of ‖G‖_F/√(out·in), the root mean square of the entries. */
  M_mean: 64 * EPSILON,
  /** Of the largest magnitude of an entry. */
  M_max: 256 * EPSILON,
  M_min: 256 * EPSILON,
  /** Of itself. */
  frobenius_norm: 128 * EPSILON,
  S_sum: 128 * EPSILON,
  sigma1_ratio: 128 * EPSILON,
  effective_rank: 128 * EPSILON,
  /** Every singular value, of the largest. */
  S_list: 128 * EPSILON,
} as const;

/**
 * Whether this machine computes right: rows through three tiny models of random weights, by the device in float32 and by the
 * interpreter in float64, which runs each graph by its plain definition. Takes a few seconds on a CPU and needs no files.
 *
 * Between them the models have grouped-query heads, biases, sliding windows, soft caps and both activations; their weights are fed, packed
 * and streamed; rows are shorter and longer than the matrices' sides, so that singular values come from one Gram matrix and from two.
 *
 * @throws {LayergradError} `resource` where the device is missing or fails; numbers that differ are no error but a report.
 */
export async function selftest({ device = "cpu", threads, backend }: SelftestOptions = {}): Promise<SelftestReport> {
  const began = performance.now();
  if (!backend) await checkDevice(device);
  const tested = backend ?? onnxRuntime({ device, threads });
  const tally = new Tally();
  for (const model of tinyModels) {
    const expected = await measure(model, interpreterBackend);
    const actual = await measure(model, tested).catch((cause: unknown) => {
      throw backend || device === "cpu" ? cause : deviceFailure(device, cause);
    });
    const { tensors } = randomSource(model.config);
    for (const [r, row] of expected.entries()) tally.add(`${model.config.model_type} row ${r}`, actual[r]!, row, tensors);
  }
  const checks = tally.checks();
  return {
    device: backend ? backend.name : device,
    passed: checks.every(({ passed }) => passed),
    seconds: (performance.now() - began) / 1000,
    checks,
  };
}

function deviceFailure(device: Device, error: unknown): unknown {
  if (error instanceof LayergradError || !(error instanceof Error)) return error;
  const reason = error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
  return new LayergradError("resource", `Device ${device} is there but fails: ${excerpt(reason)}; leave --device at cpu.`, {
    cause: error,
  });
}

interface TinyModel {
  readonly config: Readonly<Record<string, unknown>> & { readonly model_type: string };
  readonly weights: WeightMode;
}

const sizes = { hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, vocab_size: 320 };

const tinyModels: readonly TinyModel[] = [
  {
    config: { ...sizes, model_type: "llama", intermediate_size: 96, rms_norm_eps: 1e-5, hidden_act: "silu", tie_word_embeddings: false },
    weights: "fed",
  },
  {
    config: { ...sizes, model_type: "qwen2", intermediate_size: 96, rms_norm_eps: 1e-6, hidden_act: "silu", tie_word_embeddings: true },
    weights: "packed",
  },
  {
    config: {
      ...sizes,
      model_type: "gemma2",
      intermediate_size: 96,
      rms_norm_eps: 1e-6,
      hidden_activation: "gelu_pytorch_tanh",
      head_dim: 24,
      query_pre_attn_scalar: 20,
      sliding_window: 16,
      attn_logit_softcapping: 3,
      final_logit_softcapping: 4,
      tie_word_embeddings: true,
    },
    weights: "streamed",
  },
];

/** Tokens of a row, and its first label. The longest has two strips of queries. */
const packs = [
  [
    { length: 9, labelStart: 3 },
    { length: 50, labelStart: 20 },
  ],
  [{ length: 130, labelStart: 90 }],
] as const;

function rowsOf(vocabulary: number): TokenRow[][] {
  const random = seeded("selftest rows");
  let row = 0;
  return packs.map((rows) =>
    rows.map(({ length, labelStart }) => ({
      row: row++,
      inputIds: Int32Array.from({ length }, () => random.below(vocabulary)),
      labelStart,
    })),
  );
}

/** A model without files: each tensor drawn by its name. */
function randomSource(config: TinyModel["config"]): ModelSource {
  const { family, spec } = readModel(config);
  const shapes = new Map<string, readonly number[]>([
    [headWeights.embedding, [spec.vocabulary, spec.hidden]],
    [headWeights.norm, [spec.hidden]],
    [headTensor(spec), [spec.vocabulary, spec.hidden]],
  ]);
  const { weights } = buildBlock(family, spec);
  for (let layer = 0; layer < spec.layers; layer++)
    for (const [name, shape] of weights) shapes.set(`model.layers.${layer}.${name}`, shape as readonly number[]);
  const read = async (name: string): Promise<Float32Array> => drawn(`${config.model_type} ${name}`, shapes.get(name)!);
  return {
    config,
    tensors: new Map([...shapes].map(([name, shape]) => [name, { shape }])),
    read,
    readRows: async (name, rows) => {
      const all = await read(name);
      const width = shapes.get(name)![1]!;
      const chosen = new Float32Array(rows.length * width);
      for (let r = 0; r < rows.length; r++) chosen.set(all.subarray(rows[r]! * width, (rows[r]! + 1) * width), r * width);
      return chosen;
    },
  };
}

/** Matrices of a size that keeps activations near 1, norms' weights around 1, and biases that matter. */
function drawn(name: string, shape: readonly number[]): Float32Array {
  const random = seeded(name);
  const [centre, spread] = name.endsWith("norm.weight") ? [1, 0.1] : shape.length === 1 ? [0, 0.1] : [0, shape[1]! ** -0.5];
  return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => centre + spread * random.normal());
}

async function measure({ config, weights }: TinyModel, backend: Backend): Promise<RowStatistics[]> {
  const source = randomSource(config);
  const maxLength = Math.max(...packs.flat().map(({ length }) => length));
  const engine = await Engine.open(source, {
    backend,
    solver: new SpectrumPool(0),
    matrices: "all",
    spectrum: true,
    cosines: false,
    maxLength,
    weights,
    retention: "products",
    saved: "linears",
  });
  try {
    const rows: RowStatistics[] = [];
    for (const pack of rowsOf(engine.spec.vocabulary)) rows.push(...(await engine.measure(pack)));
    return rows;
  } finally {
    await engine.close();
  }
}

/** The errors met so far, by statistic. */
class Tally {
  private readonly worst = new Map<SelftestStatistic, { compared: number; error: number; where: string }>();

  add(where: string, actual: RowStatistics, expected: RowStatistics, tensors: ModelSource["tensors"]): void {
    this.compare("loss", where, actual.loss, expected.loss, expected.loss);
    for (const [name, matrix] of Object.entries(expected.matrices)) {
      const [outFeatures, inFeatures] = tensors.get(name)!.shape;
      this.addMatrix(`${where} ${name}`, actual.matrices[name], matrix, outFeatures! * inFeatures!);
    }
  }

  checks(): SelftestCheck[] {
    return [...this.worst].map(([statistic, { compared, error, where }]) => ({
      statistic,
      compared,
      error,
      bound: bounds[statistic],
      passed: error <= bounds[statistic],
      where,
    }));
  }

  /** @param a - Absent where the row had a number that is not finite. */
  private addMatrix(where: string, a: MatrixStatistics | undefined, e: MatrixStatistics, entries: number): void {
    const largest = Math.max(Math.abs(e.M_max), Math.abs(e.M_min));
    this.compare("M_mean", where, a?.M_mean, e.M_mean, e.frobenius_norm / Math.sqrt(entries));
    this.compare("M_max", where, a?.M_max, e.M_max, largest);
    this.compare("M_min", where, a?.M_min, e.M_min, largest);
    this.compare("frobenius_norm", where, a?.frobenius_norm, e.frobenius_norm, e.frobenius_norm);
    this.compare("S_sum", where, a?.S_sum, e.S_sum, e.S_sum);
    this.compare("sigma1_ratio", where, a && a.S_max / a.S_sum, e.S_max / e.S_sum, e.S_max / e.S_sum);
    this.compare("effective_rank", where, a?.effective_rank ?? undefined, e.effective_rank!, e.effective_rank!);
    for (const [i, sigma] of e.S_list!.entries()) this.compare("S_list", `${where} σ${i + 1}`, a?.S_list?.[i], sigma, e.S_max);
  }

  private compare(statistic: SelftestStatistic, where: string, actual: number | undefined, expected: number, scale: number): void {
    const difference = Math.abs((actual ?? Number.NaN) - expected) / scale;
    const error = Number.isFinite(difference) ? difference : Number.POSITIVE_INFINITY;
    const known = this.worst.get(statistic) ?? { compared: 0, error: -1, where };
    const compared = known.compared + 1;
    this.worst.set(statistic, error > known.error ? { compared, error, where } : { ...known, compared });
  }
}
