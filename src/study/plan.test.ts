import { describe, expect, it } from "vitest";
import { indexOf, planStudy } from "./plan.ts";
import { parseStudy } from "./spec.ts";

const models = `models:
  - { name: base, path: demo/base, kind: base, family: mini, step: 7 }
  - { name: tuned, path: demo/instruct, kind: instruct, family: mini, modes: [base, instruct] }`;
const plan = (text: string) => planStudy(parseStudy(text, "/studies/study.yaml"));

describe("the runs of a study", () => {
  const text = `out: runs\n${models}\ndata: [aqua]\nlimit: 10
controls:
  - { data: "*/detailed/**", labels: [last:@none, "first:8"] }
  - { data: aqua/detailed, labels: sweep, rows: "0:2" }`;

  it("are models × modes × (data, then controls), a folder each", () => {
    const folders = plan(text).map((run) => run.attributes.folder);
    const names = [
      ...["none", "none-irrelevant", "simplified", "simplified-irrelevant", "detailed", "detailed-irrelevant"],
      ...["detailed+last@aqua-none", "detailed+first8", "detailed-irrelevant+last@aqua-none-irrelevant", "detailed-irrelevant+first8"],
      "detailed+sweep",
    ].map((name) => `aqua-${name}`);
    expect(folders).toEqual(["base/base", "tuned/base", "tuned/instruct"].flatMap((model) => names.map((name) => `${model}/${name}`)));
    expect(plan(text)[0]!.out).toBe("/studies/runs/base/base/aqua-none");
  });

  it("hold controls to their modes, where they name any", () => {
    const controls = plan(
      `out: runs\n${models}\ndata: [aqua]\ncontrols: [{ data: aqua/detailed, labels: sweep, modes: [instruct] }]`,
    ).filter((run) => run.labels.name === "sweep");
    expect(controls.map((run) => run.attributes.folder)).toEqual(["tuned/instruct/aqua-detailed+sweep"]);
  });

  it("have the rows of their part", () => {
    const ranges = plan(text)
      .slice(0, 11)
      .map((run) => run.range);
    expect(ranges).toEqual([...Array.from({ length: 10 }, () => ({ limit: 10 })), { rows: "0:2", limit: 10 }]);
  });

  it("stand in the index with what they are of, their data by name and without paths", () => {
    const spec = parseStudy(text, "/studies/study.yaml");
    const index = indexOf(spec, planStudy(spec), "2026-11-23");
    expect(index).toMatchObject({ name: "study", date: "2026-11-23" });
    expect(index.runs[7]).toEqual({
      folder: "base/base/aqua-detailed+first8",
      model: { name: "base", kind: "base", family: "mini", step: 7 },
      mode: "base",
      data: { name: "aqua/detailed", task: "cot", dataset: "aqua", condition: "detailed", irrelevant: false },
      labels: "first:8",
    });
    expect(index.runs[8]!.labels).toBe("last:@aqua/none/irrelevant");
    expect(JSON.stringify(index)).not.toContain("/studies");
  });

  it("are refused where two would share a folder, if only on a disk without upper case", () => {
    const own = (name: string) => `out: runs\n${models}\ndata: [aqua/none, { file: /dev/null, name: ${name} }]`;
    expect(() => plan(own("aqua-none"))).toThrow(
      "The runs of base on aqua/none, labels all, and base on aqua-none, labels all, would share the folder base/base/aqua-none; rename one of them in the study.",
    );
    expect(() => plan(own("Aqua/None"))).toThrow("would share the folder");
    expect(plan(own("aqua-no")).length).toBe(6);
  });
});
