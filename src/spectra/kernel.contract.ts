import { describe, expect, it } from "vitest";
import { LayergradError } from "../errors.ts";
import { type SpectrumKernel, spectrumFloor } from "./kernel.ts";

const epsilon = Number.EPSILON;

/** What every {@link SpectrumKernel} keeps. Matrices are built in float64 from spectra that are known in closed form. */
export function spectrumKernelContract(name: string, kernel: () => SpectrumKernel): void {
  describe(`${name} kernel: eigenvalues`, () => {
    it("returns the entry of a 1 x 1 matrix, whatever its sign", () => {
      expect([...kernel().eigenvalues(Float64Array.of(-3.5), 1)]).toEqual([-3.5]);
    });

    it("matches the closed form (a + c ± √((a − c)² + 4b²))/2 of 2 x 2 matrices", () => {
      for (const [a, b, c] of [
        [2, 1, 2],
        [1, 1e-9, 1],
        [1, 0, 5],
        [1, 3, -1],
        [0, 1, 0],
      ] as const) {
        const root = Math.hypot(a - c, 2 * b);
        expectClose(kernel().eigenvalues(Float64Array.of(a, b, b, c), 2), [(a + c + root) / 2, (a + c - root) / 2], 4);
      }
    });

    it("gives exact zeros for a zero matrix", () => {
      for (const n of [1, 2, 7, 40]) expect([...kernel().eigenvalues(new Float64Array(n * n), n)]).toEqual(Array(n).fill(0));
    });

    it("keeps a diagonal matrix's entries exactly, in descending order", () => {
      const entries = [3, -1, 1e-14, 7, 0, 1e-200];
      const a = new Float64Array(36);
      for (const [i, value] of entries.entries()) a[i * 7] = value;
      expect([...kernel().eigenvalues(a, 6)]).toEqual([7, 3, 1e-14, 1e-200, 0, -1]);
    });

    it("matches 2 − 2cos(kπ/(n + 1)) for the discrete Laplacian", () => {
      for (const n of [3, 4, 5, 64, 301]) {
        const a = new Float64Array(n * n);
        for (let i = 0; i < n; i++) {
          a[i * n + i] = 2;
          if (i > 0) a[i * n + i - 1] = a[(i - 1) * n + i] = -1;
        }
        expectClose(kernel().eigenvalues(a, n), laplacian(n), n);
      }
    });

    const spectra: Readonly<Record<string, (n: number) => number[]>> = {
      "of the Laplacian": laplacian,
      "graded from 1 to 1e-14": (n) => Array.from({ length: n }, (_, i) => 10 ** ((-14 * i) / Math.max(n - 1, 1))),
      "repeated, three distinct values": (n) => Array.from({ length: n }, (_, i) => 3 - Math.floor((3 * i) / n)),
      "of rank 3": (n) => Array.from({ length: n }, (_, i) => (i < 3 ? 3 - i : 0)),
      "of both signs": (n) => Array.from({ length: n }, (_, i) => 1 - (2 * i) / n),
    };
    for (const [kind, spectrum] of Object.entries(spectra)) {
      it(`finds a spectrum ${kind} to n·ε·λ₁ in QΛQᵀ, up to n = 200`, () => {
        for (const n of [2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 32, 33, 63, 200]) {
          expectClose(kernel().eigenvalues(rotated(spectrum(n), n), n), spectrum(n), n);
        }
      });
      it(`finds a spectrum ${kind} to n·ε·λ₁ in QΛQᵀ with n = 1024`, () => {
        expectClose(kernel().eigenvalues(rotated(spectrum(1024), 1), 1024), spectrum(1024), 1024);
      });
    }

    it("keeps the trace and the Frobenius norm of a random matrix", () => {
      const n = 77;
      const random = generator(5);
      const a = new Float64Array(n * n);
      for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = random();
      const lambda = kernel().eigenvalues(a, n);
      let trace = 0;
      for (let i = 0; i < n; i++) trace += a[i * n + i]!;
      expect(Math.abs(sum(lambda) - trace)).toBeLessThan(n * epsilon * n);
      expect(Math.abs(sum(lambda.map((x) => x * x)) / sum(a.map((x) => x * x)) - 1)).toBeLessThan(n * epsilon);
    });

    it("scales exactly with a power of two, near overflow and underflow too", () => {
      const a = rotated(laplacian(20), 3);
      const plain = kernel().eigenvalues(a, 20);
      for (const k of [1000, -900]) {
        const scaled = kernel().eigenvalues(
          a.map((x) => x * 2 ** k),
          20,
        );
        expectClose(
          scaled.map((x) => x * 2 ** -k),
          plain,
          1,
        );
      }
    });

    it("reads the lower triangle only and writes nothing", () => {
      const n = 9;
      const a = rotated(laplacian(n), 4);
      const lower = a.map((x, k) => (k % n > Math.floor(k / n) ? 1e9 : x));
      const before = lower.slice();
      expect(kernel().eigenvalues(lower, n)).toEqual(kernel().eigenvalues(a, n));
      expect(lower).toEqual(before);
    });

    it("gives the same digits when a larger job ran in between", () => {
      const a = rotated(laplacian(12), 4);
      const before = kernel().eigenvalues(a, 12);
      kernel().eigenvalues(rotated(laplacian(150), 4), 150);
      expect(kernel().eigenvalues(a, 12)).toEqual(before);
    });

    it("names the entry that is not finite", () => {
      const a = new Float64Array(9);
      a[5] = Number.NaN;
      expect(() => kernel().eigenvalues(a, 3)).toThrow("a[1, 2] is NaN, expected a finite number");
      a[5] = 0;
      a[8] = Number.NEGATIVE_INFINITY;
      expect(() => kernel().eigenvalues(a, 3)).toThrow("a[2, 2] is -Infinity");
    });

    it("refuses a matrix of another size and an impossible order", () => {
      expect(() => kernel().eigenvalues(new Float64Array(8), 3)).toThrow("a: expected 3 x 3 = 9 entries, found 8");
      expect(() => kernel().eigenvalues(new Float64Array(0), 0)).toThrow("a: the order must be a positive integer, found 0");
      expect(() => kernel().eigenvalues(new Float64Array(1), 10_000)).toThrow("order 10000 is above the kernel's limit of 8192");
      expect(() => kernel().eigenvalues(new Float64Array(8), 3)).toThrow(LayergradError);
    });
  });

  describe(`${name} kernel: singular values from one Gram matrix`, () => {
    it("gives σ = √λ, those above √(rε)·σ₁ to r·ε·σ₁²/σ", () => {
      const r = 50;
      const sigma = Array.from({ length: r }, (_, i) => 10 ** (-i / 8));
      const found = kernel().singularValuesFromGram(
        rotated(
          sigma.map((s) => s * s),
          6,
        ),
        r,
      );
      for (const [i, s] of sigma.entries()) expect(Math.abs(found[i]! - s)).toBeLessThan((r * epsilon) / s);
    });

    it("never gives a negative or undefined value where the rank is deficient", () => {
      const found = kernel().singularValuesFromGram(rotated([9, 4, ...Array(38).fill(0)], 7), 40);
      expect(found[0]).toBeCloseTo(3, 13);
      expect(found[1]).toBeCloseTo(2, 13);
      for (const value of found.subarray(2)) {
        expect(value).toBeGreaterThanOrEqual(0);
        expect(value).toBeLessThan(Math.sqrt(40 * epsilon) * 3);
      }
    });

    it("refuses a negative diagonal entry", () => {
      expect(() => kernel().singularValuesFromGram(Float64Array.of(1, 0, 0, -2), 2)).toThrow(
        "gram[1, 1] is -2; the diagonal of a Gram matrix is never negative",
      );
    });
  });

  describe(`${name} kernel: singular values from two Gram matrices`, () => {
    it("gives ‖x‖‖δ‖ for one token", () => {
      expect([...kernel().singularValuesFromGrams(Float64Array.of(9), Float64Array.of(4), 1)]).toEqual([6]);
    });

    it("finds a known spectrum to n·ε·τ²/σ, τ = Σ‖xₜ‖‖δₜ‖", () => {
      for (const n of [2, 3, 5, 8, 17, 64, 130]) {
        const { kx, kd, sigma } = factors(n);
        expectAboveFloor(kernel().singularValuesFromGrams(kx, kd, n), sigma, kx, kd, n);
      }
    });

    it("finds the spectrum of ΔᵀX formed from float32 factors, as from its own Gram matrix", () => {
      const [n, dIn, dOut] = [23, 40, 31];
      const random = generator(8);
      const x = Float32Array.from({ length: n * dIn }, random);
      const delta = Float32Array.from({ length: n * dOut }, random);
      const found = kernel().singularValuesFromGrams(gramOf(x, n, dIn), gramOf(delta, n, dOut), n);
      const g = new Float64Array(dOut * dIn);
      for (let o = 0; o < dOut; o++)
        for (let i = 0; i < dIn; i++) for (let t = 0; t < n; t++) g[o * dIn + i]! += delta[t * dOut + o]! * x[t * dIn + i]!;
      const expected = kernel().singularValuesFromGram(gramOf(g, dOut, dIn), dOut);
      for (let i = 0; i < n; i++) expect(Math.abs(found[i]! / expected[i]! - 1)).toBeLessThan(1e-11);
    });

    it("loses no σ above 1e-8·‖X‖‖Δ‖ where tokens' terms nearly cancel, and invents none above it", () => {
      for (const cancellation of [1e-2, 1e-4, 1e-6, 1e-9, 1e-12]) {
        const { kx, kd, n, sigma } = cancelling(24, cancellation);
        const found = kernel().singularValuesFromGrams(kx, kd, n);
        expectAboveFloor(found, sigma, kx, kd, n);
        const norms = Math.sqrt(trace(kx, n) * trace(kd, n));
        for (const [i, value] of found.entries()) {
          const exact = sigma[i] ?? 0;
          if (exact > 1e-8 * norms) expect(Math.abs(value / exact - 1)).toBeLessThan(0.5);
          else expect(value).toBeLessThan(2e-8 * norms);
        }
      }
    });

    it("does not lose digits to a token with a huge input and a tiny cotangent, as attention sinks have", () => {
      const { kx, kd, n } = cancelling(10, 0.1);
      const plain = kernel().singularValuesFromGrams(kx, kd, n);
      // A power of two per token: xₜ grows by what δₜ shrinks, and G stays the same to the last digit.
      const scales = Array.from({ length: n }, (_, t) => 2 ** (t === 3 ? 20 : (t % 5) - 2));
      const sunkX = kx.map((v, k) => v * scales[Math.floor(k / n)]! * scales[k % n]!);
      const sunkD = kd.map((v, k) => v / scales[Math.floor(k / n)]! / scales[k % n]!);
      expect(kernel().singularValuesFromGrams(sunkX, sunkD, n)).toEqual(plain);
    });

    it("keeps ‖G‖_F² = Σ KX∘KD where tokens' rows differ in length by a hundred orders of magnitude", () => {
      const n = 40;
      const { kx, kd } = factors(n);
      const random = generator(9);
      for (let trial = 0; trial < 20; trial++) {
        const [lengthsX, lengthsD] = [0, 1].map(() => Array.from({ length: n }, () => 10 ** (60 * random())));
        const stretched = (k: Float64Array, lengths: number[]) => k.map((v, p) => v * lengths[Math.floor(p / n)]! * lengths[p % n]!);
        const [wideX, wideD] = [stretched(kx, lengthsX!), stretched(kd, lengthsD!)];
        const found = kernel().singularValuesFromGrams(wideX, wideD, n);
        expect(Math.abs(sum(found.map((s) => s * s)) / sum(wideX.map((v, p) => v * wideD[p]!)) - 1)).toBeLessThan(n * epsilon);
        for (const value of found) expect(value).toBeGreaterThanOrEqual(0);
      }
    });

    it("does not depend on the order of the tokens, up to rounding", () => {
      const n = 40;
      const { kx, kd, sigma } = factors(n);
      const order = Array.from({ length: n }, (_, t) => (t * 17 + 5) % n);
      const permuted = (k: Float64Array) => Float64Array.from(k, (_, p) => k[order[Math.floor(p / n)]! * n + order[p % n]!]!);
      expectAboveFloor(kernel().singularValuesFromGrams(permuted(kx), permuted(kd), n), sigma, kx, kd, n);
    });

    it("gives the same digits for the transposed gradient", () => {
      const n = 40;
      const { kx, kd } = factors(n);
      expect(kernel().singularValuesFromGrams(kd, kx, n)).toEqual(kernel().singularValuesFromGrams(kx, kd, n));
    });

    it("scales exactly with powers of two, far beyond where σ² would overflow", () => {
      const n = 12;
      const { kx, kd } = factors(n);
      const plain = kernel().singularValuesFromGrams(kx, kd, n);
      const scaled = kernel().singularValuesFromGrams(
        kx.map((v) => v * 2 ** 800),
        kd.map((v) => v * 2 ** 600),
        n,
      );
      expect(scaled).toEqual(plain.map((v) => v * 2 ** 700));
    });

    it("leaves out tokens with a zero row on either side, exactly", () => {
      const n = 20;
      const { kx, kd } = factors(n);
      const m = n + 7;
      const widened = (k: Float64Array, filler: number) => {
        const wide = new Float64Array(m * m);
        for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) wide[(i + 4) * m + j + 4] = k[i * n + j]!;
        for (const t of [0, 1, 2, 3, m - 1]) wide[t * m + t] = filler;
        return wide;
      };
      const found = kernel().singularValuesFromGrams(widened(kx, 1e6), widened(kd, 0), m);
      expect(found.subarray(0, n)).toEqual(kernel().singularValuesFromGrams(kx, kd, n));
      expect([...found.subarray(n)]).toEqual(Array(7).fill(0));
    });

    it("gives exact zeros beyond the rank where tokens repeat", () => {
      const [distinct, n] = [6, 48];
      const { kx, kd, sigma } = factors(distinct);
      const repeated = (k: Float64Array) =>
        Float64Array.from({ length: n * n }, (_, p) => k[(Math.floor(p / n) % distinct) * distinct + (p % distinct)]!);
      const found = kernel().singularValuesFromGrams(repeated(kx), repeated(kd), n);
      expectClose(
        found.subarray(0, distinct),
        sigma.map((s) => (s * n) / distinct),
        1e6,
      );
      expect([...found.subarray(distinct)]).toEqual(Array(n - distinct).fill(0));
    });

    it("gives exact zeros for a zero gradient", () => {
      for (const n of [1, 2, 33])
        expect([...kernel().singularValuesFromGrams(rotated(laplacian(n), 2), new Float64Array(n * n), n)]).toEqual(Array(n).fill(0));
    });

    it("writes nothing into its arguments", () => {
      const { kx, kd } = factors(9);
      const [beforeX, beforeD] = [kx.slice(), kd.slice()];
      kernel().singularValuesFromGrams(kx, kd, 9);
      expect([kx, kd]).toEqual([beforeX, beforeD]);
    });

    it("names the matrix and the entry at fault", () => {
      const good = Float64Array.of(1, 0, 0, 1);
      expect(() => kernel().singularValuesFromGrams(good, Float64Array.of(1, 0, Number.NaN, 1), 2)).toThrow("kd[1, 0] is NaN");
      expect(() => kernel().singularValuesFromGrams(Float64Array.of(-1, 0, 0, 1), good, 2)).toThrow("kx[0, 0] is -1");
      expect(() => kernel().singularValuesFromGrams(good, Float64Array.of(1), 2)).toThrow("kd: expected 2 x 2 = 4 entries, found 1");
    });
  });
}

