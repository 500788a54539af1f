import { Environment, Interpreter, Template } from "@huggingface/jinja";
import { excerpt, LayergradError } from "../errors.ts";
import { type Row, userText } from "./row.ts";
import { parseDay, strftime } from "./strftime.ts";

/** How a row becomes a prompt: as plain text before the response, or in the model's chat form. */
export type PromptMode = "base" | "instruct";

/** The system turn of the papers' instruct prompts. */
export const SYSTEM_PROMPT = "You are a helpful assistant.";

/** A model's chat template, ready to write prompts. */
export interface ChatTemplate {
  /** The Jinja text, as it counts for a run's identity. */
  readonly source: string;
  /** Whether the template calls `strftime_now`, so that the prompts depend on the run's date. */
  readonly usesClock: boolean;
  /**
   * The prompt for what a user asks, generation prompt included.
   *
   * @throws {LayergradError} `model` where the template raises an error, or does not come to an end.
   */
  render(user: string): string;
}

/** Where a chat template comes from, and what it may look at. */
export interface ChatTemplateOptions {
  /** `tokenizer_config.json` as parsed JSON: special tokens, and the template unless given separately. */
  readonly tokenizerConfig: unknown;
  /** The text of `chat_template.jinja`, which wins over the configuration's. */
  readonly jinja?: string | undefined;
  /** `model_type` of config.json: no system turn where it begins with "gemma", whose templates refuse one. */
  readonly modelType: string;
  /** The run's date, YYYY-MM-DD: what `strftime_now` sees instead of the clock. */
  readonly date: string;
}

const NAMED_TOKENS = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

// With the u flag a whole pair is one code point, so that only halves are left to match.
const LONE_SURROGATE = /\p{Surrogate}/u;

/** As in Jinja's sandbox, which the reference runs templates in. */
const MAX_RANGE = 100_000;
/** Rounds of loops and calls of macros of one prompt together: far above any real template's, and over in a second. */
const MAX_ROUNDS = 100_000;

/**
 * The text of the chat template, or undefined where the model has none.
 * A list of named templates gives the one called "default".
 *
 * @throws {LayergradError} `model` where the configuration's `chat_template` is malformed or has no default.
 */
export function findChatTemplate(tokenizerConfig: unknown, jinja?: string): string | undefined {
  if (jinja !== undefined) return jinja;
  const value = fieldsOf(tokenizerConfig).chat_template;
  if (value === undefined || value === null) return undefined;
  if (typeof value === "string") return value;
  const named = Array.isArray(value)
    ? value.map(fieldsOf)
    : Object.entries(fieldsOf(value)).map(([name, template]) => ({ name, template }));
  const found = named.find(({ name }) => name === "default")?.template;
  if (typeof found !== "string")
    throw new LayergradError(
      "model",
      `tokenizer_config.json: chat_template must be a text or hold one named "default", found ${
        named
          .map(({ name }) => excerpt(name))
          .slice(0, 8)
          .join(", ") || "none"
      }; use --mode base.`,
    );
  return found;
}

/**
 * Prepares a model's chat template, read as `transformers` reads it: Jinja with `trim_blocks` and `lstrip_blocks`, special tokens by
 * name, `raise_exception`, `strftime_now`, no tools and no documents.
 *
 * @throws {LayergradError} `model` where there is no template or it cannot be parsed, `usage` for a date that is none.
 */
export function createChatTemplate({ tokenizerConfig, jinja, modelType, date }: ChatTemplateOptions): ChatTemplate {
  const source = findChatTemplate(tokenizerConfig, jinja);
  if (source === undefined)
    throw new LayergradError(
      "model",
      "the model has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja); use --mode base.",
    );
  parseDay(date);
  const template = parse(source);
  const usesClock = makePythonic(template.parsed);
  const system = modelType.startsWith("gemma") ? [] : [{ role: "system", content: SYSTEM_PROMPT }];
  const tokens = specialTokens(tokenizerConfig);

  return {
    source,
    usesClock,
    render(user) {
      let rounds = 0;
      const globals: Record<string, unknown> = {
        true: true,
        false: false,
        none: null,
        True: true,
        False: false,
        None: null,
        range,
        raise_exception(message: unknown) {
          throw new TemplateError(String(message));
        },
        strftime_now: (format: unknown) => strftime(String(format), date),
        [STRIP]: strip,
        [ROUND]() {
          if (++rounds > MAX_ROUNDS) throw new TemplateError(`its loops and macros take more than ${MAX_ROUNDS} rounds`);
          return "";
        },
        ...tokens,
        messages: [...system, { role: "user", content: user }],
        tools: null,
        documents: null,
        add_generation_prompt: true,
      };
      const environment = new Environment();
      for (const [name, value] of Object.entries(globals)) {
        environment.variables.delete(name);
        environment.set(name, value);
      }
      try {
        const prompt = String(new Interpreter(environment).run(template.parsed).value);
        if (LONE_SURROGATE.test(prompt) && !LONE_SURROGATE.test(user)) throw new TemplateError("it writes half of a surrogate pair");
        return prompt;
      } catch (cause) {
        if (cause instanceof LayergradError) throw cause;
        const reason = cause instanceof RangeError ? "it does not come to an end" : reasonOf(cause);
        throw new LayergradError("model", `the model's chat template failed: ${reason}; use --mode base or another template.`, { cause });
      }
    },
  };
}

/**
 * Everything that comes before the response: in base mode the user's text and a newline, in instruct mode the rendered template.
 */
