// Functions that a real Python calls: what they get, what Python gets of them, and how long it lives.
import { describe, expect, test } from "vitest";
import type { PyExpr, PyRef } from "../../src/bridge/stub-types.ts";
import { failureOf } from "../support/errors.ts";
import { signal } from "../support/signal.ts";
import { startWorker, workerForFile } from "../support/worker.ts";

const { py, subject, worker } = await workerForFile();

describe("a function that Python calls", () => {
  test("Python waits for a function of ours, which may take its time and call Python 50 deep, and raises its very error", async () => {
    expect(await subject.call_with((a: number, b: number) => a + b, 2, 3)).toBe(5);
    expect(await subject.call_with(async (a: number) => subject.echo(a * 2), 4)).toBe(8);
    const down = async (depth: number): Promise<number> =>
      depth === 0 ? 0 : 1 + (await subject.call_with(() => down(depth - 1)).$number());
    expect(await down(50)).toBe(50);
    const mistake = new RangeError("out of range");
    expect(await failureOf(subject.call_with(() => Promise.reject(mistake)))).toBe(mistake);
    // After the call that brought it, from a thread, and from a finalizer.
    const keeper = await subject.Keeper((n: number) => n + 1);
    expect(await keeper.run(1)).toBe(2);
    expect(await subject.call_in_thread((word: string) => `${word}!`, "thread")).toBe("thread!");
    const freed = signal();
    const noisy = await py.object({ __del__: () => freed.send() });
    noisy[Symbol.dispose]();
    await freed.came;
    expect(await subject.echo("usable")).toBe("usable");
  });

  test("that Python calls at its exit holds nothing up", async () => {
    await using leaving = await startWorker();
    let called = 0;
    await leaving.subject.calls_at_exit(() => void called++);
    const started = performance.now();
    await leaving.worker.stop();
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(called).toBeLessThanOrEqual(1);
    expect((await leaving.worker.exited).message).toContain("Python ended");
  });

  test("answers at once or later; Python waits for it", async () => {
    expect(await subject.call_with((a: number, b: number) => a + b, 2, 3)).toBe(5);
    expect(await subject.call_with(async (a: number) => a * 2, 4)).toBe(8);
    expect(await subject.call_with(() => [1, { a: 2n ** 70n }])[1].get("a")).toBe(2n ** 70n);
    expect(await subject.call_told(() => undefined)).toBe("NoneType None");
    expect(await subject.call_with((...args: unknown[]) => args.length, { a: 1, b: 2 })).toBe(1);
  });

  test("gets objects as handles, and may give them back", async () => {
    const list = await py.expr`[1]`;
    const seen: unknown[] = [];
    const back = await subject.call_with((value: PyRef) => {
      seen.push(value, value.$type, value.$length);
      return value;
    }, list);
    expect(seen).toEqual([list, "list", 1]);
    expect(back).toBe(list);
    expect(list.$released).toBe(false);
  });

  test("may call Python itself, 50 levels deep", async () => {
    const down = async (depth: number): Promise<number> => {
      if (depth === 0) return 0;
      return 1 + (await subject.call_with(() => down(depth - 1)).$number());
    };
    expect(await down(50)).toBe(50);
  });

  test("keeps calls of another flow waiting until the outer call has ended", async () => {
    const order: string[] = [];
    const [entered, leave] = [signal(), signal()];
    const scope = worker.channel.scopes.create();
    const outer = subject
      .call_with(async () => {
        entered.send();
        await leave.came;
        order.push("callback");
      })
      .then(() => order.push("outer"));
    await entered.came;
    const other = worker.channel.scopes.run(scope, () => subject.echo("x").then(() => order.push("other")));
    const inside = subject.echo("y").then(() => order.push("inside"));
    await inside;
    leave.send();
    await Promise.all([outer, other]);
    expect(order).toEqual(["inside", "callback", "outer", "other"]);
  });

  test("may be called from another thread of Python's", async () => {
    expect(await subject.call_in_thread((value: string) => `${value}!`, "thread")).toBe("thread!");
  });

  test("that throws: the very same error comes out when Python lets it pass", async () => {
    const mistake = new RangeError("out of range");
    const fail = (): never => {
      throw mistake;
    };
    expect(await failureOf(subject.call_with(fail))).toBe(mistake);
    expect(await failureOf(subject.call_with(async () => fail()))).toBe(mistake);
    expect(await subject.catches(fail)).toContain("RangeError: out of range");
    const wrapped = await failureOf(subject.wraps(fail));
    expect(wrapped).toMatchObject({ pythonType: "RuntimeError" });
    expect(wrapped.cause).toBe(mistake);
  });

  test("that fails in Python on the way passes that error on", async () => {
    const error = await failureOf(subject.call_with(() => subject.raises("KeyError", "deep")));
    expect(error).toMatchObject({ pythonType: "KeyError" });
  });

  test("may be a method of an object, also a special one", async () => {
    const put: unknown[] = [];
    const streamer = py.object({
      put: (value: unknown) => void put.push(value),
      __call__: (a: number) => a + 1,
      __len__: () => 3,
    });
    await streamer.put("token");
    expect(put).toEqual(["token"]);
    expect(await streamer(1)).toBe(2);
    expect(await py.import("builtins").len(streamer)).toBe(3);
  });

  test("whose request has ended says so to Python", async () => {
    const { scopes } = worker.channel;
    const scope = scopes.create();
    const kept = await scopes.run(scope, () => subject.echo(() => 1).then());
    scope.end();
    const later = (kept as PyRef)() as PyExpr;
    expect(await failureOf(later)).toMatchObject({
      code: "STALE_REF",
      message: expect.stringContaining("after the request that passed it had ended"),
    });
  });

  test("frees what it was lent when it returns, unless it says `$keep()`", async () => {
    expect(await subject.lend_tracked(() => {}, 30)).toBeLessThanOrEqual(1);
    await subject.echo(1);
    expect(await subject.live()).toBe(0);
    const kept: PyRef[] = [];
    await subject.lend_tracked((one: PyRef) => void kept.push(one.$keep()), 3);
    expect(await subject.live()).toBe(3);
    expect(await kept[2]?.values[0]).toBe(1);
    for (const one of kept) one[Symbol.dispose]();
    expect(await subject.live()).toBe(0);
  });
});