/**
 * To `n`·ε·λ₁, and never closer than 16·ε·λ₁: forming the matrix costs some digits of its own.
 */
function expectClose(found: ArrayLike<number>, expected: ArrayLike<number>, n: number): void {
  expect(found.length).toBe(expected.length);
  const sorted = Float64Array.from(expected).sort().reverse();
  const largest = sorted.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  let worst = 0;
  for (let i = 0; i < sorted.length; i++) worst = Math.max(worst, Math.abs(found[i]! - sorted[i]!));
  expect(worst / largest).toBeLessThanOrEqual(Math.max(n, 16) * epsilon);
}

/** |σ̂² − σ²| ≤ ε·τ² for each, so that σ above the floor √ε·τ are right to (floor/σ)²; the square roots' own rounding on top. */
function expectAboveFloor(found: Float64Array, sigma: readonly number[], kx: Float64Array, kd: Float64Array, n: number): void {
  const floor = spectrumFloor(kx, kd, n);
  expect(found.length).toBe(n);
  for (const [i, value] of found.entries()) {
    const exact = sigma[i] ?? 0;
    expect(Math.abs(value - exact) * (value + exact)).toBeLessThanOrEqual(floor ** 2 + 4 * n * epsilon * exact ** 2);
  }
}

/** Eigenvalues of the n × n matrix with 2 on the diagonal and −1 beside it, descending. */
function laplacian(n: number): number[] {
  return Array.from({ length: n }, (_, i) => 4 * Math.sin(((n - i) * Math.PI) / (2 * (n + 1))) ** 2);
}

