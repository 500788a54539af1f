/**
 * The spectrum kernel: singular values of a weight gradient G = ΔᵀX from its float64 Gram matrices.
 *
 * Works on raw memory that the caller lays out: every pointer is a byte offset, 16-byte aligned, at or above
 * {@link heapBase}; matrices are row-major float64. Workspaces have the sizes that the `…WorkspaceBytes` functions give.
 * Inside a workspace, rows are {@link leadingDimension} entries apart: an odd number of cache lines, since rows a power of
 * two apart would all fall into one set of a first-level cache.
 *
 * Everything runs in a fixed order of operations, so a result depends neither on the machine nor on the thread.
 */

// Byte size of a float64, and its binary logarithm for shifts.
const F64: usize = 8;
const LOG_F64: usize = 3;

/** Unit in the last place of 1, 2⁻⁵²; LAPACK's "eps" (unit roundoff, 2⁻⁵³) is half of it. */
const EPSILON: f64 = 2.220446049250313e-16;

/** Columns of the Cholesky factor that are finished before the rest of the matrix is updated with all of them. */
const CHOLESKY_PANEL: i32 = 32;

/** Steps of implicit QL or QR allowed per eigenvalue; LAPACK's bound. About 1.7 are needed. */
const MAX_STEPS_PER_EIGENVALUE: i32 = 30;

/** First byte the caller may use. */
export function heapBase(): usize {
  return (__heap_base + 63) & ~63;
}

/** Entries between the starts of two rows in a workspace: n rounded up to an odd number of 64-byte lines. */
function leadingDimension(n: i32): i32 {
  return ((n + 7) & ~7) | 8;
}

/** Rows of a workspace matrix: tiles are four rows high and two wide, and none is cut. */
function paddedRows(n: i32): i32 {
  return (n + 3) & ~3;
}

function matrixBytes(n: i32): usize {
  return (<usize>paddedRows(n) * <usize>leadingDimension(n)) << LOG_F64;
}

/** Bytes of workspace for {@link symmetricEigenvalues} and {@link singularValuesFromGram} of an n × n matrix. */
export function gramWorkspaceBytes(n: i32): usize {
  return matrixBytes(n) + ((5 * <usize>leadingDimension(n)) << LOG_F64);
}

/** Bytes of workspace for {@link singularValuesFromGrams} of two n × n matrices. */
export function gramsWorkspaceBytes(n: i32): usize {
  return 3 * matrixBytes(n) + ((5 * <usize>leadingDimension(n)) << LOG_F64);
}

/** Index of the first NaN or infinity among `count` entries; −1 where all are finite. */
export function firstNonFinite(entries: usize, count: i32): i32 {
  let zeros = f64x2.splat(0);
  const pairs = count & ~1;
  for (let i = 0; i < pairs; i += 2) {
    const pair = v128.load(entries + ((<usize>i) << LOG_F64));
    // A sum never loses a NaN.
    zeros = f64x2.add(zeros, f64x2.sub(pair, pair));
  }
  if (f64x2.extract_lane(zeros, 0) + f64x2.extract_lane(zeros, 1) === 0 && (pairs === count || isNumber(entry(entries, pairs)))) return -1;
  for (let i = 0; i < count; i++) {
    if (!isNumber(entry(entries, i))) return i;
  }
  return -1;
}

/**
 * Eigenvalues of a symmetric matrix, in no order.
 *
 * @param matrix n × n, contiguous rows; only the lower triangle is read, nothing is written.
 * @param values Receives n eigenvalues, each within about n·ε·‖A‖ of the exact one.
 * @returns 0, or the number of eigenvalues that did not converge (not seen; possible only with broken input).
 */
export function symmetricEigenvalues(matrix: usize, n: i32, values: usize, work: usize): i32 {
  assert(n > 0);
  const ld = leadingDimension(n);
  for (let i = 0; i < n; i++) {
    const bytes = (<usize>(i + 1)) << LOG_F64;
    memory.copy(work + ((<usize>i * <usize>ld) << LOG_F64), matrix + ((<usize>i * <usize>n) << LOG_F64), bytes);
  }
  return eigenvaluesInPlace(work, n, ld, values, work + matrixBytes(n));
}

/**
 * Singular values of a matrix from the Gram matrix of its shorter side, σ = √λ, in no order.
 *
 * @param gram r × r, contiguous rows; only the lower triangle is read, nothing is written.
 * @param values Receives r singular values ≥ 0; rounding can make a λ negative, which counts as 0.
 * @returns 0, or the number of values that did not converge.
 */
export function singularValuesFromGram(gram: usize, r: i32, values: usize, work: usize): i32 {
  const failed = symmetricEigenvalues(gram, r, values, work);
  for (let i = 0; i < r; i++) setEntry(values, i, sqrt(max(entry(values, i), 0)));
  return failed;
}

/**
 * Singular values of G = ΔᵀX from KX = XXᵀ and KD = ΔΔᵀ, in no order.
 *
 * With D diagonal, G = (D⁻¹Δ)ᵀ(DX): each token's pair of rows may be scaled against each other. D is chosen so that
 * both rows are about equally long, which brings the product of the norms, and with it the error, down to the size of
 * Σ‖xₜ‖‖δₜ‖ ≤ ‖X‖‖Δ‖. Then one Gram matrix K is factored, K = LLᵀ with diagonal pivots, and σ² are the eigenvalues of
 * LᵀK′L with K′ the other one. Tokens with a zero row on either side are left out first.
 *
 * @param kx n × n, contiguous rows, with a diagonal ≥ 0; nothing is written.
 * @param kd As `kx`.
 * @param values Receives n singular values ≥ 0; those beyond the numerical rank are exactly 0 and come last.
 * @returns The numerical rank ρ ≤ n, or −k where k values did not converge.
 */
