// The one way from what a caller sent to what an endpoint receives: its schema, no unknown fields, no endless strings.
// Knows no HTTP and no queue; nothing that fails here reaches Python.
import { z } from "zod";
import { limits } from "../config.ts";
import { FlambeauError, InputError, type InputIssue } from "../errors.ts";

type Path = readonly (string | number)[];

/** Bulk that travels as text (an image in a data URI) is bounded by the body limit, not by the limit of a prompt. */
const dataUri = /^data:[\w.+-]{1,64}\/[\w.+-]{1,64}(?:;[\w.=+-]{1,64}){0,4},/;

/**
 * The input as the endpoint's handler gets it, defaults filled in and transforms applied: parse once, never again.
 * Fields that a plain `z.object` does not name are refused, so a misspelt option is not silently ignored.
 * @throws FlambeauError INPUT_INVALID (InputError, every field at fault); APP_INVALID when the schema can only be checked asynchronously
 */
export function parseInput<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  const refused = [...unboundedIssues(input), ...unknownFieldIssues(schema, input)];
  // A value nested without end, or one far too long, is not worth the work of checking.
  if (refused.some((issue) => issue.fatal)) throw new InputError("INPUT_INVALID", toldIssues(refused));
  const parsed = safeParse(schema, input);
  if (parsed.success && refused.length === 0) return parsed.data;
  const fields = parsed.success ? [] : issuesOf(parsed.error);
  throw new InputError("INPUT_INVALID", toldIssues([...fields, ...refused]));
}

/** What zod says, field by field; no more than can be told, and one that shows that there are more. */
export function issuesOf(error: z.ZodError): readonly InputIssue[] {
  return error.issues.slice(0, limits.issuesTold + 1).flatMap(fromZod);
}

/** As many as a person reads: a list of a million wrong items has a million issues, and a name may be as long as the body. */
export function toldIssues(issues: readonly InputIssue[]): readonly InputIssue[] {
  const short = (step: string | number): string | number =>
    typeof step === "string" && step.length > limits.issueNameCharacters
      ? `${step.slice(0, limits.issueNameCharacters)}…`
      : step;
  const told = issues.slice(0, limits.issuesTold).map(({ path, message }) => ({ path: path.map(short), message }));
  if (issues.length <= limits.issuesTold) return told;
  return [...told, { path: [], message: "more is at fault than this; correct these first" }];
}

function safeParse<Schema extends z.ZodType>(schema: Schema, input: unknown): z.ZodSafeParseResult<z.output<Schema>> {
  try {
    return schema.safeParse(input);
  } catch (thrown) {
    if (!(thrown instanceof z.core.$ZodAsyncError)) throw thrown;
    const advice = "the input schema has an async check or transform; do that work in the endpoint's handler";
    throw new FlambeauError("APP_INVALID", advice, { cause: thrown });
  }
}

interface Refused extends InputIssue {
  readonly fatal: boolean;
}

/** Walks without recursion: the depth of what a caller sends is not ours to trust. */
function unboundedIssues(input: unknown): Refused[] {
  const issues: Refused[] = [];
  const open: { value: unknown; path: Path }[] = [{ value: input, path: [] }];
  let items = 0;
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { value, path } = next;
    if (typeof value === "string" && isEndless(value)) {
      const message = `at most ${limits.promptCharacters} characters, got ${value.length}; shorten the text`;
      issues.push({ path, message, fatal: true });
    } else if (isPlain(value)) {
      if (path.length >= limits.jsonDepth) {
        return [{ path, message: `nested deeper than ${limits.jsonDepth} levels; send a flatter value`, fatal: true }];
      }
      // Each may become an issue of its own before any can be told: a body of wrong items would fill the memory.
      items += Array.isArray(value) ? value.length : Object.keys(value).length;
      if (items > limits.inputItems) {
        return [{ path, message: `more than ${limits.inputItems} items in all; send less at once`, fatal: true }];
      }
      // Only what can be refused is put on the stack: a list of a million numbers costs one pass.
      for (const [key, item] of entriesOf(value)) {
        if (isEndless(item) || isPlain(item)) open.push({ value: item, path: [...path, key] });
      }
    }
  }
  return issues;
}

function isEndless(value: unknown): boolean {
  return typeof value === "string" && value.length > limits.promptCharacters && !dataUri.test(value.slice(0, 512));
}

function isPlain(value: unknown): value is readonly unknown[] | Readonly<Record<string, unknown>> {
  if (Array.isArray(value)) return true;
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

function entriesOf(
  value: readonly unknown[] | Readonly<Record<string, unknown>>,
): Iterable<[string | number, unknown]> {
  return Array.isArray(value) ? value.entries() : Object.entries(value);
}

function unknownFieldIssues(schema: z.ZodType, input: unknown): Refused[] {
  const known = knownFields(schema);
  if (known === undefined || !isPlain(input) || Array.isArray(input)) return [];
  const unknown = Object.keys(input)
    .filter((field) => !known.includes(field))
    .slice(0, limits.issuesTold + 1);
  const names = known.length === 0 ? "none" : known.join(", ");
  return unknown.map((field) => ({ path: [field], message: `unknown field; known are: ${names}`, fatal: false }));
}

/** The fields of a plain `z.object`, also behind defaults and transforms; undefined where the schema itself decides. */
export function knownFields(schema: z.core.$ZodType): readonly string[] | undefined {
  if (schema instanceof z.core.$ZodObject) {
    return schema._zod.def.catchall === undefined ? Object.keys(schema._zod.def.shape) : undefined;
  }
  if (schema instanceof z.core.$ZodPipe) return knownFields(schema._zod.def.in);
  if (
    schema instanceof z.core.$ZodDefault ||
    schema instanceof z.core.$ZodOptional ||
    schema instanceof z.core.$ZodNullable
  ) {
    return knownFields(schema._zod.def.innerType);
  }
  return undefined;
}

function fromZod(issue: z.core.$ZodIssue): InputIssue[] {
  const path = issue.path.map((step) => (typeof step === "number" ? step : String(step)));
  if (issue.code !== "unrecognized_keys") return [{ path, message: issue.message }];
  return issue.keys.slice(0, limits.issuesTold + 1).map((key) => ({ path: [...path, key], message: "unknown field" }));
}
