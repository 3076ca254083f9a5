// `flambeau run app.ts --prompt …`: one request without a server. Input is checked before Python starts.
// Given the host's factory, so that a test can run it against another one.
import { resolve } from "node:path";
import type { AppClass } from "../app/app.ts";
import type { AppDescription, EndpointDescription } from "../app/description.ts";
import type { FileStore } from "../app/files.ts";
import { toJson } from "../app/json.ts";
import { parseInput } from "../app/parse-input.ts";
import type { Settings } from "../config.ts";
import { cancelled, FlambeauError, InputError } from "../errors.ts";
import type { Host } from "../host/contract.ts";
import { nearest } from "../host/nearest.ts";
import type { Logger } from "../log.ts";
import type { MeasuredWait } from "./bar.ts";
import { type Field, fieldsOf, placeholder } from "./fields.ts";
import { type FlagSet, flagsHelp, peekFlag, readFlags } from "./flags.ts";
import { type InputSources, mergedInput, readInput } from "./input.ts";
import { outputText } from "./output.ts";
import { OutputFolder } from "./output-folder.ts";
import { type FieldCommand, OWN_DEFAULTS, type OwnFlags, reservedFlags } from "./own-flags.ts";
import { RequestFailedError } from "./report.ts";
import { kebab, secondsText } from "./words.ts";

export type CreateHost = (
  app: AppClass,
  options: { settings: Settings; logger: Logger; file: string; files?: FileStore },
) => Host;

type RequestEvent = ReturnType<Host["submit"]> extends AsyncIterable<infer Event> ? Event : never;

/** What the command needs of the outside. */
export interface RunParts extends InputSources {
  readonly createHost: CreateHost;
  readonly settings: Settings;
  /** Draws bars as well: the steps of a request are told as waits. */
  readonly logger: Logger;
  /** Results; whole lines. */
  readonly print: (text: string) => void;
  /** Since the process began: loading holds Node's own start. */
  readonly nowMs: () => number;
  readonly columns: number;
}

export interface RunRequest {
  readonly command: FieldCommand;
  readonly app: AppClass;
  readonly description: AppDescription;
  /** The file that the class came from, absolute. */
  readonly file: string;
  /** As typed: `examples/text-to-image.ts`. */
  readonly spec: string;
  /** Everything after it. */
  readonly argv: readonly string[];
  /** Own flags that stood before it. */
  readonly own: Partial<OwnFlags>;
}

/**
 * Runs one request and prints its output.
 * @throws FlambeauError of every code that input, host and request can have; CANCELLED when the signal fires
 */
export async function run(request: RunRequest, parts: RunParts, { signal }: { signal: AbortSignal }): Promise<void> {
  if (wantsHelp(request.argv)) {
    parts.print(helpText(request, parts.columns));
    return;
  }
  const endpoint = endpointOf(request);
  const { own, input } = await inputOf(request, endpoint, parts, signal);
  const loadSeconds = parts.nowMs() / 1000;
  const files = new OutputFolder(resolve(parts.cwd, own.out), kebab(endpoint.name));
  await using host = parts.createHost(request.app, {
    settings: parts.settings,
    logger: parts.logger,
    file: request.file,
    files,
  });
  await host.start({ signal });
  const result = await carriedOut(host, { endpoint, input }, parts, signal);
  printOutput(result, { json: own.json, files, cwd: parts.cwd, print: parts.print });
  const total = parts.nowMs() / 1000;
  const phases = [
    { phase: "load", seconds: loadSeconds },
    ...host.timings,
    { phase: "request", seconds: result.seconds },
    { phase: "total", seconds: total },
  ];
  parts.logger.info(phases.map(({ phase, seconds }) => `${phase} ${secondsText(seconds)}`).join(" · "));
}

/** Before anything else is read: help is wanted most when the other flags are wrong. `-h` later on may be a value. */
export function wantsHelp(argv: readonly string[]): boolean {
  return argv.includes("--help") || argv[0] === "-h";
}

export function endpointOf({ description, argv, own, spec }: RunRequest): EndpointDescription {
  const { endpoints } = description;
  const wanted = peekFlag(argv, "endpoint") ?? own.endpoint;
  const [only] = endpoints;
  if (wanted === undefined && only !== undefined && endpoints.length === 1) return only;
  const choices = endpoints.map(({ name, path }) => `${name} (${path})`).join(", ");
  if (wanted === undefined) {
    throw new FlambeauError(
      "SETTINGS_INVALID",
      `${spec} has ${endpoints.length} endpoints: ${choices}; name one with --endpoint`,
    );
  }
  const found = endpoints.find(
    ({ name, path }) => wanted === name || wanted === path || wanted === kebab(name) || `/${wanted}` === path,
  );
  if (found) return found;
  const near = nearest(
    wanted,
    endpoints.flatMap(({ name, path }) => [name, path]),
  );
  throw new FlambeauError(
    "NOT_FOUND",
    `${spec} has no endpoint ${wanted}; ${near ? `did you mean ${near}?` : `there is ${choices}`}`,
  );
}