export function singularValuesFromGrams(kx: usize, kd: usize, n: i32, values: usize, work: usize): i32 {
  assert(n > 0);
  const sourceRowBytes = (<usize>n) << LOG_F64;
  const vectorBytes = (<usize>leadingDimension(n)) << LOG_F64;
  const vectors = work + 3 * matrixBytes(n);
  const scalesX = vectors;
  const scalesD = vectors + vectorBytes;
  const residuals = vectors + 2 * vectorBytes;
  const diagonal = vectors + 3 * vectorBytes;
  const order = vectors + 4 * vectorBytes;
  memory.fill(values, 0, (<usize>n) << LOG_F64);

  let largestX: f64 = 0;
  let largestD: f64 = 0;
  let count = 0;
  for (let t = 0; t < n; t++) {
    const x = entry(kx + <usize>t * sourceRowBytes, t);
    const d = entry(kd + <usize>t * sourceRowBytes, t);
    if (x > 0 && d > 0) {
      setIndex(order, count++, t);
      largestX = max(largestX, x);
      largestD = max(largestD, d);
    }
  }
  if (count === 0) return 0;

  // √(largest) as a power of two: then σ is scaled back without rounding.
  const unitX = exponentOf(largestX) >> 1;
  const unitD = exponentOf(largestD) >> 1;
  for (let a = 0; a < count; a++) {
    const t = index(order, a);
    const x = sqrt(entry(kx + <usize>t * sourceRowBytes, t)) * powerOfTwo(-unitX);
    const d = sqrt(entry(kd + <usize>t * sourceRowBytes, t)) * powerOfTwo(-unitD);
    // The nearest power of two, for which exchanging the two only changes the sign.
    const balance = exponentOf((sqrt(d) / sqrt(x)) * Math.SQRT2);
    setEntry(scalesX, t, powerOfTwo(balance - unitX));
    setEntry(scalesD, t, powerOfTwo(-balance - unitD));
  }

  // Equal diagonals, so the larger sum of squares marks the faster falling spectrum, hence the lower rank. The rule looks at
  // both alike, so that exchanging them, which transposes G, changes nothing.
  const ld = leadingDimension(count);
  const rowBytes = (<usize>ld) << LOG_F64;
  const bytes = matrixBytes(count);
  const first = work;
  const second = work + bytes;
  const third = second + bytes;
  const factorX = scaledSquares(kx, n, count, scalesX, order) >= scaledSquares(kd, n, count, scalesD, order);

  gatherLower(factorX ? kx : kd, n, first, ld, count, factorX ? scalesX : scalesD, order, 1);
  for (let i = 0; i < count; i++) {
    const d = entry(first + <usize>i * rowBytes, i);
    setEntry(residuals, i, d);
    setEntry(diagonal, i, d);
  }
  const rank = pivotedCholesky(first, count, ld, order, residuals, diagonal);
  if (rank === 0) return 0;
  transposeFactor(first, count, rank, ld, second);
  // Half the diagonal: K′ = H + Hᵀ with H lower triangular, so LᵀK′L = P + Pᵀ with P = LᵀHL, a quarter less work than with K′.
  gatherLower(factorX ? kd : kx, n, first, ld, count, factorX ? scalesD : scalesX, order, 0.5);
  congruence(first, second, third, count, rank, ld);

  const failed = eigenvaluesInPlace(first, rank, ld, values, vectors);
  const up = powerOfTwo(unitX);
  const upRest = powerOfTwo(unitD);
  for (let i = 0; i < rank; i++) setEntry(values, i, sqrt(max(entry(values, i), 0)) * up * upRest);
  return failed === 0 ? rank : -failed;
}

// ---------------------------------------------------------------------------------------------------------------------
// From two Gram matrices to one
// ---------------------------------------------------------------------------------------------------------------------

/** Σ (sᵢ kᵢⱼ sⱼ)² over the lower triangle of the tokens kept, the diagonal left out. */
function scaledSquares(matrix: usize, n: i32, count: i32, scales: usize, order: usize): f64 {
  let sum: f64 = 0;
  for (let a = 1; a < count; a++) {
    const i = index(order, a);
    const row = matrix + ((<usize>i * <usize>n) << LOG_F64);
    const scale = entry(scales, i);
    let even: f64 = 0;
    let odd: f64 = 0;
    let b = 0;
    for (; b + 1 < a; b += 2) {
      const j = index(order, b);
      const k = index(order, b + 1);
      const p = entry(row, j) * scale * entry(scales, j);
      const q = entry(row, k) * scale * entry(scales, k);
      even += p * p;
      odd += q * q;
    }
    if (b < a) {
      const j = index(order, b);
      const p = entry(row, j) * scale * entry(scales, j);
      even += p * p;
    }
    sum += even + odd;
  }
  return sum;
}

