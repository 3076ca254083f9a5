// Loops over objects of a real Python, and blocks inside of its context managers.
import { describe, expect, test } from "vitest";
import type { PyExpr, PyRef } from "../../src/bridge/stub-types.ts";
import { failureOf } from "../support/errors.ts";
import { signal, turn } from "../support/signal.ts";
import { workerForFile } from "../support/worker.ts";

const { py, subject, worker, unseen } = await workerForFile();

describe("iteration", () => {
  test("gives values and settled objects, of sequences, generators and dicts", async () => {
    const seen: unknown[] = [];
    for await (const item of py.expr`[1, 'a', None]`) seen.push(item);
    for await (const key of await py.expr`{'k': 1}`) seen.push(key);
    for await (const item of py.expr`([n] for n in range(2))`) seen.push((item as PyRef).$type);
    expect(seen).toEqual([1, "a", null, "k", "list", "list"]);
  });

  test("left early closes the generator before the loop's statement completes", async () => {
    const generators = await subject.Generators();
    for await (const number of generators.count(1_000_000)) if ((number as unknown) === 2) break;
    expect(await generators.events.$value()).toEqual(["yield 0", "yield 1", "yield 2", "finally"]);
    const thrown = await failureOf(
      (async () => {
        for await (const number of generators.count(5)) throw new Error(`body at ${String(number)}`);
      })(),
    );
    expect(thrown.message).toBe("body at 0");
    expect(await generators.events[-1]).toBe("finally");
  });

  test("an exception in a generator comes out of the loop with its traceback", async () => {
    const generators = await subject.Generators();
    const seen: unknown[] = [];
    const error = await failureOf(
      (async () => {
        for await (const number of generators.count(5, 2)) seen.push(number);
      })(),
    );
    expect(seen).toEqual([0, 1]);
    expect(error).toMatchObject({ pythonType: "ValueError", traceback: expect.stringContaining("in count") });
    expect(unseen.map(({ message }) => message)).not.toContain("ValueError: no 2");
  });

  test("a generator that is held can be used on after a loop has left it, and by two at once", async () => {
    const iterator = await py.expr`iter(range(10))`;
    const seen: unknown[] = [];
    for await (const number of iterator) if (seen.push(number) === 2) break;
    const one = iterator[Symbol.asyncIterator]();
    const two = iterator[Symbol.asyncIterator]();
    for (const { value } of [await one.next(), await two.next(), await one.next()]) seen.push(value);
    expect(seen).toEqual([0, 1, 2, 3, 4]);
    expect(iterator.$released).toBe(false);
  });

  test("what is no iterable says so once", async () => {
    const before = unseen.length;
    const error = await failureOf(
      (async () => {
        for await (const _ of py.expr`5`) throw new TypeError("unreachable");
      })(),
    );
    expect(error).toMatchObject({ pythonType: "TypeError", message: expect.stringContaining("not iterable") });
    await turn();
    expect(unseen.length).toBe(before);
  });
});

