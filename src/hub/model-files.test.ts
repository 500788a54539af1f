import { describe, expect, it } from "vitest";
import { indexFile as INDEX } from "../io/checkpoint.ts";
import { chooseAdapterFiles, chooseGgufFile, chooseModelFiles, missingModelFiles } from "./model-files.ts";

const texts = ["config.json", "tokenizer.json"];
const choose = (...files: string[]) => chooseModelFiles("o/n", new Set(files));

describe("chooseModelFiles", () => {
  it("takes what a model is opened with, and nothing else", () => {
    expect(
      choose(
        ...texts,
        "model.safetensors",
        "tokenizer_config.json",
        "chat_template.jinja",
        "README.md",
        "pytorch_model.bin",
        "generation_config.json",
        "model.gguf",
        "consolidated.00.pth",
      ),
    ).toEqual({ texts: [...texts, "tokenizer_config.json", "chat_template.jinja"], weights: ["model.safetensors"] });
  });
  it("prefers the whole file to an index beside it, as opening does", () => {
    expect(choose(...texts, INDEX, "model.safetensors").weights).toEqual(["model.safetensors"]);
    expect(choose(...texts, INDEX).weights).toBe(INDEX);
  });
  it.each([
    [
      ["pytorch_model.bin"],
      "has its weights only as pytorch_model.bin, a pickle that can run code and is not read; see whether a pull request",
    ],
    [["tf_model.h5"], "has neither model.safetensors nor model.safetensors.index.json"],
    [["b.gguf", "a.gguf"], "holds GGUF files; name one of them, such as o/n/a.gguf, o/n/b.gguf."],
  ])("says what to do about %j", (files, message) => expect(() => choose(...texts, ...files)).toThrow(`o/n ${message}`));
  it("says what to do where config or tokenizer are missing", () => {
    expect(() => choose("model.safetensors", "tokenizer.json")).toThrow("o/n has no config.json");
    expect(() => choose("adapter_config.json", "adapter_model.safetensors")).toThrow(
      "o/n is an adapter; give the model that it was trained on with --model, and this with --adapter.",
    );
    expect(() => choose("config.json", "model.safetensors", "tokenizer.model")).toThrow(
      "o/n has no tokenizer.json, only a SentencePiece tokenizer.model, which is not read; look for a copy",
    );
  });
});

describe("chooseAdapterFiles", () => {
  it("takes PEFT's two files", () =>
    expect(chooseAdapterFiles("o/a", new Set(["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]))).toEqual({
      texts: ["adapter_config.json"],
      weights: ["adapter_model.safetensors"],
    }));
  it("says what to do about a pickle, and about what is no adapter", () => {
    expect(() => chooseAdapterFiles("o/a", new Set(["adapter_config.json", "adapter_model.bin"]))).toThrow(
      "o/a has no adapter_model.safetensors; adapter_model.bin is a pickle that can run code and is not read",
    );
    expect(() => chooseAdapterFiles("o/a", new Set(["config.json"]))).toThrow(
      "o/a has no adapter_config.json; --adapter takes a LoRA adapter",
    );
  });
});

describe("chooseGgufFile", () => {
  const files = new Set(["q/a.gguf", "q/b-00001-of-00002.gguf", "q/b-00002-of-00002.gguf"]);
  it("takes the one file", () => expect(chooseGgufFile("o/n", files, "q/a.gguf")).toEqual({ texts: [], weights: ["q/a.gguf"] }));
  it("takes the tokenizer's files in its folder, which opening prefers to its own", () => {
    const more = ["q/tokenizer.json", "q/chat_template.jinja", "q/config.json", "tokenizer_config.json"];
    expect(chooseGgufFile("o/n", new Set([...files, ...more]), "q/a.gguf").texts).toEqual(["q/tokenizer.json", "q/chat_template.jinja"]);
  });
  it("names those that there are, and refuses a part of one", () => {
    expect(() => chooseGgufFile("o/n", files, "q/c.gguf")).toThrow("o/n has no q/c.gguf; there is q/a.gguf, q/b-00001-of-00002.gguf");
    expect(() => chooseGgufFile("o/n", files, "q/b-00001-of-00002.gguf")).toThrow("is one part of a divided GGUF file");
  });
});

describe("missingModelFiles", () => {
  const missing = (here: readonly string[], shards: readonly string[] = []) =>
    missingModelFiles(
      (file) => here.includes(file),
      () => shards,
    );
  it("names what a snapshot lacks", () => {
    expect(missing([])).toEqual({ texts, weights: ["model.safetensors"] });
    expect(missing(texts)).toEqual({ texts: [], weights: ["model.safetensors"] });
    expect(missing([...texts, "model.safetensors", INDEX])).toEqual({ texts: [], weights: [] });
    expect(missing([...texts, INDEX, "1.safetensors"], ["1.safetensors", "2.safetensors"])).toEqual({
      texts: [],
      weights: ["2.safetensors"],
    });
  });
});
