// A graph of one's own: a gated layer with a norm, differentiated, printed, and run both in float64 and by ONNX Runtime.
//
//   node examples/own-graph.mjs
import { differentiate, dim, graph, interpret, onnxRuntime, printGraph, tensor } from "layergrad";

const T = dim("T");
const x = graph.input("x", [T, 8]);
const h = graph.rmsNorm(x, graph.input("norm", [8]), 1e-6);
const wGate = graph.input("w_gate", [16, 8]);
const gate = graph.silu(graph.linear("gate", h, wGate));
const up = graph.linear("up", h, graph.input("w_up", [16, 8]));
const y = graph.mul(gate, up);

// The cotangents of the input and of one weight, from a cotangent of y.
const [dx, dGate] = differentiate([[y, graph.input("ct.y", [T, 16])]], [x, wGate]);
const backward = { name: "gated.vjp", outputs: { "ct.x": dx, "ct.w_gate": dGate } };
console.log(printGraph(backward));

const wave = (shape, step) =>
  tensor(
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(step * (i + 1))),
  );
const feeds = {
  x: wave([5, 8], 0.7),
  norm: wave([8], 0.3),
  w_gate: wave([16, 8], 1.1),
  w_up: wave([16, 8], 0.9),
  "ct.y": wave([5, 16], 0.5),
};

const exact = interpret(backward, feeds);
const program = await onnxRuntime({ threads: 1 }).compile(backward);
const fast = await program.run(feeds);
await program.release();

for (const [name, { shape, data }] of Object.entries(exact)) {
  const largest = data.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const worst = data.reduce((a, b, i) => Math.max(a, Math.abs(b - fast[name].data[i])), 0);
  console.log(
    `${name} [${shape}]: first entry ${data[0].toFixed(6)}, ONNX Runtime within ${(worst / largest).toExponential(1)} of the largest entry`,
  );
}
