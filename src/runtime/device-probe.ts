/** The process in which {@link checkDevice} tries a device: `node device-probe.js webgpu`. Its last line is a {@link ProbeAnswer}. */
import { InferenceSession, listSupportedBackends, Tensor } from "onnxruntime-node";
import { emitOnnx } from "../onnx/emit.ts";
import { input, matmul } from "../tensor/expr.ts";

/** What a trial came to. */
export interface ProbeAnswer {
  /** Devices this build of onnxruntime-node knows of. */
  readonly backends: readonly string[];
  /** Why the device does not compute, in ONNX Runtime's words; null where it does. */
  readonly problem: string | null;
}

/** [1 2] · [3 4]ᵀ on the device and nowhere else: without the last option ONNX Runtime would compute it on the CPU and say nothing. */
async function product(device: string): Promise<number> {
  const graph = { name: "probe", outputs: { y: matmul(input("a", [1, 2]), input("b", [2, 1])) } };
  const session = await InferenceSession.create(emitOnnx(graph), {
    executionProviders: [device],
    logSeverityLevel: 3,
    extra: { session: { disable_cpu_ep_fallback: "1" } },
  });
  const [a, b] = [new Tensor(Float32Array.of(1, 2), [1, 2]), new Tensor(Float32Array.of(3, 4), [2, 1])];
  const { y } = await session.run({ a, b });
  return Number(y!.data[0]);
}

async function problemOf(device: string): Promise<string | null> {
  try {
    const y = await product(device);
    return y === 11 ? null : `1·3 + 2·4 came out as ${y}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const answer: ProbeAnswer = {
  backends: listSupportedBackends().map(({ name }) => name),
  problem: await problemOf(process.argv[2]!),
};
process.stdout.write(`${JSON.stringify(answer)}\n`);