export function promptText(row: Row, mode: PromptMode, template: ChatTemplate | undefined): string {
  if (mode === "base") return `${userText(row)}\n`;
  if (!template) throw new LayergradError("model", "instruct prompts need the model's chat template, and it has none; use --mode base.");
  return template.render(userText(row));
}

class TemplateError extends Error {}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

/** Special tokens by name, each a text or an object with its `content`; those that a model lacks stay undefined, as with transformers. */
function specialTokens(tokenizerConfig: unknown): Record<string, unknown> {
  const config = fieldsOf(tokenizerConfig);
  const contentOf = (value: unknown) => (typeof value === "string" ? value : fieldsOf(value).content);
  const tokens: Record<string, unknown> = {};
  const extra = config.extra_special_tokens;
  const named = {
    ...(Array.isArray(extra) ? {} : fieldsOf(extra)),
    ...Object.fromEntries(NAMED_TOKENS.map((name) => [name, config[name]])),
  };
  for (const [name, value] of Object.entries(named)) {
    const content = contentOf(value);
    if (typeof content === "string") tokens[name] = content;
  }
  const additional = config.additional_special_tokens;
  if (Array.isArray(additional) && additional.length > 0) tokens.additional_special_tokens = additional.map(contentOf);
  return tokens;
}

function parse(source: string): Template {
  try {
    // Jinja reads every kind of line end as \n before anything else.
    return new Template(source.replace(/\r\n?/g, "\n"));
  } catch (cause) {
    throw new LayergradError(
      "model",
      `the model's chat template cannot be read: ${cause instanceof RangeError ? "it is nested too deeply" : reasonOf(cause)}; use --mode base.`,
      { cause },
    );
  }
}

/** What the engine, or the template itself, says of a failure, as a part of a sentence. */
const reasonOf = (cause: unknown): string =>
  cause instanceof TypeError
    ? "it is malformed"
    : (cause instanceof Error ? cause.message : String(cause)).replace(/\s+/g, " ").trim().replace(/\.$/, "").slice(0, 300);

// Names that no template can write, so that it cannot hide them either.
const STRIP = " strip";
const ROUND = " round";

const STRIPPERS: Readonly<Record<string, string>> = Object.assign(Object.create(null), { strip: "both", lstrip: "left", rstrip: "right" });

type Node = Record<string, unknown> & { type?: string };

/**
 * Rewrites a parsed template in place, where the JavaScript engine is not Python:
 * `strip`, `lstrip`, `rstrip` and `trim` know Python's idea of white space and take the characters to strip as an argument
 * (the engine's ignore it); every round of a loop and call of a macro is counted. Tells whether the template calls the clock.
 */
function makePythonic(root: object): boolean {
  let usesClock = false;
  // Nodes are changed, not replaced: the engine looks at their class in places.
  const becomeStrip = (node: Node, operand: unknown, sides: string, args: unknown): void => {
    delete node.operand;
    delete node.filter;
    node.type = "CallExpression";
    node.callee = { type: "Identifier", value: STRIP };
    node.args = [operand, { type: "StringLiteral", value: sides }, ...(args as unknown[])];
  };
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    // A dictionary literal is a Map from node to node.
    for (const child of value instanceof Map ? [...value].flat() : Object.values(value)) visit(child);
    const node = value as Node;
    const callee = node.callee as Node | undefined;
    switch (node.type) {
      case "For":
      case "Macro":
        (node.body as unknown[]).unshift({ type: "CallExpression", callee: { type: "Identifier", value: ROUND }, args: [] });
        break;
      case "CallExpression":
        if (callee?.type === "Identifier" && callee.value === "strftime_now") usesClock = true;
        if (callee?.type === "MemberExpression" && !callee.computed) {
          const sides = STRIPPERS[String((callee.property as Node).value)];
          if (sides) becomeStrip(node, callee.object, sides, node.args);
        }
        break;
      case "FilterExpression": {
        const filter = node.filter as Node;
        const called = filter.type === "CallExpression";
        if ((called ? (filter.callee as Node) : filter).value === "trim")
          becomeStrip(node, node.operand, "both", called ? filter.args : []);
        break;
      }
    }
  };
  visit(root);
  return usesClock;
}

/** Python's str.isspace, which has U+0085 and the separators U+001C to U+001F, and not U+FEFF. */
const isPythonSpace = (point: string) => (/\s/.test(point) && point !== "\ufeff") || "\x1c\x1d\x1e\x1f\x85".includes(point);

/** Python's strip, lstrip and rstrip. */
function strip(value: unknown, sides: unknown, characters?: unknown): string {
  if (typeof value !== "string" && value !== undefined)
    throw new TemplateError(`it strips ${value === null ? "none" : `a ${typeof value}`}, which is no text`);
  // As code points: a character to strip may be a surrogate pair.
  const points = [...(value ?? "")];
  const set = typeof characters === "string" ? new Set(characters) : undefined;
  const strips = (point: string) => (set ? set.has(point) : isPythonSpace(point));
  let [start, end] = [0, points.length];
  if (sides !== "right") while (start < end && strips(points[start]!)) start++;
  if (sides !== "left") while (end > start && strips(points[end - 1]!)) end--;
  return points.slice(start, end).join("");
}

/** Python's range, as long as Jinja's sandbox allows. */
function range(first: unknown, last?: unknown, step: unknown = 1): number[] {
  const [start, stop, by] = last === undefined ? [0, Number(first), 1] : [Number(first), Number(last), Number(step)];
  const length = Math.max(0, Math.ceil((stop - start) / by));
  if (!(length <= MAX_RANGE)) throw new TemplateError(`it asks for a range of ${length} numbers, more than ${MAX_RANGE}`);
  return Array.from({ length }, (_, i) => start + i * by);
}
