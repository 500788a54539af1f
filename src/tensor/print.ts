import { type Expr, type Graph, printType, topological } from "./expr.ts";
import { printDim, printShape, type Shape } from "./shape.ts";

/**
 * A graph as text, one line a node, in the order of computation:
 *
 *     mix(x: float32[T,64], context: float32[T,64])
 *       %0 = linear(context, self_attn.o_proj.weight) name=self_attn.o_proj : float32[T,64]
 *       %1 = add(x, %0) : float32[T,64]
 *       → output = %1
 */
export function printGraph(graph: Graph): string {
  const names = new Map<Expr, string>();
  const lines: string[] = [];
  const inputs = new Map<string, string>();
  for (const x of topological(Object.values(graph.outputs))) {
    if (x.op === "input") {
      names.set(x, x.attrs.name);
      inputs.set(x.attrs.name, `${x.attrs.name}: ${printType(x)}`);
    } else if (x.op === "constant") {
      names.set(x, `${x.attrs.value}`);
    } else {
      const name = `%${lines.length}`;
      names.set(x, name);
      const attrs = Object.entries(x.attrs).map(([key, value]) => ` ${key}=${printAttribute(value)}`);
      lines.push(`  ${name} = ${x.op}(${x.args.map((a) => names.get(a)).join(", ")})${attrs.join("")} : ${printType(x)}`);
    }
  }
  const results = Object.entries(graph.outputs).map(([key, x]) => `  → ${key} = ${names.get(x)}`);
  return [`${graph.name}(${[...inputs.values()].join(", ")})`, ...lines, ...results].join("\n");
}

function printAttribute(value: unknown): string {
  if (Array.isArray(value)) return printShape(value as Shape);
  if (typeof value === "object" && value !== null && "symbol" in value) return printDim(value as Exclude<Shape[number], number>);
  return String(value);
}
