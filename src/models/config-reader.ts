import { excerpt, LayergradError } from "../errors.ts";

/** Typed access to a `config.json`: what is missing or out of range is named, with what was found. */
export class ConfigReader {
  constructor(
    private readonly fields: Readonly<Record<string, unknown>>,
    private readonly where = "config.json",
  ) {}

  has(key: string): boolean {
    return this.fields[key] !== undefined && this.fields[key] !== null;
  }

  is(key: string, value: unknown): boolean {
    return this.fields[key] === value;
  }

  integer(key: string, fallback?: number, limit = 1e7): number {
    const value = this.get(key, fallback);
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 1 || value > limit) {
      this.malformed(`${key} must be an integer from 1 to ${limit}, found ${excerpt(value)}`);
    }
    return value as number;
  }

  positive(key: string, fallback?: number): number {
    const value = this.get(key, fallback);
    if (typeof value !== "number" || !(value > 0 && value < Number.POSITIVE_INFINITY))
      this.malformed(`${key} must be a positive number, found ${excerpt(value)}`);
    return value as number;
  }

  /** A positive number; undefined where it is absent or null. */
  optional(key: string): number | undefined {
    return this.has(key) ? this.positive(key) : undefined;
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.get(key, fallback);
    if (typeof value !== "boolean") this.malformed(`${key} must be true or false, found ${excerpt(value)}`);
    return value as boolean;
  }

  string(key: string, fallback?: string): string {
    const value = this.get(key, fallback);
    if (typeof value !== "string") this.malformed(`${key} must be a string, found ${excerpt(value)}`);
    return value as string;
  }

  /** A list of strings; undefined where it is absent or null. */
  strings(key: string): readonly string[] | undefined {
    if (!this.has(key)) return undefined;
    const value = this.fields[key];
    if (!Array.isArray(value) || !value.every((entry) => typeof entry === "string"))
      this.malformed(`${key} must be a list of strings, found ${excerpt(value)}`);
    return value as string[];
  }

  /** The same configuration where fields that the file leaves out are these. A field that is null stays absent. */
  withDefaults(defaults: Readonly<Record<string, unknown>>): ConfigReader {
    return new ConfigReader({ ...defaults, ...this.fields }, this.where);
  }

  /** A nested object; a reader of nothing where it is absent or null. */
  object(key: string): ConfigReader {
    const value = this.has(key) ? this.fields[key] : {};
    if (typeof value !== "object" || Array.isArray(value)) this.malformed(`${key} must be an object, found ${excerpt(value)}`);
    return new ConfigReader(value as Record<string, unknown>, `${this.where}: ${key}`);
  }

  /** Refuses any value of a field but these: what is not computed must not be passed over. */
  only(key: string, ...supported: readonly unknown[]): void {
    if (this.has(key) && !supported.includes(this.fields[key])) {
      this.refuse(`${key} ${excerpt(this.fields[key])} is not supported, only ${supported.map(excerpt).join(" or ")}`);
    }
  }

  /** Refuses what a configuration asks for; `why` is a clause without its full stop. */
  refuse(why: string): never {
    throw new LayergradError("model", `${this.where}: ${why}; choose another model, or its original config.json.`);
  }

  private malformed(why: string): never {
    throw new LayergradError("model", `${this.where}: ${why}; use the model's original config.json.`);
  }

  private get(key: string, fallback: unknown): unknown {
    return this.has(key) ? this.fields[key] : fallback;
  }
}