describe("a function that Python does not wait for", () => {
  test("is called after all, in order, while Python goes on", async () => {
    const leave = signal();
    const seen: number[] = [];
    const slow = py.oneway(async (number: number) => {
      await leave.came;
      seen.push(number);
    });
    expect(await subject.burst(slow, 3)).toBe("done");
    expect(seen).toEqual([]);
    leave.send();
    await subject.echo(1);
    expect(seen).toEqual([0, 1, 2]);
  });

  test("with `latest` is called for the first and the newest, however many there are and however slow it is", async () => {
    const leave = signal();
    const [last, seen] = [signal(), [] as number[]];
    const slow = py.oneway(
      async (number: number) => {
        seen.push(number);
        if (number === 999) last.send();
        await leave.came;
      },
      { latest: true },
    );
    expect(await subject.burst(slow, 1_000)).toBe("done");
    await last.came;
    // One was on its way, and one waited for the end of the call.
    expect(seen).toEqual([0, 999]);
    leave.send();
    expect(await subject.burst(slow, 1)).toBe("done");
  });

  test("that throws fails what passed it, and Python hears nothing of it", async () => {
    const { scopes } = worker.channel;
    const scope = scopes.create();
    const mistake = new RangeError("in progress");
    await scopes.run(scope, async () => {
      const failing = py.oneway(() => {
        throw mistake;
      });
      expect(await subject.burst(failing, 1)).toBe("done");
    });
    expect(await failureOf(scope.settle())).toBe(mistake);
    scope.end();
  });
});

describe("a function passed outside of any request", () => {
  test("can be called as long as Python holds it, and is forgotten afterwards", async () => {
    const { callbacks } = worker.channel;
    const before = callbacks.size;
    const keeper = await subject.Keeper((n: number) => n + 1);
    for (let count = 0; count < 50; count++) await subject.call_with((n: number) => n, count);
    expect(callbacks.size).toBe(before + 1);
    expect(await keeper.run(1)).toBe(2);
    await keeper.let_go();
    expect(callbacks.size).toBe(before);
  });
});
