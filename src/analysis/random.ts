/** A stream of pseudo-random numbers that a seed fixes to the bit, on every machine. */
export interface Random {
  /** Uniform in [0, 1), with 53 bits. */
  next(): number;
  /** Uniform whole number in [0, n). */
  below(n: number): number;
  /** Standard normal, by Marsaglia's polar method. */
  normal(): number;
  /** Puts an array into a uniformly random order, in place (Fisher–Yates), and returns it. */
  shuffle<A extends { length: number; [index: number]: unknown }>(array: A): A;
}

/**
 * A stream of its own for each seed: sfc32 (Chris Doty-Humphrey's small fast counting generator, which passes PractRand), its state filled
 * from the seed's text by FNV-1a. The number 7 and the text "7" are one seed.
 */
export function seeded(seed: string | number): Random {
  const text = String(seed);
  let a = fnv1a(text, 0x811c9dc5);
  let b = fnv1a(text, 0x9e3779b9);
  let c = fnv1a(text, 0x85ebca6b);
  let counter = 1;
  const uint32 = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  // The state's parts are still alike after seeding.
  for (let i = 0; i < 16; i++) uint32();

  const next = (): number => ((uint32() >>> 5) * 2 ** 26 + (uint32() >>> 6)) / 2 ** 53;
  const below = (n: number): number => Math.floor(next() * n);
  let spare: number | undefined;
  const normal = (): number => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    for (;;) {
      const [x, y] = [2 * next() - 1, 2 * next() - 1];
      const radius = x * x + y * y;
      if (radius >= 1 || radius === 0) continue;
      const scale = Math.sqrt((-2 * Math.log(radius)) / radius);
      spare = y * scale;
      return x * scale;
    }
  };
  return {
    next,
    below,
    normal,
    shuffle: (array) => {
      for (let i = array.length - 1; i > 0; i--) {
        const j = below(i + 1);
        [array[i], array[j]] = [array[j], array[i]];
      }
      return array;
    },
  };
}

function fnv1a(text: string, basis: number): number {
  let hash = basis;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash | 0;
}
