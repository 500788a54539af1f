import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { instantiate, type PrimitiveCase, primitiveCases } from "../../test/contract/primitive-cases.ts";
import { differentiate } from "../autodiff/differentiate.ts";
import { emitOnnx } from "../onnx/emit.ts";
import { add, cast, input, matmul } from "../tensor/expr.ts";
import { interpret } from "../tensor/interpreter.ts";
import { dim } from "../tensor/shape.ts";
import { type FloatArray, rowsOf, type Tensor } from "../tensor/tensor.ts";
import { type Backend, interpreterBackend } from "./backend.ts";
import { checkDevice, devices } from "./device.ts";
import { onnxRuntime } from "./onnx-runtime.ts";

const notDifferentiable = new Set(["max", "min"]);
const tables = new Set(["cos", "sin"]);
const cpu = onnxRuntime({ threads: 1 });
const rounding = 2 ** -23;

/** The devices that this machine has: mostly the CPU alone. */
const present = (
  await Promise.all(
    devices.map((device) =>
      checkDevice(device).then(
        () => [device],
        () => [],
      ),
    ),
  )
).flat();

/** The value `y` and, where asked, its vjp `d_<input>`, by a backend and by the interpreter. */
async function bothWays(
  testCase: PrimitiveCase,
  withVjp: boolean,
  backend: Backend,
): Promise<Record<"actual" | "expected", Record<string, Tensor>>> {
  const { exprs, feeds } = instantiate(testCase, 3);
  const y = testCase.build(exprs);
  const outputs = { y };
  const names = Object.keys(testCase.inputs).filter((n) => !tables.has(n));
  if (withVjp) {
    const ct = input("ct", y.shape);
    const value = interpret({ name: "y", outputs }, feeds).y!;
    feeds.ct = { shape: value.shape, data: Float32Array.from(value.data as Float64Array, (_, i) => Math.sin(i + 1)) };
    const gradients = differentiate(
      [[y, ct]],
      names.map((n) => exprs[n]!),
    );
    gradients.forEach((g, i) => Object.assign(outputs, { [`d_${names[i]}`]: g }));
  }
  const graph = { name: "case", outputs };
  const program = await backend.compile(graph);
  const [actual, expected] = [await program.run(feeds), interpret(graph, feeds)];
  await program.release();
  return { actual: actual as Record<string, Tensor>, expected };
}

/** The largest error of an entry, relative to the largest entry. */
function worstError(actual: Tensor, expected: Tensor): number {
  const reference = expected.data as Float64Array;
  const scale = reference.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-30);
  return reference.reduce((a, b, i) => Math.max(a, Math.abs(b - Number(actual.data[i]))), 0) / scale;
}

const onDevices = present.flatMap((device) => Object.entries(primitiveCases).map(([primitive, cases]) => ({ device, primitive, cases })));

for (const { device, primitive, cases } of onDevices) {
  const backend = onnxRuntime({ threads: 1, device });
  describe(`${primitive} by ONNX Runtime on ${device}`, () => {
    for (const testCase of cases) {
      it(`${testCase.title}: agrees with the interpreter, and so does its vjp`, async () => {
        const { actual, expected } = await bothWays(testCase, !notDifferentiable.has(primitive), backend);
        for (const key of Object.keys(expected)) {
          expect(actual[key]!.shape, key).toEqual(expected[key]!.shape);
          // A few dozen float32 roundings, relative to the largest entry.
          expect(worstError(actual[key]!, expected[key]!), key).toBeLessThan(32 * rounding);
        }
      });
    }
  });
}

/** What emits for a runtime whose norm has no right second output, which is WebGPU's; run on the CPU, which is here. */
const withPlainInverse: Backend = {
  ...cpu,
  compile: async (graph, constants) => {
    const session = await InferenceSession.create(emitOnnx(graph, constants, { normGivesInverse: false }));
    return {
      run: async (feeds) => {
        const inputs = Object.fromEntries(session.inputNames.map((name) => [name, new OrtTensor(feeds[name]!.data, feeds[name]!.shape)]));
        const results = await session.run(inputs);
        return Object.fromEntries(Object.entries(results).map(([key, { dims, data }]) => [key, { shape: dims, data } as Tensor]));
      },
      release: () => session.release(),
    };
  },
};

describe("a norm without its second output", () => {
  for (const testCase of [...primitiveCases.rmsNorm, ...primitiveCases.inverseRms]) {
    it(`${testCase.title}: agrees with the interpreter, and so does its vjp`, async () => {
      const { actual, expected } = await bothWays(testCase, true, withPlainInverse);
      for (const key of Object.keys(expected)) expect(worstError(actual[key]!, expected[key]!), key).toBeLessThan(32 * rounding);
    });
  }
});

it("a graph that holds a float64 value runs on the CPU, whatever the device, and whether or not that is there", async () => {
  const [a, b] = [cast(input("a", [1, 2]), "float64"), cast(input("b", [2, 1]), "float64")];
  for (const device of devices) {
    const program = await onnxRuntime({ device, threads: 1 }).compile({ name: "exact", outputs: { y: matmul(a, b) } });
    const feeds = { a: { shape: [1, 2], data: Float32Array.of(1, 1) }, b: { shape: [2, 1], data: Float32Array.of(1, 2 ** -30) } };
    // A float32 sum would be 1.
    expect((await program.run(feeds)).y!.data).toEqual(Float64Array.of(1 + 2 ** -30));
    await program.release();
  }
});

describe.each([
  ["ONNX Runtime", cpu],
  ["the interpreter", interpreterBackend],
] as const)("places for results, by %s", (_, backend) => {
  const [a, b] = [input("a", [dim("T"), 2]), input("b", [2, 3])];
  const graph = { name: "two", outputs: { product: matmul(a, b), twice: add(a, a) } };
  const real = (shape: readonly number[], values: readonly number[]) => ({
    shape,
    data: backend.precision === "float64" ? Float64Array.from(values) : Float32Array.from(values),
  });
  const feeds = { a: real([2, 2], [1, 2, 3, 4]), b: real([2, 3], [1, 0, 2, 0, 1, 3]) };

  it("hold what was asked for, views too, and nothing beside them is touched; other results are arrays as ever", async () => {
    const program = await backend.compile(graph);
    const whole = real([4, 3], new Array(12).fill(-1));
    const product = rowsOf(whole, 1, 3);
    const results = await program.run(feeds, { product });
    expect(results.product).toBe(product);
    expect(Array.from(whole.data)).toEqual([-1, -1, -1, 1, 2, 8, 3, 4, 18, -1, -1, -1]);
    expect(Array.from(results.twice!.data as FloatArray)).toEqual([2, 4, 6, 8]);
    expect(results.twice!.shape).toEqual([2, 2]);
    await program.release();
  });

  it("of another shape are refused", async () => {
    const program = await backend.compile(graph);
    await expect(program.run(feeds, { product: real([3, 3], new Array(9).fill(0)) })).rejects.toThrow();
    await program.release();
  });
});
