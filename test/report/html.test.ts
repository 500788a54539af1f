import { describe, expect, it } from "vitest";
import { html, jsonForScript } from "../../src/report/html.ts";

describe("html", () => {
  it("escapes what is put in, but for markup of its own", () => {
    const inner = html`<b>${"<&>\"'"}</b>`;
    expect(html`<p title="${'"'}">${inner}${null}${["a", html`<i></i>`, 2]}</p>`.text).toBe(
      '<p title="&quot;"><b>&lt;&amp;&gt;&quot;&#39;</b>a<i></i>2</p>',
    );
  });
});

describe("jsonForScript", () => {
  it("holds no end of a script element, and parses to the same", () => {
    const value = { text: "</script><!-- é \u2028" };
    const { text } = jsonForScript(value);
    expect(text).not.toContain("<");
    expect(JSON.parse(text)).toEqual(value);
  });
});