/** Lower triangle of the scaled matrix in the tokens' given order, its diagonal times `onDiagonal`, zeros elsewhere. */
function gatherLower(source: usize, n: i32, target: usize, ld: i32, count: i32, scales: usize, order: usize, onDiagonal: f64): void {
  memory.fill(target, 0, matrixBytes(count));
  for (let a = 0; a < count; a++) {
    const i = index(order, a);
    const row = source + ((<usize>i * <usize>n) << LOG_F64);
    const to = target + ((<usize>a * <usize>ld) << LOG_F64);
    const scale = entry(scales, i);
    for (let b = 0; b <= a; b++) {
      const j = index(order, b);
      setEntry(to, b, entry(row, j) * scale * entry(scales, j));
    }
    setEntry(to, a, entry(to, a) * onDiagonal);
  }
}

/**
 * Cholesky factor with diagonal pivots of a positive semidefinite matrix, in place: PᵀAP = LLᵀ.
 *
 * A row takes no part as a pivot once its residual is at most max(4, √m)·ε of its own diagonal entry: what is left there is
 * rounding, which grows like √m. (Its own entry, not the largest: the entries of a Gram matrix are exact to ε·‖xᵢ‖‖xⱼ‖, so short rows
 * have digits that long ones lack.)
 *
 * @param a m × m, lower triangle. Receives L, m × rank, in its lower trapezoid; the rest is left undefined.
 * @param order Indices of the rows, permuted alongside.
 * @param residuals The diagonal; consumed. @param diagonal The diagonal again; permuted alongside.
 * @returns The rank.
 */
export function pivotedCholesky(a: usize, m: i32, ld: i32, order: usize, residuals: usize, diagonal: usize): i32 {
  const rowBytes = (<usize>ld) << LOG_F64;
  const tolerance = EPSILON * max(4, sqrt(<f64>m));
  for (let start = 0; start < m; start += CHOLESKY_PANEL) {
    const end = min(start + CHOLESKY_PANEL, m);
    for (let j = start; j < end; j++) {
      let pivot = -1;
      let best: f64 = 0;
      for (let i = j; i < m; i++) {
        const residual = entry(residuals, i);
        if (residual > best && residual > tolerance * entry(diagonal, i)) {
          best = residual;
          pivot = i;
        }
      }
      if (pivot < 0) return j;
      if (pivot !== j) exchange(a, m, ld, j, pivot, order, residuals, diagonal);
      const root = sqrt(best);
      const rowJ = a + <usize>j * rowBytes;
      setEntry(rowJ, j, root);
      eliminateColumn(a, m, rowBytes, start, j, 1 / root, residuals);
    }
    for (let k = end; k < m; k += 4) {
      const columns = a + <usize>k * rowBytes + ((<usize>start) << LOG_F64);
      for (let i = k; i < m; i += 2) {
        const row = a + <usize>i * rowBytes;
        tile(columns, row + ((<usize>start) << LOG_F64), rowBytes, (<usize>(end - start)) << LOG_F64, row + ((<usize>k) << LOG_F64), true);
      }
    }
  }
  return m;
}

/**
 * Column j of the factor below its diagonal, l = (a − Σ lₖ·lⱼₖ)/√pivot over the panel's columns k from `start`, and the residuals
 * that it leaves. Four rows at a time.
 */
function eliminateColumn(a: usize, m: i32, rowBytes: usize, start: i32, j: i32, inverse: f64, residuals: usize): void {
  const rowJ = a + <usize>j * rowBytes;
  const from = (<usize>start) << LOG_F64;
  const pairs = from + ((<usize>((j - start) & ~1)) << LOG_F64);
  const odd = ((j - start) & 1) !== 0;
  const last = odd ? entry(rowJ, j - 1) : 0;
  for (let i = j + 1; i < m; i += 4) {
    const row0 = a + <usize>i * rowBytes;
    const row1 = i + 1 < m ? row0 + rowBytes : row0;
    const row2 = i + 2 < m ? row1 + rowBytes : row0;
    const row3 = i + 3 < m ? row2 + rowBytes : row0;
    let sum0 = f64x2.splat(0);
    let sum1 = f64x2.splat(0);
    let sum2 = f64x2.splat(0);
    let sum3 = f64x2.splat(0);
    for (let k = from; k < pairs; k += 16) {
      const pair = v128.load(rowJ + k);
      sum0 = f64x2.add(sum0, f64x2.mul(v128.load(row0 + k), pair));
      sum1 = f64x2.add(sum1, f64x2.mul(v128.load(row1 + k), pair));
      sum2 = f64x2.add(sum2, f64x2.mul(v128.load(row2 + k), pair));
      sum3 = f64x2.add(sum3, f64x2.mul(v128.load(row3 + k), pair));
    }
    const low = sumLanes(sum0, sum1);
    const high = sumLanes(sum2, sum3);
    eliminateEntry(row0, i, j, f64x2.extract_lane(low, 0), odd, last, inverse, residuals);
    if (row1 !== row0) eliminateEntry(row1, i + 1, j, f64x2.extract_lane(low, 1), odd, last, inverse, residuals);
    if (row2 !== row0) eliminateEntry(row2, i + 2, j, f64x2.extract_lane(high, 0), odd, last, inverse, residuals);
    if (row3 !== row0) eliminateEntry(row3, i + 3, j, f64x2.extract_lane(high, 1), odd, last, inverse, residuals);
  }
}

