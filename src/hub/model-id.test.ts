import { describe, expect, it } from "vitest";
import { parseModelId, withRevision } from "./model-id.ts";

const commit = "0123456789abcdef0123456789abcdef01234567";

describe("parseModelId", () => {
  it.each([
    ["Qwen/Qwen2-1.5B", { id: "Qwen/Qwen2-1.5B" }],
    ["a/b", { id: "a/b" }],
    ["a/b@v1.0", { id: "a/b", revision: "v1.0" }],
    ["a/b@refs%2Fpr%2F1", { id: "a/b", revision: "refs/pr/1" }],
    ["a/b-GGUF/b.Q4_K_M.gguf", { id: "a/b-GGUF", file: "b.Q4_K_M.gguf" }],
    ["a/b@main/quants/My Model.GGUF", { id: "a/b", revision: "main", file: "quants/My Model.GGUF" }],
  ])("%s", (text, parsed) => expect(parseModelId(text)).toEqual({ revision: undefined, file: undefined, ...parsed }));

  it.each([
    "",
    "gpt2",
    "a/b/c",
    "a/b/c.safetensors",
    "/a/b",
    "./a/b",
    "../b",
    "a/..",
    "a/.b",
    "a/b.",
    "a/-b",
    "a/b--c",
    "a/b..c",
    "a\\b/c",
    "a/b@",
    "a/b@../x",
    "a/b@..%2F..%2Fx",
    "a/b@-x",
    "a/b/../x.gguf",
    "a/b//x.gguf",
    "a/b/..\\x.gguf",
    "a/b/C:x.gguf",
    "a/b/x\u0000.gguf",
    "https://huggingface.co/a/b",
  ])("is not %j", (text) => expect(parseModelId(text)).toBeUndefined());
});

describe("withRevision", () => {
  const id = parseModelId("a/b")!;
  it("adds a branch, tag or commit, and lets a commit pin a branch", () => {
    expect(withRevision(id, undefined)).toEqual(id);
    expect(withRevision(id, "refs/pr/1").revision).toBe("refs/pr/1");
    expect(withRevision({ ...id, revision: "main" }, commit).revision).toBe(commit);
  });
  it("refuses two, and what is none", () => {
    expect(() => withRevision({ ...id, revision: "v1" }, "v2")).toThrow("a/b is asked for at v1 and at v2; name one revision.");
    for (const text of ["", "../x", "a//b", "a b", ".x"]) expect(() => withRevision(id, text)).toThrow("is no revision");
  });
});
