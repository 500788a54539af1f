import { describe, expect, it } from "vitest";
import { instantiate, primitiveCases } from "../../test/contract/primitive-cases.ts";
import { differentiate } from "../autodiff/differentiate.ts";
import { input } from "../tensor/expr.ts";
import { interpret } from "../tensor/interpreter.ts";
import { onnxRuntime } from "./onnx-runtime.ts";

const notDifferentiable = new Set(["max", "min"]);
const tables = new Set(["cos", "sin"]);
const backend = onnxRuntime({ threads: 1 });

for (const [primitive, cases] of Object.entries(primitiveCases)) {
  describe(`${primitive} by ONNX Runtime`, () => {
    for (const testCase of cases) {
      it(`${testCase.title}: agrees with the interpreter, and so does its vjp`, async () => {
        const { exprs, feeds } = instantiate(testCase, 3);
        const y = testCase.build(exprs);
        const outputs = { y };
        const names = Object.keys(testCase.inputs).filter((n) => !tables.has(n));
        if (!notDifferentiable.has(primitive)) {
          const ct = input("ct", y.shape);
          const value = interpret({ name: "y", outputs }, feeds).y!;
          feeds.ct = { shape: value.shape, data: Float32Array.from(value.data as Float64Array, (_, i) => Math.sin(i + 1)) };
          const gradients = differentiate(
            [[y, ct]],
            names.map((n) => exprs[n]!),
          );
          gradients.forEach((g, i) => Object.assign(outputs, { [`d_${names[i]}`]: g }));
        }
        const graph = { name: primitive, outputs };
        const program = await backend.compile(graph);
        const [actual, expected] = [await program.run(feeds), interpret(graph, feeds)];
        await program.release();
        for (const key of Object.keys(outputs)) {
          expect(actual[key]!.shape, key).toEqual(expected[key]!.shape);
          const reference = expected[key]!.data as Float64Array;
          const scale = reference.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-30);
          const worst = reference.reduce((a, b, i) => Math.max(a, Math.abs(b - Number(actual[key]!.data[i]))), 0);
          // A few dozen float32 roundings, relative to the largest entry.
          expect(worst / scale, key).toBeLessThan(32 * 2 ** -23);
        }
      });
    }
  });
}
