import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { LayergradError } from "../errors.ts";
import { emitOnnx } from "../onnx/emit.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Backend, Program } from "./backend.ts";

/**
 * ONNX Runtime on the CPU, float32 (and float64 where a graph says so).
 *
 * @param threads - Threads of each operator; the machine's cores by default.
 */
export function onnxRuntime({ threads }: { readonly threads?: number | undefined } = {}): Backend {
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
      const session = await InferenceSession.create(emitOnnx(graph, constants), options).catch((cause: unknown) => {
        throw memoryError(cause) ?? new Error(`onnxruntime refused graph ${graph.name}`, { cause });
      });
      return new OrtProgram(session, graph.name);
    },
  };
}

class OrtProgram implements Program {
  constructor(
    private readonly session: InferenceSession,
    private readonly name: string,
  ) {}

  async run(feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> {
    const inputs: Record<string, OrtTensor> = {};
    for (const name of this.session.inputNames) {
      const given = feeds[name];
      if (!given) throw new Error(`${this.name}: input ${name} is missing`);
      inputs[name] = new OrtTensor(given.data, given.shape);
    }
    const results = await this.session.run(inputs).catch((cause: unknown) => {
      throw memoryError(cause) ?? new Error(`onnxruntime failed in ${this.name}`, { cause });
    });
    return Object.fromEntries(Object.entries(results).map(([key, { dims, data }]) => [key, { shape: dims, data } as Tensor]));
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
