import { describe, expect, it } from "vitest";
import { instantiate, type PrimitiveCase, primitiveCases, wideCases } from "../../test/contract/primitive-cases.ts";
import { differentiate } from "../autodiff/differentiate.ts";
import { input } from "../tensor/expr.ts";
import { interpret } from "../tensor/interpreter.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { onnxRuntime } from "./onnx-runtime.ts";

const notDifferentiable = new Set(["max", "min"]);
const tables = new Set(["cos", "sin"]);
const backend = onnxRuntime({ threads: 1 });
const rounding = 2 ** -23;

/** The value `y` and, where asked, its vjp `d_<input>`, by ONNX Runtime and by the interpreter. */
async function bothWays(testCase: PrimitiveCase, withVjp: boolean): Promise<Record<"actual" | "expected", Record<string, Tensor>>> {
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

for (const [primitive, cases] of Object.entries(primitiveCases)) {
  describe(`${primitive} by ONNX Runtime`, () => {
    for (const testCase of cases) {
      it(`${testCase.title}: agrees with the interpreter, and so does its vjp`, async () => {
        const { actual, expected } = await bothWays(testCase, !notDifferentiable.has(primitive));
        for (const key of Object.keys(expected)) {
          expect(actual[key]!.shape, key).toEqual(expected[key]!.shape);
          // A few dozen float32 roundings, relative to the largest entry.
          expect(worstError(actual[key]!, expected[key]!), key).toBeLessThan(32 * rounding);
        }
      });
    }
  });
}

describe("long sums by ONNX Runtime", () => {
  for (const testCase of wideCases) {
    it(`${testCase.title}: agrees with the interpreter to a few float32 roundings, and so does its vjp`, async () => {
      const { actual, expected } = await bothWays(testCase, true);
      for (const key of Object.keys(expected)) {
        expect(actual[key]!.shape, key).toEqual(expected[key]!.shape);
        // Each part and the sum of the parts' sums lose a rounding or so, and a softmax's vjp takes a difference: 2.4 at worst.
        // Added up in one go, the wide spread's sums are off by 5 to 33.
        expect(worstError(actual[key]!, expected[key]!), key).toBeLessThan(4 * rounding);
      }
    });
  }
});
