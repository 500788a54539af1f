import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { excerpt, LayergradError } from "../errors.ts";
import { builtFile } from "./built-file.ts";
import type { ProbeAnswer } from "./device-probe.ts";

/** Where ONNX Runtime computes: `webgpu` is the machine's GPU by Vulkan, Metal or Direct3D 12, `cuda` an NVIDIA GPU by CUDA. */
export const devices = ["cpu", "webgpu", "cuda"] as const;

export type Device = (typeof devices)[number];

/** A trial's outcome: its answer, absent where it had none, and what it and the libraries it loaded wrote to standard error. */
export interface Trial {
  readonly answer?: ProbeAnswer | undefined;
  readonly log: string;
  /** Why it had no answer: the signal that ended it, or its time. */
  readonly end?: string | undefined;
}

/** The first use of a GPU compiles for it, which takes seconds; more is a driver that hangs. */
const TRIAL_MILLISECONDS = 60_000;

/**
 * Whether a device computes here, by a small matrix product in a process of its own, which a faulty driver may end or hold up.
 * The CPU is not tried.
 *
 * @throws {LayergradError} `resource`: what is missing, in one sentence; `usage` for no device at all.
 */
export async function checkDevice(device: Device): Promise<void> {
  if (!devices.includes(device))
    throw new LayergradError("usage", `device must be one of ${devices.join(", ")}, found ${excerpt(device)}.`);
  if (device === "cpu") return;
  keepFloat32(device);
  const trial = await tryOut(device);
  if (trial.answer?.problem !== null) throw new LayergradError("resource", explain(device, trial));
}

/**
 * Has CUDA multiply float32 as float32. By default ONNX Runtime lets cuBLAS take TF32, whose mantissa has 10 bits, and onnxruntime-node
 * cannot say no; this variable of NVIDIA's can, where it is set before cuBLAS is loaded, and not in a worker thread, whose environment is a copy.
 */
export function keepFloat32(device: Device): void {
  if (device === "cuda") process.env.NVIDIA_TF32_OVERRIDE = "0";
}

function tryOut(device: Device): Promise<Trial> {
  const probe = fileURLToPath(builtFile("runtime/device-probe.js"));
  return new Promise((resolve) => {
    execFile(process.execPath, [probe, device], { timeout: TRIAL_MILLISECONDS, killSignal: "SIGKILL" }, (error, stdout, log) => {
      const answer = parseAnswer(stdout);
      const end = error?.killed ? `no answer within ${TRIAL_MILLISECONDS / 1000} s` : (error?.signal ?? `exit status ${error?.code ?? 0}`);
      resolve(answer ? { answer, log } : { log, end });
    });
  });
}

function parseAnswer(stdout: string): ProbeAnswer | undefined {
  // A library may have written before it.
  const last = stdout.trimEnd().split("\n").at(-1)!;
  return last.startsWith("{") ? (JSON.parse(last) as ProbeAnswer) : undefined;
}

/** What a failed trial comes to, in one sentence that says what to do. */
export function explain(device: Exclude<Device, "cpu">, trial: Trial): string {
  const { reason, remedy } = diagnose(device, trial);
  return `Device ${device} cannot be used here: ${reason}; ${remedy}, or leave --device at cpu.`;
}

function diagnose(device: Exclude<Device, "cpu">, { answer, log, end }: Trial): { readonly reason: string; readonly remedy: string } {
  if (!answer) return { reason: `a trial of it ended without an answer (${end})`, remedy: "look to the GPU's driver" };
  if (!answer.backends.includes(device)) {
    const where = device === "cuda" ? "Linux on x64" : "Windows, macOS, and Linux on x64";
    return {
      reason: `onnxruntime-node has none for ${process.platform} on ${process.arch}`,
      remedy: `take a machine with ${where}`,
    };
  }
  const library = /([^\s/]+\.so[.\d]*): cannot open shared object file/.exec(log)?.[1];
  if (library) return { reason: `${library} is not found`, remedy: supplyOf(library) };
  if (/WebGPU adapter/.test(answer.problem!)) return { reason: "no GPU was found", remedy: "install the GPU's driver" };
  return {
    reason: excerpt(answer.problem!.replace(/^\/\S+ (.*&?\)::<lambda\(\)> )?/, "").trim()),
    remedy: "look to the GPU and its driver",
  };
}

/** How to come by a shared library of Linux. */
function supplyOf(library: string): string {
  if (library.startsWith("libonnxruntime_providers")) {
    const script = join(dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json")), "script", "install.js");
    return `onnxruntime-node's libraries for CUDA come with \`node ${script} --onnxruntime-node-install=cuda12\``;
  }
  if (library.startsWith("libvulkan")) return "install Vulkan's loader (package libvulkan1 or vulkan-loader) and the GPU's driver";
  if (library === "libcuda.so.1") return "install NVIDIA's driver";
  return "install the CUDA toolkit or the cuDNN that has it, and name its folder in LD_LIBRARY_PATH";
}
