import { describe, expect, it } from "vitest";
import { llamaModel } from "../../test/specs.ts";
import { attentionGraphs } from "../models/attention.ts";
import { buildBlock, chooseLinears } from "../models/block.ts";
import { headGraph, mixStage, projectStage } from "../models/stages.ts";
import { add, cast, constant, type Graph, input, linear, matmul, mul, silu, slice } from "./expr.ts";
import { printGraph } from "./print.ts";
import { dim } from "./shape.ts";

describe("a graph as text", () => {
  it("names inputs, numbers nodes in the order of computation, shows attributes and types, and ends with the outputs", () => {
    const n = dim("n");
    const x = input("x", [n, 4]);
    const h = linear("up", x, input("up.weight", [6, 4]), input("up.bias", [6]));
    const gated = mul(silu(h), constant(0.5));
    const graph: Graph = {
      name: "example",
      outputs: {
        y: add(gated, h),
        gram: matmul(cast(h, "float64"), cast(h, "float64"), { transB: true, alpha: 2 }),
        tail: slice(h, 0, 3, null),
        x,
      },
    };
    expect(printGraph(graph)).toMatchInlineSnapshot(`
      "example(x: float32[n,4], up.weight: float32[6,4], up.bias: float32[6])
        %0 = linear(x, up.weight, up.bias) name=up : float32[n,6]
        %1 = silu(%0) : float32[n,6]
        %2 = mul(%1, 0.5) : float32[n,6]
        %3 = add(%2, %0) : float32[n,6]
        %4 = cast(%0) to=float64 : float64[n,6]
        %5 = cast(%0) to=float64 : float64[n,6]
        %6 = matmul(%4, %5) transA=false transB=true alpha=2 : float64[n,n]
        %7 = slice(%0) axis=0 start=3 end=null : float32[n-3,6]
        → y = %3
        → gram = %6
        → tail = %7
        → x = x"
    `);
  });

  it("shows a node that two outputs share once, and two equal nodes twice", () => {
    const x = input("x", [2]);
    const shared = silu(x);
    const lines = (graph: Graph) => printGraph(graph).split("\n").length;
    expect(lines({ name: "g", outputs: { a: shared, b: shared } })).toBe(1 + 1 + 2);
    expect(lines({ name: "g", outputs: { a: shared, b: silu(x) } })).toBe(1 + 2 + 2);
  });
});

