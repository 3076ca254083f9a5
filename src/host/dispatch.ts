// One request carried out: a live instance, the endpoint of its App object, and everything that happens as RequestEvents.
// Knows no queue and no HTTP: it is the queue's Dispatch.
import { bindIterable, type Context } from "../app/context.ts";
import { handleParsed } from "../app/endpoint.ts";
import { FlambeauError } from "../errors.ts";
import { failureOf } from "../queue/failure.ts";
import { createRateMeter } from "../queue/rate.ts";
import type { Dispatch, QueuedRequest, RequestEvent, TerminalEvent } from "../queue/request.ts";
import { EventStream } from "./event-stream.ts";
import type { Instance } from "./instance.ts";
import type { InstanceSink } from "./sinks.ts";

/**
 * @param lease gives a live instance, starting one if need be
 * @param onEnd hears how each request ended and after how many seconds, its wait in the queue not counted
 */
export function createDispatch(
  lease: (signal: AbortSignal) => Promise<Instance>,
  onEnd?: (request: QueuedRequest, terminal: TerminalEvent, seconds: number) => void,
): Dispatch {
  return async function* dispatch(request, signal) {
    const events = new EventStream<RequestEvent>();
    const started = performance.now();
    void carryOut(lease, request, { signal, events }).then((terminal) => {
      onEnd?.(request, terminal, (performance.now() - started) / 1000);
      events.push(terminal);
      events.close();
    });
    yield* events;
  };
}

interface Run {
  readonly signal: AbortSignal;
  readonly events: EventStream<RequestEvent>;
}

async function carryOut(
  lease: (signal: AbortSignal) => Promise<Instance>,
  request: QueuedRequest,
  run: Run,
): Promise<TerminalEvent> {
  const started = performance.now();
  try {
    const instance = await lease(run.signal);
    run.events.push({ type: "started" });
    const output = await runOn(instance, request, run);
    return { type: "completed", output, seconds: (performance.now() - started) / 1000 };
  } catch (thrown) {
    if (run.signal.aborted) return { type: "cancelled" };
    return { type: "failed", error: failureOf(thrown) };
  }
}

async function runOn(instance: Instance, request: QueuedRequest, { signal, events }: Run): Promise<unknown> {
  const endpoint = instance.endpoint(request.endpoint);
  if (endpoint === undefined) throw new FlambeauError("NOT_FOUND", `There is no endpoint ${request.endpoint}.`);
  const { path, mode, timeoutMs } = endpoint;
  return withinTime(path, timeoutMs, signal, (stop) =>
    instance.run({ id: request.id, signal: stop, sink: eventSink(events) }, async (context) => {
      const answer = handleParsed(endpoint, request.input, context);
      return mode === "unary" ? answer : forward(answer as AsyncIterable<unknown>, events, context);
    }),
  );
}

/** @throws FlambeauError TIMEOUT when the work was cancelled because its time was over */
async function withinTime<R>(
  path: string,
  timeoutMs: number | undefined,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<R>,
): Promise<R> {
  if (timeoutMs === undefined) return work(signal);
  const timeout = new AbortController();
  const late = new FlambeauError("TIMEOUT", `${path} took longer than its ${timeoutMs} ms.`);
  const timer = setTimeout(() => timeout.abort(late), timeoutMs);
  try {
    return await work(AbortSignal.any([signal, timeout.signal]));
  } catch (thrown) {
    throw timeout.signal.aborted && !signal.aborted ? late : thrown;
  } finally {
    clearTimeout(timer);
  }
}

async function forward(
  chunks: AsyncIterable<unknown>,
  events: EventStream<RequestEvent>,
  context: Context,
): Promise<null> {
  for await (const chunk of bindIterable(chunks)) {
    context.signal.throwIfAborted();
    events.push({ type: "output", chunk });
  }
  return null;
}

function eventSink(events: EventStream<RequestEvent>): InstanceSink {
  const meter = createRateMeter(() => performance.now());
  return {
    progress: (step, total, stage) =>
      events.push({ type: "progress", step, total, stage, ...meter(step, total, stage) }),
    log: (message) => events.push({ type: "log", message, source: "app" }),
    line: (source, message) => events.push({ type: "log", message, source }),
  };
}
