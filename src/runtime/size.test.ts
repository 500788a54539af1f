import { expect, it } from "vitest";
import { parseSize } from "./size.ts";

it.each([
  ["6GB", 6e9],
  ["6 gb", 6e9],
  ["1.5GB", 1.5e9],
  ["800 MB", 8e8],
  ["64kB", 64_000],
  ["2TB", 2e12],
  ["12b", 12],
  [" 1000 ", 1000],
  ["0", null],
  ["0.0001kb", null],
  ["6G", null],
  ["GB", null],
  ["-6GB", null],
  ["6GiB", null],
  ["1e9", null],
  ["", null],
])("%j is %j bytes", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});
