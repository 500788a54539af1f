import { LayergradError } from "../errors.ts";
import type { MatrixStatistics } from "./matrix-statistics.ts";

/** `[rows, columns]` of a matrix. */
export type MatrixShape = readonly [rows: number, columns: number];

/**
 * Below this Σσ a spectrum counts as zero and has no effective rank; the reference's tools draw the line at the same place.
 * In gradient units.
 */
const vanishingNuclearNorm = 1e-12;

/**
 * The statistics of a matrix that its singular values give, under the record schema's names.
 *
 * @param sigma - The first singular values, any order, gradient units; the other min(rows, columns) − length are exact zeros.
 * @throws {LayergradError} As {@link checkSpectrum}; `usage` if there are more values than min(rows, columns).
 */
export function spectrumStatistics(
  sigma: Float64Array,
  shape: MatrixShape,
): Omit<MatrixStatistics, "M_mean" | "M_max" | "M_min" | "S_list"> {
  return {
    frobenius_norm: frobeniusNorm(sigma),
    S_sum: nuclearNorm(sigma),
    S_max: sigmaMax(sigma),
    S_min: sigmaMin(sigma, shape),
    effective_rank: effectiveRank(sigma),
    stable_rank: stableRank(sigma),
    rank: numericalRank(sigma, shape),
  };
}

/** Nuclear norm ‖G‖_* = Σσ, gradient units. Float64 accumulation. Throws as {@link checkSpectrum}. */
export function nuclearNorm(sigma: ArrayLike<number>): number {
  checkSpectrum(sigma);
  return sumOf(sigma, (value) => value);
}

/** Frobenius norm ‖G‖_F = √Σσ², gradient units; neither overflows nor underflows before the result does. Throws as {@link checkSpectrum}. */
export function frobeniusNorm(sigma: ArrayLike<number>): number {
  const largest = sigmaMax(sigma);
  return largest === 0 ? 0 : largest * Math.sqrt(sumOf(sigma, (value) => (value / largest) ** 2));
}

/** Spectral norm σ₁, gradient units. Throws as {@link checkSpectrum}. */
export function sigmaMax(sigma: ArrayLike<number>): number {
  checkSpectrum(sigma);
  let largest = 0;
  for (let i = 0; i < sigma.length; i++) largest = Math.max(largest, sigma[i]!);
  return largest;
}

/** The least of the min(rows, columns) singular values, gradient units: 0 where fewer are given. Throws as {@link spectrumStatistics}. */
export function sigmaMin(sigma: ArrayLike<number>, shape: MatrixShape): number {
  checkSpectrum(sigma);
  const side = shorterSide(sigma, shape);
  if (sigma.length < side) return 0;
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < sigma.length; i++) least = Math.min(least, sigma[i]!);
  return least;
}

/**
 * Effective rank: exp of the Shannon entropy of the normalised spectrum, exp(−Σ pᵢ ln pᵢ) with pᵢ = σᵢ/Σσ (σ, not σ²; 0 ln 0 = 0).
 *
 * @param sigma - Any order; zeros change nothing.
 * @returns Unitless, in [1, number of σ > 0] up to rounding; null where Σσ < 1e-12.
 * @throws {LayergradError} As {@link checkSpectrum}.
 *
 * Float64 accumulation. Source: Roy & Vetterli, "The effective rank", EUSIPCO 2007.
 */
export function effectiveRank(sigma: ArrayLike<number>): number | null {
  const total = nuclearNorm(sigma);
  if (total < vanishingNuclearNorm) return null;
  const entropy = sumOf(sigma, (value) => {
    const p = value / total;
    return p > 0 ? -p * Math.log(p) : 0;
  });
  return Math.exp(entropy);
}

/** Stable rank ‖G‖_F²/‖G‖² = Σσ²/σ₁², unitless, in [1, rank] up to rounding; null for a zero matrix. Throws as {@link checkSpectrum}. */
export function stableRank(sigma: ArrayLike<number>): number | null {
  const largest = sigmaMax(sigma);
  return largest === 0 ? null : sumOf(sigma, (value) => (value / largest) ** 2);
}

/**
 * Numerical rank in float32: #{σ > max(rows, columns)·2⁻²³·σ₁}, the rule of `torch.linalg.matrix_rank` for the precision in
 * which the gradient was taken. Throws as {@link checkSpectrum}.
 */
export function numericalRank(sigma: ArrayLike<number>, shape: MatrixShape): number {
  const threshold = Math.max(...shape) * 2 ** -23 * sigmaMax(sigma);
  return sumOf(sigma, (value) => (value > threshold ? 1 : 0));
}

/** σ₁ ratio σ₁/Σσ, unitless, in [1/r, 1]; null for a zero matrix (0/0). Throws as {@link checkSpectrum}. */
export function sigmaOneRatio(sigma: ArrayLike<number>): number | null {
  const total = nuclearNorm(sigma);
  return total === 0 ? null : sigmaMax(sigma) / total;
}

/** @throws {LayergradError} `data`, naming the entry, if one is negative or not finite, or if there is none. */
export function checkSpectrum(sigma: ArrayLike<number>): void {
  if (sigma.length === 0) throw new LayergradError("data", "sigma is empty; expected at least one singular value");
  for (let i = 0; i < sigma.length; i++) {
    const value = sigma[i]!;
    if (!(value >= 0 && value < Number.POSITIVE_INFINITY)) {
      throw new LayergradError("data", `sigma[${i}] is ${value}; expected a finite number, 0 or above`);
    }
  }
}

function shorterSide(sigma: ArrayLike<number>, shape: MatrixShape): number {
  const side = Math.min(...shape);
  if (sigma.length > side) {
    throw new LayergradError("usage", `sigma has ${sigma.length} values; a ${shape[0]} x ${shape[1]} matrix has ${side}`);
  }
  return side;
}

function sumOf(sigma: ArrayLike<number>, term: (value: number) => number): number {
  let sum = 0;
  for (let i = 0; i < sigma.length; i++) sum += term(sigma[i]!);
  return sum;
}
