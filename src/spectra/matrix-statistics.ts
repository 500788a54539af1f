/** Statistics of one gradient matrix G `[out, in]`, in gradient units unless said otherwise; σ are its singular values. */
export interface MatrixStatistics {
  /** Mean of G's entries. */
  readonly M_mean: number;
  readonly M_max: number;
  readonly M_min: number;
  /** ‖G‖_F = √Σσ². */
  readonly frobenius_norm: number;
  /** Nuclear norm Σσ. */
  readonly S_sum: number;
  /** σ₁. */
  readonly S_max: number;
  /** The least of the min(out, in) singular values. */
  readonly S_min: number;
  /** exp(−Σ p ln p), p = σ/Σσ; unitless, null where Σσ < 1e-12. */
  readonly effective_rank: number | null;
  /** Σσ²/σ₁²; unitless, null where σ₁ = 0. */
  readonly stable_rank: number | null;
  /** #{σ > max(out, in)·2⁻²³·σ₁}. */
  readonly rank: number;
  /** The first min(T, out, in) singular values, descending; the rest are exact zeros. Only with the spectrum option. */
  readonly S_list?: readonly number[];
}
