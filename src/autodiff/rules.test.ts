import { describe, expect, it } from "vitest";
import { gaussian, instantiate, type PrimitiveCase, primitiveCases } from "../../test/contract/primitive-cases.ts";
import { type Expr, input } from "../tensor/expr.ts";
import { interpret } from "../tensor/interpreter.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { differentiate } from "./differentiate.ts";

type Feeds = Record<string, Tensor>;

/** `binding` are expressions that only lend their symbols' sizes. */
const run = (x: Expr, feeds: Feeds, ...binding: Expr[]): Float64Array =>
  interpret({ name: "case", outputs: { ...Object.fromEntries(binding.entries()), y: x } }, feeds).y!.data as Float64Array;
const inner = (a: Float64Array, b: Float64Array): number => a.reduce((total, v, i) => total + v * b[i]!, 0);
const norm = (a: Float64Array): number => Math.sqrt(inner(a, a));

/** A feed of the given values moved by `step` along `direction`, in double precision. */
const moved = (feeds: Feeds, name: string, direction: Float64Array, step: number): Feeds => {
  const { shape, data } = feeds[name]!;
  return { ...feeds, [name]: { shape, data: Float64Array.from(data as Float32Array, (v, i) => v + step * direction[i]!) } };
};

/** Central differences in double precision: truncation h² and rounding ε/h are both below this here, relative to the largest slope. */
const differenceError = 1e-8;
const step = 1e-6;

/** J·direction by central differences of the interpreted value, without any rule. */
function slopeAlong(y: Expr, feeds: Feeds, name: string, direction: Float64Array): Float64Array {
  const plus = run(y, moved(feeds, name, direction, step));
  const minus = run(y, moved(feeds, name, direction, -step));
  return plus.map((v, i) => (v - minus[i]!) / (2 * step));
}

const unit = (length: number, at: number): Float64Array => Float64Array.from({ length }, (_, i) => (i === at ? 1 : 0));

/** Everything a check needs for one case and one differentiable input. */
function setUp(testCase: PrimitiveCase, name: string) {
  const { exprs, feeds } = instantiate(testCase, 7);
  const next = gaussian(11);
  const y = testCase.build(exprs);
  const value = run(y, feeds);
  const shape = interpret({ name: "case", outputs: { y } }, feeds).y!.shape;
  const direction = Float64Array.from(feeds[name]!.data as Float32Array, next);
  const cotangent = Float64Array.from(value, next);
  const ct = input("ct", y.shape);
  const [vjp] = differentiate([[y, ct]], [exprs[name]!]) as [Expr];
  const withCt: Feeds = { ...feeds, ct: { shape, data: cotangent } };
  return { x: exprs[name]!, y, ct, vjp, feeds: withCt, direction, cotangent };
}

const notDifferentiable = new Set(["max", "min"]);
const tables = new Set(["cos", "sin"]);

for (const [primitive, cases] of Object.entries(primitiveCases)) {
  describe(`vjp of ${primitive}`, () => {
    for (const testCase of cases) {
      for (const name of Object.keys(testCase.inputs).filter((n) => !tables.has(n))) {
        if (notDifferentiable.has(primitive)) {
          it(`${testCase.title}: refuses`, () => expect(() => setUp(testCase, name)).toThrow("not differentiable"));
          continue;
        }
        it(`${testCase.title}: every entry of the Jacobian d/d${name} agrees with central differences`, () => {
          const { y, vjp, feeds, cotangent } = setUp(testCase, name);
          const inputs = feeds[name]!.data.length;
          const columns = Array.from({ length: inputs }, (_, j) => slopeAlong(y, feeds, name, unit(inputs, j)));
          const rows = Array.from(cotangent, (_, i) => {
            const { shape } = feeds.ct!;
            return run(vjp, { ...feeds, ct: { shape, data: unit(cotangent.length, i) } });
          });
          const largest = Math.max(...columns.map((c) => c.reduce((a, v) => Math.max(a, Math.abs(v)), 0)));
          expect(largest).toBeGreaterThan(0);
          const wrong = rows.flatMap((row, i) =>
            Array.from(row, (analytic, j) => ({ output: i, input: j, analytic, numeric: columns[j]![i]! })).filter(
              (e) => !(Math.abs(e.analytic - e.numeric) <= differenceError * (1 + largest)),
            ),
          );
          expect(rows.every((row) => row.length === inputs)).toBe(true);
          expect(wrong.slice(0, 5)).toEqual([]);
        });
        it(`${testCase.title}: ⟨ct, J·v⟩ = ⟨Jᵀ·ct, v⟩ for d/d${name} with J·v from central differences`, () => {
          const { y, vjp, feeds, direction, cotangent } = setUp(testCase, name);
          const slope = slopeAlong(y, feeds, name, direction);
          expect(Math.abs(inner(run(vjp, feeds), direction) - inner(cotangent, slope))).toBeLessThan(
            differenceError * (1 + norm(cotangent) * norm(slope)),
          );
        });
        // Says nothing of the derivative's value: a wrong rule that is linear in ct passes.
        it(`${testCase.title}: the rule's graph for d/d${name} is linear in ct and can itself be transposed`, () => {
          const { x, ct, vjp, feeds, direction, cotangent } = setUp(testCase, name);
          const v = input("v", x.shape);
          const [jvp] = differentiate([[vjp, v]], [ct]) as [Expr];
          const forward = run(jvp, { ...feeds, v: { shape: feeds[name]!.shape, data: direction } }, ct);
          const scale = norm(cotangent) * norm(forward) + 1e-300;
          expect(Math.abs(inner(cotangent, forward) - inner(run(vjp, feeds), direction)) / scale).toBeLessThan(1e-12);
        });
      }
    }
  });
}
