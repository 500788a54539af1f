/**
 * What one run of a study is of. Comparisons and findings choose runs by these, never by their names.
 */
export interface RunAttributes {
  /** Folder of the run, relative to the study's. */
  readonly folder: string;
  readonly model: {
    /** As the study calls it. */
    readonly name: string;
    /** Whether the checkpoint is a pretrained or an instruction-tuned one; null where the study does not say. */
    readonly kind: "base" | "instruct" | null;
    /** Models of one family, such as a base model and its tuned version, share it; null where alone. */
    readonly family: string | null;
    /** Training step of the checkpoint, where the models are a trajectory. */
    readonly step?: number;
  };
  /** How instruction and response were joined. */
  readonly mode: "base" | "instruct";
  readonly data: {
    /** Name in the catalogue or the study. */
    readonly name: string;
    /** The task: `cot` (with or without a chain of thought), `math`, `wiki`, `quality`; another word for the user's own. */
    readonly task: string;
    /** The data set within the task: `aqua`, `algebra`, `wizardlm` …; conditions of one data set are compared with each other. */
    readonly dataset: string;
    /** `none`, `simplified`, `detailed`; `popular-100`, `popular-500`, `popular-1000`, `unpopular`; `high`, `low`; or the user's own. */
    readonly condition: string;
    /** Whether the responses belong to other rows. */
    readonly irrelevant: boolean;
  };
  /** Which labels the loss counts, as `--labels` takes it: `all`, `last:@…`, `sweep`, … */
  readonly labels: string;
}

/** The runs of a study, in the order in which they were planned. */
export interface StudyIndex {
  readonly name: string;
  /** The day that chat templates show in all runs, `YYYY-MM-DD`: that of the study's first start where it states none. */
  readonly date?: string;
  readonly runs: readonly RunAttributes[];
}
