// A process of scripts/fuzz.mjs that runs one case at a time, as told: it may crash, hang or fill its memory without harm to anyone.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { seeded } from "../dist/analysis/random.js";
import { LayergradError } from "../dist/errors.js";
import { mutate } from "./fuzz-mutations.mjs";
import { targets } from "./fuzz-targets.mjs";

const [work] = process.argv.slice(2);

/** Samples of each target with the answers they give unbroken, made when first asked for. */
const prepared = new Map();
async function prepare(name) {
  if (!prepared.has(name)) {
    const folder = join(work, name);
    mkdirSync(folder, { recursive: true });
    const target = targets[name];
    const samples = await target.samples(folder);
    for (const sample of samples) sample.answer = await target.answer(write(folder, sample, sample.bytes), sample, sample.bytes);
    prepared.set(name, { folder, target, samples });
  }
  return prepared.get(name);
}

function write(folder, sample, bytes) {
  const path = join(sample.folder ?? folder, sample.name);
  writeFileSync(path, bytes);
  return path;
}

/** The input of the case at hand, for whoever finds it failing: the sample itself is put back, and a crash leaves no time. */
function keep({ name }, mutant) {
  const folder = join(work, "current");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  writeFileSync(join(folder, name), mutant);
}

/** What becomes of a case: `accepted`, `refused` with the sentence, or `problem`. */
async function run({ name, seed, index }) {
  const { folder, target, samples } = await prepare(name);
  const random = seeded(`${seed}/${name}/${index}`);
  const sample = samples[random.below(samples.length)];
  const alike = samples.filter(({ form }) => form === sample.form);
  const other = alike[random.below(alike.length)];
  const mutant = target.mutate?.(random, sample, other) ?? mutate(random, sample.bytes, other.bytes, sample.form);
  const path = write(folder, sample, mutant);
  keep(sample, mutant);
  const same = (target.sameContent ?? ((bytes) => bytes.equals(sample.bytes)))(mutant, sample);
  try {
    const answer = await target.answer(path, sample, mutant);
    if (same && !isDeepStrictEqual(answer, sample.answer)) return { problem: "the content is the sample's, the answer another" };
    return { accepted: true };
  } catch (error) {
    if (!(error instanceof LayergradError)) return { problem: error instanceof Error ? error.stack : String(error) };
    if (same) return { problem: `the content is the sample's, and is refused: ${error.message}` };
    if (!target.kinds.includes(error.kind)) return { problem: `an error of the kind ${error.kind}: ${error.message}` };
    // One sentence that a person can read: what, where, what to do.
    if (!/^\S[^\n]{20,1500}\.$/s.test(error.message) || /of undefined|is undefined|: undefined|\[object /.test(error.message))
      return { problem: `a poor sentence: ${error.message}` };
    return { refused: error.message };
  } finally {
    // A sample's folder must be whole again for the next case.
    write(folder, sample, sample.bytes);
  }
}

process.on("message", (job) => {
  run(job).then(
    (outcome) => process.send({ outcome }),
    (error) => process.send({ outcome: { problem: `the fuzz itself failed: ${error.stack}` } }),
  );
});
