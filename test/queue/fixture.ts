// A Dispatch that the test steers, and ways to wait for what it brings about.
import type { QueueEngine } from "../../src/queue/engine.ts";
import type { Dispatch, QueuedRequest, RequestEvent } from "../../src/queue/request.ts";

export const completed: RequestEvent = { type: "completed", output: "done", seconds: 1 };
export const progress = (step: number): RequestEvent => ({
  type: "progress",
  step,
  total: null,
  stage: null,
  rate: null,
  secondsLeft: null,
});
export const request = (id: string): QueuedRequest => ({ id, endpoint: "textToImage", input: {} });

/** A Dispatch whose runs wait until the test lets them end. */
export function heldDispatch() {
  const begun: string[] = [];
  const releases = new Map<string, (events: readonly RequestEvent[]) => void>();
  const signals = new Map<string, AbortSignal>();
  const dispatch: Dispatch = async function* ({ id }, signal) {
    begun.push(id);
    signals.set(id, signal);
    yield* await new Promise<readonly RequestEvent[]>((resolve) => releases.set(id, resolve));
  };
  const end = (id: string, ...events: RequestEvent[]): void =>
    releases.get(id)?.(events.length === 0 ? [completed] : events);
  return { dispatch, begun, signals, end };
}

export const just = (...events: RequestEvent[]): Dispatch =>
  async function* () {
    yield* events;
  };

export async function all(queue: QueueEngine, id: string): Promise<RequestEvent[]> {
  const events: RequestEvent[] = [];
  for await (const event of queue.events(id)) events.push(event);
  return events;
}

/** Waits for the first event of a type. */
export async function seen(queue: QueueEngine, id: string, type: RequestEvent["type"]): Promise<RequestEvent> {
  for await (const event of queue.events(id)) if (event.type === type) return event;
  throw new Error(`no ${type}`);
}

export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
