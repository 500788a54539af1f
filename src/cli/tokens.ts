import { Command } from "commander";
import { openRows } from "../data/open-rows.ts";
import type { ColumnOptions } from "../io/columns.ts";
import { selectRows } from "../io/rows.ts";
import { checkMode, openModel, rowEncoder } from "../run/open-model.ts";
import type { EncodedRow } from "../text/encode-row.ts";
import type { PromptMode } from "../text/prompt.ts";
import { localDay } from "../text/strftime.ts";
import { shared, withColumns } from "./options.ts";
import { printable } from "./progress.ts";
import { watching } from "./watch.ts";

interface TokensFlags extends ColumnOptions {
  readonly model: string;
  readonly revision?: string;
  readonly data: string;
  readonly mode: PromptMode;
  readonly maxLength: number;
  readonly rows?: string;
  readonly limit?: number;
  readonly singleBos?: boolean;
  readonly date?: string;
  readonly json?: boolean;
}

export const tokensCommand = (): Command =>
  withColumns(new Command("tokens"))
    .description("show what the model is given for each row, and which tokens the loss counts")
    .addOption(shared.model())
    .addOption(shared.revision())
    .addOption(shared.data())
    .addOption(shared.mode())
    .addOption(shared.maxLength())
    .addOption(shared.rows())
    .addOption(shared.limit())
    .addOption(shared.singleBos())
    .addOption(shared.date())
    .option("--json", "one JSON line a row: row, text, input_ids, label_start, n_labels")
    .action(async (flags: TokensFlags) => {
      const { rows } = await openRows(flags.data, flags);
      const { start, end } = selectRows(rows.length, flags.rows, flags.limit);
      const model = await watching((watch, signal) => openModel(flags, { weights: false, watch, signal }));
      checkMode(model, flags.mode);
      const date = flags.date ?? localDay(new Date());
      const encode = rowEncoder(model, { mode: flags.mode, maxLength: flags.maxLength, singleBos: flags.singleBos ?? false, date });
      for (let i = start; i < end; i++) process.stdout.write(flags.json ? asJson(encode(rows[i]!, i)) : asText(encode(rows[i]!, i)));
      model.checkpoint.close();
    });

const asJson = ({ row, text, inputIds, labelStart, nLabels, skip }: EncodedRow): string =>
  `${JSON.stringify({ row, text, input_ids: Array.from(inputIds), label_start: labelStart, n_labels: nLabels, ...(skip ? { skipped: skip } : {}) })}\n`;

function asText({ row, text, inputIds, labelStart, nLabels, nTokensUntruncated, boundaryMerged, skip }: EncodedRow): string {
  const cut = nTokensUntruncated > inputIds.length ? `, cut from ${nTokensUntruncated}` : "";
  const merged = boundaryMerged ? "; a token spans the border of prompt and response" : "";
  const labels = skip ? `skipped: ${skip}` : `loss over ${nLabels} labels, positions ${Math.max(labelStart, 1)} to ${inputIds.length - 1}`;
  return `row ${row}: ${inputIds.length} tokens${cut}; ${labels}${merged}\n${printable(text)}\n\n`;
}
