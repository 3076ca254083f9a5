// One POST to an endpoint: body in, output or a stream of chunks out. A caller that leaves cancels its request.
// Knows no other route.
import type { EndpointDescription } from "../app/description.ts";
import { toJson } from "../app/json.ts";
import { cancelled } from "../errors.ts";
import { failureOf, internalFailure } from "../queue/failure.ts";
import { isTerminal, type RequestEvent, type RequestFailure, type TerminalEvent } from "../queue/request.ts";
import { type Admission, admit } from "./admission.ts";
import { readJson } from "./body.ts";
import { failureBody, failureResponse, told } from "./status.ts";

export interface RunOptions extends Admission {
  /** True where tracebacks may be told. */
  readonly isLocal: () => boolean;
}

export const REQUEST_ID_HEADER = "x-flambeau-request-id";

type Chunk = Extract<RequestEvent, { type: "output" }>;
type Events = AsyncIterator<RequestEvent>;

/** Answers when the request has ended; of a stream, when its first chunk is there, so that an early failure has its own status. */
export async function runEndpoint(
  options: RunOptions,
  endpoint: EndpointDescription,
  request: Request,
): Promise<Response> {
  const { queue, isLocal } = options;
  let input: unknown;
  let id: string;
  try {
    input = await readJson(request);
    if (request.signal.aborted) throw cancelled(request.signal.reason, "a request whose caller left");
    id = admit(options, endpoint, input);
  } catch (thrown) {
    return failureResponse(told(failureOf(thrown), isLocal()), { input });
  }
  const leave = (): void => void queue.cancel(id);
  request.signal.addEventListener("abort", leave, { once: true });
  const events = queue.events(id)[Symbol.asyncIterator]();
  const result = endpoint.mode === "stream" ? await chunkOrEnd(events) : await end(events);
  const headers = { [REQUEST_ID_HEADER]: id, "cache-control": "no-store" };
  try {
    if (result.type === "completed" && endpoint.mode === "unary") {
      return new Response(toJson(result.output), { headers: { ...headers, "content-type": "application/json" } });
    }
  } catch (thrown) {
    return failureResponse(failureOf(thrown), { headers });
  }
  if (result.type === "failed" || result.type === "cancelled") {
    return failureResponse(told(failureOfEnd(result), isLocal()), { headers });
  }
  const body = eventStream(result, events, { leave, isLocal });
  return new Response(body, { headers: { ...headers, "content-type": "text/event-stream" } });
}

async function chunkOrEnd(events: Events): Promise<Chunk | TerminalEvent> {
  for (let next = await events.next(); !next.done; next = await events.next()) {
    if (next.value.type === "output" || isTerminal(next.value)) return next.value;
  }
  return { type: "failed", error: internalFailure("the queue ended without saying how; this is a defect of Flambeau") };
}

async function end(events: Events): Promise<TerminalEvent> {
  for (;;) {
    const result = await chunkOrEnd(events);
    if (result.type !== "output") return result;
  }
}

function failureOfEnd(event: Extract<TerminalEvent, { type: "failed" | "cancelled" }>): RequestFailure {
  return event.type === "failed" ? event.error : failureOf(cancelled(undefined, "the request"));
}

interface StreamOptions {
  readonly leave: () => void;
  readonly isLocal: () => boolean;
}

/** Server-sent events, one for each chunk. Pulled: a slow caller slows the reading of events, and none is lost. */
function eventStream(
  first: Chunk | TerminalEvent,
  events: Events,
  { leave, isLocal }: StreamOptions,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let result: Chunk | TerminalEvent | undefined = first;
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    const event = result ?? (await chunkOrEnd(events));
    result = undefined;
    try {
      if (event.type === "output") return controller.enqueue(encoder.encode(`data: ${toJson(event.chunk)}\n\n`));
      if (event.type !== "completed") controller.enqueue(encoder.encode(errorEvent(failureOfEnd(event), isLocal())));
    } catch (thrown) {
      leave();
      controller.enqueue(encoder.encode(errorEvent(failureOf(thrown), isLocal())));
    }
    controller.close();
  };
  // Nothing is pulled ahead of the caller.
  return new ReadableStream({ pull, cancel: leave }, { highWaterMark: 0 });
}

function errorEvent(failure: RequestFailure, isLocal: boolean): string {
  return `event: error\ndata: ${JSON.stringify(failureBody(told(failure, isLocal)))}\n\n`;
}