describe("a loop", () => {
  test("leaving a loop closes the generator first, nothing runs ahead of it, and each item can be freed with its step", async () => {
    for (const kind of [subject.Generators, subject.AsyncGenerators]) {
      const generators = (await (kind as PyExpr)()) as PyRef;
      for await (const number of generators.count(1_000_000)) if ((number as unknown) === 1) break;
      expect(await generators.events.$value()).toEqual(["yield 0", "yield 1", "finally"]);
      await failureOf(
        (async () => {
          for await (const _ of generators.count(9)) throw new Error("out of the body");
        })(),
      );
      expect(await generators.events[-1]).toBe("finally");
      const error = await failureOf(
        (async () => {
          for await (const _ of generators.count(9, 0));
        })(),
      );
      expect(error).toMatchObject({ message: "ValueError: no 0", traceback: expect.stringContaining("in count") });
    }
    const shared = await subject.Generators().count(4);
    const two = [shared[Symbol.asyncIterator](), shared[Symbol.asyncIterator]()] as const;
    const seen = [await two[0].next(), await two[1].next(), await two[0].next()].map(({ value }) => value as unknown);
    expect(seen).toEqual([0, 1, 2]);
    const made = (await subject.Generators()) as PyRef;
    for await (using _item of made.objects(5)) expect(await subject.live()).toBe(1);
    expect(await subject.live()).toBe(0);
  });

  test("takes 64 items of a container at once, and gives back those that it did not come to", async () => {
    const seen: unknown[] = [];
    for await (const number of py.expr`list(range(150))`) seen.push(number);
    expect(seen).toEqual(Array.from({ length: 150 }, (_, at) => at));
    const pairs: unknown[] = [];
    for await (const pair of py.expr`{'a': 1}.items()`) pairs.push(await pair.$repr());
    expect(pairs).toEqual(["('a', 1)"]);
    const tracked = await subject.tracked(64);
    const seen64: PyRef[] = [];
    for await (const item of tracked) if (seen64.push(item as PyRef) === 2) break;
    tracked[Symbol.dispose]();
    expect(await subject.live()).toBe(2);
    for (const item of seen64) item[Symbol.dispose]();
    expect(await subject.live()).toBe(0);
  });
});

describe("context managers", () => {
  test("a manager sees the body's error and may swallow it, blocks nest, and what one changes no other flow sees", async () => {
    const [strict, lenient] = [await subject.Manager(), await subject.Manager(true)];
    const mistake = new RangeError("too far");
    expect(await failureOf(py.with(strict, async () => Promise.reject(mistake)))).toBe(mistake);
    expect(await py.with(lenient, async () => Promise.reject(mistake))).toBeUndefined();
    expect(await strict.events.$value()).toEqual(["enter", "exit RangeError: too far"]);
    const torch = py.import("torch");
    const isInference = (): Promise<boolean> => torch.zeros(1).is_inference().$boolean();
    const [entered, leave] = [signal(), signal()];
    const inside = py.with(torch.inference_mode(), async () => {
      const deeper = await py.with(torch.inference_mode(false), isInference);
      entered.send();
      await leave.came;
      return [deeper, await isInference()];
    });
    await entered.came;
    const outside = isInference();
    leave.send();
    expect(await Promise.all([inside, outside])).toEqual([[false, true], false]);
  });

  test("are entered and left around the body, innermost first", async () => {
    const [outer, inner] = [await subject.Manager(), await subject.Manager()];
    const result = await py.with(outer, async () =>
      py.with(inner, async (value) => [value === inner, await inner.events.$value()]),
    );
    expect(result).toEqual([true, ["enter"]]);
    expect(await outer.events.$value()).toEqual(["enter", "exit"]);
  });

  test("see the body's error; without their leave it comes through, with it nothing does", async () => {
    const strict = await subject.Manager();
    const mistake = new RangeError("too far");
    expect(await failureOf(py.with(strict, async () => Promise.reject(mistake)))).toBe(mistake);
    expect(await strict.events.$value()).toEqual(["enter", "exit RangeError: too far"]);
    const lenient = await subject.Manager(true);
    expect(await py.with(lenient, async () => Promise.reject(mistake))).toBeUndefined();
    expect(await failureOf(py.with(py.expr`5`, async () => 1))).toMatchObject({ message: expect.any(String) });
  });

  test("are left even when the request was cancelled inside of the body", async () => {
    const manager = await subject.Manager();
    const controller = new AbortController();
    const { scopes } = worker.channel;
    const scope = scopes.create(controller.signal);
    const work = scopes.run(scope, () =>
      py.with(manager, async () => {
        controller.abort();
        await subject.echo(1);
      }),
    );
    expect(await failureOf(work)).toMatchObject({ code: "CANCELLED" });
    expect(await manager.events[-1]).toContain("exit AbortError");
  });
});