function eliminateEntry(row: usize, i: i32, j: i32, sum: f64, odd: bool, last: f64, inverse: f64, residuals: usize): void {
  const product = odd ? sum + entry(row, j - 1) * last : sum;
  const l = (entry(row, j) - product) * inverse;
  setEntry(row, j, l);
  setEntry(residuals, i, entry(residuals, i) - l * l);
}

/** Exchanges rows and columns j < p of a lower triangle whose first j columns already hold the factor. */
function exchange(a: usize, m: i32, ld: i32, j: i32, p: i32, order: usize, residuals: usize, diagonal: usize): void {
  const rowBytes = (<usize>ld) << LOG_F64;
  const rowJ = a + <usize>j * rowBytes;
  const rowP = a + <usize>p * rowBytes;
  for (let k = 0; k < j; k++) swapEntries(rowJ + ((<usize>k) << LOG_F64), rowP + ((<usize>k) << LOG_F64));
  for (let k = j + 1; k < p; k++) swapEntries(a + <usize>k * rowBytes + ((<usize>j) << LOG_F64), rowP + ((<usize>k) << LOG_F64));
  for (let k = p + 1; k < m; k++) {
    const rowK = a + <usize>k * rowBytes;
    swapEntries(rowK + ((<usize>j) << LOG_F64), rowK + ((<usize>p) << LOG_F64));
  }
  swapEntries(residuals + ((<usize>j) << LOG_F64), residuals + ((<usize>p) << LOG_F64));
  swapEntries(diagonal + ((<usize>j) << LOG_F64), diagonal + ((<usize>p) << LOG_F64));
  const kept = index(order, j);
  setIndex(order, j, index(order, p));
  setIndex(order, p, kept);
}

/** Lᵀ, rank × m, with explicit zeros below its diagonal and in the padding. */
export function transposeFactor(factor: usize, m: i32, rank: i32, ld: i32, target: usize): void {
  const rowBytes = (<usize>ld) << LOG_F64;
  memory.fill(target, 0, matrixBytes(m));
  // In blocks of eight, so that a cache line is used whole on both sides.
  for (let i0 = 0; i0 < m; i0 += 8) {
    const i1 = min(i0 + 8, m);
    for (let k0 = 0; k0 < min(i1, rank); k0 += 8) {
      const k1 = min(k0 + 8, rank);
      for (let i = i0; i < i1; i++) {
        const row = factor + <usize>i * rowBytes;
        const stop = min(k1, i + 1);
        for (let k = k0; k < stop; k++) setEntry(target + <usize>k * rowBytes, i, entry(row, k));
      }
    }
  }
}

/**
 * Lower triangle of P + Pᵀ, P = LᵀHL, from H (lower triangular, m × m) and Lᵀ (rank × m), written over H; n³ flops.
 * `scratch` receives (HL)ᵀ.
 */
export function congruence(h: usize, factor: usize, scratch: usize, m: i32, rank: i32, ld: i32): void {
  const rowBytes = (<usize>ld) << LOG_F64;
  for (let i = 0; i < m; i += 4) {
    const rows = h + <usize>i * rowBytes;
    const stop = min(i + 4, rank);
    for (let j = 0; j < stop; j += 2) {
      const skip = (<usize>j) << LOG_F64;
      const to = scratch + <usize>j * rowBytes + ((<usize>i) << LOG_F64);
      tile(rows + skip, factor + <usize>j * rowBytes + skip, rowBytes, (<usize>(i + 4 - j)) << LOG_F64, to, false);
    }
  }
  // Both factors are zero left of their diagonal; tiles start at a multiple of four, where (HL)ᵀ has been written.
  const width = <usize>paddedRows(m);
  for (let j = 0; j < rank; j += 4) {
    const columns = scratch + <usize>j * rowBytes;
    for (let i = 0; i < rank; i += 2) {
      const from = <usize>max(j, i & ~3);
      const skip = from << LOG_F64;
      const row = <usize>i * rowBytes;
      tile(columns + skip, factor + row + skip, rowBytes, (width - from) << LOG_F64, h + row + ((<usize>j) << LOG_F64), false);
    }
  }
  for (let i = 0; i < rank; i++) {
    const row = h + <usize>i * rowBytes;
    for (let j = 0; j <= i; j++) setEntry(row, j, entry(row, j) + entry(h + <usize>j * rowBytes, i));
  }
}

/**
 * Inner products of four rows `a` with two rows `b`: out[q][p] = Σₖ a[p][k]·b[q][k], or out −= that.
 *
 * Eight sums, the operands and as few addresses as possible, so that all stay in the sixteen registers that x86-64 has of each
 * kind: with a pointer to each row, or with the loop unrolled, it takes half as long again.
 */
