import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { initWasm, Resvg } from "@resvg/resvg-wasm";

const fonts = ["Inter-Regular.ttf", "Inter-SemiBold.ttf"];

let started: Promise<readonly Uint8Array[]> | undefined;

/** resvg and the fonts it draws with, once a process. */
function start(): Promise<readonly Uint8Array[]> {
  started ??= initWasm(readFileSync(createRequire(import.meta.url).resolve("@resvg/resvg-wasm/index_bg.wasm"))).then(() =>
    fonts.map((name) => readFileSync(fileURLToPath(new URL(`../../assets/fonts/${name}`, import.meta.url)))),
  );
  return started;
}

/**
 * A figure as a PNG image. Text is drawn with the bundled fonts and no others, so that it comes out the same on every machine.
 *
 * @param svg - As `svgMarkup` writes it.
 * @param options - `scale`: pixels a px of the figure, default 2.
 */
export async function svgToPng(svg: string, { scale = 2 }: { readonly scale?: number } = {}): Promise<Uint8Array> {
  const fontBuffers = [...(await start())];
  const image = new Resvg(svg, {
    fitTo: { mode: "zoom", value: scale },
    font: { fontBuffers, loadSystemFonts: false, defaultFontFamily: "Inter", sansSerifFamily: "Inter" },
  } as ConstructorParameters<typeof Resvg>[1]);
  const rendered = image.render();
  const png = rendered.asPng();
  rendered.free();
  image.free();
  return png;
}
