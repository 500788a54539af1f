import { checkDiagonal, checkOrder, nonFiniteEntry, type SpectrumKernel } from "./kernel.ts";

/**
 * The kernel in plain TypeScript, for reading and for checking the WebAssembly one: the same mathematics, nothing unrolled,
 * blocked or vectorised. About ten times slower.
 */
export const typescriptKernel: SpectrumKernel = {
  eigenvalues(a, n) {
    check("a", a, n);
    return eigenvalues(a, n);
  },

  singularValuesFromGram(gram, r) {
    check("gram", gram, r);
    checkDiagonal("gram", gram, r);
    return eigenvalues(gram, r).map((lambda) => Math.sqrt(Math.max(lambda, 0)));
  },

  singularValuesFromGrams(kx, kd, n) {
    for (const [name, gram] of [
      ["kx", kx],
      ["kd", kd],
    ] as const) {
      check(name, gram, n);
      checkDiagonal(name, gram, n);
    }
    // A token with a zero row on either side adds nothing to G.
    const tokens = [...Array(n).keys()].filter((t) => kx[t * n + t]! > 0 && kd[t * n + t]! > 0);
    const sigma = new Float64Array(n);
    if (tokens.length === 0) return sigma;

    // Each token's rows are made equally long, and the longest of length about 1; powers of two change no digit.
    const lengths = (gram: Float64Array) => tokens.map((t) => Math.sqrt(gram[t * n + t]!));
    const [lengthsX, lengthsD] = [lengths(kx), lengths(kd)];
    const [unitX, unitD] = [powerOfTwoBelow(Math.max(...lengthsX)), powerOfTwoBelow(Math.max(...lengthsD))];
    const scalesX: number[] = [];
    const scalesD: number[] = [];
    for (const [k, x] of lengthsX.entries()) {
      const balance = 2 ** Math.round(Math.log2(Math.sqrt(lengthsD[k]! / unitD) / Math.sqrt(x / unitX)));
      scalesX.push(balance / unitX);
      scalesD.push(1 / balance / unitD);
    }
    const scaledX = scaled(kx, n, tokens, scalesX);
    const scaledD = scaled(kd, n, tokens, scalesD);

    // The larger sum of squares beside the diagonal marks the faster falling spectrum, hence the lower rank.
    const [factored, other] = offDiagonalSquares(scaledX) >= offDiagonalSquares(scaledD) ? [scaledX, scaledD] : [scaledD, scaledX];
    const columns = pivotedCholesky(factored);
    const rank = columns.length;
    const image = columns.map((column) => other.map((row) => dot(row, column)));
    const congruent = new Float64Array(rank * rank);
    for (let i = 0; i < rank; i++) {
      for (let j = 0; j <= i; j++) congruent[i * rank + j] = congruent[j * rank + i] = dot(columns[i]!, image[j]!);
    }
    const lambda = eigenvalues(congruent, rank);
    for (let i = 0; i < rank; i++) sigma[i] = Math.sqrt(Math.max(lambda[i]!, 0)) * unitX * unitD;
    return sigma;
  },
};

function check(name: string, matrix: Float64Array, order: number): void {
  checkOrder(name, matrix, order);
  const index = matrix.findIndex((value) => !Number.isFinite(value));
  if (index >= 0) throw nonFiniteEntry(name, matrix, order, index);
}

/** 2^⌊log₂ x⌋, up to one step where log₂ rounds. */
function powerOfTwoBelow(x: number): number {
  return 2 ** Math.floor(Math.log2(x));
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += a[k]! * b[k]!;
  return sum;
}

function scaled(gram: Float64Array, n: number, tokens: readonly number[], scales: readonly number[]): Float64Array[] {
  return tokens.map((s, i) => Float64Array.from(tokens, (t, j) => gram[Math.max(s, t) * n + Math.min(s, t)]! * scales[i]! * scales[j]!));
}

function offDiagonalSquares(rows: readonly Float64Array[]): number {
  let sum = 0;
  for (const [i, row] of rows.entries()) for (let j = 0; j < i; j++) sum += row[j]! ** 2;
  return sum;
}

/**
 * Columns of L with A = LLᵀ, rows in A's own order, by repeatedly taking out the largest remaining diagonal entry. A row whose
 * residual is at most max(4, √n)·ε of its own diagonal entry holds nothing but rounding.
 */