function tile(a: usize, b: usize, rowBytes: usize, bytes: usize, out: usize, subtract: bool): void {
  const twoRows = rowBytes << 1;
  const threeRows = twoRows + rowBytes;
  let s00 = f64x2.splat(0);
  let s10 = f64x2.splat(0);
  let s20 = f64x2.splat(0);
  let s30 = f64x2.splat(0);
  let s01 = f64x2.splat(0);
  let s11 = f64x2.splat(0);
  let s21 = f64x2.splat(0);
  let s31 = f64x2.splat(0);
  const stop = a + bytes;
  while (a < stop) {
    const p = v128.load(b);
    const q = v128.load(b + rowBytes);
    let r = v128.load(a);
    s00 = f64x2.add(s00, f64x2.mul(r, p));
    s01 = f64x2.add(s01, f64x2.mul(r, q));
    r = v128.load(a + rowBytes);
    s10 = f64x2.add(s10, f64x2.mul(r, p));
    s11 = f64x2.add(s11, f64x2.mul(r, q));
    r = v128.load(a + twoRows);
    s20 = f64x2.add(s20, f64x2.mul(r, p));
    s21 = f64x2.add(s21, f64x2.mul(r, q));
    r = v128.load(a + threeRows);
    s30 = f64x2.add(s30, f64x2.mul(r, p));
    s31 = f64x2.add(s31, f64x2.mul(r, q));
    a += 16;
    b += 16;
  }
  let low0 = sumLanes(s00, s10);
  let high0 = sumLanes(s20, s30);
  let low1 = sumLanes(s01, s11);
  let high1 = sumLanes(s21, s31);
  const out1 = out + rowBytes;
  if (subtract) {
    low0 = f64x2.sub(v128.load(out), low0);
    high0 = f64x2.sub(v128.load(out, 16), high0);
    low1 = f64x2.sub(v128.load(out1), low1);
    high1 = f64x2.sub(v128.load(out1, 16), high1);
  }
  v128.store(out, low0);
  v128.store(out, high0, 16);
  v128.store(out1, low1);
  v128.store(out1, high1, 16);
}

// ---------------------------------------------------------------------------------------------------------------------
// Eigenvalues of one symmetric matrix
// ---------------------------------------------------------------------------------------------------------------------

/** Eigenvalues of the lower triangle at `a`, which is destroyed. `vectors` holds five vectors of length ld. */
function eigenvaluesInPlace(a: usize, n: i32, ld: i32, values: usize, vectors: usize): i32 {
  const rowBytes = (<usize>ld) << LOG_F64;
  let largest: f64 = 0;
  for (let i = 0; i < n; i++) {
    const row = a + <usize>i * rowBytes;
    for (let j = 0; j <= i; j++) largest = max(largest, abs(entry(row, j)));
  }
  if (largest === 0) {
    memory.fill(values, 0, (<usize>n) << LOG_F64);
    return 0;
  }
  // To entries of order 1, so that no square overflows, and none that counts underflows. By a power of two, so that no digit
  // changes; in two factors, since the inverse of a subnormal number overflows.
  const exponent = exponentOf(largest);
  const half = exponent >> 1;
  const down = powerOfTwo(-half);
  const downRest = powerOfTwo(half - exponent);
  for (let i = 0; i < n; i++) {
    const row = a + <usize>i * rowBytes;
    for (let j = 0; j <= i; j++) setEntry(row, j, entry(row, j) * down * downRest);
  }
  const offDiagonal = vectors + 4 * rowBytes;
  tridiagonalise(a, n, ld, values, offDiagonal, vectors);
  const failed = tridiagonalEigenvalues(values, offDiagonal, n);
  const up = powerOfTwo(half);
  const upRest = powerOfTwo(exponent - half);
  for (let i = 0; i < n; i++) setEntry(values, i, entry(values, i) * up * upRest);
  return failed;
}

/**
 * Householder reduction to tridiagonal form, QᵀAQ = T; 4/3 n³ flops.
 *
 * Works from the last row up (EISPACK's order), so that the vectors are rows and the remaining matrix keeps its start.
 * The rank-2 update of a step, A −= vwᵀ + wvᵀ, waits for the next step's product A·x: the triangle is streamed through
 * the processor once a step, not twice.
 *
 * @param a Lower triangle, entries of order 1; destroyed.
 * @param d Receives n diagonal entries. @param e Receives the squares of the n − 1 off-diagonal ones; e[i] couples i and i + 1.
 * @param vectors Four vectors of length ld.
 */
export function tridiagonalise(a: usize, n: i32, ld: i32, d: usize, e: usize, vectors: usize): void {
  const rowBytes = (<usize>ld) << LOG_F64;
  let v = vectors;
  let w = v + rowBytes;
  let x = w + rowBytes;
  let y = x + rowBytes;
  memory.fill(vectors, 0, 4 * rowBytes);
  for (let l = n - 1; l > 0; l--) {
    const row = a + <usize>l * rowBytes;
    const vl = entry(v, l);
    const wl = entry(w, l);
    let squares: f64 = 0;
    for (let j = 0; j < l; j++) {
      const value = entry(row, j) - (vl * entry(w, j) + wl * entry(v, j));
      setEntry(x, j, value);
      if (j < l - 1) squares += value * value;
    }
    setEntry(d, l, entry(row, l) - 2 * vl * wl);
    const alpha = entry(x, l - 1);
    let tau: f64 = 0;
    // Squares below 2⁻⁹⁰⁰ are no longer exact enough for an orthogonal reflection; rows that small vanish beside the norm 1.
    if (squares > 1e-270) {
      const beta = alpha > 0 ? -sqrt(alpha * alpha + squares) : sqrt(alpha * alpha + squares);
      tau = (beta - alpha) / beta;
      const scale = 1 / (alpha - beta);
      for (let j = 0; j < l - 1; j++) setEntry(x, j, entry(x, j) * scale);
      setEntry(x, l - 1, 1);
      setEntry(e, l - 1, beta * beta);
    } else {
      memory.fill(x, 0, (<usize>l) << LOG_F64);
      setEntry(e, l - 1, alpha * alpha);
    }
    updateAndMultiply(a, l, rowBytes, v, w, x, y);
    const half = -0.5 * tau * tau * dot(y, x, 0, l);
    for (let j = 0; j < l; j++) setEntry(y, j, tau * entry(y, j) + half * entry(x, j));
    const spentV = v;
    const spentW = w;
    v = x;
    w = y;
    x = spentV;
    y = spentW;
  }
  setEntry(d, 0, entry(a, 0) - 2 * entry(v, 0) * entry(w, 0));
}

