import { describe, expect, it } from "vitest";
import { createChatTemplate, findChatTemplate, promptText, SYSTEM_PROMPT } from "./prompt.ts";

const render = (jinja: string, user = "Hi", config: object = {}, modelType = "llama") =>
  createChatTemplate({ tokenizerConfig: config, jinja, modelType, date: "2025-01-09" }).render(user);

describe("promptText", () => {
  it("is the user's text and a newline in base mode", () => {
    expect(promptText({ instruction: "a", input: "", output: "x" }, "base", undefined)).toBe("a\n");
    expect(promptText({ instruction: "a", input: "b", output: "x" }, "base", undefined)).toBe("a\nb\n");
  });
});

describe("findChatTemplate", () => {
  it("prefers chat_template.jinja, also an empty one", () => {
    expect(findChatTemplate({ chat_template: "config" }, "jinja")).toBe("jinja");
    expect(findChatTemplate({ chat_template: "config" }, "")).toBe("");
    expect(findChatTemplate({ chat_template: "config" })).toBe("config");
  });
  it("takes the template named default from a list or an object", () => {
    const list = [
      { name: "tool_use", template: "t" },
      { name: "default", template: "d" },
    ];
    expect(findChatTemplate({ chat_template: list })).toBe("d");
    expect(findChatTemplate({ chat_template: { default: "d", rag: "r" } })).toBe("d");
  });
  it("names what there is where there is no default", () => {
    expect(() => findChatTemplate({ chat_template: [{ name: "rag", template: "r" }] })).toThrow('found "rag"');
    expect(() => findChatTemplate({ chat_template: 3 })).toThrow("found none");
  });
  it("is undefined for a model without one", () => {
    expect(findChatTemplate({})).toBeUndefined();
    expect(findChatTemplate(undefined)).toBeUndefined();
    expect(() => createChatTemplate({ tokenizerConfig: {}, modelType: "olmo2", date: "2025-01-09" })).toThrow(
      "the model has no chat template",
    );
  });
});

describe("createChatTemplate", () => {
  const roles = "{% for m in messages %}{{ m.role }}:{{ m['content'] }};{% endfor %}{% if add_generation_prompt %}go{% endif %}";
  it("gives a system and a user turn and asks for the answer", () => expect(render(roles)).toBe(`system:${SYSTEM_PROMPT};user:Hi;go`));
  it.each(["gemma", "gemma2", "gemma3_text"])("gives %s no system turn", (type) =>
    expect(render(roles, "Hi", {}, type)).toBe("user:Hi;go"),
  );

  it("knows the special tokens as texts or objects, and leaves missing ones undefined", () => {
    const config = {
      bos_token: { content: "<s>" },
      eos_token: "</s>",
      pad_token: null,
      additional_special_tokens: ["<a>", { content: "<b>" }],
      extra_special_tokens: { image_token: "<i>" },
    };
    expect(render("{{ bos_token }}{{ eos_token }}{{ additional_special_tokens | join(',') }}{{ image_token }}", "", config)).toBe(
      "<s></s><a>,<b><i>",
    );
    expect(render("{{ pad_token }}{{ 'yes' if pad_token is defined else 'no' }}", "", config)).toBe("no");
  });
  it("passes no tools and no documents, as defined and none", () =>
    expect(render("{{ tools is defined and tools is none and documents is none }}")).toBe("true"));

  it("trims blocks and the space before them", () => expect(render("a\n  {% if true %}\nb\n  {% endif %}\nc")).toBe("a\nb\nc"));
  it("reads CR LF in a template as a line end", () => expect(render("a\r\n{% if true %}\r\nb\r\n{% endif %}\r\n")).toBe("a\nb\n"));
  it("leaves the user's own braces and line ends alone", () =>
    expect(render("{{ messages[-1].content }}", "{{ x }}{% y %}\r\n")).toBe("{{ x }}{% y %}\r\n"));
  it("skips the generation tag", () => expect(render("a{% generation %}b{% endgeneration %}c")).toBe("abc"));
  it("writes JSON as Python does", () => expect(render("{{ {'a': [1, 'é']} | tojson }}")).toBe('{"a": [1, "é"]}'));

  it.each([
    ["{{ x | trim }}", "\ufeff\u0085 a \x1c\u3000", "\ufeff\u0085 a"],
    ["{{ messages[-1].content | trim }}|", "\u0085\x1f a \ufeff \n", "a \ufeff|"],
    ["{{ messages[-1].content.strip() }}|", " \x1ca ", "a|"],
    ["{{ messages[-1].content.lstrip('\\n') }}|", "\n\n a \n", " a \n|"],
    ["{{ messages[-1].content.rstrip('x👍') }}|", "a👍x👍", "a|"],
    ["{{ messages[-1].content.strip('\\n').strip() }}|", "\n a \n", "a|"],
    ["{{ missing | trim }}|", "", "|"],
  ])("strips as Python does: %s", (template, user, expected) => {
    expect(render(template.replace("x |", `"${"\\n"}${"a"}" |`), user)).toBe(template.startsWith("{{ x") ? "a" : expected);
  });

  it("gives the run's date for the clock, and tells that it was asked", () => {
    const jinja = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}";
    const template = createChatTemplate({ tokenizerConfig: {}, jinja, modelType: "llama", date: "2025-01-09" });
    expect(template.usesClock).toBe(true);
    expect(template.render("")).toBe("09 Jan 2025");
    expect(
      createChatTemplate({
        tokenizerConfig: {},
        jinja: "{{ strftime_now is defined }} strftime_now()",
        modelType: "llama",
        date: "2025-01-09",
      }).usesClock,
    ).toBe(false);
  });
  it("refuses a date that is none", () => {
    expect(() => createChatTemplate({ tokenizerConfig: {}, jinja: "", modelType: "llama", date: "2025-02-30" })).toThrow("existing day");
  });

  it.each([
    ["{{ raise_exception('no system role') }}", "failed: no system role"],
    ["{{ messages.nothing() }}", "failed: Cannot call something that is not a function"],
    ["{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "failed"],
    ["{% for a in range(1000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "more than 100000 rounds"],
    ["{% for a in range(10000000) %}{% endfor %}", "range of 10000000"],
    ["{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}", "rounds"],
    ["{{ strftime_now('%Q') }}", "directive %Q is not known"],
  ])("turns a template's failure into an error of the model: %s", (template, message) => {
    expect(() => render(template)).toThrow(expect.objectContaining({ kind: "model", message: expect.stringContaining(message) }));
  });
  it("refuses a template that cannot be parsed", () => {
    expect(() => render("{% if %}")).toThrow(
      expect.objectContaining({ kind: "model", message: expect.stringContaining("cannot be read") }),
    );
  });
  it("renders the same prompt each time", () => {
    const template = createChatTemplate({
      tokenizerConfig: {},
      jinja: "{% set x = messages[-1].content %}{{ x }}",
      modelType: "llama",
      date: "2025-01-09",
    });
    expect([template.render("a"), template.render("b"), template.render("a")]).toEqual(["a", "b", "a"]);
  });
});
