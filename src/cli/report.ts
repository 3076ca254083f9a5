// An error as the command line says it: one block, the line of the app that is at fault, Python folded.
// Text only: main.ts writes it. Knows no host.
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { limits } from "../config.ts";
import { type ErrorCode, FlambeauError, InputError, type InputIssue, PyError, toError } from "../errors.ts";
import { type ExitCode, OUTCOMES } from "./outcomes.ts";
import { foldedTraceback } from "./traceback.ts";
import { printable } from "./words.ts";

/** A request that failed, as its last event tells it. */
export interface FailedRequest {
  readonly code: ErrorCode;
  readonly message: string;
  readonly issues?: readonly InputIssue[];
  readonly pythonType?: string;
  readonly traceback?: string;
  /** Of the error that the endpoint threw, where the queue passes it on: its lines name the app's own. */
  readonly stack?: string;
}

/** Thrown by commands for a request that failed: its stack is the endpoint's, not that of the command. */
export class RequestFailedError extends FlambeauError {
  override readonly name = "RequestFailedError";
  readonly failure: FailedRequest;

  constructor(failure: FailedRequest) {
    super(failure.code, failure.message);
    this.failure = failure;
    this.stack = failure.stack ?? "";
  }
}

export interface ReportOptions {
  /** Whole tracebacks and stacks. */
  readonly verbose: boolean;
  readonly color: boolean;
  readonly cwd: string;
}

/** What the process ends with because of this error. */
export function exitCodeOf(thrown: unknown): ExitCode {
  const codes = causesOf(thrown).flatMap((error) => (error instanceof FlambeauError ? [error.code] : []));
  // setup() that could not find its packages is a matter of the environment, whatever stands around it.
  const exits = codes.map((code) => OUTCOMES[code].exit);
  return exits.includes(130) && codes[0] === "CANCELLED" ? 130 : exits.includes(2) ? 2 : 1;
}

/** The whole block, without a line break at its end. */
export function report(thrown: unknown, options: ReportOptions): string {
  // Messages and tracebacks hold what a caller sent.
  const text = printable(reportText(thrown, options));
  return options.color ? text.replace(/^error(?:\[\w+\])?:/, "\x1b[31m$&\x1b[0m") : text;
}

function reportText(thrown: unknown, options: ReportOptions): string {
  const [first, ...causes] = causesOf(thrown);
  if (first === undefined) return `error: ${String(thrown)}`;
  const blocks = [block(first, options)];
  for (const cause of causes) {
    if (!blocks.some((before) => before.includes(indented(cause.message))))
      blocks.push(`because ${causeBlock(cause, options)}`);
    else if (cause instanceof PyError) blocks.push(...whereLines(cause, options));
  }
  const next = first instanceof FlambeauError ? OUTCOMES[first.code].next : null;
  return [...blocks, ...(next === null ? [] : [`  → ${next}`])].join("\n");
}

function block(error: Error, options: ReportOptions): string {
  if (!(error instanceof FlambeauError)) {
    return [
      `error: ${stackOf(error, options)}`,
      "  This was not expected: it is a defect of the app or of Flambeau.",
    ].join("\n");
  }
  const said =
    error instanceof InputError || issuesOf(error) !== undefined
      ? issueText(issuesOf(error) ?? [])
      : indented(error.message);
  return [`error[${error.code}]:${said.startsWith("\n") ? "" : " "}${said}`, ...whereLines(error, options)].join("\n");
}

function causeBlock(error: Error, options: ReportOptions): string {
  const code = error instanceof FlambeauError ? ` [${error.code}]` : "";
  return [`${indented(error.message)}${code}`, ...whereLines(error, options)].join("\n");
}

/** Where: the app's own line first, or all lines, then Python's. */
function whereLines(error: Error, options: ReportOptions): string[] {
  const at = callSite(error, options.cwd);
  const own = options.verbose ? stackLines(error).map((line) => `  ${line}`) : at === null ? [] : [`  at ${at}`];
  const failed = error instanceof RequestFailedError ? error.failure.traceback : undefined;
  const python = error instanceof PyError ? error.traceback : failed;
  return python === undefined ? own : [...own, ...pythonLines(python, error.message, options)];
}

function pythonLines(traceback: string, message: string, { verbose }: ReportOptions): string[] {
  const whole = traceback.trimEnd().split("\n");
  const { frames, hidden } = foldedTraceback(traceback, message);
  const shown = verbose ? whole : frames;
  const folded = verbose || hidden === 0 ? "" : ` (${hidden} more above; --verbose shows all)`;
  return shown.length === 0 ? [] : [`  Python${folded}:`, ...shown.map((line) => `  ${line}`)];
}

/** The first stack line in the user's own files, as a path relative to where they are. */
export function callSite(error: Error, cwd: string): string | null {
  for (const line of stackLines(error)) {
    const [, name, place] = /^at (?:async )?(?:(.*?) \()?((?:file:\/\/)?\/[^()]*:\d+:\d+)\)?$/.exec(line) ?? [];
    if (place === undefined || !isUsers(place)) continue;
    const path = place.startsWith("file://")
      ? fileURLToPath(place.replace(/(:\d+:\d+)$/, "")) + (/(:\d+:\d+)$/.exec(place)?.[0] ?? "")
      : place;
    const short = relative(cwd, path);
    const shown = short.startsWith("..") ? path : short;
    return name === undefined || name === "<anonymous>" ? shown : `${name} (${shown})`;
  }
  return null;
}

/** Ours are `src/` and `dist/` of this package: source maps turn one into the other. */
function isUsers(place: string): boolean {
  const ours = ["src/", "dist/"].map((folder) => new URL(`../../${folder}`, import.meta.url));
  return (
    !place.includes("/node_modules/") &&
    !ours.some(({ href }) => place.startsWith(href) || place.startsWith(fileURLToPath(href)))
  );
}

function stackLines(error: Error): string[] {
  const lines = (error.stack ?? "").split("\n").map((line) => line.trim());
  return lines.filter((line) => line.startsWith("at "));
}

function stackOf(error: Error, options: ReportOptions): string {
  const lines = stackLines(error);
  const kept = options.verbose ? lines : lines.filter((line) => !line.includes("node:internal"));
  return [`${error.name}: ${error.message}`, ...kept.map((line) => `  ${line}`)].join("\n");
}

function issuesOf(error: FlambeauError): readonly InputIssue[] | undefined {
  if (error instanceof InputError) return error.issues;
  return error instanceof RequestFailedError ? error.failure.issues : undefined;
}

function issueText(issues: readonly InputIssue[]): string {
  const lines = issues.map((issue) => `${issue.path.join(".") || "(the whole input)"}: ${issue.message}`);
  return lines.length === 1 ? lines.join("") : ["", ...lines].join("\n  ");
}

function indented(text: string): string {
  return text.trimEnd().replace(/\n(?!\n)/g, "\n  ");
}

/** The error and what caused it, outermost first; a chain that never ends is cut. */
function causesOf(thrown: unknown): readonly Error[] {
  const chain: Error[] = [];
  let next: unknown = thrown;
  while (next !== undefined && next !== null && chain.length < limits.causesShown) {
    const error = toError(next);
    if (chain.includes(error)) break;
    chain.push(error);
    next = error.cause === next ? undefined : error.cause;
  }
  return chain;
}