/** QΛQᵀ with Q a product of three random reflections. */
function rotated(spectrum: readonly number[], seed: number): Float64Array {
  const n = spectrum.length;
  const random = generator(seed);
  const a = new Float64Array(n * n);
  for (const [i, value] of spectrum.entries()) a[i * n + i] = value;
  for (let reflection = 0; reflection < 3; reflection++) {
    const v = Float64Array.from({ length: n }, random);
    const factor = 2 / sum(v.map((x) => x * x));
    const w = v.map((_, i) => factor * sum(v.map((x, j) => a[i * n + j]! * x)));
    const half = (factor / 2) * sum(w.map((x, i) => x * v[i]!));
    for (let i = 0; i < n; i++) w[i]! -= half * v[i]!;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j <= i; j++) a[i * n + j] = a[j * n + i] = a[i * n + j]! - (v[i]! * w[j]! + w[i]! * v[j]!);
    }
  }
  return a;
}

/** Gram matrices of X = P·diag(b)·Vᵀ and Δ = P·diag(a)·Uᵀ, whose product ΔᵀX = U·diag(ab)·Vᵀ has the singular values ab. */
function factors(n: number): { kx: Float64Array; kd: Float64Array; sigma: number[] } {
  const b = Array.from({ length: n }, (_, i) => 2 ** (-i / 7));
  const a = Array.from({ length: n }, (_, i) => 1 + ((i * 5) % n) / n);
  const square = (x: number) => x * x;
  return {
    kx: rotated(b.map(square), n),
    kd: rotated(a.map(square), n),
    sigma: a.map((value, i) => value * b[i]!).sort((p, q) => q - p),
  };
}

