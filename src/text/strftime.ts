import { LayergradError } from "../errors.ts";

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = "January February March April May June July August September October November December".split(" ");

/** A day as milliseconds since 1970 in UTC. @throws {LayergradError} `usage` for anything but an existing day written YYYY-MM-DD. */
export function parseDay(date: string): number {
  const time = /^\d{4}-\d\d-\d\d$/.test(date) ? Date.parse(`${date}T00:00:00Z`) : Number.NaN;
  // Date.parse takes 2025-02-30 for a day in March.
  if (Number.isNaN(time) || new Date(time).toISOString().slice(0, 10) !== date)
    throw new LayergradError("usage", `the date must be an existing day written YYYY-MM-DD, found ${JSON.stringify(date)}.`);
  return time;
}

/**
 * Python's `strftime` in the C locale, at midnight of a given day: chat templates write the date of today into a prompt,
 * which here is the run's own date, so that a resumed run writes the same text.
 *
 * @param date - `YYYY-MM-DD`.
 * @throws {LayergradError} `usage` for a date that is none, `model` for a directive that is not known.
 */
export function strftime(format: string, date: string): string {
  const day = new Date(parseDay(date));
  const [year, month, dayOfMonth, weekday] = [day.getUTCFullYear(), day.getUTCMonth(), day.getUTCDate(), day.getUTCDay()];
  const dayOfYear = (day.getTime() - Date.UTC(year, 0, 1)) / 86_400_000;
  const two = (n: number) => String(n).padStart(2, "0");
  const fields: Readonly<Record<string, string>> = {
    "%": "%",
    a: DAYS[weekday]!.slice(0, 3),
    A: DAYS[weekday]!,
    b: MONTHS[month]!.slice(0, 3),
    B: MONTHS[month]!,
    d: two(dayOfMonth),
    e: String(dayOfMonth).padStart(2),
    f: "000000",
    H: "00",
    I: "12",
    j: String(dayOfYear + 1).padStart(3, "0"),
    m: two(month + 1),
    M: "00",
    n: "\n",
    p: "AM",
    S: "00",
    t: "\t",
    u: String(weekday || 7),
    U: two(Math.floor((dayOfYear + 7 - weekday) / 7)),
    w: String(weekday),
    W: two(Math.floor((dayOfYear + 7 - ((weekday + 6) % 7)) / 7)),
    y: two(year % 100),
    Y: String(year).padStart(4, "0"),
    // A naive Python time has no zone: both are empty.
    z: "",
    Z: "",
    D: `${two(month + 1)}/${two(dayOfMonth)}/${two(year % 100)}`,
    F: date,
    R: "00:00",
    T: "00:00:00",
    c: `${DAYS[weekday]!.slice(0, 3)} ${MONTHS[month]!.slice(0, 3)} ${String(dayOfMonth).padStart(2)} 00:00:00 ${year}`,
    h: MONTHS[month]!.slice(0, 3),
    x: `${two(month + 1)}/${two(dayOfMonth)}/${two(year % 100)}`,
    X: "00:00:00",
  };
  return format.replace(/%(-?)([\s\S]?)/g, (directive, bare: string, letter: string) => {
    const field = Object.hasOwn(fields, letter) ? fields[letter]! : undefined;
    if (field === undefined)
      throw new LayergradError(
        "model",
        `the chat template asks for the date as ${JSON.stringify(format)}; its directive ${directive} is not known.`,
      );
    return bare ? field.replace(/^[0 ]+(?=\d)/, "") : field;
  });
}

/** The day of a moment as a clock on the wall shows it, `YYYY-MM-DD`: local, as Python's `datetime.now()` in a template is. */
export function localDay(now: Date): string {
  return [now.getFullYear(), now.getMonth() + 1, now.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
}
