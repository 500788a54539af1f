/** Options of a command by name; true for those without a value, and nothing for those that are not given. */
export type CommandOptions = Readonly<Record<string, string | true | undefined>>;

/** A word as a shell takes it. */
export const shellWord = (text: string): string => (/^[\w./@:,+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** `layergrad report <paths> --option value …` as a shell takes it. */
export const commandLine = (name: string, paths: readonly string[], options: CommandOptions): string =>
  [
    `layergrad ${name}`,
    ...paths.map(shellWord),
    ...Object.entries(options).flatMap(([option, value]) =>
      value === undefined ? [] : value === true ? [`--${option}`] : [`--${option}`, shellWord(value)],
    ),
  ].join(" ");