describe("the stages of a Llama block, as text", () => {
  const { family, spec } = llamaModel();
  const block = buildBlock(family, spec);
  const tapped = chooseLinears(block, "attention");

  it("before attention, forward: three products, of which the backward pass needs none", () => {
    expect(printGraph(projectStage(block, tapped, "linears").forward)).toMatchInlineSnapshot(`
      "project(x: float32[T,8], input_layernorm.weight: float32[8], self_attn.q_proj.weight: float32[8,8], positions: int64[T], rope.cos: float32[P,2], rope.sin: float32[P,2], self_attn.k_proj.weight: float32[4,8], self_attn.v_proj.weight: float32[4,8])
        %0 = rmsNorm(x, input_layernorm.weight) eps=0.00001 : float32[T,8]
        %1 = linear(%0, self_attn.q_proj.weight) name=self_attn.q_proj : float32[T,8]
        %2 = rope(%1, positions, rope.cos, rope.sin) heads=2 : float32[T,8]
        %3 = linear(%0, self_attn.k_proj.weight) name=self_attn.k_proj : float32[T,4]
        %4 = rope(%3, positions, rope.cos, rope.sin) heads=1 : float32[T,4]
        %5 = linear(%0, self_attn.v_proj.weight) name=self_attn.v_proj : float32[T,4]
        → q = %2
        → k = %4
        → v = %5"
    `);
  });
  it("before attention, backward: the cotangents of queries and keys turn back, Δ and X come out, no weight gradient is formed", () => {
    expect(printGraph(projectStage(block, tapped, "linears").backward)).toMatchInlineSnapshot(`
      "project.vjp(ct.residual: float32[T,8], x: float32[T,8], ct.v: float32[T,4], self_attn.v_proj.weight: float32[4,8], ct.k: float32[T,4], positions: int64[T], rope.cos: float32[P,2], rope.sin: float32[P,2], self_attn.k_proj.weight: float32[4,8], ct.q: float32[T,8], self_attn.q_proj.weight: float32[8,8], input_layernorm.weight: float32[8])
        %0 = inverseRms(x) eps=0.00001 : float32[T,1]
        %1 = matmul(ct.v, self_attn.v_proj.weight) transA=false transB=false alpha=1 : float32[T,8]
        %2 = mul(rope.sin, -1) : float32[P,2]
        %3 = rope(ct.k, positions, rope.cos, %2) heads=1 : float32[T,4]
        %4 = matmul(%3, self_attn.k_proj.weight) transA=false transB=false alpha=1 : float32[T,8]
        %5 = add(%1, %4) : float32[T,8]
        %6 = mul(rope.sin, -1) : float32[P,2]
        %7 = rope(ct.q, positions, rope.cos, %6) heads=2 : float32[T,8]
        %8 = matmul(%7, self_attn.q_proj.weight) transA=false transB=false alpha=1 : float32[T,8]
        %9 = add(%5, %8) : float32[T,8]
        %10 = mul(%9, input_layernorm.weight) : float32[T,8]
        %11 = mul(x, %0) : float32[T,8]
        %12 = mul(%10, %11) : float32[T,8]
        %13 = sum(%12) axis=1 : float32[T,1]
        %14 = mul(%13, 0.125) : float32[T,1]
        %15 = mul(%11, %14) : float32[T,8]
        %16 = sub(%10, %15) : float32[T,8]
        %17 = mul(%0, %16) : float32[T,8]
        %18 = add(ct.residual, %17) : float32[T,8]
        %19 = rmsNorm(x, input_layernorm.weight) eps=0.00001 : float32[T,8]
        → ct.x = %18
        → delta.self_attn.q_proj = %7
        → delta.self_attn.k_proj = %3
        → delta.self_attn.v_proj = ct.v
        → factor.0 = %19"
    `);
  });
  it("after attention, backward: with the products saved it holds none of the forward's", () => {
    const text = printGraph(mixStage(block, tapped, "linears").backward);
    expect(text).not.toContain("linear(");
    expect(text.match(/matmul\(/g)?.length).toBe(4);
    const recomputed = printGraph(mixStage(block, tapped, "nothing").backward);
    expect(recomputed.match(/linear\(/g)?.length).toBe(3);
    expect(recomputed.match(/matmul\(/g)?.length).toBe(4);
  });
  it("attention: one strip's scores are formed once each way, and context stands in for the second product", () => {
    const { forward, backward } = attentionGraphs(spec, 1);
    expect(printGraph(forward).match(/matmul\(/g)?.length).toBe(1);
    expect(printGraph(forward).match(/attendTo\(/g)?.length).toBe(1);
    expect(printGraph(backward)).not.toContain("attendTo(");
    expect(printGraph(backward).match(/matmul\(/g)?.length).toBe(5);
  });
  it("the head: loss and the cotangent of its input, from one product each way", () => {
    expect(printGraph(headGraph(spec))).toMatchInlineSnapshot(`
      "head(x: float32[N,8], model.norm.weight: float32[8], lm_head.weight: float32[32,8], labels: int64[N], ct.loss: float32[N])
        %0 = rmsNorm(x, model.norm.weight) eps=0.00001 : float32[N,8]
        %1 = linear(%0, lm_head.weight) name=lm_head : float32[N,32]
        %2 = crossEntropy(%1, labels) : float32[N]
        %3 = inverseRms(x) eps=0.00001 : float32[N,1]
        %4 = softmax(%1) : float32[N,32]
        %5 = subtractOneHot(%4, labels) : float32[N,32]
        %6 = reshape(ct.loss) shape=[N,1] : float32[N,1]
        %7 = mul(%5, %6) : float32[N,32]
        %8 = matmul(%7, lm_head.weight) transA=false transB=false alpha=1 : float32[N,8]
        %9 = mul(%8, model.norm.weight) : float32[N,8]
        %10 = mul(x, %3) : float32[N,8]
        %11 = mul(%9, %10) : float32[N,8]
        %12 = sum(%11) axis=1 : float32[N,1]
        %13 = mul(%12, 0.125) : float32[N,1]
        %14 = mul(%10, %13) : float32[N,8]
        %15 = sub(%9, %14) : float32[N,8]
        %16 = mul(%3, %15) : float32[N,8]
        → loss = %2
        → ct.x = %16"
    `);
  });
});