/** A −= vwᵀ + wvᵀ and y = Ax in one pass over the lower triangle, two rows at a time; m is the order of A. */
function updateAndMultiply(a: usize, m: i32, rowBytes: usize, v: usize, w: usize, x: usize, y: usize): void {
  let i = 0;
  for (; i + 1 < m; i += 2) {
    const v0 = entry(v, i);
    const w0 = entry(w, i);
    const x0 = entry(x, i);
    const v1 = entry(v, i + 1);
    const w1 = entry(w, i + 1);
    const x1 = entry(x, i + 1);
    const vv0 = f64x2.splat(v0);
    const ww0 = f64x2.splat(w0);
    const xx0 = f64x2.splat(x0);
    const vv1 = f64x2.splat(v1);
    const ww1 = f64x2.splat(w1);
    const xx1 = f64x2.splat(x1);
    let sum0 = f64x2.splat(0);
    let sum1 = f64x2.splat(0);
    let row0 = a + <usize>i * rowBytes;
    let row1 = row0 + rowBytes;
    let pv = v;
    let pw = w;
    let px = x;
    let py = y;
    const stop = row0 + (((<usize>i) << LOG_F64) & ~31);
    const end = row0 + ((<usize>i) << LOG_F64);
    while (row0 < stop) {
      let vj = v128.load(pv);
      let wj = v128.load(pw);
      let xj = v128.load(px);
      let a0 = f64x2.sub(f64x2.sub(v128.load(row0), f64x2.mul(vv0, wj)), f64x2.mul(ww0, vj));
      let a1 = f64x2.sub(f64x2.sub(v128.load(row1), f64x2.mul(vv1, wj)), f64x2.mul(ww1, vj));
      v128.store(row0, a0);
      v128.store(row1, a1);
      sum0 = f64x2.add(sum0, f64x2.mul(a0, xj));
      sum1 = f64x2.add(sum1, f64x2.mul(a1, xj));
      v128.store(py, f64x2.add(f64x2.add(v128.load(py), f64x2.mul(a0, xx0)), f64x2.mul(a1, xx1)));
      vj = v128.load(pv, 16);
      wj = v128.load(pw, 16);
      xj = v128.load(px, 16);
      a0 = f64x2.sub(f64x2.sub(v128.load(row0, 16), f64x2.mul(vv0, wj)), f64x2.mul(ww0, vj));
      a1 = f64x2.sub(f64x2.sub(v128.load(row1, 16), f64x2.mul(vv1, wj)), f64x2.mul(ww1, vj));
      v128.store(row0, a0, 16);
      v128.store(row1, a1, 16);
      sum0 = f64x2.add(sum0, f64x2.mul(a0, xj));
      sum1 = f64x2.add(sum1, f64x2.mul(a1, xj));
      v128.store(py, f64x2.add(f64x2.add(v128.load(py, 16), f64x2.mul(a0, xx0)), f64x2.mul(a1, xx1)), 16);
      row0 += 32;
      row1 += 32;
      pv += 32;
      pw += 32;
      px += 32;
      py += 32;
    }
    if (row0 < end) {
      const vj = v128.load(pv);
      const wj = v128.load(pw);
      const xj = v128.load(px);
      const a0 = f64x2.sub(f64x2.sub(v128.load(row0), f64x2.mul(vv0, wj)), f64x2.mul(ww0, vj));
      const a1 = f64x2.sub(f64x2.sub(v128.load(row1), f64x2.mul(vv1, wj)), f64x2.mul(ww1, vj));
      v128.store(row0, a0);
      v128.store(row1, a1);
      sum0 = f64x2.add(sum0, f64x2.mul(a0, xj));
      sum1 = f64x2.add(sum1, f64x2.mul(a1, xj));
      v128.store(py, f64x2.add(f64x2.add(v128.load(py), f64x2.mul(a0, xx0)), f64x2.mul(a1, xx1)));
      row0 += 16;
      row1 += 16;
    }
    const corner00 = f64.load(row0) - 2 * v0 * w0;
    const corner10 = f64.load(row1) - v1 * w0 - w1 * v0;
    const corner11 = f64.load(row1, F64) - 2 * v1 * w1;
    f64.store(row0, corner00);
    f64.store(row1, corner10);
    f64.store(row1, corner11, F64);
    const sums = sumLanes(sum0, sum1);
    setEntry(y, i, f64x2.extract_lane(sums, 0) + corner00 * x0 + corner10 * x1);
    setEntry(y, i + 1, f64x2.extract_lane(sums, 1) + corner10 * x0 + corner11 * x1);
  }
  if (i < m) {
    const row = a + <usize>i * rowBytes;
    const vi = entry(v, i);
    const wi = entry(w, i);
    const xi = entry(x, i);
    const vv = f64x2.splat(vi);
    const ww = f64x2.splat(wi);
    const xx = f64x2.splat(xi);
    let sum = f64x2.splat(0);
    for (let j: usize = 0; j < (<usize>i) << LOG_F64; j += 16) {
      const value = f64x2.sub(f64x2.sub(v128.load(row + j), f64x2.mul(vv, v128.load(w + j))), f64x2.mul(ww, v128.load(v + j)));
      v128.store(row + j, value);
      sum = f64x2.add(sum, f64x2.mul(value, v128.load(x + j)));
      v128.store(y + j, f64x2.add(v128.load(y + j), f64x2.mul(value, xx)));
    }
    const corner = entry(row, i) - 2 * vi * wi;
    setEntry(row, i, corner);
    setEntry(y, i, f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1) + corner * xi);
  }
}

