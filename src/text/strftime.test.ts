import { describe, expect, it } from "vitest";
import { strftime } from "./strftime.ts";

describe("strftime", () => {
  // From Python 3.11: datetime.datetime(y, m, d).strftime(format), C locale.
  it.each([
    ["%d %b %Y", "2025-01-09", "09 Jan 2025"],
    ["%Y-%m-%d %H:%M:%S.%f %p %I", "2025-01-09", "2025-01-09 00:00:00.000000 AM 12"],
    ["%A, %B %-d, %y (%a) day %j / %-j", "2024-02-29", "Thursday, February 29, 24 (Thu) day 060 / 60"],
    ["%e|%u|%w|%U|%W", "2023-01-01", " 1|7|0|01|00"],
    ["%e|%u|%w|%U|%W", "2024-12-31", "31|2|2|52|53"],
    ["%D %F %T %R %h %x %X 100%%", "2025-11-30", "11/30/25 2025-11-30 00:00:00 00:00 Nov 11/30/25 00:00:00 100%"],
    ["%c%Z%z", "2025-03-05", "Wed Mar  5 00:00:00 2025"],
  ])("writes %j of %s as Python does", (format, date, expected) => expect(strftime(format, date)).toBe(expected));

  it.each(["2025-02-30", "2025-1-1", "today", "2025-01-01T00:00:00Z", ""])("refuses %j as a date", (date) => {
    expect(() => strftime("%Y", date)).toThrow(expect.objectContaining({ kind: "usage", message: expect.stringContaining("YYYY-MM-DD") }));
  });
  it("refuses a directive that it does not know", () => {
    expect(() => strftime("%Y %Q", "2025-01-01")).toThrow(
      expect.objectContaining({ kind: "model", message: expect.stringContaining("%Q") }),
    );
  });
});
