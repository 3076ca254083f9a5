// Text from the command line ⇄ the value that a field wants. Knows no flags and no schema.
import { InputError } from "../errors.ts";
import type { Field, FieldKind } from "./fields.ts";

/**
 * Reads one value.
 * @throws InputError naming the flag, what was expected and what came
 */
export function readValue(field: Field, text: string): unknown {
  const kind = field.kind.kind === "list" ? field.kind.of : field.kind;
  const value = field.nullable && text === "null" && !readsText(kind) ? null : parsedAs(kind, text);
  if (value !== undefined) return value;
  throw new InputError("INPUT_INVALID", [
    { path: [`--${field.flag}`], message: `expected ${expected(kind)}, got ${JSON.stringify(text)}` },
  ]);
}

/**
 * Reads one more value of a list; `[1, 2]` gives several at once where the items are not text themselves.
 * @throws InputError as `readValue`
 */
export function readItems(field: Field, text: string, before: readonly unknown[]): readonly unknown[] {
  const whole =
    field.kind.kind === "list" && !readsText(field.kind.of) && field.kind.of.kind !== "list"
      ? listValue(text)
      : undefined;
  return whole === undefined ? [...before, readValue(field, text)] : [...before, ...whole];
}

/** Undefined if the text is not of this kind. */
function parsedAs(kind: FieldKind, text: string): unknown {
  switch (kind.kind) {
    case "text":
      return text;
    case "number":
      return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined;
    case "boolean":
      return text === "true" ? true : text === "false" ? false : undefined;
    case "choice":
      return kind.values.find((value) => String(value) === text);
    case "list":
      return listValue(text);
    case "json":
      return jsonValue(text);
    case "either":
      return eitherValue(kind.of, text);
  }
}

function eitherValue(kinds: readonly FieldKind[], text: string): unknown {
  for (const kind of kinds) {
    // Beside text, only what looks like an object or a list is JSON: `12` is then a number or a text, never parsed twice.
    if (kind.kind === "json" && kinds.some(readsText) && !/^\s*[[{]/.test(text)) continue;
    const value = parsedAs(kind, text);
    if (value !== undefined) return value;
  }
  return undefined;
}

function listValue(text: string): readonly unknown[] | undefined {
  const value = jsonValue(text);
  return Array.isArray(value) ? value : undefined;
}

function jsonValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readsText(kind: FieldKind): boolean {
  return kind.kind === "text" || (kind.kind === "either" && kind.of.some(readsText));
}

function expected(kind: FieldKind): string {
  switch (kind.kind) {
    case "number":
      return kind.integer ? "a whole number" : "a number";
    case "boolean":
      return "true or false";
    case "choice":
      return `one of ${kind.values.join(", ")}`;
    case "text":
      return "text";
    case "list":
      return "a list as JSON, as in [1, 2]";
    case "json":
      return 'JSON, as in {"scale": 0.8}';
    case "either":
      return kind.of.map(expected).join(" or ");
  }
}