function pivotedCholesky(a: readonly Float64Array[]): Float64Array[] {
  const n = a.length;
  const tolerance = Number.EPSILON * Math.max(4, Math.sqrt(n));
  const residuals = a.map((row, i) => row[i]!);
  const taken = new Set<number>();
  const columns: Float64Array[] = [];
  while (taken.size < n) {
    let pivot = -1;
    for (let i = 0; i < n; i++) {
      if (taken.has(i) || residuals[i]! <= tolerance * a[i]![i]!) continue;
      if (pivot < 0 || residuals[i]! > residuals[pivot]!) pivot = i;
    }
    if (pivot < 0) break;
    taken.add(pivot);
    const root = Math.sqrt(residuals[pivot]!);
    const column = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      if (i === pivot) {
        column[i] = root;
      } else if (!taken.has(i)) {
        let value = a[i]![pivot]!;
        for (const earlier of columns) value -= earlier[i]! * earlier[pivot]!;
        column[i] = value / root;
        residuals[i]! -= column[i]! ** 2;
      }
    }
    columns.push(column);
  }
  return columns;
}

/** Householder tridiagonalisation and implicit QL (Golub & Van Loan, Matrix Computations, 8.3), descending. */
function eigenvalues(a: Float64Array, n: number): Float64Array {
  const rows = Array.from({ length: n }, (_, i) => Float64Array.from({ length: n }, (_, j) => a[Math.max(i, j) * n + Math.min(i, j)]!));
  const largest = Math.max(...rows.map((row) => row.reduce((most, value) => Math.max(most, Math.abs(value)), 0)));
  if (largest === 0) return new Float64Array(n);
  for (const row of rows) for (let j = 0; j < n; j++) row[j]! /= largest;
  const [diagonal, offDiagonal] = tridiagonal(rows);
  implicitQl(diagonal, offDiagonal);
  return diagonal
    .map((value) => value * largest)
    .sort()
    .reverse();
}

function tridiagonal(a: Float64Array[]): [diagonal: Float64Array, offDiagonal: Float64Array] {
  const n = a.length;
  const diagonal = new Float64Array(n);
  const offDiagonal = new Float64Array(n);
  for (let l = n - 1; l > 0; l--) {
    const row = a[l]!;
    diagonal[l] = row[l]!;
    const x = row.slice(0, l);
    const alpha = x[l - 1]!;
    const norm = Math.hypot(...x);
    const beta = alpha > 0 ? -norm : norm;
    // A row of zeros but for its last entry, or one too small to reflect exactly, stays as it is.
    if (norm - Math.abs(alpha) === 0 || norm < 1e-135) {
      offDiagonal[l - 1] = alpha;
      continue;
    }
    offDiagonal[l - 1] = beta;
    x[l - 1] = alpha - beta;
    // H = I − 2xxᵀ/xᵀx; A ← HAH = A − xwᵀ − wxᵀ.
    const factor = 2 / dot(x, x);
    const w = x.map((_, i) => factor * dot(x, a[i]!));
    const half = (factor / 2) * dot(w, x);
    for (let i = 0; i < l; i++) w[i]! -= half * x[i]!;
    for (let i = 0; i < l; i++) {
      for (let j = 0; j < l; j++) a[i]![j]! -= x[i]! * w[j]! + w[i]! * x[j]!;
    }
  }
  diagonal[0] = a[0]![0]!;
  return [diagonal, offDiagonal];
}

/** Overwrites `d` by the eigenvalues; `e[i]` couples i and i + 1. */
function implicitQl(d: Float64Array, e: Float64Array): void {
  const n = d.length;
  for (let l = 0; l < n; l++) {
    for (let step = 0; ; step++) {
      let m = l;
      while (m < n - 1 && Math.abs(e[m]!) > (Number.EPSILON / 2) * (Math.abs(d[m]!) + Math.abs(d[m + 1]!) + 1 / 4)) m++;
      if (m === l) break;
      if (step === 60) throw new Error("implicit QL did not converge");
      const ratio = (d[l + 1]! - d[l]!) / (2 * e[l]!);
      const radius = Math.hypot(ratio, 1);
      let g = d[m]! - d[l]! + e[l]! / (ratio + (ratio < 0 ? -radius : radius));
      let [s, c, p] = [1, 1, 0];
      let i = m - 1;
      for (; i >= l; i--) {
        const f = s * e[i]!;
        const b = c * e[i]!;
        const r = Math.hypot(f, g);
        e[i + 1] = r;
        if (r === 0) {
          // The matrix falls apart here.
          d[i + 1]! -= p;
          e[m] = 0;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1]! - p;
        const t = (d[i]! - g) * s + 2 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
      }
      if (i >= l) continue;
      d[l]! -= p;
      e[l] = g;
      e[m] = 0;
    }
  }
}
