import { describe, expect, test } from "vitest";
import { limits } from "../../src/config.ts";
import { EventLog } from "../../src/queue/event-log.ts";
import { createMemoryQueue } from "../../src/queue/memory.ts";
import type { RequestEvent } from "../../src/queue/request.ts";
import { all, completed, just, progress, request, seen } from "./fixture.ts";

describe("an event log", () => {
  test("ends with its terminal event, whatever is pushed after", async () => {
    const log = new EventLog(10);
    for (const event of [completed, { type: "cancelled" } as const, progress(1)]) log.push(event);
    const events: RequestEvent[] = [];
    for await (const event of log.read(undefined)) events.push(event);
    expect([events, log.terminal, log.last]).toEqual([[completed], completed, completed]);
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
