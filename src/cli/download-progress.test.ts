import { describe, expect, it } from "vitest";
import { DownloadProgress } from "./download-progress.ts";

/** A stream that keeps what is written, and a clock that stands until it is set. */
function watched(isTTY: boolean) {
  const written: string[] = [];
  const clock = { ms: 0 };
  const stream = { isTTY, columns: 80, write: (text: string) => void written.push(text) };
  const progress = new DownloadProgress({ stream, now: () => clock.ms });
  const show = (ms: number, bytes: number): void => {
    clock.ms = ms;
    progress.show({ name: "o/n", bytes, total: 2e9 });
  };
  return { written, show, progress };
}

describe("DownloadProgress", () => {
  it("draws one line on a terminal, at most five times a second, and takes it away at the end", () => {
    const { written, show } = watched(true);
    show(0, 1e9);
    show(100, 1.01e9);
    show(1000, 1.1e9);
    expect(written).toEqual([
      "\rdownloading o/n: 1.0 GB of 2.0 GB (50 %)\x1b[K",
      "\rdownloading o/n: 1.1 GB of 2.0 GB (55 %), 100.0 MB/s, 9 s left\x1b[K",
    ]);
    show(10_000, 2e9);
    expect(written.at(-1)).toBe("\r\x1b[K");
  });
  it("counts in its pace only what came in this call", () => {
    const { written, show } = watched(true);
    show(0, 1.9e9);
    show(1000, 1.95e9);
    expect(written.at(-1)).toContain("50.0 MB/s, 1 s left");
  });
  it("elsewhere prints a line every 15 s, none for a download of a moment", () => {
    const { written, show } = watched(false);
    show(0, 0);
    show(14_000, 7e8);
    show(15_000, 7.5e8);
    show(16_000, 8e8);
    show(29_000, 2e9);
    expect(written).toEqual(["downloading o/n: 750.0 MB of 2.0 GB (37 %), 50.0 MB/s, 25 s left\n"]);
  });
  it("leaves no line behind where it is ended", () => {
    const { written, show, progress } = watched(true);
    show(0, 0);
    progress.finish();
    progress.finish();
    expect(written).toEqual(["\rdownloading o/n: 0 kB of 2.0 GB (0 %)\x1b[K", "\r\x1b[K"]);
  });
});
