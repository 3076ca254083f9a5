// Functions that a real Python calls, and exceptions of every kind on their way to TypeScript.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { PyExpr, PyRef, Python } from "../../src/bridge/stub-types.ts";
import { PyError } from "../../src/errors.ts";
import { failureOf } from "../support/errors.ts";
import { signal } from "../support/signal.ts";
import { startWorker, type TestWorker } from "../support/worker.ts";

let running: TestWorker;
let py: Python;
let subject: PyExpr;

beforeAll(async () => {
  running = await startWorker();
  ({ py, subject } = running);
});

afterAll(() => running[Symbol.asyncDispose]());

describe("a function that Python calls", () => {
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
    const scope = running.worker.channel.scopes.create();
    const outer = subject
      .call_with(async () => {
        entered.send();
        await leave.came;
        order.push("callback");
      })
      .then(() => order.push("outer"));
    await entered.came;
    const other = running.worker.channel.scopes.run(scope, () => subject.echo("x").then(() => order.push("other")));
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
    const { scopes } = running.worker.channel;
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

describe("an exception", () => {
  test("is an Error with Python's type, bases, message and traceback, and the line of this file that made the call", async () => {
    const error = await failureOf(subject.raises("FileNotFoundError", "no such file: a.bin"));
    expect(error).toBeInstanceOf(PyError);
    expect(error).toMatchObject({
      code: "PYTHON_RAISED",
      retryable: false,
      pythonType: "FileNotFoundError",
      message: "FileNotFoundError: no such file: a.bin",
      callPath: "subject.py.raises()",
      traceback: expect.stringMatching(/subject\.py", line \d+, in raises/),
    });
    expect((error as PyError).is("OSError")).toBe(true);
    expect((error as PyError).is("ValueError")).toBe(false);
    const stack = error.stack ?? "";
    expect(stack).toContain("python-callbacks.test.ts");
    expect(stack.indexOf("python-callbacks.test.ts")).toBeLessThan(stack.indexOf("— Python —"));
    expect(stack).not.toMatch(/\/src\/bridge\/|python\/flambeau\//);
  });

  test("of an expression that is awaited far away still names the line where it was made", async () => {
    const made = subject.raises("ValueError", "made here");
    const elsewhere = async (): Promise<unknown> => made;
    await new Promise((resolve) => setImmediate(resolve));
    expect((await failureOf(elsewhere())).stack).toContain("python-callbacks.test.ts");
  });

  test("carries its cause and the one that it was raised from, up to a limit", async () => {
    const error = await failureOf(subject.chain(1_000));
    expect(error.message).toBe("ValueError: link 999");
    let depth = 0;
    for (let cause = error.cause; cause instanceof PyError; cause = cause.cause) depth++;
    expect(depth).toBeGreaterThan(5);
    expect(depth).toBeLessThan(100);
  });

  test("carries its notes; a group carries its members", async () => {
    expect((await failureOf(subject.noted())).message).toContain("a note about it");
    const group = await failureOf(subject.group());
    expect(group).toMatchObject({ pythonType: "ExceptionGroup" });
    expect((group.cause as AggregateError).errors).toMatchObject([
      { pythonType: "ValueError" },
      { pythonType: "KeyError" },
    ]);
  });

  test("with a message of 50 MB is cut, one without a message that can be made is told all the same", async () => {
    const long = await failureOf(subject.raises("ValueError", "x".repeat(50_000_000)));
    expect(long.message.length).toBeLessThan(1_000_000);
    expect(await failureOf(subject.unprintable())).toMatchObject({
      pythonType: expect.stringContaining("Unprintable"),
    });
  });

  test("of syntax shows the place", async () => {
    const error = await failureOf(py.import("builtins").compile("a = (1,\nb", "user.py", "exec"));
    expect(error).toMatchObject({ pythonType: "SyntaxError", traceback: expect.stringContaining("^") });
  });

  test("keeps no frame, and so no object, of the call alive", async () => {
    const error = await failureOf(subject.holds_while_raising(py.expr`[]`));
    expect(error).toMatchObject({ message: "ValueError: holding something" });
    expect(await subject.live()).toBe(0);
  });

  test.each(["SystemExit", "KeyboardInterrupt", "GeneratorExit", "RecursionError", "StopIteration"])(
    "%s fails its own call and nothing else",
    async (kind) => {
      expect(await failureOf(subject.raises(kind, "user code"))).toMatchObject({ pythonType: kind });
      expect(await subject.echo("still here")).toBe("still here");
    },
  );

  test("MemoryError is OUT_OF_MEMORY with what was alive", async () => {
    expect(await failureOf(subject.raises("MemoryError", "none left"))).toMatchObject({
      code: "OUT_OF_MEMORY",
      retryable: true,
      liveHandles: expect.any(Number),
      liveBytes: expect.any(Number),
    });
  });

  test("of endless recursion leaves Python usable", async () => {
    const error = await failureOf(py.expr`(lambda f: f(f))(lambda f: f(f))`);
    expect(error).toMatchObject({ pythonType: "RecursionError" });
    expect(await subject.echo(1)).toBe(1);
  });
});
