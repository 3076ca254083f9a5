// An endpoint's input schema as a list of command-line fields: name, flag, kind, what to say about it.
// Knows no argv: flags.ts reads that. Works on JSON Schema, so the user's own copy of zod may be another one.
import type { z } from "zod";
import { jsonSchema } from "../app/json-schema.ts";
import { compactJson, kebab } from "./words.ts";

export type FieldKind =
  | { readonly kind: "number"; readonly integer: boolean }
  | { readonly kind: "boolean" }
  | { readonly kind: "text" }
  | { readonly kind: "choice"; readonly values: readonly (string | number | boolean)[] }
  | { readonly kind: "list"; readonly of: FieldKind }
  | { readonly kind: "json" }
  /** Several types are allowed: the first that reads the text wins. */
  | { readonly kind: "either"; readonly of: readonly FieldKind[] };

export interface Field {
  /** As the schema spells it. */
  readonly name: string;
  /** Without dashes: `num-inference-steps`. */
  readonly flag: string;
  readonly kind: FieldKind;
  readonly required: boolean;
  readonly description: string;
  /** Undefined where there is none. */
  readonly defaultValue: unknown;
  readonly examples: readonly unknown[];
  /** `1 to 50`, or empty. */
  readonly range: string;
  readonly nullable: boolean;
}

interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly allOf?: readonly JsonSchema[];
  readonly $ref?: string;
  /** The named parts of the root, as `jsonSchema` sets them aside. */
  readonly parts?: Readonly<Record<string, JsonSchema>>;
  readonly description?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
}

/**
 * The fields of an object schema, in its order; of a union of objects, the fields of all. Empty for other schemas: those take `--input`.
 * @param reserved flags that mean something else: such a field is `--field-<name>`
 */
export function fieldsOf(schema: z.ZodType, reserved: ReadonlySet<string>): readonly Field[] {
  const described = jsonSchema(schema, { io: "input", name: "Input" });
  // JSON Schema is untyped; only the keywords above are read, each as optional.
  const root = { ...described.schema, parts: { Input: described.schema, ...described.parts } } as JsonSchema;
  const found = new Map<string, { schema: JsonSchema; required: boolean }>();
  collect(root, root, true, found);
  const taken = new Set(reserved);
  return [...found].map(([name, { schema: property, required }]) => {
    const field = fieldOf(name, property, required, root);
    const flag = taken.has(field.flag) || field.flag.startsWith("no-") ? `field-${field.flag}` : field.flag;
    taken.add(flag);
    return { ...field, flag };
  });
}

type Found = Map<string, { schema: JsonSchema; required: boolean }>;

function collect(schema: JsonSchema, root: JsonSchema, whole: boolean, found: Found): void {
  const object = resolved(schema, root);
  for (const [name, property] of Object.entries(object.properties ?? {})) {
    const required = whole && (object.required?.includes(name) ?? false);
    const before = found.get(name);
    if (before === undefined) found.set(name, { schema: property, required });
    else found.set(name, { schema: { anyOf: [before.schema, property] }, required: before.required || required });
  }
  for (const part of object.allOf ?? []) collect(part, root, whole, found);
  for (const part of object.anyOf ?? object.oneOf ?? []) collect(part, root, false, found);
}

function fieldOf(name: string, property: JsonSchema, required: boolean, root: JsonSchema): Field {
  const schema = { ...resolved(property, root), ...withoutRef(property) };
  const parts = alternatives(schema, root);
  return {
    name,
    flag: kebab(name) || "value",
    kind: kindOf(schema, root),
    required,
    description: firstOf([schema, ...parts], (part) => part.description) ?? "",
    defaultValue: schema.default,
    examples: schema.examples ?? [],
    range: firstOf([schema, ...parts], rangeOf) ?? "",
    nullable: parts.some((part) => part.type === "null") || includes(schema.type, "null"),
  };
}

function kindOf(given: JsonSchema, root: JsonSchema): FieldKind {
  const schema = resolved(given, root);
  const parts = alternatives(schema, root).filter((part) => part.type !== "null");
  if (parts.length > 0) return eitherOf(parts.map((part) => kindOf(part, root)));
  if (schema.const !== undefined) return choiceOf([schema.const]);
  if (schema.enum !== undefined) return choiceOf(schema.enum);
  const types = typeof schema.type === "string" ? [schema.type] : (schema.type ?? []);
  return eitherOf(types.filter((type) => type !== "null").map((type) => kindOfType(type, schema, root)));
}

function kindOfType(type: string, schema: JsonSchema, root: JsonSchema): FieldKind {
  if (type === "number" || type === "integer") return { kind: "number", integer: type === "integer" };
  if (type === "boolean") return { kind: "boolean" };
  if (type === "string") return { kind: "text" };
  if (type === "array")
    return { kind: "list", of: schema.items === undefined ? { kind: "json" } : kindOf(schema.items, root) };
  return { kind: "json" };
}

