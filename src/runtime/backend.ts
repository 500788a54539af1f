import { type Graph, inputsOf } from "../tensor/expr.ts";
import { interpret } from "../tensor/interpreter.ts";
import type { FloatArray, Tensor } from "../tensor/tensor.ts";

/** A graph made ready to run. */
export interface Program {
  /**
   * Computes the graph's outputs; the arrays returned belong to the caller.
   *
   * @param into - Tensors of outputs' shapes that may hold them, and are then what is returned; no inputs among them. A program that pays no heed to
   * them costs a copy.
   */
  run(feeds: Readonly<Record<string, Tensor>>, into?: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}

/** What runs graphs: ONNX Runtime, or the float64 interpreter for those who doubt it. */
export interface Backend {
  readonly name: string;
  /** What activations and weights are kept in. */
  readonly precision: "float32" | "float64";
  /** @param constants - Inputs that never change, by name; they may be packed once and are not fed again. */
  compile(graph: Graph, constants?: ReadonlyMap<string, FloatArray>): Promise<Program>;
  /** Takes memory back of results and feeds that nobody will read again; where it can, at once rather than when the garbage collector comes. */
  discard(tensors: Iterable<Tensor>): void;
}

/** The float64 interpreter as a backend: thousands of times slower, exact to double precision. */
export const interpreterBackend: Backend = {
  name: "interpreter",
  precision: "float64",
  compile: async (graph, constants = new Map()) => {
    const shapes = constants.size > 0 ? constantShapes(graph, constants) : {};
    const run: Program["run"] = async (feeds, into = {}) => {
      const results = interpret(graph, { ...shapes, ...feeds });
      for (const [name, { shape, data }] of Object.entries(into)) {
        const result = results[name]!;
        if (shape.join() !== result.shape.join()) throw new Error(`${graph.name}: ${name} is [${result.shape}] and its place [${shape}]`);
        (data as Float64Array).set(result.data as Float64Array);
      }
      return { ...results, ...into };
    };
    return { run, release: async () => {} };
  },
  discard: () => {},
};

function constantShapes(graph: Graph, constants: ReadonlyMap<string, FloatArray>): Record<string, Tensor> {
  const inputs = inputsOf(graph);
  return Object.fromEntries(
    [...constants].filter(([name]) => inputs.has(name)).map(([name, data]) => [name, { shape: inputs.get(name)!.shape as number[], data }]),
  );
}
