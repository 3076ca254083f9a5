// What a bridge has to get right about calls, names and order, one behaviour a test, against a real Python.
import { inspect } from "node:util";
import { describe, expect, test, vi } from "vitest";
import { failureOf } from "../support/errors.ts";
import { turn } from "../support/signal.ts";
import { startWorker, workerForFile } from "../support/worker.ts";

const { py, subject, worker, unseen } = await workerForFile();

describe("a bridge", () => {
  test("waiting for a handle, logging, comparing or cloning it asks Python nothing, and every Python name can be reached", async () => {
    const model = await subject.Model();
    const sent = vi.spyOn(worker.channel, "call");
    const through = async (): Promise<unknown> => model;
    expect(await model).toBe(model);
    expect(await Promise.resolve(model)).toBe(model);
    expect(await through()).toBe(model);
    expect(await Promise.all([model])).toEqual([model]);
    expect(inspect({ model })).toContain("Model>");
    expect(JSON.stringify({ model })).toContain("Model>");
    expect(model).toEqual(model);
    expect(() => structuredClone(model)).toThrow("could not be cloned");
    await turn();
    expect(sent).not.toHaveBeenCalled();
    sent.mockRestore();
    expect([await model.length(), await model.name(), await model.call(1)]).toEqual([
      "length of Python",
      "name of Python",
      "call of Python 1",
    ]);
    for (const name of ["then", "constructor", "toJSON", "catch"])
      expect(await model.$get(name)()).toBe(`${name} of Python`);
    expect(await model.__class__.__name__).toBe("Model");
  });

  test("a call sees what was assigned before it; an assignment that fails fails the flush, or else its request", async () => {
    const model = await subject.Model();
    model.unet = subject.echo("new");
    expect(await model("a cat")).toBe("a cat with new {}");
    model.read_only = py.of(2);
    expect(await failureOf(py.flush())).toMatchObject({ pythonType: "AttributeError" });
    const { scopes } = worker.channel;
    const scope = scopes.create();
    await scopes.run(scope, async () => {
      model.read_only = py.of(3);
      expect(await model("a dog")).toContain("a dog");
    });
    expect(await failureOf(scope.settle())).toMatchObject({ pythonType: "AttributeError" });
    expect(unseen).toEqual([]);
    expect(() => {
      const counted = model as unknown as { zero: number };
      counted.zero += 1;
    }).toThrow("await it first");
  });

  test("a failure that nobody awaits is told once; a chain fails with its first error, names that link and runs no further", async () => {
    const before = unseen.length;
    subject.raises("ValueError", "nobody listens");
    await subject.echo(1);
    await turn();
    await turn();
    expect(unseen.slice(before).map(({ message }) => message)).toEqual(["ValueError: nobody listens"]);
    const log = await py.expr`[]`;
    const model = await subject.Model();
    const error = await failureOf(model.step(log, "a").step(log, "fail").step(log, "c").step(log, "d"));
    expect(error).toMatchObject({
      pythonType: "LookupError",
      message: "LookupError: this link failed",
      callPath: `<${model.$type}>.step().step()`,
    });
    expect(await log.$value()).toEqual(["a", "fail"]);
  });

  test("falsy members are there, and an index, a name and a key are three different things", async () => {
    const model = await subject.Model();
    expect([await model.zero, await model.empty, await model.nothing]).toEqual([0, "", null]);
    expect((await model.items).$length).toBe(0);
    const torch = py.import("torch");
    model.layers = torch.nn.Sequential();
    expect((await model.layers).$type).toContain("Sequential");
    model.weights = py.tensor(Float32Array.of(0, 1));
    expect((await model.weights).$type).toBe("torch.Tensor");
    const list = await py.expr`['a', 'b']`;
    expect([await list[0], await list[-1]]).toEqual(["a", "b"]);
    const dict = await py.expr`{'0': 'text', 0: 'number', '3d': 1, '01': 2}`;
    expect([await dict[0], await dict.$item("0"), await dict.$item("3d"), await dict.$item("01")]).toEqual([
      "number",
      "text",
      1,
      2,
    ]);
    for (const name of ["3d", "01", "-0"])
      expect(await failureOf(dict[name])).toMatchObject({ pythonType: "AttributeError" });
  });

  test("only a plain object at the end is keyword arguments, of any name; one that is not taken is answered with the signature", async () => {
    expect(await subject.told(1, { a: 2 })).toBe("int 1, a=int 2");
    class Point {
      x = 1;
    }
    for (const last of [new Map([["a", 2]]), py.dict({ a: 2 }), Object.assign(Object.create(null), { a: 2 })])
      expect(await subject.told(last)).toBe("dict {'a': 2}");
    expect(await subject.told([1])).toBe("list [1]");
    expect(await subject.told(Buffer.from([1]))).toBe("bytes b'\\x01'");
    // An instance is neither: it has no meaning in Python.
    expect(await failureOf(subject.told(new Point() as never))).toMatchObject({ code: "NOT_SENDABLE" });
    const odd = { self: 1, cls: 2, from: 3, async: 4, lambda: 5, __x: 6 };
    expect(await subject.keywords(odd).$value()).toEqual(odd);
    const refused = await failureOf(py.import("shutil").copyfile("a", "b", { size: 3 }));
    expect(refused.message).toContain("copyfile(src, dst");
  });

  test("one object is one handle while that lives, goes back as itself, and is stale in every other worker", async () => {
    const list = await py.expr`[]`;
    expect(await subject.echo(list)).toBe(list);
    expect(await subject.same(list, list)).toBe(true);
    await using other = await startWorker();
    for (let count = 0; count < 20; count++) await other.subject.Model();
    expect(await failureOf(other.subject.echo(list))).toMatchObject({ code: "STALE_REF" });
    const lost = await other.subject.Model();
    other.worker.kill();
    await other.worker.exited;
    expect(await failureOf(subject.echo(lost))).toMatchObject({ code: "STALE_REF" });
    expect(lost.$released).toBe(true);
  });

  test("calls of two flows run in the order in which they were made, and 10,000 that wait take little memory", async () => {
    const order = await py.expr`[]`;
    const flow = async (name: string): Promise<void> => {
      for (let at = 0; at < 3; at++) await order.append(`${name}${at}`);
    };
    await Promise.all([flow("a"), flow("b")]);
    expect(await order.$value()).toEqual(["a0", "b0", "a1", "b1", "a2", "b2"]);
    const before = process.memoryUsage();
    const held = subject.sleeps(0.3).then();
    const text = "x".repeat(1_000);
    const calls = Array.from({ length: 10_000 }, (_, at) => subject.echo(`${at} ${text}`).$string());
    const after = process.memoryUsage();
    const grown = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
    expect(grown).toBeLessThan(150 * 1024 * 1024);
    await held;
    const answers = await Promise.all(calls);
    expect(answers.every((answer, at) => answer.startsWith(`${at} `))).toBe(true);
  });
});