function eitherOf(kinds: readonly FieldKind[]): FieldKind {
  const flat = kinds.flatMap((kind) => (kind.kind === "either" ? kind.of : [kind]));
  const [first] = flat;
  if (first === undefined) return { kind: "json" };
  if (flat.every((kind) => kind.kind === "choice")) return choiceOf(flat.flatMap((kind) => kind.values));
  if (flat.every((kind) => kind.kind === first.kind && kind.kind !== "list" && kind.kind !== "number")) return first;
  return flat.length === 1 ? first : { kind: "either", of: [...flat].sort((a, b) => strictness(a) - strictness(b)) };
}

/** Text reads everything, so it comes last. */
function strictness(kind: FieldKind): number {
  return ["choice", "number", "boolean", "list", "json", "either", "text"].indexOf(kind.kind);
}

function choiceOf(values: readonly unknown[]): FieldKind {
  const plain = values.filter(
    (value) => typeof value === "string" || typeof value === "number" || typeof value === "boolean",
  );
  return plain.length === 0 ? { kind: "json" } : { kind: "choice", values: [...new Set(plain)] };
}

function alternatives(schema: JsonSchema, root: JsonSchema): readonly JsonSchema[] {
  return (schema.anyOf ?? schema.oneOf ?? []).map((part) => resolved(part, root));
}

/** Follows `$ref`; a schema that refers to itself ends as whatever it is after a few steps. */
function resolved(schema: JsonSchema, root: JsonSchema): JsonSchema {
  let current = schema;
  for (let step = 0; step < 8 && current.$ref !== undefined; step++) {
    current = root.parts?.[current.$ref.slice("#/components/schemas/".length)] ?? {};
  }
  return current;
}

function withoutRef(schema: JsonSchema): JsonSchema {
  const { $ref: _, ...rest } = schema;
  return rest;
}

function rangeOf(schema: JsonSchema): string | undefined {
  // zod bounds every integer by what a double holds: that says nothing to a person.
  const bounded = (value: number | undefined) =>
    value !== undefined && Math.abs(value) < Number.MAX_SAFE_INTEGER ? value : undefined;
  const from = bounded(schema.minimum) ?? bounded(schema.exclusiveMinimum);
  const to = bounded(schema.maximum) ?? bounded(schema.exclusiveMaximum);
  if (from === undefined && to === undefined) return undefined;
  if (to === undefined) return `${schema.minimum === undefined ? "more than" : "at least"} ${from}`;
  return from === undefined ? `${schema.maximum === undefined ? "less than" : "at most"} ${to}` : `${from} to ${to}`;
}

function firstOf<T>(parts: readonly JsonSchema[], read: (part: JsonSchema) => T | undefined): T | undefined {
  for (const part of parts) {
    const value = read(part);
    if (value !== undefined) return value;
  }
  return undefined;
}

function includes(type: JsonSchema["type"], name: string): boolean {
  return typeof type === "string" ? type === name : (type?.includes(name) ?? false);
}

/** What stands behind the flag in the help: `<number>`; empty for a boolean, which takes no value. */
export function placeholder(kind: FieldKind): string {
  switch (kind.kind) {
    case "number":
      return kind.integer ? "<integer>" : "<number>";
    case "boolean":
      return "";
    case "text":
      return "<text>";
    case "choice":
      return /^[\w.|]{1,30}$/.test(kind.values.join("|")) ? `<${kind.values.join("|")}>` : "<choice>";
    case "list":
      return placeholder(kind.of) || "<true|false>";
    case "json":
      return "<json>";
    case "either":
      return "<value>";
  }
}

/** The help's sentence: description, then what is expected, the default and an example. */
export function explanation(field: Field): string {
  const notes = [
    field.required ? "required" : "",
    field.range,
    field.kind.kind === "list" ? "repeat for several" : "",
    field.kind.kind === "choice" && placeholder(field.kind) === "<choice>"
      ? `one of ${field.kind.values.join(", ")}`
      : "",
    isNothing(field.defaultValue) ? "" : `default ${compactJson(field.defaultValue)}`,
    field.examples.length === 0 ? "" : `for example ${compactJson(field.examples[0])}`,
  ].filter(Boolean);
  return [field.description, notes.length === 0 ? "" : `(${notes.join("; ")})`].filter(Boolean).join(" ");
}

/** A default that says no more than that the flag may be left out. */
function isNothing(value: unknown): boolean {
  return value === undefined || value === null || (Array.isArray(value) && value.length === 0);
}
