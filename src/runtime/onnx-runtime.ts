import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { LayergradError } from "../errors.ts";
import { emitOnnx } from "../onnx/emit.ts";
import { type Graph, topological } from "../tensor/expr.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Backend, Program } from "./backend.ts";
import { type Device, keepFloat32 } from "./device.ts";

/** How ONNX Runtime computes. */
export interface OnnxRuntimeOptions {
  /** Threads of each operator on the CPU; the machine's cores by default. */
  readonly threads?: number | undefined;
  /** Default `cpu`. Whether another is there at all, {@link checkDevice} says in a sentence. */
  readonly device?: Device | undefined;
}

/**
 * ONNX Runtime, float32 (and float64 where a graph says so).
 *
 * A graph runs on the device, but for operators that the device does not have, which run on the CPU between the others; a graph that
 * holds a float64 value runs on the CPU whole, since few GPUs compute in float64 at all.
 */
export function onnxRuntime({ threads, device = "cpu" }: OnnxRuntimeOptions = {}): Backend {
  keepFloat32(device);
  const options: InferenceSession.SessionOptions = {
    graphOptimizationLevel: "all",
    executionMode: "sequential",
    interOpNumThreads: 1,
    logSeverityLevel: 3,
    ...(threads ? { intraOpNumThreads: threads } : {}),
    // Each session has its own threads, which would spin on after a run and slow the next session down threefold.
    extra: { session: { force_spinning_stop: "1" } },
  };
  return {
    name: "onnxruntime",
    precision: "float32",
    compile: async (graph, constants) => {
      const executionProviders = [holdsFloat64(graph) ? "cpu" : device];
      // The WebGPU kernels of ONNX Runtime 1.30 put the mean where the norm's inverse root mean square belongs.
      const model = emitOnnx(graph, constants, { normGivesInverse: device !== "webgpu" });
      const session = await InferenceSession.create(model, { ...options, executionProviders }).catch((cause: unknown) => {
        throw memoryError(cause) ?? new Error(`onnxruntime refused graph ${graph.name}`, { cause });
      });
      return new OrtProgram(session, graph.name);
    },
    discard,
  };
}

/**
 * Frees the memory of arrays that have their buffers to themselves, from Node 22 on; before, the garbage collector does, later. ONNX Runtime's
 * results are such arrays, hundreds of megabytes a layer: those that come next then find memory that is still in the processor's cache.
 */
function discard(tensors: Iterable<Tensor>): void {
  for (const { data } of tensors) {
    const buffer = data.buffer as ArrayBuffer & { transfer?(length: number): ArrayBuffer };
    if (buffer.byteLength === data.byteLength) buffer.transfer?.(0);
  }
}

const holdsFloat64 = ({ outputs }: Graph): boolean => topological(Object.values(outputs)).some(({ dtype }) => dtype === "float64");

class OrtProgram implements Program {
  constructor(
    private readonly session: InferenceSession,
    private readonly name: string,
  ) {}

  async run(feeds: Readonly<Record<string, Tensor>>, into: Readonly<Record<string, Tensor>> = {}): Promise<Record<string, Tensor>> {
    const inputs: Record<string, OrtTensor> = {};
    for (const name of this.session.inputNames) {
      const given = feeds[name];
      if (!given) throw new Error(`${this.name}: input ${name} is missing`);
      inputs[name] = new OrtTensor(given.data, given.shape);
    }
    const places = this.session.outputNames.map((name) => [name, into[name] ? new OrtTensor(into[name].data, into[name].shape) : null]);
    const results = await this.session.run(inputs, Object.fromEntries(places)).catch((cause: unknown) => {
      throw memoryError(cause) ?? new Error(`onnxruntime failed in ${this.name}`, { cause });
    });
    const found = Object.fromEntries(Object.entries(results).map(([key, { dims, data }]) => [key, { shape: dims, data } as Tensor]));
    // What was written to its place comes back as a copy too.
    discard(Object.keys(into).map((key) => found[key]!));
    return { ...found, ...into };
  }

  async release(): Promise<void> {
    await this.session.release();
  }
}

/** A failed allocation as something the user can act on; undefined for any other failure. */
export function memoryError(cause: unknown): LayergradError | undefined {
  if (!/alloc|out of memory/i.test(String(cause))) return undefined;
  return new LayergradError(
    "resource",
    "There is not enough memory for this run: lower --batch-tokens or --max-length, or close other programs.",
    { cause },
  );
}
