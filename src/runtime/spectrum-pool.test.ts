import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { typescriptKernel } from "../spectra/kernel-typescript.ts";
import { builtFile } from "./built-file.ts";
import { SpectrumPool } from "./spectrum-pool.ts";

/** Diagonally dominant, different for each seed. */
function gram(n: number, seed: number): Float64Array {
  return Float64Array.from(
    { length: n * n },
    (_, k) => (k % (n + 1) === 0 ? n : 0) + Math.cos(seed * (Math.floor(k / n) + 1) * ((k % n) + 1)),
  );
}

/** A pool whose workers run this script instead of the kernel. */
const poolOf = (threads: number, script: string) => {
  const source = `import { parentPort, workerData } from "node:worker_threads"; ${script}`;
  return new SpectrumPool(threads, { workerFile: new URL(`data:text/javascript,${encodeURIComponent(source)}`) });
};

for (const threads of [0, 1, 3]) {
  describe(`spectrum pool with ${threads} threads`, () => {
    it("answers every job with its own singular values, large and small ones mixed", async () => {
      const pool = new SpectrumPool(threads);
      const orders = [1, 30, 2, 80, 5, 41, 3, 60, 12, 9];
      const answers = await Promise.all(orders.map((n, seed) => pool.fromGrams(gram(n, seed), gram(n, seed + 50), n)));
      for (const [seed, n] of orders.entries()) {
        const expected = typescriptKernel.singularValuesFromGrams(gram(n, seed), gram(n, seed + 50), n);
        for (let i = 0; i < n; i++) expect(Math.abs(answers[seed]![i]! / expected[i]! - 1)).toBeLessThan(1e-12);
      }
      await pool.close();
    });

    it("leaves the caller's arrays as they are, to be used for the next job", async () => {
      const pool = new SpectrumPool(threads);
      const [kx, kd] = [gram(20, 1), gram(20, 2)];
      const first = pool.fromGrams(kx, kd, 20);
      const second = pool.fromGrams(kx, kd, 20);
      kd.fill(Number.NaN);
      expect(await first).toEqual(await second);
      expect(kx).toEqual(gram(20, 1));
      await pool.close();
    });

    it("rejects a faulty job with its own error and no other", async () => {
      const pool = new SpectrumPool(threads);
      const before = pool.fromGram(Float64Array.of(4), 1);
      const faulty = pool.fromGram(Float64Array.of(1, 0, Number.NaN, 1), 2);
      const misshapen = pool.fromGrams(Float64Array.of(1), Float64Array.of(1, 2), 1);
      const after = pool.fromGram(Float64Array.of(9), 1);
      await expect(faulty).rejects.toMatchObject({
        name: "LayergradError",
        kind: "data",
        message: expect.stringContaining("gram[1, 0] is NaN"),
      });
      await expect(misshapen).rejects.toMatchObject({ kind: "usage", message: expect.stringContaining("kd: expected 1 x 1") });
      expect([...(await before), ...(await after)]).toEqual([2, 3]);
      await pool.close();
    });

    it("finishes its jobs when it is closed, and takes no more", async () => {
      const pool = new SpectrumPool(threads);
      const job = pool.fromGram(gram(100, 3), 100);
      const closed = pool.close();
      await expect(pool.fromGram(Float64Array.of(1), 1)).rejects.toThrow("submitted after close()");
      await closed;
      expect(await job).toHaveLength(100);
      await pool.close();
    });
  });
}

describe("spectrum pool", () => {
  it("begins jobs while the submitting thread does not return to its event loop", async () => {
    const pool = new SpectrumPool(1);
    await pool.fromGram(Float64Array.of(1), 1);
    const kx = new Float64Array(new SharedArrayBuffer(8)).fill(4);
    const first = pool.fromGram(gram(4, 1), 4);
    const second = pool.fromGram(kx, 1);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
    // The worker read 4 while this thread slept; had it waited for this thread, it would read 9.
    kx[0] = 9;
    expect([...(await second)]).toEqual([2]);
    await first;
    await pool.close();
  });

  it("rejects the job of a worker that dies and gives the others to those alive", async () => {
    const pool = poolOf(
      2,
      `parentPort.on("message", ({ id, claim }) => {
         if (workerData.number === 2) setTimeout(() => take(), 200); else take();
         function take() {
           if (Atomics.compareExchange(claim, 0, 0, workerData.number) !== 0) return;
           if (workerData.number === 1) process.exit(7);
           parentPort.postMessage({ id, sigma: new Float64Array([id]) });
         }
       });`,
    );
    const lost = pool.fromGram(Float64Array.of(1), 1);
    const kept = pool.fromGram(Float64Array.of(1), 1);
    await expect(lost).rejects.toMatchObject({
      kind: "resource",
      message: "spectrum pool: worker 1 died (exit code 7) with a job of order 1 unfinished",
    });
    expect([...(await kept)]).toEqual([1]);
    await pool.close();
  });

  it("rejects what waits, and what comes later, once no worker is alive", async () => {
    const pool = poolOf(1, `throw new Error("cannot start");`);
    await expect(pool.fromGram(Float64Array.of(1), 1)).rejects.toThrow("worker 1 died (cannot start)");
    await expect(pool.fromGram(Float64Array.of(1), 1)).rejects.toThrow("worker 1 died (cannot start)");
    await pool.close();
  });

  it("lets the process end when idle, but not before a pending job has its answer", () => {
    const script = `
      import { SpectrumPool } from ${JSON.stringify(builtFile("runtime/spectrum-pool.js").href)};
      const pool = new SpectrumPool(2);
      pool.fromGram(Float64Array.of(25), 1).then((sigma) => console.log("answer", sigma[0]));
    `;
    const { stdout, status } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8", timeout: 30_000 });
    expect([stdout, status]).toEqual(["answer 5\n", 0]);
  });

  it("refuses a number of threads that is not an integer, 0 or above", () => {
    for (const threads of [-1, 1.5, Number.NaN]) expect(() => new SpectrumPool(threads)).toThrow(`found ${threads}`);
  });
});
