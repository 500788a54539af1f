import { join } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { findingsFiles, judgeStudy, type StudyFindings } from "../study/findings.ts";
import { verdictRows } from "../study/findings-markdown.ts";
import { shared } from "./options.ts";
import { table } from "./table.ts";

export const findingsCommand = (): Command =>
  new Command("findings")
    .description("judge the papers' claims on a study's runs, as published and controlled; writes findings.json and findings.md")
    .argument("<study folder>", "folder that layergrad study wrote")
    .option("--claims <letters>", "only these claims, such as a,b", letters)
    .option("--seed <text>", "of resampling and permutations", "1")
    .addOption(shared.json())
    .action(async (folder: string, { claims, seed, json }: { claims?: string[]; seed: string; json?: boolean }) => {
      const findings = await judgeStudy(folder, { seed, ...(claims && { claims }) });
      process.stdout.write(json ? `${JSON.stringify(findings)}\n` : `${describe(findings, folder)}\n`);
    });

function letters(text: string): string[] {
  const claims = text.split(",").map((letter) => letter.trim().toLowerCase());
  if (claims.some((letter) => letter === "")) throw new InvalidArgumentError("It must be letters with commas between them, such as a,b.");
  return claims;
}

function describe({ claims, runs, absent }: StudyFindings, folder: string): string {
  const without = absent.length === 0 ? "" : ` ${absent.length} runs have no numbers yet and are left out.`;
  return [
    table(["claim", "model", "as published", "controlled"], verdictRows(claims)),
    "",
    `From ${runs} runs.${without} "Controlled" is the direct effect, with labels or lengths held equal; it does not refute the published total effect.`,
    `Numbers, intervals and reasons: ${join(folder, findingsFiles.markdown)} (and ${findingsFiles.json}).`,
  ].join("\n");
}
