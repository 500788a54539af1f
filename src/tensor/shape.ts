/**
 * A dimension that is known only when a graph runs: `symbol + plus`. The offset lets a strip of a
 * sequence (`m`) and the whole sequence (`m + 512`) be told apart without solving equations.
 */
export interface SymbolicDim {
  readonly symbol: string;
  readonly plus: number;
}

/** A dimension: a size, or a symbol bound when the graph runs. */
export type Dim = number | SymbolicDim;

/** Dimensions from the slowest-varying to the fastest (row-major). */
export type Shape = readonly Dim[];

/** The symbolic dimension `symbol + plus`. */
export const dim = (symbol: string, plus = 0): SymbolicDim => ({ symbol, plus });

export const sameDim = (a: Dim, b: Dim): boolean =>
  typeof a === "number" || typeof b === "number" ? a === b : a.symbol === b.symbol && a.plus === b.plus;

export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((d, i) => sameDim(d, b[i]!));

/** `a + by`, for a size or a symbol. */
export const shift = (a: Dim, by: number): Dim => (typeof a === "number" ? a + by : dim(a.symbol, a.plus + by));

export const printDim = (d: Dim): string =>
  typeof d === "number" ? `${d}` : d.plus === 0 ? d.symbol : `${d.symbol}${d.plus < 0 ? "" : "+"}${d.plus}`;

/** `[2,T,64]` */
export const printShape = (shape: Shape): string => `[${shape.map(printDim).join(",")}]`;

/** Sizes of a shape once its symbols are bound. */
export function bind(shape: Shape, symbols: ReadonlyMap<string, number>): number[] {
  return shape.map((d) => {
    if (typeof d === "number") return d;
    const size = symbols.get(d.symbol);
    if (size === undefined) throw new Error(`dimension ${d.symbol} is not bound by any input`);
    return size + d.plus;
  });
}

/**
 * Shape of an elementwise operation by NumPy's rule: shapes are aligned at their last dimension,
 * and a dimension of 1 stretches. `undefined` where they do not fit.
 */
export function broadcastShapes(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length);
  const result: Dim[] = [];
  for (let i = 0; i < rank; i++) {
    const p = a[i - rank + a.length] ?? 1;
    const q = b[i - rank + b.length] ?? 1;
    if (p === 1) result.push(q);
    else if (q === 1 || sameDim(p, q)) result.push(p);
    else return undefined;
  }
  return result;
}
