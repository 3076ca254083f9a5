// How long objects of a real Python live: as long as TypeScript can reach them, or until it says that it needs them no more.
// And what loggers, test runners and cloners do to proxies: nothing that Python would notice.
import { Console } from "node:console";
import { Writable } from "node:stream";
import { inspect } from "node:util";
import { beforeAll, describe, expect, test, vi } from "vitest";
import type { PyExpr, PyRef } from "../../src/bridge/stub-types.ts";
import { failureOf } from "../support/errors.ts";
import { turn } from "../support/signal.ts";
import { trackedBy } from "../support/tracked.ts";
import { startWorker, workerForFile } from "../support/worker.ts";

const { py, subject, worker } = await workerForFile();
const { live, collected } = trackedBy(subject);

describe("an object that TypeScript holds", () => {
  test("is freed by `using` before the next statement completes", async () => {
    {
      using one = await subject.Tracked();
      expect(one.$released).toBe(false);
      expect(await live()).toBe(1);
    }
    expect(await live()).toBe(0);
  });

  test("is gone from Python when `await using` has ended its block", async () => {
    let seen: PyRef;
    {
      await using one = (await subject.Tracked()) as PyRef & AsyncDisposable;
      seen = one;
      expect(await live()).toBe(1);
    }
    expect(seen.$released).toBe(true);
    expect((await worker.channel.ping()).queued).toBe(0);
    expect(await live()).toBe(0);
  });

  test("of a call that nobody awaits can be disposed of as well", async () => {
    const call = subject.Tracked();
    call[Symbol.dispose]();
    await call.catch(() => {});
    await subject.echo(1);
    expect(await live()).toBe(0);
    await subject.Tracked()[Symbol.asyncDispose]();
    expect(await live()).toBe(0);
  });

  test("cannot be used after it was given back, and nothing happens when that is done twice", async () => {
    const one = await subject.Tracked();
    one[Symbol.dispose]();
    one[Symbol.dispose]();
    expect(await failureOf(one.values)).toMatchObject({
      code: "STALE_REF",
      message: expect.stringContaining("was released"),
    });
    expect(await failureOf(subject.echo(one))).toMatchObject({
      code: "STALE_REF",
      message: expect.stringContaining("args[0]"),
    });
  });

  test("stays alive while a call that names it is on its way", async () => {
    const one = await subject.Tracked();
    const values = one.values.copy();
    one[Symbol.dispose]();
    expect(await values.$value()).toEqual([1, 2, 3]);
    expect(await live()).toBe(0);
  });

  test("that came several times is freed with all of them", async () => {
    const one = await subject.Tracked();
    for (let count = 0; count < 5; count++) expect(await subject.echo(one)).toBe(one);
    one[Symbol.dispose]();
    expect(await live()).toBe(0);
  });

  test("is freed when it can no longer be reached, and not before", async () => {
    const kept = await subject.Tracked();
    const made = await (async () => {
      for (let count = 0; count < 200; count++) await subject.Tracked();
      return live();
    })();
    expect(made).toBeGreaterThan(1);
    expect(await collected(1)).toBe(1);
    expect(await kept.values[0]).toBe(1);
    kept[Symbol.dispose]();
    expect(await live()).toBe(0);
  });

  test("results of calls, iterators and their items leave nothing behind in the worker's table", async () => {
    const { channel } = worker;
    /** What the worker holds when everything that was given back has arrived; the last call's own result is among it. */
    const table = async (): Promise<number> => {
      channel.handles.flush();
      await subject.echo(1);
      return (await channel.ping()).handles;
    };
    const before = await table();
    const work = async (): Promise<void> => {
      for (let count = 0; count < 50; count++) await subject.echo(count);
      await failureOf(subject.raises("ValueError", "x"));
      for await (const item of subject.tracked(5)) (item as PyRef)[Symbol.dispose]();
      for await (const item of subject.Generators().objects(5)) (item as PyRef)[Symbol.dispose]();
    };
    await work();
    expect(await collected(0)).toBe(0);
    let after = await table();
    for (let round = 0; round < 50 && after > before; round++) {
      await collected(0);
      after = await table();
    }
    expect(after).toBeLessThanOrEqual(before);
  });
});

