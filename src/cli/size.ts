import { gigabytes } from "../runtime/planner.ts";

/** Bytes as `12 kB`, `3.4 MB`, `1.2 GB`; powers of 1000. */
export function size(bytes: number): string {
  if (bytes >= 1e9) return gigabytes(bytes);
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.ceil(bytes / 1e3)} kB`;
}
