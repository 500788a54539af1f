import { describe, expect, it } from "vitest";
import { llamaModel } from "../../test/specs.ts";
import { attentionGraphs } from "../models/attention.ts";
import { buildBlock, chooseLinears } from "../models/block.ts";
import { headGraphs } from "../models/head.ts";
import { mixStage, projectStage } from "../models/stages.ts";
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
        → x.self_attn.q_proj = %19
        → delta.self_attn.k_proj = %3"
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
  it("a part of the head: one product each way, and the sums so far scaled to the largest logit", () => {
    expect(printGraph(headGraphs(spec).part(16))).toMatchInlineSnapshot(`
      "head/16(top: float32[N,1], states: float32[N,8], lm_head.weight: float32[16,8], label: float32[N,1], at: int64[N], own: float32[N,1], others: float32[N,1], pulled: float32[N,8])
        %0 = linear(states, lm_head.weight) name=lm_head : float32[N,16]
        %1 = max(%0) : float32[N,1]
        %2 = concat(top, %1) axis=1 : float32[N,2]
        %3 = max(%2) : float32[N,1]
        %4 = pick(%0, at) : float32[N,1]
        %5 = mul(%4, own) : float32[N,1]
        %6 = add(label, %5) : float32[N,1]
        %7 = sub(top, %3) : float32[N,1]
        %8 = exp(%7) : float32[N,1]
        %9 = mul(others, %8) : float32[N,1]
        %10 = sub(%0, %3) : float32[N,16]
        %11 = exp(%10) : float32[N,16]
        %12 = pick(%11, at) : float32[N,1]
        %13 = mul(%12, own) : float32[N,1]
        %14 = mul(%13, -1) : float32[N,1]
        %15 = addAt(%11, at, %14) : float32[N,16]
        %16 = sum(%15) axis=1 : float32[N,1]
        %17 = sum(%16) axis=1 : float32[N,1]
        %18 = add(%9, %17) : float32[N,1]
        %19 = matmul(%15, lm_head.weight) transA=false transB=false alpha=1 : float32[N,8]
        %20 = mul(pulled, %8) : float32[N,8]
        %21 = add(%19, %20) : float32[N,8]
        → next.top = %3
        → next.label = %6
        → next.others = %18
        → next.pulled = %21"
    `);
  });
  it("the head's end: the label's row and the others', through the norm", () => {
    expect(printGraph(headGraphs(spec).end)).toMatchInlineSnapshot(`
      "head.end(x: float32[N,8], pulled: float32[N,8], inverse: float32[N,1], miss: float32[N,1], model.norm.weight: float32[8], row: float32[N,8])
        %0 = inverseRms(x) eps=0.00001 : float32[N,1]
        %1 = mul(pulled, inverse) : float32[N,8]
        %2 = mul(miss, -1) : float32[N,1]
        %3 = rmsNorm(x, model.norm.weight) eps=0.00001 : float32[N,8]
        %4 = mul(%3, row) : float32[N,8]
        %5 = mul(%4, 0) : float32[N,8]
        %6 = add(%2, %5) : float32[N,8]
        %7 = mul(%6, row) : float32[N,8]
        %8 = add(%1, %7) : float32[N,8]
        %9 = mul(%8, model.norm.weight) : float32[N,8]
        %10 = mul(x, %0) : float32[N,8]
        %11 = mul(%9, %10) : float32[N,8]
        %12 = sum(%11) axis=1 : float32[N,1]
        %13 = mul(%12, 0.125) : float32[N,1]
        %14 = mul(%10, %13) : float32[N,8]
        %15 = sub(%9, %14) : float32[N,8]
        %16 = mul(%0, %15) : float32[N,8]
        → ct.x = %16"
    `);
  });
});
