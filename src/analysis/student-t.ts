/**
 * P(|t| ≥ |x|) of Student's t distribution, I_z(ν/2, 1/2) at z = ν/(ν + x²).
 *
 * @param degrees - Degrees of freedom ν > 0. Relative precision 1e-11 up to ν = 5000 at least.
 */
export const studentTailBothSides = (x: number, degrees: number): number =>
  incompleteBeta(degrees / (degrees + x * x), 1 / (1 + degrees / (x * x)), degrees / 2, 0.5);

/**
 * The t ≥ 0 with P(|t| ≤ t) = level, by bisection on {@link studentTailBothSides}.
 *
 * @param level - In (0, 1), such as 0.95.
 */
export function studentQuantile(level: number, degrees: number): number {
  let [low, high] = [0, 1];
  while (studentTailBothSides(high, degrees) > 1 - level) high *= 2;
  for (let i = 0; i < 200 && high - low > 1e-15 * high; i++) {
    const middle = (low + high) / 2;
    if (studentTailBothSides(middle, degrees) > 1 - level) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * Regularised incomplete beta function I_x(a, b), by the continued fraction DLMF 8.17.22 (Lentz's way), on the side where it converges fast.
 *
 * @param complement - 1 − x, which the caller knows without cancellation.
 */
function incompleteBeta(x: number, complement: number, a: number, b: number): number {
  if (x === 0 || complement === 0) return x === 0 ? 0 : 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(complement, x, b, a);
  const front = Math.exp(a * Math.log(x) + b * Math.log(complement) - logBeta(a, b)) / a;
  let [numerator, denominator, fraction] = [1, 0, 1];
  for (let i = 0; i < 500; i++) {
    const m = i >> 1;
    const coefficient =
      i === 0
        ? 1
        : i % 2 === 0
          ? (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m))
          : (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    denominator = 1 / (1 + coefficient * denominator);
    numerator = 1 + coefficient / numerator;
    fraction *= numerator * denominator;
    if (Math.abs(1 - numerator * denominator) < 1e-16) break;
  }
  return front * (fraction - 1);
}

const logBeta = (a: number, b: number): number => logGamma(a) + logGamma(b) - logGamma(a + b);

/** ln Γ(x) of x > 0: Stirling's series at x + 10 and the recurrence down. */
function logGamma(x: number): number {
  let shift = 0;
  let y = x;
  for (; y < 10; y++) shift += Math.log(y);
  const inverse = 1 / (y * y);
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188)))) / y;
  return (y - 0.5) * Math.log(y) - y + 0.5 * Math.log(2 * Math.PI) + series - shift;
}
