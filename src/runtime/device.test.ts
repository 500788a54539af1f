import { afterEach, describe, expect, it } from "vitest";
import { LayergradError } from "../errors.ts";
import { checkDevice, type Device, explain, keepFloat32 } from "./device.ts";

const backends = ["cpu", "webgpu", "cuda", "tensorrt"];
const failed = (problem: string, log: string) => ({ answer: { backends, problem }, log });

/** What onnxruntime-node 1.30.0 said on Linux x64 without a GPU. */
const noVulkan = failed(
  "/onnxruntime_src/onnxruntime/core/providers/webgpu/webgpu_context.cc:136 onnxruntime::webgpu::WebGpuContext::Initialize(const onnxruntime::webgpu::WebGpuContextConfig&)::<lambda()> adapter_result.status == wgpu::RequestAdapterStatus::Success was false. Failed to get a WebGPU adapter: No supported adapters\n",
  "Warning: Couldn't load Vulkan: libvulkan.so.1: cannot open shared object file: No such file or directory\n    at operator() (/build/Release/_deps/dawn-src/src/dawn/native/vulkan/BackendVk.cpp:368)\n",
);
const cuda = (library: string, missing: string) =>
  failed(
    "OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library",
    `[1;31m2026-11-23 14:24:59.690140573 [E:onnxruntime:onnxruntime-node, provider_bridge_ort.cc:2146 Create] /onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:1988 onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library /opt/bin/${library} with error: ${missing}: cannot open shared object file: No such file or directory\n`,
  );

describe("a device that is missing is told in one sentence", () => {
  it.each([
    [
      "no Vulkan",
      "webgpu",
      noVulkan,
      "libvulkan.so.1 is not found; install Vulkan's loader (package libvulkan1 or vulkan-loader) and the GPU's driver",
    ],
    ["Vulkan, but no GPU", "webgpu", { ...noVulkan, log: "" }, "no GPU was found; install the GPU's driver"],
    [
      "onnxruntime-node's own libraries are not installed",
      "cuda",
      cuda("libonnxruntime_providers_shared.so", "/opt/bin/libonnxruntime_providers_shared.so"),
      /^libonnxruntime_providers_shared\.so is not found; onnxruntime-node's libraries for CUDA come with `node \S+install\.js --onnxruntime-node-install=cuda12`$/,
    ],
    [
      "CUDA is not installed",
      "cuda",
      cuda("libonnxruntime_providers_cuda.so", "libcublasLt.so.12"),
      "libcublasLt.so.12 is not found; install the CUDA toolkit or the cuDNN that has it, and name its folder in LD_LIBRARY_PATH",
    ],
    ["no driver", "cuda", cuda("libonnxruntime_providers_cuda.so", "libcuda.so.1"), "libcuda.so.1 is not found; install NVIDIA's driver"],
    [
      "a build without it",
      "cuda",
      { answer: { backends: ["cpu", "webgpu"], problem: "no available backend found." }, log: "" },
      `onnxruntime-node has none for ${process.platform} on ${process.arch}; take a machine with Linux on x64`,
    ],
    ["a wrong product", "webgpu", failed("1·3 + 2·4 came out as 0", ""), '"1·3 + 2·4 came out as 0"; look to the GPU and its driver'],
    [
      "a driver that ends the process",
      "cuda",
      { log: "", end: "SIGSEGV" },
      "a trial of it ended without an answer (SIGSEGV); look to the GPU's driver",
    ],
  ] as const)("%s", (_, device, trial, expected) => {
    const sentence = explain(device, trial);
    const [, middle] = /^Device (?:webgpu|cuda) cannot be used here: (.*), or leave --device at cpu\.$/s.exec(sentence)!;
    if (typeof expected === "string") expect(middle).toBe(expected);
    else expect(middle).toMatch(expected);
  });
});

describe("checkDevice", () => {
  it("takes the CPU as there", async () => {
    await checkDevice("cpu");
  });

  it.each(["webgpu", "cuda"] as const)("tries %s for real: it is there, or the refusal says what is missing", async (device) => {
    const refusal = await checkDevice(device).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (refusal === undefined) return;
    expect(refusal).toBeInstanceOf(LayergradError);
    expect((refusal as LayergradError).kind).toBe("resource");
    expect((refusal as LayergradError).message).toMatch(
      new RegExp(
        `^Device ${device} cannot be used here: (.* is not found|no GPU was found|onnxruntime-node has none for .*); .*, or leave --device at cpu\\.$`,
      ),
    );
  });

  it("refuses what is no device", async () => {
    await expect(checkDevice("gpu" as Device)).rejects.toThrow('device must be one of cpu, webgpu, cuda, found "gpu".');
  });
});

describe("keepFloat32", () => {
  const before = process.env.NVIDIA_TF32_OVERRIDE;
  afterEach(() => {
    if (before === undefined) delete process.env.NVIDIA_TF32_OVERRIDE;
    else process.env.NVIDIA_TF32_OVERRIDE = before;
  });

  it("turns TF32 off for CUDA, and leaves the environment alone otherwise", () => {
    delete process.env.NVIDIA_TF32_OVERRIDE;
    keepFloat32("cpu");
    keepFloat32("webgpu");
    expect(process.env.NVIDIA_TF32_OVERRIDE).toBeUndefined();
    keepFloat32("cuda");
    expect(process.env.NVIDIA_TF32_OVERRIDE).toBe("0");
  });
});
