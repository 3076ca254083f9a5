// An input that an endpoint accepts, for the example requests that `serve` prints: examples, defaults, then the least of each type.
import type { Field, FieldKind } from "./fields.ts";

/** Required fields only; a field's own example comes first. */
export function sampleInput(fields: readonly Field[]): Record<string, unknown> {
  const required = fields.filter((field) => field.required);
  return Object.fromEntries(
    required.map((field) => [field.name, field.examples[0] ?? field.defaultValue ?? sampleOf(field.kind)]),
  );
}

function sampleOf(kind: FieldKind): unknown {
  switch (kind.kind) {
    case "number":
      return 1;
    case "boolean":
      return true;
    case "text":
      return "…";
    case "choice":
      return kind.values[0];
    case "list":
      return [sampleOf(kind.of)];
    case "json":
      return {};
    case "either":
      return sampleOf(kind.of[0] ?? { kind: "text" });
  }
}

/** For a POSIX shell. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