/**
 * Eigenvalues of a symmetric tridiagonal matrix, in no order, written over its diagonal: the root-free QL and QR iteration
 * of Pal, Walker and Kahan with Wilkinson's shift, as in LAPACK's dsterf.
 *
 * An off-diagonal entry counts as zero once it is below ε/2 · √|dᵢdᵢ₊₁| (which keeps a graded matrix's small values) or
 * below ε/8 times the norm (below what the reduction has already lost).
 *
 * @param d n diagonal entries. @param e The n − 1 squared off-diagonal entries; destroyed.
 * @returns 0, or the number of off-diagonal entries left.
 */
export function tridiagonalEigenvalues(d: usize, e: usize, n: i32): i32 {
  let norm: f64 = 0;
  for (let i = 0; i < n; i++) norm = max(norm, abs(entry(d, i)));
  for (let i = 0; i + 1 < n; i++) norm = max(norm, sqrt(entry(e, i)));
  const relative = 0.25 * EPSILON * EPSILON;
  const absolute = relative * 0.0625 * norm * norm;
  // A γ² below this counts as zero in a sweep, where products with it would underflow; γ is then 33 orders below the norm.
  const vanishing = (absolute * absolute) / (norm * norm);
  let stepsLeft = MAX_STEPS_PER_EIGENVALUE * n;
  let start = 0;
  while (start < n) {
    let end = start;
    while (end < n - 1 && !negligible(d, e, end, relative, absolute)) end++;
    if (end < n - 1) setEntry(e, end, 0);
    const next = end + 1;
    // From the larger end towards the smaller one: the rotations then keep the small values' digits.
    if (abs(entry(d, end)) < abs(entry(d, start))) {
      while (end > start && stepsLeft > 0) {
        let split = end - 1;
        while (split >= start && !negligible(d, e, split, relative, absolute)) split--;
        split++;
        if (split > 0) setEntry(e, split - 1, 0);
        if (split === end) {
          end--;
        } else if (split === end - 1) {
          solvePair(d, e, split);
          end -= 2;
        } else {
          stepsLeft--;
          sweepDown(d, e, split, end, vanishing);
        }
      }
    } else {
      let top = start;
      while (top < end && stepsLeft > 0) {
        let split = top;
        while (split < end && !negligible(d, e, split, relative, absolute)) split++;
        if (split < n - 1) setEntry(e, split, 0);
        if (split === top) {
          top++;
        } else if (split === top + 1) {
          solvePair(d, e, top);
          top += 2;
        } else {
          stepsLeft--;
          sweepUp(d, e, top, split, vanishing);
        }
      }
    }
    if (stepsLeft <= 0) break;
    start = next;
  }
  let left = 0;
  for (let i = 0; i + 1 < n; i++) left += i32(entry(e, i) !== 0);
  return left;
}

function negligible(d: usize, e: usize, i: i32, relative: f64, absolute: f64): bool {
  const square = entry(e, i);
  return square <= absolute || square <= relative * abs(entry(d, i) * entry(d, i + 1));
}

/** Both eigenvalues of the 2 × 2 block at i, without cancellation in the smaller one (LAPACK's dlae2). */
function solvePair(d: usize, e: usize, i: i32): void {
  const a = entry(d, i);
  const c = entry(d, i + 1);
  const square = entry(e, i);
  const sum = a + c;
  const difference = a - c;
  const root = sqrt(difference * difference + 4 * square);
  setEntry(e, i, 0);
  if (sum === 0) {
    setEntry(d, i, 0.5 * root);
    setEntry(d, i + 1, -0.5 * root);
    return;
  }
  const larger = 0.5 * (sum < 0 ? sum - root : sum + root);
  const acmax = abs(a) > abs(c) ? a : c;
  const acmin = abs(a) > abs(c) ? c : a;
  setEntry(d, i, larger);
  setEntry(d, i + 1, (acmax / larger) * acmin - square / larger);
}

/** Wilkinson's shift: the eigenvalue of the 2 × 2 block [p, √e; √e, q] nearer to p. */
function shiftNear(p: f64, q: f64, square: f64): f64 {
  const root = sqrt(square);
  const ratio = (q - p) / (2 * root);
  const radius = sqrt(ratio * ratio + 1);
  return p - root / (ratio < 0 ? ratio - radius : ratio + radius);
}

