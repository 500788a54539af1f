import { getPriority } from "node:os";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { builtFile } from "./built-file.ts";

describe.runIf(process.platform === "linux")("giving way", () => {
  it("lowers the priority of the thread that asks for it, and of no other", async () => {
    const script = `
      const { readlinkSync } = require("node:fs");
      const { getPriority } = require("node:os");
      const own = () => getPriority(Number(readlinkSync("/proc/thread-self").split("/").at(-1)));
      import(${JSON.stringify(builtFile("runtime/give-way.js").href)}).then(({ giveWay }) => {
        const before = own();
        giveWay();
        require("node:worker_threads").parentPort.postMessage([before, own()]);
      });`;
    const main = getPriority();
    const worker = new Worker(script, { eval: true, execArgv: [] });
    const [before, after] = await new Promise<[number, number]>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
    await worker.terminate();
    expect(before).toBe(main);
    expect(after).toBe(19);
    expect(getPriority()).toBe(main);
  });
});
