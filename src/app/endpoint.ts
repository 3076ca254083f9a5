// endpoint(): a class field that says path, schemas and what runs. Types of the handler come from the schemas; a field that the
// output schema does not have is a compile error. Knows no HTTP and no queue.
import type { z } from "zod";
import { cancelled, FlambeauError, InputError, toError } from "../errors.ts";
import { bindIterable, type Context, currentContext, detachedContext, runWithSignal } from "./context.ts";
import type { EndpointMode } from "./description.ts";
import { issuesOf, parseInput, toldIssues } from "./parse-input.ts";

type Path = `/${string}`;

/** The handler on parsed input. Also marks endpoint fields, across two copies of the package. */
const HANDLE: unique symbol = Symbol.for("flambeau.endpoint.handle");

/** What `endpoint()` makes. */
export interface Endpoint<I extends z.ZodType, O extends z.ZodType, M extends EndpointMode, P extends string = string> {
  readonly mode: M;
  readonly path: P;
  readonly input: I;
  readonly output: O;
  /** Milliseconds after which a request is cancelled with TIMEOUT. */
  readonly timeoutMs: number | undefined;
  /**
   * In-process call, validated as over the wire. Inside a request it belongs to that request; `timeoutMs` is not heeded.
   * @throws InputError INPUT_INVALID or OUTPUT_INVALID; FlambeauError CANCELLED when the signal fires; and whatever the handler throws
   */
  run(
    input: z.input<I>,
    options?: { signal?: AbortSignal },
  ): M extends "unary" ? Promise<z.output<O>> : AsyncIterable<z.output<O>>;
}
export type AnyEndpoint = Endpoint<z.ZodType, z.ZodType, EndpointMode>;

/** Every key of Given that Wanted does not have becomes `never`. */
type Exact<Wanted, Given> = Given &
  (Wanted extends object ? { [K in Exclude<keyof Given, keyof Wanted>]: never } : unknown);

interface UnarySchemas<I, O> {
  input: I;
  output: O;
  /** Milliseconds after which a request is cancelled and fails with TIMEOUT, its wait in the queue not counted; none by default. */
  timeoutMs?: number;
}
interface StreamSchemas<I, O> {
  input: I;
  /** Of each chunk. */
  yields: O;
  /** As above, for the whole stream. */
  timeoutMs?: number;
}

/**
 * An endpoint that answers once, as a field of an App. The handler gets the parsed input, and a context whose signal fires when the
 * request is cancelled; Python calls made in it are cancelled along.
 * @param path under which it is served, `/` for the main one; as it stands in a URL
 * @throws FlambeauError APP_INVALID for a path that a URL would write differently, and for a time limit that is none
 */
export function endpoint<const P extends Path, I extends z.ZodType, O extends z.ZodType, R extends z.input<O>>(
  path: P,
  schemas: UnarySchemas<I, O>,
  run: (input: z.output<I>, context: Context) => Promise<Exact<z.input<O>, R>>,
): Endpoint<I, O, "unary", P>;
/** An endpoint that yields as it goes; the handler is an async generator (a method, as arrows cannot be generators). */
export function endpoint<const P extends Path, I extends z.ZodType, O extends z.ZodType>(
  path: P,
  schemas: StreamSchemas<I, O>,
  run: (input: z.output<I>, context: Context) => AsyncIterable<z.input<O>>,
): Endpoint<I, O, "stream", P>;
export function endpoint(
  path: Path,
  schemas: UnarySchemas<z.ZodType, z.ZodType> | StreamSchemas<z.ZodType, z.ZodType>,
  run: (input: never, context: Context) => Promise<unknown> | AsyncIterable<unknown>,
): AnyEndpoint {
  requirePath(path);
  requireTimeout(path, schemas.timeoutMs);
  const isStream = "yields" in schemas;
  const output = isStream ? schemas.yields : schemas.output;
  const invoke = run as (input: unknown, context: Context) => unknown;
  const handle = (input: unknown, context: Context): unknown =>
    isStream ? yieldChecked(output, invoke(input, context)) : answerChecked(output, invoke(input, context));
  const made = {
    mode: isStream ? ("stream" as const) : ("unary" as const),
    path,
    input: schemas.input,
    output,
    timeoutMs: schemas.timeoutMs,
    run: (input: unknown, options: { signal?: AbortSignal } = {}) =>
      isStream ? runStream(made, input, options) : runUnary(made, input, options),
    [HANDLE]: handle,
  };
  // The overloads above tie mode and result together; the implementation cannot say that.
  return made as unknown as AnyEndpoint;
}