describe("an object of a worker that is gone", () => {
  test("is stale, and never mistaken for one of the next worker with the same number", async () => {
    const old = await startWorker();
    const handle = await old.subject.Tracked();
    old.worker.kill();
    const ended = await old.worker.exited;
    expect(handle.$released).toBe(true);
    expect(await failureOf(handle.values)).toBe(ended);
    await using fresh = await startWorker({}, { session: old.worker.session });
    for (let count = 0; count < 20; count++) await fresh.subject.Model();
    expect(await failureOf(handle.values)).toMatchObject({
      code: "STALE_REF",
      message: expect.stringContaining("has ended"),
    });
    expect(await failureOf(subject.echo(handle))).toMatchObject({
      code: "STALE_REF",
      message: expect.stringContaining("another Python process"),
    });
  });
});

describe("a proxy in the hands of", () => {
  let handle: PyRef;
  let path: PyExpr;

  beforeAll(async () => {
    handle = await subject.Model();
    path = py.import("torch").nn.Linear;
  });

  /** `body` runs and nothing is sent for it. */
  async function silently(body: () => unknown): Promise<void> {
    const call = vi.spyOn(worker.channel, "call");
    try {
      await body();
      await turn();
      expect(call).not.toHaveBeenCalled();
    } finally {
      call.mockRestore();
    }
  }

  test("console.log and inspect shows what it is, alone and inside of others", async () => {
    await silently(() => {
      expect(inspect(handle)).toBe(`<${handle.$type}>`);
      expect(inspect(path)).toBe("torch.nn.Linear");
      expect(inspect({ handle, path }, { depth: 5, showProxy: false })).toContain("path: torch.nn.Linear");
      const logged: string[] = [];
      const stream = new Writable({ write: (chunk, _encoding, done) => done(void logged.push(String(chunk))) });
      new Console(stream).log(handle, [path]);
      expect(logged).toEqual([`<${handle.$type}> [ torch.nn.Linear ]\n`]);
    });
  });

  test("JSON, templates and Object is a string without members", async () => {
    await silently(() => {
      expect(JSON.stringify({ handle, path })).toBe(`{"handle":"<${handle.$type}>","path":"torch.nn.Linear"}`);
      expect(`${String(path)}`).toBe("torch.nn.Linear");
      expect(Object.keys(path)).toEqual([]);
      expect(Object.entries(handle)).toEqual([]);
      expect({ ...(handle as object) }).toEqual({});
      expect("anything" in path).toBe(false);
      expect(typeof handle).toBe("function");
    });
  });

  test("arithmetic says what to do instead of making text of it", async () => {
    await silently(() => {
      expect(() => (path as unknown as number) + 1).toThrow("await it first");
      expect(() => {
        const model = handle as unknown as { zero: number };
        model.zero += 1;
      }).toThrow("await it first");
    });
  });

  test("structuredClone is refused at once", async () => {
    await silently(() => expect(() => structuredClone(handle)).toThrow("could not be cloned"));
  });

  test("expect compares by identity and prints without asking Python", async () => {
    const other = await subject.Model();
    await silently(() => {
      expect(handle).toEqual(handle);
      expect(handle).toBe(handle);
      expect({ a: [handle] }).toEqual({ a: [handle] });
      expect(handle).not.toBe(other);
      expect(() => expect(handle).toEqual(5)).toThrow();
      expect(() => expect({ a: handle }).toEqual({ a: 5 })).toThrow();
      expect(() => expect(path).toMatchObject({ a: 5 })).toThrow();
    });
  });

  test("a misspelt name of ours is told at once", () => {
    expect(() => (handle as unknown as Record<string, unknown>)["$vlaue"]).toThrow(
      "$vlaue is not one of Flambeau's own names",
    );
    expect(() => {
      (handle as unknown as Record<string, unknown>)["$type"] = 1;
    }).toThrow("$type is not a Python name");
    expect(() => delete (handle as unknown as Record<string, unknown>)["$type"]).toThrow("$type is not a Python name");
  });
});
