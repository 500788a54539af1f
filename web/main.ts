import type { ReportData } from "../src/report/report-data.ts";
import { startForest } from "./forest.ts";
import { startGallery } from "./gallery.ts";
import { makeSortable } from "./sortable.ts";
import { watchPrinting, watchTheme } from "./theme.ts";
import { watchPointer } from "./tip.ts";

const element = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

const data = JSON.parse(element("report-data").textContent) as ReportData;

for (const needing of document.querySelectorAll<HTMLElement>("[data-needs-script]")) needing.hidden = false;
for (const table of document.querySelectorAll<HTMLTableElement>("table.sortable")) makeSortable(table);
watchPointer(element("tip"));

// The theme first: figures are drawn in its colours.
const redraws: (() => void)[] = [];
const redraw = (): void => redraws.forEach((each) => each());
watchTheme(element<HTMLButtonElement>("theme"), redraw);
redraws.push(startGallery(data, element("choices"), element("gallery")));
const forest = document.getElementById("forest");
if (forest) redraws.push(startForest(data, element<HTMLSelectElement>("forest-subject"), forest));

element("print").addEventListener("click", () => print());
watchPrinting(redraw);
