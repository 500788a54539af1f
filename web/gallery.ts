import { svgMarkup } from "../src/figures/markup.ts";
import type { Choice } from "../src/report/choice.ts";
import { commandsFor, figuresOf, type ReportFigure } from "../src/report/figures.ts";
import { slug } from "../src/report/format.ts";
import type { ReportData } from "../src/report/report-data.ts";
import { csv } from "../src/report/table.ts";
import { tableHtml } from "../src/report/table-html.ts";
import { Choices } from "./choices.ts";
import { download, drawInto, watchWidth } from "./draw.ts";
import { makeSortable } from "./sortable.ts";
import { isPrinting } from "./theme.ts";

/** Rows of a figure's numbers that the page shows; the file has all. */
const SHOWN_ROWS = 400;

/** The figures and what chooses them; gives what draws them anew. */
export function startGallery(data: ReportData, form: HTMLElement, gallery: HTMLElement): () => void {
  const figures = new Figures(data, gallery);
  const choices = new Choices(data, form, () => figures.show(choices.choice));
  watchWidth(gallery, () => figures.draw());
  figures.show(choices.choice);
  return () => figures.draw();
}

/** The figures of the choice, each in a place of its own that stays while choices change. */
class Figures {
  readonly #data: ReportData;
  readonly #gallery: HTMLElement;
  #places: { readonly figure: ReportFigure; readonly plot: HTMLElement }[] = [];
  /** Of the drawing under way; a later one ends it. */
  #drawing = 0;

  constructor(data: ReportData, gallery: HTMLElement) {
    this.#data = data;
    this.#gallery = gallery;
  }

  show(choice: Choice): void {
    const old = new Map(Array.from(this.#gallery.children, (child) => [(child as HTMLElement).dataset.kind, child as HTMLElement]));
    this.#places = figuresOf(this.#data, choice).map((figure) => {
      const place = old.get(figure.kind) ?? newPlace(figure);
      fill(place, figure, choice, this.#data);
      return { figure, plot: place.querySelector<HTMLElement>(".plot")! };
    });
    const places = this.#places.map(({ plot }) => plot.closest<HTMLElement>(".figure")!);
    if (places.length === 0) {
      const note = document.createElement("p");
      note.className = "empty";
      note.textContent = "Choose at least one condition.";
      this.#gallery.replaceChildren(note);
    } else if (places.length !== this.#gallery.children.length || places.some((place, i) => place !== this.#gallery.children[i]))
      this.#gallery.replaceChildren(...places);
    this.draw();
  }

  /** Draws one figure after another, so that the page answers in between; on paper all at once. `data-drawn` says that all are. */
  draw(): void {
    const drawing = ++this.#drawing;
    delete this.#gallery.dataset.drawn;
    const next = (i: number): void => {
      if (drawing !== this.#drawing) return;
      const place = this.#places[i];
      if (place === undefined) {
        this.#gallery.dataset.drawn = "";
        return;
      }
      drawInto(place.plot, place.figure.draw);
      if (isPrinting()) next(i + 1);
      else setTimeout(() => next(i + 1));
    };
    next(0);
  }
}

function newPlace({ kind }: ReportFigure): HTMLElement {
  const place = document.createElement("figure");
  place.className = "figure";
  place.dataset.kind = kind;
  place.innerHTML = `<figcaption><h3 id="figure-${kind}"></h3><p class="about"></p></figcaption>
<div class="plot"></div>
<div class="figure-tools">
  <button type="button" data-get="svg">SVG</button>
  <button type="button" data-get="csv">CSV</button>
  <button type="button" data-opens="numbers" aria-expanded="false" aria-controls="numbers-${kind}">Numbers</button>
  <button type="button" data-opens="command" aria-expanded="false" aria-controls="command-${kind}">Command</button>
</div>
<div id="numbers-${kind}" data-part="numbers" hidden></div>
<div id="command-${kind}" data-part="command" hidden><p class="note">The report with this figure among its files; below it, where runs are compared, the comparisons whole:</p><pre tabindex="0"><code></code></pre></div>`;
  for (const button of place.querySelectorAll<HTMLButtonElement>("[data-opens]"))
    button.addEventListener("click", () => {
      const part = place.querySelector<HTMLElement>(`[data-part="${button.dataset.opens}"]`)!;
      part.hidden = !part.hidden;
      button.setAttribute("aria-expanded", String(!part.hidden));
      part.dispatchEvent(new Event("toggle"));
    });
  place.setAttribute("aria-labelledby", `figure-${kind}`);
  return place;
}

function fill(place: HTMLElement, figure: ReportFigure, choice: Choice, data: ReportData): void {
  place.querySelector("h3")!.textContent = figure.question;
  place.querySelector(".about")!.textContent = figure.about;
  place.querySelector("code")!.textContent = commandsFor(data, choice, figure.compared).join("\n");
  const name = [choice.subject, choice.dataset, figure.kind, choice.statistic].map(slug).join("--");
  const button = (kind: string): HTMLButtonElement => place.querySelector(`[data-get="${kind}"]`)!;
  button("svg").onclick = () => {
    const svg = figure.draw({ document, width: 960, theme: "light" });
    download(`${name}.svg`, "image/svg+xml", svgMarkup(svg));
  };
  button("csv").onclick = () => download(`${name}.csv`, "text/csv", csv(figure.numbers()));
  const numbers = place.querySelector<HTMLElement>('[data-part="numbers"]')!;
  const fillNumbers = (): void => {
    if (!numbers.hidden) showNumbers(numbers, figure);
  };
  numbers.ontoggle = fillNumbers;
  fillNumbers();
}

function showNumbers(place: HTMLElement, figure: ReportFigure): void {
  const { columns, rows } = figure.numbers();
  place.innerHTML = tableHtml({ title: figure.question, columns, rows: rows.slice(0, SHOWN_ROWS) }).text;
  if (rows.length > SHOWN_ROWS) {
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = `The first ${SHOWN_ROWS} of ${rows.length.toLocaleString("en-GB")} rows; CSV has all.`;
    place.append(note);
  }
  makeSortable(place.querySelector("table")!);
}
