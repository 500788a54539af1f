const units: Readonly<Record<string, number>> = { kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12, b: 1, "": 1 };

/** Bytes of a size such as `6GB`, `800 MB` or a plain number, units being powers of 1000; null for any other text, and for none at all. */
export function parseSize(text: string): number | null {
  const [, digits, unit] = /^(\d+(?:\.\d+)?)\s*([kmgt]?b|)$/i.exec(text.trim()) ?? [];
  if (digits === undefined) return null;
  const bytes = Math.round(Number(digits) * units[unit!.toLowerCase()]!);
  return bytes > 0 ? bytes : null;
}
