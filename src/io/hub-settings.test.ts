import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { hubAuthorization, hubCache, hubEndpoint, isHubOffline } from "./hub-settings.ts";

const names = [
  "HF_ENDPOINT",
  "HF_HOME",
  "HF_HUB_CACHE",
  "HF_HUB_OFFLINE",
  "HF_TOKEN",
  "HF_TOKEN_PATH",
  "HF_HUB_DISABLE_IMPLICIT_TOKEN",
  "HUGGINGFACE_HUB_CACHE",
  "HUGGING_FACE_HUB_TOKEN",
  "TRANSFORMERS_OFFLINE",
  "XDG_CACHE_HOME",
];
let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "layergrad-settings-"));
  for (const name of names) vi.stubEnv(name, undefined);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});
const set = (values: Readonly<Record<string, string>>): void => {
  for (const [name, value] of Object.entries(values)) vi.stubEnv(name, value);
};

describe("the Hub's cache", () => {
  // As huggingface_hub's constants.py has it.
  it.each([
    [{}, join(homedir(), ".cache", "huggingface", "hub")],
    [{ XDG_CACHE_HOME: "/x" }, join("/x", "huggingface", "hub")],
    [{ XDG_CACHE_HOME: "/x", HF_HOME: "/h" }, join("/h", "hub")],
    [{ HF_HOME: "~/h" }, join(homedir(), "h", "hub")],
    [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old" }, "/old"],
    [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old", HF_HUB_CACHE: "/c" }, "/c"],
    [{ HF_HUB_CACHE: "", HF_HOME: "/h" }, join("/h", "hub")],
  ])("%j", (values, path) => {
    set(values);
    expect(hubCache()).toBe(path);
  });
});

describe("the Hub's address", () => {
  it("is the public one, or HF_ENDPOINT without a slash at its end", () => {
    expect(hubEndpoint()).toBe("https://huggingface.co");
    set({ HF_ENDPOINT: "https://mirror.example/hub/" });
    expect(hubEndpoint()).toBe("https://mirror.example/hub");
    for (const wrong of ["huggingface.co", "file:///x", "http://"]) {
      set({ HF_ENDPOINT: wrong });
      expect(hubEndpoint).toThrow(`HF_ENDPOINT is "${wrong}", which is no address such as https://huggingface.co`);
    }
  });
  it("with a user or a password is refused without being shown", () => {
    for (const wrong of ["https://me:secret@mirror.example", "https://secret@mirror.example", "me:secret@mirror.example"]) {
      set({ HF_ENDPOINT: wrong });
      expect(hubEndpoint).toThrow("HF_ENDPOINT holds an @, as of a user or a password");
      expect(hubEndpoint).not.toThrow("secret");
    }
  });
});

describe("offline", () => {
  it.each(["1", "true", "TRUE", "yes", "On"])("is HF_HUB_OFFLINE=%s, and as well TRANSFORMERS_OFFLINE", (value) => {
    set({ HF_HUB_OFFLINE: value });
    expect(isHubOffline()).toBe(true);
    set({ HF_HUB_OFFLINE: "", TRANSFORMERS_OFFLINE: value });
    expect(isHubOffline()).toBe(true);
    // The first that says anything decides.
    set({ HF_HUB_OFFLINE: "0" });
    expect(isHubOffline()).toBe(false);
  });
  it("is not what is unset or says no", () => {
    expect(isHubOffline()).toBe(false);
    set({ HF_HUB_OFFLINE: "no" });
    expect(isHubOffline()).toBe(false);
  });
});

describe("the token", () => {
  const hub = "https://huggingface.co/api/models/o/n";
  const header = (token: string) => ({ authorization: `Bearer ${token}` });

  it("is HF_TOKEN, else the stored one, white space at its ends left out", () => {
    set({ HF_HOME: folder });
    expect(hubAuthorization(hub)).toEqual({});
    writeFileSync(join(folder, "token"), "hf_stored\n");
    expect(hubAuthorization(hub)).toEqual(header("hf_stored"));
    writeFileSync(join(folder, "other"), "hf_other");
    set({ HF_TOKEN_PATH: join(folder, "other") });
    expect(hubAuthorization(hub)).toEqual(header("hf_other"));
    set({ HF_TOKEN: " hf_stated\n" });
    expect(hubAuthorization(hub)).toEqual(header("hf_stated"));
  });
  it("stays at home with HF_HUB_DISABLE_IMPLICIT_TOKEN, as with Python", () => {
    set({ HF_TOKEN: "hf_stated", HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" });
    expect(hubAuthorization(hub)).toEqual({});
  });
  it("is for the Hub's own addresses alone, to scheme and port", () => {
    set({ HF_TOKEN: "hf_stated", HF_ENDPOINT: "https://mirror.example" });
    expect(hubAuthorization("https://mirror.example/x")).toEqual(header("hf_stated"));
    for (const other of [hub, "http://mirror.example/x", "https://mirror.example:8443/x", "https://mirror.example.evil.example/x"])
      expect(hubAuthorization(other)).toEqual({});
  });
  it("that cannot be one is refused without being shown", () => {
    set({ HF_TOKEN: "hf_se cret" });
    expect(() => hubAuthorization(hub)).toThrow("HF_TOKEN holds characters that a token of the Hub cannot have");
    expect(() => hubAuthorization(hub)).not.toThrow("cret");
  });
});
