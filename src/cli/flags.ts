// argv after the app's file: the command's own flags and one flag per input field, read by commander.
// Knows no app: it is handed the fields.
import { Command, CommanderError, Option } from "commander";
import { FlambeauError } from "../errors.ts";
import { explanation, type Field, placeholder } from "./fields.ts";
import { type FieldCommand, type OwnFlags, ownOptions, reservedFlags } from "./own-flags.ts";
import { readItems, readValue } from "./values.ts";
import { kebab } from "./words.ts";

export interface FlagSet {
  readonly command: FieldCommand;
  /** As typed: `flambeau run app.ts`. */
  readonly usage: string;
  /** Heading above the fields in the help. */
  readonly heading: string;
  readonly fields: readonly Field[];
}

/**
 * Reads argv.
 * @returns the own flags that were given, and the fields by their names in the schema
 * @throws FlambeauError SETTINGS_INVALID for an unknown flag, with the nearest known one; InputError for a value that cannot be read
 */
export function readFlags(
  argv: readonly string[],
  set: FlagSet,
): { own: Partial<OwnFlags>; values: Record<string, unknown> } {
  const options = ownOptions(set.command);
  const command = commandOf(set, options);
  try {
    command.parse(spelled(argv, set), { from: "user" });
  } catch (thrown) {
    if (thrown instanceof CommanderError) throw misused(thrown, set.usage, command.args);
    throw thrown;
  }
  // commander's result is untyped; each option is read as it was declared.
  const given = command.opts<Record<string, unknown>>();
  const names = options.map((option) => option.attributeName());
  const own: Partial<OwnFlags> = Object.fromEntries(
    names.filter((name) => given[name] !== undefined).map((name) => [name, given[name]]),
  );
  const values: Record<string, unknown> = {};
  for (const field of set.fields) {
    const value = given[attributeOf(field)];
    if (value !== undefined) values[field.name] = isRead(value) ? value.value : value;
  }
  return { own, values };
}

/** The help of one endpoint: its fields, then the own flags unless more endpoints follow. */
export function flagsHelp(set: FlagSet, options: { own: boolean; columns: number }): string {
  const command = commandOf(set, options.own ? ownOptions(set.command) : []);
  command.configureOutput({ getOutHelpWidth: () => options.columns });
  return command.helpInformation().trimEnd();
}

/** `--name value` or `--name=value` among arguments that are not yet understood. */
export function peekFlag(argv: readonly string[], flag: string): string | undefined {
  const at = argv.findIndex((word) => word === `--${flag}` || word.startsWith(`--${flag}=`));
  const word = argv[at];
  return word === `--${flag}` ? argv[at + 1] : word?.slice(flag.length + 3);
}

function commandOf(set: FlagSet, own: readonly Option[]): Command {
  const command = new Command(set.usage).usage("[flags]").helpOption(false).exitOverride().allowExcessArguments(false);
  command.configureOutput({ writeErr: () => {} }).configureHelp({ minWidthToWrap: 20 });
  for (const field of set.fields)
    for (const option of fieldOptions(field)) command.addOption(option.helpGroup(set.heading));
  for (const option of own) command.addOption(option.helpGroup("Options:"));
  return command;
}

/** Boxed, because commander turns a parsed null into an empty text. */
interface Read {
  readonly value: unknown;
}

function isRead(value: unknown): value is Read {
  return typeof value === "object" && value !== null && "value" in value;
}

function fieldOptions(field: Field): Option[] {
  const [flag, words] = [`--${field.flag}`, explanation(field)];
  if (field.kind.kind === "boolean") return [new Option(flag, words), new Option(`--no-${field.flag}`, `not ${flag}`)];
  const option = new Option(`${flag} ${placeholder(field.kind)}`, words);
  const isList = field.kind.kind === "list";
  return [
    option.argParser(
      (text: string, before: Read | undefined): Read => ({
        value: isList
          ? readItems(field, text, Array.isArray(before?.value) ? before.value : [])
          : readValue(field, text),
      }),
    ),
  ];
}

function attributeOf(field: Field): string {
  return new Option(`--${field.flag}`).attributeName();
}

/** `--num_inference_steps`, `--numInferenceSteps` and `--upscale=false` as the options are declared. */
function spelled(argv: readonly string[], { command, fields }: FlagSet): string[] {
  const reserved = reservedFlags(command);
  const byFlag = new Map(fields.map((field) => [field.flag, field]));
  const byName = new Map(fields.map((field) => [field.name, field]));
  return argv.map((word) => {
    const [, name, value] = /^--([^=]+)(?:=([\s\S]*))?$/.exec(word) ?? [];
    if (name === undefined || reserved.has(name)) return word;
    const field = byFlag.get(name) ?? byName.get(name) ?? byFlag.get(kebab(name));
    if (field === undefined) return word;
    if (value === undefined) return `--${field.flag}`;
    if (field.kind.kind === "boolean" && value === "true") return `--${field.flag}`;
    if (field.kind.kind === "boolean" && value === "false") return `--no-${field.flag}`;
    return `--${field.flag}=${value}`;
  });
}

/** @param loose words that belong to no flag */
function misused(error: CommanderError, command: string, loose: readonly string[]): FlambeauError {
  const said =
    error.code === "commander.excessArguments"
      ? `${JSON.stringify(loose.join(" "))} belongs to no flag: a field is given as --name value, a text of several words in quotes`
      : error.message.replace(/^error: /, "").replace(/\s*\n\s*/g, " ");
  return new FlambeauError("SETTINGS_INVALID", `${said}; \`${command} --help\` lists what there is`);
}
