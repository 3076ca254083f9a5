// What `async def` makes in a real Python: awaited like anything else, looped over, entered and left.
import { describe, expect, test } from "vitest";
import type { PyRef } from "../../src/bridge/stub-types.ts";
import { failureOf } from "../support/errors.ts";
import { turn } from "../support/signal.ts";
import { workerForFile } from "../support/worker.ts";

const { py, subject, worker } = await workerForFile();

describe("a coroutine", () => {
  test("runs to its end, and the call has what it returns", async () => {
    expect(await subject.answers_later(5)).toBe(5);
    expect(await (await subject.answers_later([1])).append).toMatchObject({});
    expect(await subject.told(subject.answers_later("x"))).toBe("str 'x'");
  });

  test("that raises fails its call with the lines of its own file", async () => {
    expect(await failureOf(subject.raises_later("too late"))).toMatchObject({
      pythonType: "ValueError",
      message: "ValueError: too late",
      traceback: expect.stringContaining("in raises_later"),
    });
  });

  test("waits for a function of ours, also when that calls coroutines", async () => {
    expect(await subject.asks_host((n: number) => n + 1, 1)).toBe(2);
    const deeper = await subject.asks_host(() => subject.asks_host(() => subject.answers_later("inner"), 1), 1);
    expect(deeper).toBe("inner");
  });

  test("that is cancelled runs its `finally` to the end, and the next one runs on the same loop", async () => {
    const log = await py.expr`[]`;
    const loop = await subject.answers_later(py.expr`None`).then(() => py.import("asyncio").sleep(0));
    expect(loop).toBe(null);
    const controller = new AbortController();
    const call = failureOf(subject.cleans_up_later.$opts({ signal: controller.signal })(log, 60));
    while ((await worker.channel.ping()).running === null) await turn();
    controller.abort();
    expect(await call).toMatchObject({ code: "CANCELLED" });
    expect(await log.$value()).toEqual(["cleaned"]);
    expect(await subject.answers_later("usable")).toBe("usable");
  });
});

describe("an asynchronous generator", () => {
  test("is looped over like any other, and closed before the loop's statement completes", async () => {
    const generators = await subject.AsyncGenerators();
    const seen: unknown[] = [];
    for await (const number of generators.count(3)) seen.push(number);
    expect(seen).toEqual([0, 1, 2]);
    for await (const number of generators.count(1_000_000)) if ((number as unknown) === 1) break;
    expect((await generators.events.$value()) as string[]).toEqual([
      ...["yield 0", "yield 1", "yield 2", "finally"],
      ...["yield 0", "yield 1", "finally"],
    ]);
  });

  test("passes its exception on", async () => {
    const generators = await subject.AsyncGenerators();
    const error = await failureOf(
      (async () => {
        for await (const _ of generators.count(5, 1));
      })(),
    );
    expect(error).toMatchObject({ pythonType: "ValueError", traceback: expect.stringContaining("in count") });
  });
});

test("an asynchronous context manager is entered and left around the body, and sees its error", async () => {
  const manager = await subject.AsyncManager();
  expect(await py.with(manager, async (value: PyRef) => value === manager)).toBe(true);
  await failureOf(py.with(manager, async () => Promise.reject(new RangeError("too far"))));
  expect(await manager.events.$value()).toEqual(["enter", "exit", "enter", "exit RangeError: too far"]);
});