export async function inputOf(
  request: RunRequest,
  endpoint: EndpointDescription,
  sources: InputSources,
  signal: AbortSignal,
): Promise<{ own: OwnFlags; input: unknown }> {
  const set = flagSet(request, endpoint);
  const read = readFlags(request.argv, set);
  const own = { ...OWN_DEFAULTS, ...request.own, ...read.own };
  const whole = own.input === undefined ? undefined : await readInput(own.input, sources, { signal });
  const input = mergedInput(whole, read.values);
  try {
    parseInput(endpoint.input, input);
  } catch (thrown) {
    throw thrown instanceof InputError ? inFlags(thrown, set.fields, input) : thrown;
  }
  return { own, input };
}

/** `num_inference_steps: too big` as `--num-inference-steps: too big`. */
function inFlags(error: InputError, fields: readonly Field[], input: unknown): InputError {
  const given = new Set(Object.keys(Object(input)));
  const issues = error.issues.map(({ path, message }) => {
    const [first, ...rest] = path;
    const field = fields.find(({ name }) => name === first);
    if (field === undefined) return { path, message };
    const said = given.has(field.name) ? message : `is needed: --${field.flag} ${placeholder(field.kind)}`.trimEnd();
    return { path: [`--${field.flag}`, ...rest], message: said };
  });
  return new InputError("INPUT_INVALID", issues);
}

function flagSet({ command, spec, description }: RunRequest, endpoint: EndpointDescription): FlagSet {
  const several = description.endpoints.length > 1;
  return {
    command,
    usage: `flambeau ${command} ${spec}${several ? ` --endpoint ${endpoint.name}` : ""}`,
    heading: `${description.name}.${endpoint.name}, ${endpoint.mode === "stream" ? "a stream at" : "at"} ${endpoint.path}:`,
    fields: fieldsOf(endpoint.input, reservedFlags(command)),
  };
}

/** Of the endpoint that is named, otherwise of all. */
export function helpText(request: RunRequest, columns: number): string {
  const named = peekFlag(request.argv, "endpoint") ?? request.own.endpoint;
  const endpoints = named === undefined ? request.description.endpoints : [endpointOf(request)];
  const last = endpoints.length - 1;
  return endpoints
    .map((endpoint, index) => flagsHelp(flagSet(request, endpoint), { own: index === last, columns }))
    .join("\n\n");
}

interface Result {
  readonly mode: EndpointDescription["mode"];
  readonly output: unknown;
  /** Of a stream, in order. */
  readonly chunks: readonly unknown[];
  readonly seconds: number;
}

/** An endpoint and an input that fits it. */
export interface Asked {
  readonly endpoint: EndpointDescription;
  readonly input: unknown;
}

/** One request to its end; progress and logs go to the logger. */
export async function carriedOut(
  host: Host,
  { endpoint, input }: Asked,
  parts: RunParts,
  signal: AbortSignal,
): Promise<Result> {
  const chunks: unknown[] = [];
  let drawn: MeasuredWait | null = null;
  try {
    for await (const event of host.submit(endpoint.path, input, { signal })) {
      switch (event.type) {
        case "queued":
        case "started":
          break;
        case "progress":
          drawn = waitOf(event);
          parts.logger.wait(drawn);
          break;
        case "log":
          parts.logger.info(event.message);
          break;
        case "output":
          chunks.push(event.chunk);
          break;
        case "completed":
          return { mode: endpoint.mode, output: event.output, chunks, seconds: event.seconds };
        case "failed":
          throw new RequestFailedError(event.error);
        case "cancelled":
          throw cancelled(signal.reason, "the request");
      }
    }
  } finally {
    if (drawn !== null) parts.logger.wait({ ...drawn, finished: true });
  }
  throw new FlambeauError("INTERNAL", "the request ended without a last event; this is a defect of Flambeau");
}

function waitOf(event: Extract<RequestEvent, { type: "progress" }>): MeasuredWait {
  return {
    id: "request",
    label: event.stage ?? "step",
    done: event.step,
    total: event.total,
    unit: "steps",
    ratePerSecond: event.rate,
    secondsLeft: event.secondsLeft,
  };
}

function printOutput(
  result: Result,
  { json, files, cwd, print }: { json: boolean; files: OutputFolder; cwd: string; print: (text: string) => void },
): void {
  const values = result.mode === "stream" ? result.chunks : [result.output];
  for (const value of values) {
    // One line each, so that a stream is read line by line and a single output by any JSON reader.
    const text = json ? toJson(value) : outputText(value, { files, cwd });
    if (text !== "") print(text);
  }
}
