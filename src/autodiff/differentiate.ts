import * as t from "../tensor/expr.ts";
import { type Expr, type Node, type Primitive, printType, substitute, topological } from "../tensor/expr.ts";
import { sameDim, sameShape, shift } from "../tensor/shape.ts";
import { vjpRules } from "./rules.ts";

/**
 * Reverse-mode differentiation, graph to graph: the cotangents of `targets` given those of `outputs`.
 *
 * Only paths from a target to an output are walked. The result refers to the forward expressions it
 * needs; {@link withSaved} decides which of those are read from memory and which are computed again.
 *
 * @param outputs - Pairs of an expression and its cotangent, of one shape and type.
 * @param targets - Any expressions on the way: inputs, but also a linear layer's output.
 * @returns One cotangent a target, of its shape.
 * @throws Error if a target does not reach an output, or a primitive on the way has no derivative.
 */
export function differentiate(outputs: ReadonlyArray<readonly [Expr, Expr]>, targets: readonly Expr[]): Expr[] {
  const order = topological(outputs.map(([value]) => value));
  const reaches = new Set<Expr>(targets);
  for (const x of order) if (x.args.some((a) => reaches.has(a))) reaches.add(x);

  const contributions = new Map<Expr, Expr[]>();
  const contribute = (x: Expr, ct: Expr): void => {
    if (!sameShape(x.shape, ct.shape) || x.dtype !== ct.dtype)
      throw new Error(`vjp: cotangent ${printType(ct)} for ${x.op} ${printType(x)}`);
    contributions.set(x, [...(contributions.get(x) ?? []), ct]);
  };
  for (const [value, ct] of outputs) if (reaches.has(value)) contribute(value, ct);

  const cotangents = new Map<Expr, Expr>();
  for (const x of order.toReversed()) {
    const parts = contributions.get(x);
    if (!parts || !reaches.has(x)) continue;
    const ct = accumulate(parts);
    cotangents.set(x, ct);
    if (!x.args.some((a) => reaches.has(a))) continue;
    vjpOf(x, ct).forEach((part, i) => {
      const argument = x.args[i]!;
      if (part && reaches.has(argument)) contribute(argument, part());
    });
  }
  return targets.map((x) => cotangents.get(x) ?? unreached(x));
}

const vjpOf = <P extends Primitive>(x: Node<P> & Expr, ct: Expr): readonly ((() => Expr) | null)[] => vjpRules[x.op as P](x, ct);

const unreached = (x: Expr): never => {
  throw new Error(`vjp: ${x.op} ${printType(x)} does not reach any output`);
};

/**
 * Sum of contributions to one cotangent. Slices of one axis come back as paddings: where they tile the
 * axis they are joined instead of added, and where they grow from one end (a causal strip sees all keys
 * up to its own end) each is only widened to the next longer one.
 */
function accumulate(parts: readonly Expr[]): Expr {
  if (parts.length === 1) return parts[0]!;
  if (parts.every(isPad)) {
    const axis = parts[0]!.attrs.axis;
    if (parts.every((p) => p.attrs.axis === axis)) {
      const sorted = parts.toSorted((a, b) => a.attrs.before - b.attrs.before);
      if (tiles(sorted, axis)) return t.concat(sorted.map(padded), axis);
    }
  }
  const prefixes = parts.filter((p) => isPad(p) && p.attrs.before === 0) as Node<"pad">[];
  if (prefixes.length > 0 && prefixes.length >= parts.length - 1 && prefixes.every((p) => p.attrs.axis === prefixes[0]!.attrs.axis)) {
    const axis = prefixes[0]!.attrs.axis;
    const length = (p: Expr): number => (typeof p.shape[axis] === "number" ? p.shape[axis] : Number.POSITIVE_INFINITY);
    const ascending = [...prefixes.map(padded), ...parts.filter((p) => !prefixes.includes(p as Node<"pad">))].toSorted(
      (a, b) => length(a) - length(b),
    );
    const whole = parts[0]!.shape[axis]!;
    return ascending.reduce((total, part, i) => {
      const longer = t.pad(total, axis, 0, part.shape[axis]!);
      const together = t.add(longer, part);
      return i === ascending.length - 1 ? t.pad(together, axis, 0, whole) : together;
    });
  }
  return parts.reduce((a, b) => t.add(a, b));
}

const isPad = (x: Expr): x is Node<"pad"> => x.op === "pad";
const padded = (x: Node<"pad">): Expr => x.args[0]!;

function tiles(parts: readonly Node<"pad">[], axis: number): boolean {
  let next = 0;
  for (const [i, part] of parts.entries()) {
    if (part.attrs.before !== next) return false;
    const size = padded(part).shape[axis]!;
    if (i === parts.length - 1) return sameDim(shift(size, next), part.shape[axis]!);
    if (typeof size !== "number") return false;
    next += size;
  }
  return false;
}

/**
 * Reads some forward values from memory instead of computing them again: `saved` maps a forward
 * expression to what stands for it in the backward graph (an input, or an expression of inputs).
 * What is not saved is recomputed from what is.
 */
export const withSaved = (backward: readonly Expr[], saved: ReadonlyMap<Expr, Expr>): Expr[] => substitute(backward, saved);
