import type { StatisticName } from "../src/analysis/table.ts";
import { statisticTexts } from "../src/figures/statistics.ts";
import { moduleLabel } from "../src/figures/theme.ts";
import { ALL, type Choice, conditionsOf, datasetsOf, firstConditions, modulesOf, subjectsOf } from "../src/report/choice.ts";
import type { ReportData } from "../src/report/report-data.ts";

/** The form that says what the figures show. */
export class Choices {
  readonly #data: ReportData;
  readonly #subject: HTMLSelectElement;
  readonly #dataset: HTMLSelectElement;
  readonly #statistic: HTMLSelectElement;
  readonly #module: HTMLSelectElement;
  readonly #paper: HTMLInputElement;
  readonly #conditions: HTMLElement;

  /** Fills the form with what there is to choose, and calls `changed` whenever the reader has chosen. */
  constructor(data: ReportData, form: HTMLElement, changed: () => void) {
    const field = <T extends HTMLElement>(id: string): T => form.querySelector<T>(`#${id}`)!;
    this.#data = data;
    this.#subject = field("subject");
    this.#dataset = field("dataset");
    this.#statistic = field("statistic");
    this.#module = field("module");
    this.#paper = field("paper-style");
    this.#conditions = field("conditions");
    offer(
      this.#subject,
      subjectsOf(data).map((name) => [name, name]),
    );
    offer(
      this.#statistic,
      data.statistics.map((name) => [name, statisticTexts[name].name]),
    );
    this.#offerForSubject();
    this.#subject.addEventListener("change", () => this.#offerForSubject());
    this.#dataset.addEventListener("change", () => this.#offerConditions());
    form.addEventListener("change", changed);
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  get choice(): Choice {
    return {
      subject: this.#subject.value,
      dataset: this.#dataset.value,
      conditions: this.#boxes.filter(({ checked }) => checked).map(({ value }) => value),
      statistic: this.#statistic.value as StatisticName,
      module: this.#module.value,
      paperStyle: this.#paper.checked,
    };
  }

  get #boxes(): HTMLInputElement[] {
    return Array.from(this.#conditions.querySelectorAll("input"));
  }

  #offerForSubject(): void {
    const subject = this.#subject.value;
    const datasets = datasetsOf(this.#data, subject);
    const severalTasks = new Set(datasets.map((name) => name.split("/")[0])).size > 1;
    const label = (name: string): string => {
      const [task, ...dataset] = name.split("/");
      return `${dataset.join("/")}${severalTasks ? ` (${task})` : ""}`;
    };
    const named = datasets.map((name) => [name, label(name)] as const);
    offer(this.#dataset, datasets.length > 1 ? [...named, [ALL, "all together, a dot a row"]] : named);
    offer(this.#module, [[ALL, "all"], ...modulesOf(this.#data, subject).map((name) => [name, moduleLabel(name)] as const)]);
    this.#offerConditions();
  }

  /** A box a condition; one that was there before stays as it was. */
  #offerConditions(): void {
    const { subject, dataset } = this.choice;
    const before = new Map(this.#boxes.map(({ value, checked }) => [value, checked]));
    const first = firstConditions(this.#data, subject, dataset);
    this.#conditions.replaceChildren(
      ...conditionsOf(this.#data, subject, dataset).map((name) => {
        const checked = before.get(name) ?? first.includes(name);
        const box = Object.assign(document.createElement("input"), { type: "checkbox", value: name, checked });
        const label = document.createElement("label");
        label.append(box, name);
        return label;
      }),
    );
  }
}

/** Replaces a select's options, `[value, text]`; what was chosen stays chosen where it is still there. */
function offer(select: HTMLSelectElement, options: readonly (readonly [string, string])[]): void {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => value === before)) select.value = before;
}
