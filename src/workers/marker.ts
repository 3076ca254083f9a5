// Environment markers of requirements (PEP 508): parse, write back in one form, evaluate for an interpreter.
// Knows no requirements: only the text after the semicolon.
import { compareVersions, type Operator, parseVersion, satisfies } from "./version.ts";

/** What an interpreter says of itself, by marker variable. */
export type MarkerValues = Readonly<Record<string, string>>;

export type Marker =
  | { readonly kind: "and" | "or"; readonly left: Marker; readonly right: Marker }
  | { readonly kind: "compare"; readonly left: Operand; readonly operator: string; readonly right: Operand };
type Operand = { readonly kind: "variable"; readonly name: string } | { readonly kind: "text"; readonly text: string };
type Token = { readonly kind: "word" | "text" | "operator" | "open" | "close"; readonly text: string };

const VARIABLES = new Set([
  "python_version",
  "python_full_version",
  "os_name",
  "sys_platform",
  "platform_machine",
  "platform_python_implementation",
  "platform_release",
  "platform_system",
  "platform_version",
  "implementation_name",
  "implementation_version",
  "extra",
]);
const TOKEN = /\s*(?:([a-z_]+)|"([^"'\\$]*)"|'([^"'\\$]*)'|(===|~=|==|!=|<=|>=|<|>)|(\()|(\)))/y;
const MAX_TERMS = 64;

/** Null if the text is no marker: unknown variable, stray character, unbalanced parentheses, over 64 comparisons. */
export function parseMarker(text: string): Marker | null {
  const tokens = tokenize(text);
  if (tokens === null || tokens.length > MAX_TERMS * 5) return null;
  const reader = new Reader(tokens);
  const marker = reader.any();
  return marker !== null && reader.atEnd ? marker : null;
}

/** One spelling for equal markers: double quotes, single spaces, parentheses only where needed. */
export function markerText(marker: Marker): string {
  if (marker.kind === "compare") {
    return `${operandText(marker.left)} ${marker.operator} ${operandText(marker.right)}`;
  }
  const inner = (side: Marker): string =>
    marker.kind === "and" && side.kind === "or" ? `(${markerText(side)})` : markerText(side);
  return `${inner(marker.left)} ${marker.kind} ${inner(marker.right)}`;
}

/** Whether it holds; a variable that is not known is empty text, as for `extra`. */
export function evaluateMarker(marker: Marker, values: MarkerValues): boolean {
  if (marker.kind !== "compare") {
    const left = evaluateMarker(marker.left, values);
    return marker.kind === "and"
      ? left && evaluateMarker(marker.right, values)
      : left || evaluateMarker(marker.right, values);
  }
  const read = (operand: Operand): string => (operand.kind === "text" ? operand.text : (values[operand.name] ?? ""));
  return compare(read(marker.left), marker.operator, read(marker.right));
}

function compare(left: string, operator: string, right: string): boolean {
  if (operator === "in") return right.includes(left);
  if (operator === "not in") return !right.includes(left);
  const [ours, theirs] = [parseVersion(left), parseVersion(right.replace(/\.\*$/, ""))];
  if (ours !== null && theirs !== null) {
    return satisfies(left, [{ operator: operator as Operator, version: right }]); // only operators are tokenized here
  }
  switch (operator) {
    case "==":
    case "===":
      return left === right;
    case "!=":
      return left !== right;
    case "<":
      return left < right;
    case ">":
      return left > right;
    case "<=":
      return left <= right;
    case ">=":
      return left >= right;
    default:
      return ours !== null && theirs !== null && compareVersions(ours, theirs) >= 0;
  }
}

function operandText(operand: Operand): string {
  return operand.kind === "text" ? `"${operand.text}"` : operand.name;
}

function tokenize(text: string): readonly Token[] | null {
  const tokens: Token[] = [];
  const source = text.trim();
  let position = 0;
  while (position < source.length) {
    TOKEN.lastIndex = position;
    const match = TOKEN.exec(source);
    if (match === null) return null;
    position = TOKEN.lastIndex;
    const [, word, double, single, operator, open] = match;
    const quoted = double ?? single;
    if (word !== undefined) tokens.push({ kind: "word", text: word });
    else if (quoted !== undefined) tokens.push({ kind: "text", text: quoted });
    else if (operator !== undefined) tokens.push({ kind: "operator", text: operator });
    else tokens.push({ kind: open === undefined ? "close" : "open", text: "" });
  }
  return tokens;
}

/** Recursive descent: any := all ("or" all)*, all := one ("and" one)*, one := operand operator operand | "(" any ")". */
class Reader {
  readonly #tokens: readonly Token[];
  #position = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get atEnd(): boolean {
    return this.#position === this.#tokens.length;
  }

  any(): Marker | null {
    return this.#joined("or", () => this.#joined("and", () => this.#one()));
  }

  #joined(kind: "and" | "or", part: () => Marker | null): Marker | null {
    let left = part();
    while (left !== null && this.#take("word", kind) !== null) {
      const right = part();
      if (right === null) return null;
      left = { kind, left, right };
    }
    return left;
  }

  #one(): Marker | null {
    if (this.#take("open") !== null) {
      const inside = this.any();
      return this.#take("close") === null ? null : inside;
    }
    const left = this.#operand();
    const operator = this.#operator();
    const right = this.#operand();
    if (left === null || operator === null || right === null) return null;
    return { kind: "compare", left, operator, right };
  }

  #operand(): Operand | null {
    const text = this.#take("text");
    if (text !== null) return { kind: "text", text };
    const name = this.#take("word");
    return name !== null && VARIABLES.has(name) ? { kind: "variable", name } : null;
  }

  #operator(): string | null {
    const operator = this.#take("operator") ?? this.#take("word", "in");
    if (operator !== null) return operator;
    return this.#take("word", "not") !== null && this.#take("word", "in") !== null ? "not in" : null;
  }

  #take(kind: Token["kind"], text?: string): string | null {
    const token = this.#tokens[this.#position];
    if (token === undefined || token.kind !== kind || (text !== undefined && token.text !== text)) return null;
    this.#position += 1;
    return token.text;
  }
}
