import { expect, it } from "vitest";
import { userText } from "./row.ts";

it("a row's text for the user is its instruction, a newline and its input where there is one", () => {
  expect(userText({ instruction: "a", input: "b", output: "" })).toBe("a\nb");
  expect(userText({ instruction: "a", input: "", output: "" })).toBe("a");
});
