// One zod schema → JSON Schema 2020-12, its named parts set aside. What JSON Schema cannot say becomes `{}` with a note.
// Knows no endpoint and no HTTP.
import { z } from "zod";

export type JsonSchema = Readonly<Record<string, unknown>>;

export interface NamedSchemas {
  /** Refers to its parts, and to itself by the name it was given, as `#/components/schemas/<name>`. */
  readonly schema: JsonSchema;
  readonly parts: Readonly<Record<string, JsonSchema>>;
}

export interface JsonSchemaOptions {
  /** What a caller sends, or what a caller receives. */
  readonly io: "input" | "output";
  /** Name of the whole; parts that have none of their own go by it. */
  readonly name: string;
}

/** Words for a human reader; they survive a `.meta({ jsonSchema })`, which replaces the rest of what zod says. */
const wordsKept = ["title", "description", "examples", "default", "deprecated"];

/** Kinds of schema that JSON Schema has no word for. zod says `{}` of them, which alone would read as "anything". */
const unspeakable = [
  "custom",
  "transform",
  "date",
  "bigint",
  "map",
  "set",
  "symbol",
  "undefined",
  "void",
  "nan",
  "function",
];

/** Never throws: a schema that cannot be described at all is `{}` with the reason as its `$comment`. */
export function jsonSchema(schema: z.ZodType, { io, name }: JsonSchemaOptions): NamedSchemas {
  let described: JsonSchema;
  try {
    described = z.toJSONSchema(schema, { io, unrepresentable: "any", override: (context) => annotate(context, io) });
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    return { schema: { $comment: `not described: ${reason}` }, parts: {} };
  }
  const { $schema: _dialect, $defs = {}, ...root } = described;
  const toComponent = (reference: string): string => {
    if (reference === "#") return `#/components/schemas/${name}`;
    return reference.startsWith("#/$defs/") ? `#/components/schemas/${partName(reference.slice(8), name)}` : reference;
  };
  const parts: Record<string, JsonSchema> = {};
  for (const [part, value] of isRecord($defs) ? Object.entries($defs) : []) {
    if (isRecord(value)) parts[partName(part, name)] = withReferences(value, toComponent);
  }
  return { schema: withReferences(root, toComponent), parts };
}

/** The same schema with every `$ref` in it passed through `rename`. */
export function withReferences(schema: JsonSchema, rename: (reference: string) => string): JsonSchema {
  const visit = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(visit);
    return isRecord(value) ? withReferences(value, rename) : value;
  };
  const entries = Object.entries(schema).map(([key, value]): [string, unknown] => {
    return [key, key === "$ref" && typeof value === "string" ? rename(value) : visit(value)];
  });
  return Object.fromEntries(entries);
}

interface OverrideContext {
  readonly zodSchema: z.core.$ZodTypes;
  readonly jsonSchema: z.core.JSONSchema.BaseSchema;
}

function annotate({ zodSchema, jsonSchema: described }: OverrideContext, io: "input" | "output"): void {
  const given: unknown = described["jsonSchema"];
  const { def } = zodSchema._zod;
  if (isRecord(given)) {
    for (const word of Object.keys(described)) if (!wordsKept.includes(word)) delete described[word];
    Object.assign(described, given);
  } else if (unspeakable.includes(def.type) && Object.keys(described).every((word) => wordsKept.includes(word))) {
    described["$comment"] = `${def.type}: JSON Schema has no word for it; .meta({ jsonSchema: … }) can describe it`;
  } else if (io === "output" && def.type === "object" && def.catchall === undefined) {
    // zod closes what it hands out; a client must not break when an answer gains a field.
    delete described["additionalProperties"];
  }
}

/** `__schema0` and the like are unique in one schema only; an id may hold what a component's name may not. */
function partName(part: string, name: string): string {
  return (part.startsWith("__") ? `${name}${part}` : part).replace(/[^\w.-]/g, "_");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