/** A path is compared with that of a URL, so it has to survive in one. */
function requirePath(path: string): void {
  // After two slashes a client reads the name of a host.
  if (!/^\/(?!\/)/.test(path)) {
    throw new FlambeauError("APP_INVALID", `endpoint("${path}", …): the path must start with a slash, and only one`);
  }
  const url = new URL("http://localhost");
  url.pathname = path;
  if (url.pathname !== path) {
    throw new FlambeauError(
      "APP_INVALID",
      `endpoint("${path}", …): in a URL this path is ${url.pathname}; write it so`,
    );
  }
}

/** Node's timers hold 31 bits, and take anything longer for no time at all. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

function requireTimeout(path: string, timeoutMs: number | undefined): void {
  if (timeoutMs === undefined || (timeoutMs > 0 && timeoutMs <= LONGEST_TIMEOUT_MS)) return;
  const expected = `timeoutMs is in milliseconds, more than 0 and at most ${LONGEST_TIMEOUT_MS} (24 days)`;
  throw new FlambeauError(
    "APP_INVALID",
    `endpoint("${path}", …): ${expected}, got ${timeoutMs}; leave it out for no limit`,
  );
}

export function isEndpoint(value: unknown): value is AnyEndpoint {
  return typeof value === "object" && value !== null && HANDLE in value;
}

/**
 * Runs the handler on input that has been parsed already (parsing twice would apply transforms twice).
 * @returns of a unary endpoint a promise of the checked output, of a stream an async iterable of checked chunks
 */
export function handleParsed(endpoint: AnyEndpoint, input: unknown, context: Context): unknown {
  return (endpoint as unknown as Handled)[HANDLE](input, context);
}

interface Handled {
  readonly path: Path;
  readonly input: z.ZodType;
  readonly [HANDLE]: (input: unknown, context: Context) => unknown;
}

async function runUnary(endpoint: Handled, input: unknown, options: { signal?: AbortSignal }): Promise<unknown> {
  const parsed = parseInput(endpoint.input, input);
  return inContext(endpoint, options, async (context) => endpoint[HANDLE](parsed, context));
}

async function* runStream(
  endpoint: Handled,
  input: unknown,
  options: { signal?: AbortSignal },
): AsyncIterable<unknown> {
  const parsed = parseInput(endpoint.input, input);
  const chunks = await inContext(endpoint, options, async (context) =>
    bindIterable(endpoint[HANDLE](parsed, context) as AsyncIterable<unknown>),
  );
  for await (const chunk of chunks) {
    refuseAborted(endpoint, options.signal);
    yield chunk;
  }
}

/** The request that this call is part of, or none; `signal` stops this call and not the rest of the request. */
function inContext<R>(
  endpoint: Handled,
  { signal }: { signal?: AbortSignal },
  body: (context: Context) => Promise<R>,
): Promise<R> {
  refuseAborted(endpoint, signal);
  const context = currentContext();
  if (context === undefined) return body(detachedContext(signal));
  return signal === undefined ? body(context) : runWithSignal(context, signal, body);
}

function refuseAborted({ path }: Handled, signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw cancelled(signal.reason, `endpoint ${path}`);
}

async function answerChecked(schema: z.ZodType, answer: unknown): Promise<unknown> {
  return parseOutput(schema, await answer);
}

async function* yieldChecked(schema: z.ZodType, chunks: unknown): AsyncIterable<unknown> {
  for await (const chunk of chunks as AsyncIterable<unknown>) yield await parseOutput(schema, chunk);
}

/** @throws InputError OUTPUT_INVALID with the paths of the fields */
async function parseOutput(schema: z.ZodType, output: unknown): Promise<unknown> {
  let parsed: z.ZodSafeParseResult<unknown>;
  try {
    parsed = await schema.safeParseAsync(output);
  } catch (thrown) {
    throw new InputError("OUTPUT_INVALID", [{ path: [], message: toError(thrown).message }]);
  }
  if (parsed.success) return parsed.data;
  throw new InputError("OUTPUT_INVALID", toldIssues(issuesOf(parsed.error)));
}
