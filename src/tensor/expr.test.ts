import { describe, expect, it } from "vitest";
import * as t from "./expr.ts";
import { inputsOf, input as x } from "./expr.ts";
import { dim, type Shape } from "./shape.ts";

const T = dim("T");
const shapeOf = (e: t.Expr): Shape => e.shape;

describe("shapes follow from the arguments", () => {
  it.each<[string, t.Expr, Shape]>([
    ["linear keeps the tokens and takes the weight's rows", t.linear("up", x("x", [T, 4]), x("w", [6, 4]), x("b", [6])), [T, 6]],
    ["matmul of a batch", t.matmul(x("a", [2, 3, T, 5]), x("b", [2, 1, 5, 7])), [2, 3, T, 7]],
    ["matmul, either side transposed", t.matmul(x("a", [5, 3]), x("b", [7, 5]), { transA: true, transB: true }), [3, 7]],
    ["add stretches ones", t.add(x("a", [T, 1]), x("b", [4])), [T, 4]],
    ["attendTo", t.attendTo(x("s", [2, T, T]), x("v", [2, T, 8])), [2, T, 8]],
    ["pick leaves one column", t.pick(x("l", [T, 9]), x("y", [T], "int64")), [T, 1]],
    ["addAt changes no shape", t.addAt(x("l", [T, 9]), x("y", [T], "int64"), x("m", [T, 1])), [T, 9]],
    ["transpose", t.transpose(x("a", [2, T, 4]), [2, 0, 1]), [4, 2, T]],
    ["reshape carries a symbol through", t.reshape(x("a", [T, 12]), [T, 3, 4]), [T, 3, 4]],
    ["slice to the end of a symbolic axis", t.slice(x("a", [dim("m", 128), 4]), 0, 128, null), [dim("m"), 4]],
    ["pad undoes it", t.pad(x("a", [dim("m"), 4]), 0, 128, dim("m", 128)), [dim("m", 128), 4]],
    ["concat of fixed strips and a symbolic one", t.concat([x("a", [128, 4]), x("b", [dim("m"), 4])], 0), [dim("m", 128), 4]],
    ["sum keeps its axis", t.sum(x("a", [T, 4]), 0), [1, 4]],
    ["max keeps the last axis", t.max(x("a", [T, 4])), [T, 1]],
  ])("%s", (_, expr, shape) => expect(shapeOf(expr)).toEqual(shape));

  it("a reshape, slice, pad or cast that changes nothing is its argument itself", () => {
    const a = x("a", [T, 4]);
    for (const same of [
      t.reshape(a, [T, 4]),
      t.slice(a, 0, 0, null),
      t.slice(a, 1, 0, 4),
      t.pad(a, 0, 0, T),
      t.cast(a, "float32"),
      t.concat([a], 0),
    ]) {
      expect(same).toBe(a);
    }
  });
});