/** One QL step on rows top…bottom, which makes the entry beside `top` small. */
function sweepUp(d: usize, e: usize, top: i32, bottom: i32, vanishing: f64): void {
  const shift = shiftNear(entry(d, top), entry(d, top + 1), entry(e, top));
  let gamma = entry(d, bottom) - shift;
  let p = gamma * gamma;
  let r: f64 = 1;
  let s: f64 = 0;
  let oldP: f64 = 1;
  for (let i = bottom - 1; i >= top; i--) {
    const square = entry(e, i);
    const oldR = r;
    const alpha = entry(d, i);
    // c = p/r and s = e²/r of the textbook stay unevaluated: γ′ = c(α − shift) − sγ and p′ = γ′²/c are one quotient each of
    // what is known before, and it is the chain of divisions that takes the time.
    const numerator = p * (alpha - shift) - square * gamma;
    r = p + square;
    if (i !== bottom - 1) setEntry(e, i + 1, s * r);
    s = square / r;
    const newGamma = numerator / r;
    setEntry(d, i + 1, gamma + (alpha - newGamma));
    const newP = p > vanishing ? (numerator * numerator) / (r * p) : (oldP / oldR) * square;
    gamma = newGamma;
    oldP = p;
    p = newP;
  }
  setEntry(e, top, s * p);
  setEntry(d, top, shift + gamma);
}

/** One QR step on rows top…bottom, which makes the entry beside `bottom` small. */
function sweepDown(d: usize, e: usize, top: i32, bottom: i32, vanishing: f64): void {
  const shift = shiftNear(entry(d, bottom), entry(d, bottom - 1), entry(e, bottom - 1));
  let gamma = entry(d, top) - shift;
  let p = gamma * gamma;
  let r: f64 = 1;
  let s: f64 = 0;
  let oldP: f64 = 1;
  for (let i = top; i < bottom; i++) {
    const square = entry(e, i);
    const oldR = r;
    const alpha = entry(d, i + 1);
    // c = p/r and s = e²/r of the textbook stay unevaluated: γ′ = c(α − shift) − sγ and p′ = γ′²/c are one quotient each of
    // what is known before, and it is the chain of divisions that takes the time.
    const numerator = p * (alpha - shift) - square * gamma;
    r = p + square;
    if (i !== top) setEntry(e, i - 1, s * r);
    s = square / r;
    const newGamma = numerator / r;
    setEntry(d, i, gamma + (alpha - newGamma));
    const newP = p > vanishing ? (numerator * numerator) / (r * p) : (oldP / oldR) * square;
    gamma = newGamma;
    oldP = p;
    p = newP;
  }
  setEntry(e, bottom - 1, s * p);
  setEntry(d, bottom, shift + gamma);
}

// ---------------------------------------------------------------------------------------------------------------------
// Small pieces
// ---------------------------------------------------------------------------------------------------------------------

function entry(vector: usize, i: i32): f64 {
  return f64.load(vector + ((<usize>i) << LOG_F64));
}

function setEntry(vector: usize, i: i32, value: f64): void {
  f64.store(vector + ((<usize>i) << LOG_F64), value);
}

function index(list: usize, i: i32): i32 {
  return i32.load(list + ((<usize>i) << 2));
}

function setIndex(list: usize, i: i32, value: i32): void {
  i32.store(list + ((<usize>i) << 2), value);
}

/** x − x is 0 for a finite number and NaN for any other. */
function isNumber(x: f64): bool {
  return x - x === 0;
}

function swapEntries(p: usize, q: usize): void {
  const kept = f64.load(p);
  f64.store(p, f64.load(q));
  f64.store(q, kept);
}

/** [Σ lanes of a, Σ lanes of b]. */
function sumLanes(a: v128, b: v128): v128 {
  return f64x2.add(v128.shuffle<f64>(a, b, 0, 2), v128.shuffle<f64>(a, b, 1, 3));
}

/** Σ a[k]·b[k] over from ≤ k < to, `from` even. */
function dot(a: usize, b: usize, from: i32, to: i32): f64 {
  let even = f64x2.splat(0);
  let odd = f64x2.splat(0);
  let k = (<usize>from) << LOG_F64;
  const end = (<usize>to) << LOG_F64;
  for (; k + 32 <= end; k += 32) {
    even = f64x2.add(even, f64x2.mul(v128.load(a + k), v128.load(b + k)));
    odd = f64x2.add(odd, f64x2.mul(v128.load(a + k, 16), v128.load(b + k, 16)));
  }
  even = f64x2.add(even, odd);
  let sum = f64x2.extract_lane(even, 0) + f64x2.extract_lane(even, 1);
  for (; k < end; k += F64) sum += f64.load(a + k) * f64.load(b + k);
  return sum;
}

/** ⌊log₂ x⌋ of a positive number, subnormal ones included. */
function exponentOf(x: f64): i32 {
  if (x < 2.2250738585072014e-308) return exponentOf(x * 18014398509481984.0) - 54;
  return <i32>(reinterpret<u64>(x) >> 52) - 1023;
}

/** 2ᵏ, k brought into the range of normal numbers: only scales of rows too short to matter lie outside. */
function powerOfTwo(k: i32): f64 {
  return reinterpret<f64>((<u64>(max(-1022, min(1023, k)) + 1023)) << 52);
}
