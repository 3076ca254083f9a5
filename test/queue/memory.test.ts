import { describe, expect, test } from "vitest";
import { limits } from "../../src/config.ts";
import { PyError } from "../../src/errors.ts";
import type { QueueEngine } from "../../src/queue/engine.ts";
import { failureOf } from "../../src/queue/failure.ts";
import { createMemoryQueue } from "../../src/queue/memory.ts";
import { type Dispatch, isTerminal, type QueuedRequest, type RequestEvent } from "../../src/queue/request.ts";

const completed: RequestEvent = { type: "completed", output: "done", seconds: 1 };
const progress = (step: number): RequestEvent => ({
  type: "progress",
  step,
  total: null,
  stage: null,
  rate: null,
  secondsLeft: null,
});
const request = (id: string): QueuedRequest => ({ id, endpoint: "textToImage", input: {} });

/** A Dispatch whose runs wait until the test lets them end. */
function heldDispatch() {
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

const just = (...events: RequestEvent[]): Dispatch =>
  async function* () {
    yield* events;
  };

async function all(queue: QueueEngine, id: string): Promise<RequestEvent[]> {
  const events: RequestEvent[] = [];
  for await (const event of queue.events(id)) events.push(event);
  return events;
}

/** Waits for the first event of a type. */
async function seen(queue: QueueEngine, id: string, type: RequestEvent["type"]): Promise<RequestEvent> {
  for await (const event of queue.events(id)) if (event.type === type) return event;
  throw new Error(`no ${type}`);
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("the memory queue", () => {
  test("runs a request and tells everything in order", async () => {
    const queue = createMemoryQueue({ dispatch: just(progress(1), { type: "output", chunk: 1 }, completed) });
    queue.submit(request("a"));
    expect(await all(queue, "a")).toEqual([
      { type: "queued", position: 0 },
      { type: "started" },
      progress(1),
      { type: "output", chunk: 1 },
      completed,
    ]);
    expect(queue.last("a")).toEqual(completed);
    expect(queue.stats).toEqual({ queued: 0, running: 0 });
  });

  test("runs first in, first out, as many at a time as it may", async () => {
    const held = heldDispatch();
    const queue = createMemoryQueue({ dispatch: held.dispatch, concurrency: 2 });
    for (const id of ["a", "b", "c", "d"]) queue.submit(request(id));
    await turn();
    expect(held.begun).toEqual(["a", "b"]);
    expect(queue.stats).toEqual({ queued: 2, running: 2 });
    held.end("b");
    await all(queue, "b");
    await turn();
    expect(held.begun).toEqual(["a", "b", "c"]);
  });

  test("says the position again when it changes", async () => {
    const held = heldDispatch();
    const queue = createMemoryQueue({ dispatch: held.dispatch });
    for (const id of ["a", "b", "c"]) queue.submit(request(id));
    expect(queue.last("c")).toEqual({ type: "queued", position: 1 });
    const events = queue.events("c")[Symbol.asyncIterator]();
    expect((await events.next()).value).toEqual({ type: "queued", position: 1 });
    await turn();
    held.end("a");
    expect((await events.next()).value).toEqual({ type: "queued", position: 0 });
  });

  test("refuses one request more than may wait, and the queue stays as it was", () => {
    const held = heldDispatch();
    const queue = createMemoryQueue({ dispatch: held.dispatch });
    for (let index = 0; index <= limits.queueMax; index++) queue.submit(request(`r${index}`));
    expect(() => queue.submit(request("more"))).toThrow(
      expect.objectContaining({ code: "QUEUE_FULL", retryable: true }),
    );
    expect(queue.stats).toEqual({ queued: limits.queueMax, running: 1 });
    expect(queue.last("more")).toBeUndefined();
  });

  test("refuses an id that it already knows", () => {
    const queue = createMemoryQueue({ dispatch: just(completed) });
    queue.submit(request("a"));
    expect(() => queue.submit(request("a"))).toThrow(expect.objectContaining({ code: "INTERNAL" }));
  });

  test("gives every reader the whole story, whenever it comes", async () => {
    const held = heldDispatch();
    const queue = createMemoryQueue({ dispatch: held.dispatch });
    queue.submit(request("a"));
    const early = all(queue, "a");
    const second = all(queue, "a");
    await turn();
    held.end("a", progress(1), completed);
    const late = all(queue, "a");
    const stories = await Promise.all([early, second, late]);
    expect(stories[0]).toHaveLength(4);
    expect(stories[1]).toEqual(stories[0]);
    expect(stories[2]).toEqual(stories[0]);
  });

  test("goes on when a reader leaves, and a reader's signal ends only its reading", async () => {
    const held = heldDispatch();
    const queue = createMemoryQueue({ dispatch: held.dispatch });
    queue.submit(request("a"));
    for await (const _event of queue.events("a")) break;
    const leaving = new AbortController();
    const reading = (async () => {
      for await (const _event of queue.events("a", { signal: leaving.signal }));
    })();
    await turn();
    leaving.abort();
    await expect(reading).rejects.toMatchObject({ code: "CANCELLED" });
    expect(held.signals.get("a")?.aborted).toBe(false);
    held.end("a");
    expect((await all(queue, "a")).at(-1)).toEqual(completed);
  });

  test("knows nothing of an id that was never submitted", () => {
    const queue = createMemoryQueue({ dispatch: just(completed) });
    expect(() => queue.events("a")).toThrow(expect.objectContaining({ code: "NOT_FOUND" }));
    expect(queue.cancel("a")).toBe(false);
    expect(queue.last("a")).toBeUndefined();
  });
});

describe("the end of a request", () => {
  test("is told only when its dispatch has let go of the worker, and the next one starts only then", async () => {
    let letGo = (): void => {};
    const dispatch: Dispatch = async function* () {
      yield completed;
      await new Promise<void>((resolve) => {
        letGo = resolve;
      });
    };
    const queue = createMemoryQueue({ dispatch });
    queue.submit(request("a"));
    queue.submit(request("b"));
    await turn();
    expect([queue.last("a")?.type, queue.last("b")?.type]).toEqual(["started", "queued"]);
    letGo();
    await seen(queue, "a", "completed");
    await seen(queue, "b", "started");
  });
});

describe("cancelling", () => {
  test("a waiting request never runs, and the others move up", async () => {
    const held = heldDispatch();
    const queue = createMemoryQueue({ dispatch: held.dispatch });
    for (const id of ["a", "b", "c"]) queue.submit(request(id));
    expect(queue.cancel("b")).toBe(true);
    expect(queue.last("c")).toEqual({ type: "queued", position: 0 });
    expect((await all(queue, "b")).at(-1)).toEqual({ type: "cancelled" });
    await turn();
    held.end("a");
    await seen(queue, "c", "started");
    await turn();
    expect(held.begun).toEqual(["a", "c"]);
  });

  test("a request cancelled in the moment of its admission never runs", async () => {
    const held = heldDispatch();
    const queue = createMemoryQueue({ dispatch: held.dispatch });
    queue.submit(request("a"));
    queue.cancel("a");
    expect((await all(queue, "a")).at(-1)).toEqual({ type: "cancelled" });
    expect(held.begun).toEqual([]);
  });

  test("a running request gets the signal, and ends as its dispatch says", async () => {
    const held = heldDispatch();
    const queue = createMemoryQueue({ dispatch: held.dispatch });
    queue.submit(request("a"));
    await turn();
    expect([queue.cancel("a"), queue.cancel("a")]).toEqual([true, true]);
    expect(held.signals.get("a")?.aborted).toBe(true);
    await turn();
    expect(queue.last("a")).toEqual({ type: "started" });
    held.end("a", completed);
    expect((await all(queue, "a")).at(-1)).toEqual(completed);
    expect(queue.cancel("a")).toBe(false);
  });

  test("silence or an exception of the dispatch after a cancel means cancelled", async () => {
    const dispatch: Dispatch = async function* ({ id }, signal) {
      yield progress(1);
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      if (id === "throws") throw signal.reason;
    };
    const queue = createMemoryQueue({ dispatch, concurrency: 2 });
    for (const id of ["throws", "falls silent"]) {
      queue.submit(request(id));
      await seen(queue, id, "progress");
      queue.cancel(id);
      expect((await all(queue, id)).at(-1)).toEqual({ type: "cancelled" });
    }
  });
});

describe("a dispatch with a defect", () => {
  const throwing: Dispatch = () => {
    throw new Error("boom");
  };

  test.each<[string, Dispatch, string]>([
    ["throws", throwing, "threw boom"],
    ["ends without a terminal event", just(progress(1)), "ended without saying how"],
    ["goes on after its terminal event", just(completed, progress(2)), "sent 'progress' after 'completed'"],
    ["ends twice", just(completed, { type: "cancelled" }), "sent 'cancelled' after 'completed'"],
  ])("that %s makes its request fail with INTERNAL, and the next one runs", async (_what, broken, message) => {
    const dispatch: Dispatch = (queued, signal) =>
      queued.id === "bad" ? broken(queued, signal) : just(completed)(queued, signal);
    const queue = createMemoryQueue({ dispatch });
    queue.submit(request("bad"));
    queue.submit(request("good"));
    const events = await all(queue, "bad");
    expect(events.filter(isTerminal)).toEqual([
      { type: "failed", error: { code: "INTERNAL", message: expect.stringContaining(message), retryable: false } },
    ]);
    expect((await all(queue, "good")).at(-1)).toEqual(completed);
  });

  test("that says queued or started itself does not say it twice", async () => {
    const queue = createMemoryQueue({
      dispatch: just({ type: "queued", position: 7 }, { type: "started" }, completed),
    });
    queue.submit(request("a"));
    expect((await all(queue, "a")).map((event) => event.type)).toEqual(["queued", "started", "completed"]);
  });
});

describe("what is kept", () => {
  const log: RequestEvent = { type: "log", message: "line", source: "app" };

  test("of progress only the newest part, while outputs, logs and the terminal event stay", async () => {
    const many = Array.from({ length: limits.requestEventsKept + 500 }, (_, step) => progress(step));
    const outputs = Array.from(
      { length: limits.requestEventsKept + 1 },
      (_, chunk): RequestEvent => ({ type: "output", chunk }),
    );
    const queue = createMemoryQueue({ dispatch: just(log, ...many, ...outputs, completed) });
    queue.submit(request("a"));
    await seen(queue, "a", "completed");
    const events = await all(queue, "a");
    const steps = events.filter((event) => event.type === "progress");
    expect(steps).toHaveLength(limits.requestEventsKept - 1);
    expect(steps.at(-1)).toEqual(many.at(-1));
    expect(events.filter((event) => event.type === "output")).toEqual(outputs);
    expect(events.filter((event) => event.type === "log")).toHaveLength(1);
    expect(events.at(-1)).toEqual(completed);
  });

  test("logs give way when there is no progress left to drop but the newest", async () => {
    const queue = createMemoryQueue({ dispatch: just(progress(1), log, log, log, log, completed), eventsKept: 3 });
    queue.submit(request("a"));
    await seen(queue, "a", "completed");
    const types = (await all(queue, "a")).map((event) => event.type);
    expect(types).toEqual(["queued", "started", "progress", "log", "log", "completed"]);
  });

  test("of a thousand waiting requests each keeps one position", async () => {
    const queue = createMemoryQueue({ dispatch: just(completed) });
    for (let index = 0; index <= limits.queueMax; index++) queue.submit(request(`r${index}`));
    await seen(queue, `r${limits.queueMax}`, "completed");
    expect(await all(queue, `r${limits.queueMax}`)).toHaveLength(3);
  });

  test("finished requests are forgotten, the oldest first, but not by a reader that holds one", async () => {
    const queue = createMemoryQueue({ dispatch: just(completed), requestsKept: 2 });
    for (const id of ["a", "b", "c"]) queue.submit(request(id));
    const reading = all(queue, "a");
    await all(queue, "c");
    expect([queue.last("a"), queue.last("b")]).toEqual([undefined, completed]);
    expect((await reading).at(-1)).toEqual(completed);
  });

  test("no more finished requests than the limit says, when nothing else is asked for", async () => {
    const queue = createMemoryQueue({ dispatch: just(completed), maxQueued: limits.requestsKept + 1 });
    for (let index = 0; index <= limits.requestsKept; index++) queue.submit(request(`r${index}`));
    await all(queue, `r${limits.requestsKept}`);
    expect([queue.last("r0"), queue.last("r1")]).toEqual([undefined, completed]);
  });
});

describe("closing", () => {
  test("admits nothing more, cancels what waits, and lets what runs end", async () => {
    const held = heldDispatch();
    const queue = createMemoryQueue({ dispatch: held.dispatch });
    queue.submit(request("a"));
    queue.submit(request("b"));
    await turn();
    const closing = queue.close();
    expect(() => queue.submit(request("c"))).toThrow(expect.objectContaining({ code: "QUEUE_FULL" }));
    expect(queue.last("b")).toEqual({ type: "cancelled" });
    held.end("a");
    await closing;
    expect(queue.last("a")).toEqual(completed);
    expect(held.begun).toEqual(["a"]);
  });

  test("cancels what still runs when the time is up, and waits for it", async () => {
    const waits: number[] = [];
    const dispatch: Dispatch = async function* (_request, signal) {
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      yield { type: "cancelled" };
    };
    const queue = createMemoryQueue({ dispatch, sleep: async (ms) => void waits.push(ms) });
    queue.submit(request("a"));
    await turn();
    await queue.close();
    expect(waits[0]).toBe(limits.drainTimeoutMs);
    expect((await all(queue, "a")).at(-1)).toEqual({ type: "cancelled" });
  });

  test("ends even if a run never does", async () => {
    const dispatch: Dispatch = async function* () {
      await new Promise<never>(() => {});
      yield completed;
    };
    const queue = createMemoryQueue({ dispatch, sleep: async () => {} });
    queue.submit(request("a"));
    await turn();
    await queue.close({ timeoutMs: 5 });
    expect(queue.last("a")).toEqual({ type: "cancelled" });
  });
});

describe("failureOf", () => {
  test("keeps what Python said", () => {
    const error = new PyError({
      pythonType: "ValueError",
      mro: [],
      message: "no",
      traceback: "Traceback…",
      callPath: "x()",
    });
    expect(failureOf(error)).toEqual({
      code: "PYTHON_RAISED",
      message: "ValueError: no",
      retryable: false,
      pythonType: "ValueError",
      traceback: "Traceback…",
    });
  });

  test("makes a failure of anything thrown", () => {
    expect(failureOf("oh")).toEqual({ code: "INTERNAL", message: "oh", retryable: false });
  });
});