/**
 * Tokens in pairs (xₜ + ηyₜ, δₜ) and (xₜ − ηyₜ, −δₜ), so that G = 2η·Σ δₜyₜᵀ while each token's own term is of order 1. The x are
 * orthonormal and orthogonal to the y; those and the δ are as in {@link factors}.
 */
function cancelling(pairs: number, eta: number): { kx: Float64Array; kd: Float64Array; n: number; sigma: number[] } {
  const { kx: ky, kd: kDelta, sigma } = factors(pairs);
  const n = 2 * pairs;
  const kx = new Float64Array(n * n);
  const kd = new Float64Array(n * n);
  for (let s = 0; s < n; s++) {
    for (let t = 0; t < n; t++) {
      const [p, q] = [s % pairs, t % pairs];
      const sign = s < pairs === t < pairs ? 1 : -1;
      kx[s * n + t] = (p === q ? 1 : 0) + sign * eta * eta * ky[p * pairs + q]!;
      kd[s * n + t] = sign * kDelta[p * pairs + q]!;
    }
  }
  return { kx, kd, n, sigma: sigma.map((s) => 2 * eta * s) };
}

function gramOf(rows: ArrayLike<number>, n: number, width: number): Float64Array {
  const gram = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      for (let k = 0; k < width; k++) gram[i * n + j]! += rows[i * width + k]! * rows[j * width + k]!;
    }
  }
  return gram;
}

function trace(k: Float64Array, n: number): number {
  let total = 0;
  for (let i = 0; i < n; i++) total += k[i * n + i]!;
  return total;
}

function sum(values: Float64Array): number {
  return values.reduce((total, x) => total + x, 0);
}

/** Uniform in [−1, 1), repeatable (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}
