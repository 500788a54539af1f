import { parseHTML } from "linkedom";
import type { StatisticName } from "../analysis/table.ts";
import { forestData, forestFigure } from "../figures/forest-figure.ts";
import { svgMarkup } from "../figures/markup.ts";
import { ALL, type Choice, datasetsOf, firstConditions, forestSubjects, subjectsOf } from "./choice.ts";
import { figuresOf, type ReportFigure } from "./figures.ts";
import { slug } from "./format.ts";
import { svgToPng } from "./png.ts";
import type { ReportData } from "./report-data.ts";
import { csv } from "./table.ts";

/** How figures become files. */
export interface WriteFiguresOptions {
  readonly statistic: StatisticName;
  readonly paperStyle: boolean;
  readonly png: boolean;
  /** Writes a file of the report. */
  readonly write: (path: string, content: string | Uint8Array) => void;
  readonly progress: (done: number, total: number) => void;
}

/** A figure and the name of its files, without ending. */
interface NamedFigure {
  readonly name: string;
  readonly title: string;
  readonly figure: Pick<ReportFigure, "draw"> & Partial<Pick<ReportFigure, "numbers">>;
}

/**
 * Writes every figure as SVG and PNG with its numbers as CSV: of each model and data set what the page shows first.
 *
 * @returns The SVG files, relative to the report, and what they show.
 */
export async function writeFigures(
  data: ReportData,
  { png, write, progress, ...choice }: WriteFiguresOptions,
): Promise<{ readonly path: string; readonly title: string }[]> {
  const { document } = parseHTML("<!doctype html><html><body></body></html>");
  const figures = [...forests(data), ...namedFigures(data, choice)];
  const images: { path: string; title: string }[] = [];
  for (const [i, { name, title, figure }] of figures.entries()) {
    const svg = svgMarkup(figure.draw({ document }));
    write(`figures/${name}.svg`, svg);
    if (figure.numbers) write(`figures/${name}.csv`, csv(figure.numbers()));
    if (png) write(`figures/${name}.png`, await svgToPng(svg));
    images.push({ path: `figures/${name}.svg`, title });
    progress(i + 1, figures.length);
  }
  return images;
}

/** The effects of every claim, of each study's models. */
const forests = ({ findings }: ReportData): NamedFigure[] =>
  findings.flatMap((study) =>
    forestSubjects(study).map((subject) => ({
      name: [...(findings.length > 1 ? [study.study] : []), subject, "effects"].map(slug).join("--"),
      title: `Effects, as published and under controls: ${subject}`,
      figure: { draw: (options) => forestFigure(forestData(study, subject), options) },
    })),
  );

function namedFigures(data: ReportData, drawn: Pick<Choice, "statistic" | "paperStyle">): NamedFigure[] {
  const trajectories = new Set<string>();
  return subjectsOf(data).flatMap((subject) => {
    const datasets = datasetsOf(data, subject);
    return [...datasets, ...(datasets.length > 1 ? [ALL] : [])].flatMap((dataset) => {
      const choice: Choice = { ...drawn, subject, dataset, module: ALL, conditions: firstConditions(data, subject, dataset) };
      return figuresOf(data, choice).flatMap((figure) => {
        const named = {
          name: [subject, dataset, figure.kind].map(slug).join("--"),
          title: `${figure.question} ${subject}, ${dataset === ALL ? "all data sets" : dataset}`,
          figure,
        };
        // One of all checkpoints is every checkpoint's.
        if (figure.kind !== "trajectory") return [named];
        const numbers = csv(figure.numbers());
        const known = trajectories.has(numbers);
        trajectories.add(numbers);
        return known ? [] : [named];
      });
    });
  });
}
