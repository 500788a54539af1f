import { forestData, forestFigure } from "../src/figures/forest-figure.ts";
import { forestSubjects } from "../src/report/choice.ts";
import type { ReportData } from "../src/report/report-data.ts";
import { drawInto, watchWidth } from "./draw.ts";

/** The effects of every claim for the chosen model; gives what draws them anew. */
export function startForest({ findings }: ReportData, select: HTMLSelectElement, place: HTMLElement): () => void {
  const subjects = findings.flatMap((study) => forestSubjects(study).map((subject) => ({ study, subject })));
  select.append(
    ...subjects.map(({ study, subject }, i) => new Option(findings.length > 1 ? `${study.study}: ${subject}` : subject, String(i))),
  );
  const plot = document.createElement("div");
  plot.className = "plot";
  place.append(plot);
  const draw = (): void => {
    const { study, subject } = subjects[Number(select.value)]!;
    drawInto(plot, (options) => forestFigure(forestData(study, subject), options));
  };
  select.addEventListener("change", draw);
  watchWidth(place, draw);
  draw();
  return draw;
}
