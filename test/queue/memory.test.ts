import { describe, expect, test } from "vitest";
import { limits } from "../../src/config.ts";
import { createMemoryQueue } from "../../src/queue/memory.ts";
import { type Dispatch, isTerminal } from "../../src/queue/request.ts";
import { all, completed, heldDispatch, just, progress, request, seen, turn } from "./fixture.ts";

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
