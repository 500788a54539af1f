import { describe, expect, it } from "vitest";
import { contentHash, type GradientRecord, matrixKey, parseMatrixKey, serialise } from "./record.ts";

const statistics = { M_mean: 1e-9, M_max: 0.1, M_min: -0.30000000000000004, frobenius_norm: 1, S_sum: 2, S_max: 1, S_min: 5e-324 };
const record: GradientRecord = {
  instruction: "a\nb",
  output: "\u2028 c",
  loss: 1.1,
  row: 3,
  n_tokens: 5,
  label_start: 2,
  n_labels: 3,
  cosine_adjacent: { q_proj: [null, 0.5] },
};
record[matrixKey(0, "q")] = { ...statistics, effective_rank: null, stable_rank: 1, rank: 1, S_list: [1, 0] };

describe("serialise", () => {
  it("writes one line with the reference's keys and every digit", () => {
    const line = serialise(record);
    expect(line.indexOf("\n")).toBe(line.length - 1);
    expect(JSON.parse(line)).toEqual(record);
    expect(Object.keys(JSON.parse(line)).at(-1)).toBe("model.layers.0.self_attn.q_proj.weight");
    expect(line).toContain("-0.30000000000000004");
  });

  it.each<[string, (r: GradientRecord) => void, string]>([
    ["loss", (r) => Object.assign(r, { loss: Number.NaN }), "record of row 3: loss is NaN"],
    [
      "a statistic",
      (r) => Object.assign(r[matrixKey(0, "q")]!, { S_max: Number.POSITIVE_INFINITY }),
      "model.layers.0.self_attn.q_proj.weight.S_max is Infinity",
    ],
    ["a singular value", (r) => Object.assign(r[matrixKey(0, "q")]!, { S_list: [1, 0.5, Number.NaN] }), "S_list.2 is NaN"],
    [
      "a cosine",
      (r) => Object.assign(r, { cosine_adjacent: { v_proj: [1, Number.NEGATIVE_INFINITY] } }),
      "cosine_adjacent.v_proj.1 is -Infinity",
    ],
    ["a typed array", (r) => Object.assign(r[matrixKey(0, "q")]!, { S_list: new Float64Array(2) }), "S_list is a typed array"],
  ])("refuses %s that JSON would change in silence", (_, spoil, message) => {
    const spoilt = structuredClone(record);
    spoil(spoilt);
    expect(() => serialise(spoilt)).toThrow(message);
  });
});

describe("a row's content", () => {
  it("has a hash that keeps instruction and output apart and tells lone surrogates from each other", () => {
    const hashes = [
      { instruction: "ab", output: "c" },
      { instruction: "a", output: "bc" },
      { instruction: "\ud800", output: "" },
      { instruction: "\ud801", output: "" },
      { instruction: "\ufffd", output: "" },
    ].map(contentHash);
    expect(new Set(hashes).size).toBe(5);
    expect(contentHash(JSON.parse(serialise(record)) as GradientRecord)).toBe(contentHash(record));
  });
});

it("a matrix key is read as it is written, and nothing else is one", () => {
  expect(parseMatrixKey(matrixKey(12, "o"))).toEqual({ layer: 12, module: "self_attn.o_proj" });
  expect(parseMatrixKey("model.layers.3.mlp.gate_proj.weight")).toEqual({ layer: 3, module: "mlp.gate_proj" });
  for (const key of ["loss", "model.layers.x.q.weight", "model.layers.01.q.weight", "model.layers.1.weight", "a.model.layers.1.q.weight"]) {
    expect(parseMatrixKey(key)).toBeUndefined();
  }
});
