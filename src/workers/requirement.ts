// One line of `static requirements`, parsed (PEP 508 without URLs) and written back in canonical form.
// Installers get only that form: options, paths, URLs and `${VARIABLES}` never reach them.
import { limits } from "../config.ts";
import { FlambeauError } from "../errors.ts";
import { evaluateMarker, type Marker, type MarkerValues, markerText, parseMarker } from "./marker.ts";
import { type Operator, parseVersion, type Specifier } from "./version.ts";

export interface Requirement {
  /** Normalized: lower case, runs of `.`, `_` and `-` as one `-`. */
  readonly name: string;
  readonly extras: readonly string[];
  readonly specifiers: readonly Specifier[];
  readonly marker: Marker | null;
  /** The canonical text, e.g. `torch[opt]<3,>=2.2.0; python_version >= "3.10"`. */
  readonly text: string;
}

const NAME = /^([a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9])?)(?![a-z0-9._-])/i;
const EXTRAS = /^\[\s*([a-z0-9._-]*(?:\s*,\s*[a-z0-9._-]+)*)\s*\]/i;
const CLAUSE = /^(===|~=|==|!=|<=|>=|<|>)\s*([a-z0-9.!+*_-]+)$/i;
const EXAMPLE = 'a name with optional extras, versions and marker, such as "torch>=2.2.0"';

/** Why a text is refused before it is parsed: what is dangerous gets its own words. */
const REFUSALS: readonly { readonly pattern: RegExp; readonly why: string }[] = [
  { pattern: /[\r\n\u2028\u2029]/, why: "it holds a line break; give one requirement per entry" },
  { pattern: /[^\x20-\x7e]/, why: "it holds a character that is not printable ASCII" },
  { pattern: /[$`]/, why: "variables are not expanded in requirements" },
  {
    pattern: /^\s*-/,
    why: "it is an option of an installer; index settings belong in pip's or uv's own configuration",
  },
  {
    pattern: /\s--/,
    why: "it carries an option of an installer; index settings belong in pip's or uv's configuration",
  },
  { pattern: /@|:\/\//, why: "direct URLs are not supported; use a ready interpreter (`python`) for such packages" },
  {
    pattern: /^\s*[./~]|\\|\.(?:whl|zip|tar\.gz)\s*$|^[^;]*\//i,
    why: "paths are not supported; use a ready interpreter (`python`) for such packages",
  },
  { pattern: /#/, why: "comments are not part of a requirement" },
];

/**
 * Parses one requirement.
 * @throws FlambeauError REQUIREMENT_INVALID
 */
export function parseRequirement(given: string): Requirement {
  if (given.length > limits.requirementCharacters) {
    throw invalid(given, `it has ${given.length} characters; at most ${limits.requirementCharacters} are allowed`);
  }
  const refusal = REFUSALS.find(({ pattern }) => pattern.test(given));
  if (refusal !== undefined) throw invalid(given, refusal.why);
  const separator = given.indexOf(";");
  const front = (separator < 0 ? given : given.slice(0, separator)).trim();
  const marker = separator < 0 ? null : parseMarker(given.slice(separator + 1));
  if (separator >= 0 && marker === null) throw invalid(given, "the part after ; is not an environment marker");
  const name = NAME.exec(front)?.[1];
  if (name === undefined) throw invalid(given, "it does not begin with a package name");
  const { extras, rest } = parseExtras(given, front.slice(name.length).trim());
  const specifiers = parseSpecifiers(given, rest);
  const parts = { name: normalizeName(name), extras, specifiers, marker };
  return { ...parts, text: canonicalText(parts) };
}

/**
 * Every requirement once, in canonical order.
 * @throws FlambeauError REQUIREMENT_INVALID
 */
export function parseRequirements(given: readonly string[]): readonly Requirement[] {
  if (given.length > limits.requirementsMax) {
    throw new FlambeauError(
      "REQUIREMENT_INVALID",
      `${given.length} requirements were given; at most ${limits.requirementsMax} are allowed`,
    );
  }
  const parsed = new Map(given.map((text) => parseRequirement(text)).map((one) => [one.text, one]));
  return [...parsed.values()].sort((one, other) => (one.text < other.text ? -1 : 1));
}

/** `Foo.Bar_baz` and `foo-bar-baz` are one package (PEP 503). */
export function normalizeName(name: string): string {
  return name.toLowerCase().replace(/[-_.]+/g, "-");
}

/** Whether the requirement is meant for this interpreter. */
export function applies(requirement: Requirement, values: MarkerValues): boolean {
  return requirement.marker === null || evaluateMarker(requirement.marker, values);
}

function parseExtras(given: string, text: string): { extras: readonly string[]; rest: string } {
  if (!text.startsWith("[")) return { extras: [], rest: text };
  const match = EXTRAS.exec(text);
  if (match === null) throw invalid(given, "the extras in [] are not names separated by commas");
  const names = (match[1] ?? "").split(",").map((extra) => normalizeName(extra.trim()));
  return { extras: [...new Set(names.filter(Boolean))].sort(), rest: text.slice(match[0].length).trim() };
}

function parseSpecifiers(given: string, text: string): readonly Specifier[] {
  const bare = text.startsWith("(") && text.endsWith(")") ? text.slice(1, -1).trim() : text;
  if (bare === "") return [];
  const specifiers = bare.split(",").map((clause) => parseClause(given, clause.trim()));
  return specifiers.sort((one, other) => (clauseText(one) < clauseText(other) ? -1 : 1));
}

function parseClause(given: string, clause: string): Specifier {
  const [, operator, version = ""] = CLAUSE.exec(clause) ?? [];
  if (operator === undefined) throw invalid(given, `"${shorten(clause)}" is not a version clause such as >=2.2.0`);
  const wildcard = version.endsWith(".*");
  const parsed = parseVersion(wildcard ? version.slice(0, -2) : version);
  const problem =
    parsed === null
      ? "is not a version"
      : wildcard && operator !== "==" && operator !== "!="
        ? "may end in .* only after == or !="
        : parsed.local !== null && (wildcard || !["==", "!=", "==="].includes(operator))
          ? "may have a local part (+…) only after == or !="
          : operator === "~=" && parsed.release.length < 2
            ? "needs at least two numbers after ~="
            : null;
  if (problem !== null) throw invalid(given, `"${shorten(version)}" ${problem}`);
  return { operator: operator as Operator, version: version.toLowerCase() }; // the pattern admits only operators
}

const clauseText = ({ operator, version }: Specifier): string => `${operator}${version}`;

function canonicalText(parts: Omit<Requirement, "text">): string {
  const extras = parts.extras.length > 0 ? `[${parts.extras.join(",")}]` : "";
  const marker = parts.marker === null ? "" : `; ${markerText(parts.marker)}`;
  return `${parts.name}${extras}${parts.specifiers.map(clauseText).join(",")}${marker}`;
}

function invalid(given: string, why: string): FlambeauError {
  const shown = JSON.stringify(shorten(given));
  return new FlambeauError("REQUIREMENT_INVALID", `requirement ${shown} is not valid: ${why}; expected ${EXAMPLE}`);
}

const shorten = (text: string): string => (text.length > 80 ? `${text.slice(0, 80)}…` : text);