describe("a shape that does not fit is refused with the operation, the types and the inputs' names", () => {
  it.each<[string, () => t.Expr, string]>([
    [
      "linear",
      () => t.linear("q_proj", x("x", [T, 4]), x("w", [8, 6])),
      "linear q_proj: inner dimensions differ, float32[T,4] (x) · float32[8,6] (w)",
    ],
    [
      "linear's bias",
      () => t.linear("q_proj", x("x", [T, 4]), x("w", [8, 4]), x("b", [4])),
      "linear q_proj: the bias does not fit, float32[8,4] (w) · float32[4] (b)",
    ],
    ["matmul", () => t.matmul(x("a", [4, 8]), x("b", [6, 8])), "matmul: inner dimensions differ, float32[4,8] (a) · float32[6,8] (b)"],
    [
      "matmul of two symbols",
      () => t.matmul(x("a", [2, T]), x("b", [dim("T", 1), 2])),
      "matmul: inner dimensions differ, float32[2,T] (a) · float32[T+1,2] (b)",
    ],
    [
      "matmul's batch",
      () => t.matmul(x("a", [2, 4, 8]), x("b", [3, 8, 4])),
      "matmul: leading dimensions do not broadcast, float32[2,4,8] (a) · float32[3,8,4] (b)",
    ],
    [
      "matmul of a vector",
      () => t.matmul(x("a", [4]), x("b", [4, 4])),
      "matmul: needs two matrices of one type, float32[4] (a) · float32[4,4] (b)",
    ],
    [
      "matmul of two types",
      () => t.matmul(x("a", [4, 4]), x("b", [4, 4], "float64")),
      "matmul: needs two matrices of one type, float32[4,4] (a) · float64[4,4] (b)",
    ],
    ["add", () => t.add(x("a", [T, 4]), x("b", [T, 3])), "add: shapes do not broadcast, float32[T,4] (a) · float32[T,3] (b)"],
    ["mul of two types", () => t.mul(x("a", [4]), x("b", [4], "float64")), "mul: types differ, float32[4] (a) · float64[4] (b)"],
    [
      "rmsNorm",
      () => t.rmsNorm(x("h", [T, 4]), x("norm.weight", [5]), 1e-6),
      "rmsNorm: the weight does not fit, float32[T,4] (h) · float32[5] (norm.weight)",
    ],
    [
      "rope's heads",
      () => t.rope(x("q", [T, 24]), x("p", [T], "int64"), x("cos", [9, 4]), x("sin", [9, 4]), 4),
      "rope: 4 heads do not fit, float32[T,24] (q) · float32[9,4] (cos)",
    ],
    [
      "rope's positions",
      () => t.rope(x("q", [T, 8]), x("p", [T]), x("cos", [9, 4]), x("sin", [9, 4]), 1),
      "rope: bad positions or tables, float32[T] (p)",
    ],
    [
      "pick",
      () => t.pick(x("logits", [T, 9]), x("labels", [3], "int64")),
      "pick: the indices do not fit, float32[T,9] (logits) · int64[3] (labels)",
    ],
    [
      "addAt",
      () => t.addAt(x("logits", [T, 9]), x("labels", [T], "int64"), x("more", [T])),
      "addAt: what is added does not fit, float32[T,9] (logits) · float32[T] (more)",
    ],
    [
      "attendTo",
      () => t.attendTo(x("s", [2, 4, 4]), x("v", [2, 5, 8])),
      "inner dimensions differ, float32[2,4,4] (s) · float32[2,5,8] (v)",
    ],
    ["transpose", () => t.transpose(x("a", [2, T]), [0, 0]), "transpose: [0,0] is no permutation of the axes, float32[2,T] (a)"],
    ["reshape's size", () => t.reshape(x("a", [T, 12]), [T, 5]), "reshape: cannot become [T,5], float32[T,12] (a)"],
    ["reshape's symbol", () => t.reshape(x("a", [T, 12]), [dim("U"), 12]), "reshape: cannot become [U,12], float32[T,12] (a)"],
    ["slice's axis", () => t.slice(x("a", [T, 4]), 2, 0, 1), "slice: has no axis 2, float32[T,4] (a)"],
    ["slice's range", () => t.slice(x("a", [T, 4]), 1, 2, 5), "slice: [2, 5) is out of range, float32[T,4] (a)"],
    ["pad's total", () => t.pad(x("a", [T, 4]), 0, 1, 9), "pad: cannot be padded to a fixed size, float32[T,4] (a)"],
    [
      "concat",
      () => t.concat([x("a", [T, 4]), x("b", [dim("U"), 4])], 0),
      "concat: two symbolic parts, float32[T,4] (a) · float32[U,4] (b)",
    ],
  ])("%s", (_, build, message) => expect(build).toThrow(message));

  it("an expression that is no input is shown by its type alone", () => {
    expect(() => t.matmul(t.silu(x("a", [4, 8])), x("b", [6, 8]))).toThrow(
      "matmul: inner dimensions differ, float32[4,8] · float32[6,8] (b)",
    );
  });
});

describe("a graph's inputs", () => {
  it("are found through every node, each once", () => {
    const [a, b] = [x("a", [T, 4]), x("b", [4])];
    expect([...inputsOf({ name: "g", outputs: { y: t.add(t.mul(a, b), a), z: a } }).keys()]).toEqual(["a", "b"]);
  });
  it("may not share a name unless they are alike", () => {
    const graph = (other: t.Expr): t.Graph => ({ name: "g", outputs: { y: x("a", [T, 4]), z: t.silu(other) } });
    expect(() => inputsOf(graph(x("a", [T, 5])))).toThrow("g: two inputs share a name, float32[T,5] (a) · float32[T,4] (a)");
    expect(() => inputsOf(graph(x("a", [T, 4], "float64")))).toThrow("two inputs share a name");
    expect(inputsOf(graph(x("a", [T, 4]))).size).toBe(1);
  });
});

describe("substitution", () => {
  it("replaces nodes, rebuilds what depends on them and shares the rest", () => {
    const [a, b, c] = [x("a", [4]), x("b", [4]), x("c", [4])];
    const [left, right] = [t.silu(a), t.sigmoid(b)];
    const [sum] = t.substitute([t.add(left, right)], new Map([[left, c]])) as [t.Expr];
    expect(sum.args).toEqual([c, right]);
    expect(sum.args[1]).toBe(right);
    expect(t.substitute([right], new Map([[left, c]]))[0]).toBe(right);
  });
});
