import { LayergradError } from "../errors.ts";

/**
 * The singular values of a weight gradient G = ΔᵀX, `[dOut, dIn]`, from Gram matrices of its factors X `[n, dIn]` and
 * Δ `[n, dOut]` (n tokens). All matrices are float64 and contiguous by rows; inputs are never written to. Of a symmetric matrix
 * the lower triangle is what counts.
 *
 * Precision, ε = 2⁻⁵²: an eigenvalue is within n·ε·λ₁ of the exact one of the matrix given. The Gram matrix itself squares the
 * singular values, so σ below √ε times the norm drown in its rounding:
 * - `singularValuesFromGram`: |σ̂ − σ| ≤ min(r·ε·σ₁²/σ, √(r·ε)·σ₁).
 * - `singularValuesFromGrams`: σ² are the eigenvalues of LᵀKL, whose rounding is ε·(Σₜ‖xₜ‖‖δₜ‖)² up to a modest factor (see
 *   {@link spectrumFloor}), so σ above 1e-8·Σₜ‖xₜ‖‖δₜ‖ ≤ 1e-8·‖X‖‖Δ‖ survive, smaller ones do not. That matters where
 *   tokens' terms nearly cancel, Σₜ‖xₜ‖‖δₜ‖ ≫ σ₁; on real models the ratio ‖X‖‖Δ‖/σ₁ is 10 to 100.
 */
export interface SpectrumKernel {
  /**
   * Eigenvalues of a symmetric matrix `a` `[n, n]`.
   *
   * @returns Length n, descending.
   * @throws {LayergradError} `usage` for a wrong size, `data` for a NaN or infinite entry.
   */
  eigenvalues(a: Float64Array, n: number): Float64Array;

  /**
   * σ = √λ of the Gram matrix of the shorter side, GGᵀ or GᵀG, `[r, r]`. A λ that rounding made negative counts as 0.
   *
   * @returns Length r, descending, each ≥ 0, in the unit of G.
   * @throws {LayergradError} As `eigenvalues`; `data` also for a negative diagonal entry.
   */
  singularValuesFromGram(gram: Float64Array, r: number): Float64Array;

  /**
   * Singular values of ΔᵀX from `kx` = XXᵀ and `kd` = ΔΔᵀ, both `[n, n]`: the first n, of which those beyond the numerical rank
   * are exactly 0. Exchanging `kx` and `kd` (which transposes G) changes nothing.
   *
   * @returns Length n, descending, each ≥ 0, in the unit of G.
   * @throws {LayergradError} As `singularValuesFromGram`.
   */
  singularValuesFromGrams(kx: Float64Array, kd: Float64Array, n: number): Float64Array;
}

/** Largest order a kernel takes: the two-Gram job then needs 2.7 GB, and WebAssembly addresses 4. */
export const maxOrder = 8192;

/**
 * Below this no singular value from two Gram matrices can be trusted: √ε·Σₜ‖xₜ‖‖δₜ‖, in the unit of G.
 *
 * Why: scale each token's pair of rows against each other until ‖xₜ‖ = ‖δₜ‖ (G stays the same); then
 * ‖X‖_F² = ‖Δ‖_F² = Σₜ‖xₜ‖‖δₜ‖ = τ. An entry kₛₜ of a Gram matrix is known to ε·‖xₛ‖‖xₜ‖, the whole to ε·τ; so LᵀKL is known to
 * ε·‖L‖²‖K‖ ≤ ε·τ², which by Weyl's theorem is the error of every σ², and of σ it is min(ε·τ²/σ, √ε·τ). The factor that
 * this leaves out was below 0.3 for three or more tokens wherever the spectrum was known; at worst it is about max(4, √n), since
 * the Cholesky factorisation takes a row whose residual is below that many ε of its own length² for rounding. By Cauchy and Schwarz, τ ≤ ‖X‖_F‖Δ‖_F.
 */
export function spectrumFloor(kx: Float64Array, kd: Float64Array, n: number): number {
  let sum = 0;
  for (let t = 0; t < n; t++) sum += Math.sqrt(kx[t * n + t]!) * Math.sqrt(kd[t * n + t]!);
  return Math.sqrt(Number.EPSILON) * sum;
}

/** Refuses a matrix that is not `order` × `order`. */
export function checkOrder(where: string, matrix: ArrayLike<number>, order: number): void {
  if (!Number.isInteger(order) || order < 1) {
    throw new LayergradError("usage", `${where}: the order must be a positive integer, found ${order}`);
  }
  if (order > maxOrder) throw new LayergradError("resource", `${where}: order ${order} is above the kernel's limit of ${maxOrder}`);
  if (matrix.length !== order * order) {
    throw new LayergradError("usage", `${where}: expected ${order} x ${order} = ${order * order} entries, found ${matrix.length}`);
  }
}

/** Refuses a Gram matrix with a negative diagonal entry; rounding cannot cause one, since each is a sum of squares. */
export function checkDiagonal(where: string, gram: Float64Array, order: number): void {
  for (let i = 0; i < order; i++) {
    const value = gram[i * order + i]!;
    if (value < 0) throw new LayergradError("data", `${where}[${i}, ${i}] is ${value}; the diagonal of a Gram matrix is never negative`);
  }
}

/** The error for a NaN or infinite entry. */
export function nonFiniteEntry(where: string, matrix: Float64Array, order: number, index: number): LayergradError {
  return new LayergradError(
    "data",
    `${where}[${Math.floor(index / order)}, ${index % order}] is ${matrix[index]}, expected a finite number`,
  );
}
