// Times the spectrum kernel on one thread: node bench/kernel.mjs [orders, comma-separated]. Needs "npm run build".
import { execSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { createWasmKernel } from "../dist/spectra/kernel-wasm.js";

const orders = (process.argv[2] ?? "85,140,256,576,760").split(",").map(Number);
const kernel = await createWasmKernel(readFileSync(new URL("../dist/spectra/kernel.wasm", import.meta.url)));

/** Gram matrix of n rows of n + 40 numbers, repeatable. */
function gram(n, seed) {
  const width = n + 40;
  let state = seed;
  const rows = Float32Array.from({ length: n * width }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state / 2 ** 31;
  });
  const k = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let p = 0; p < width; p++) sum += rows[i * width + p] * rows[j * width + p];
      k[i * n + j] = k[j * n + i] = sum;
    }
  }
  return k;
}

/** The fastest of several runs: what others take of the machine only ever adds. */
function milliseconds(job, runs) {
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < runs; run++) {
    const start = performance.now();
    job();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

let commit = "unknown";
try {
  commit = execSync("git rev-parse --short HEAD", { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
} catch {
  // Not a checkout.
}
console.log(`${cpus()[0]?.model.trim()}, Node ${process.versions.node}, commit ${commit}, one thread`);
for (const n of orders) {
  const [kx, kd] = [gram(n, 1), gram(n, 2)];
  const runs = n < 200 ? 100 : 10;
  const one = milliseconds(() => kernel.singularValuesFromGram(kx, n), runs);
  const two = milliseconds(() => kernel.singularValuesFromGrams(kx, kd, n), runs);
  // 4/3 n³ for the tridiagonal form; n³/3 for the factor and n³ for the product besides.
  const [rateOne, rateTwo] = [((4 / 3) * n ** 3) / one / 1e6, ((8 / 3) * n ** 3) / two / 1e6];
  console.log(
    `n = ${n}: one Gram ${one.toFixed(3)} ms (${rateOne.toFixed(1)} GFLOP/s), two ${two.toFixed(3)} ms (${rateTwo.toFixed(1)} GFLOP/s)`,
  );
}
