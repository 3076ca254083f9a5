// Calls to a real Python: order, pipelining, identity, arguments, members, items, scalars.
import { beforeEach, describe, expect, test } from "vitest";
import type { PyRef } from "../../src/bridge/stub-types.ts";
import { failureOf } from "../support/errors.ts";
import { turn } from "../support/signal.ts";
import { workerForFile } from "../support/worker.ts";

const { py, subject, worker, unseen } = await workerForFile();
let model: PyRef;

beforeEach(async () => {
  model = await subject.Model();
});

describe("order", () => {
  test("a call sees what was assigned before it, also when that is a call that nobody awaited", async () => {
    model.unet = py.of("new");
    expect(await model({ prompt: "a cat" })).toBe("a cat with new {}");
    model.unet = subject.echo("newer");
    expect(await model("a cat")).toBe("a cat with newer {}");
  });

  test("a chain of calls is sent without waiting and runs in order", async () => {
    const log = await py.expr`[]`;
    await model.step(log, "one").step(log, "two").step(log, "three");
    expect(await log.$value()).toEqual(["one", "two", "three"]);
  });

  test("a chain fails with its first error, named by the link that failed, and the rest does not run", async () => {
    const log = await py.expr`[]`;
    const error = await failureOf(model.step(log, "one").step(log, "fail").step(log, "three").step(log, "four"));
    expect(error).toMatchObject({ pythonType: "LookupError", message: "LookupError: this link failed" });
    expect(error).toMatchObject({ callPath: `<${model.$type}>.step().step()` });
    expect(await log.$value()).toEqual(["one", "fail"]);
  });

  test("calls from two flows run one after the other in the order in which they were made", async () => {
    const log = await py.expr`[]`;
    await Promise.all([..."abcdef"].map((letter) => log.append(letter)));
    expect(await log.$value()).toEqual([..."abcdef"]);
  });

  test("an assignment that fails fails the next flush, once", async () => {
    model.read_only = py.of(2);
    const error = await failureOf(py.flush());
    expect(error).toMatchObject({ pythonType: "AttributeError", callPath: expect.stringContaining(".read_only = …") });
    await py.flush();
    expect(unseen).toEqual([]);
  });

  test("an assignment that fails fails the request that made it", async () => {
    const { scopes } = worker.channel;
    const scope = scopes.create();
    await scopes.run(scope, async () => {
      model.read_only = py.of(2);
      expect(await model("a cat")).toContain("a cat");
    });
    expect(await failureOf(scope.settle())).toMatchObject({ pythonType: "AttributeError" });
  });

  test("`$set` is an assignment that can be awaited, `delete` is one as well", async () => {
    await model.$set("unet", "set");
    expect(await model.unet).toBe("set");
    delete (model as unknown as Record<string, unknown>)["unet"];
    expect(await failureOf(model.unet)).toMatchObject({ pythonType: "AttributeError" });
    expect(await failureOf(model.$set("read_only", 2))).toMatchObject({ pythonType: "AttributeError" });
  });

  test("a call that fails with nobody waiting is told once", async () => {
    const before = unseen.length;
    subject.raises("ValueError", "nobody listens");
    await subject.echo(1);
    await turn();
    await turn();
    expect(unseen.slice(before).map(({ message }) => message)).toEqual(["ValueError: nobody listens"]);
  });
});

describe("identity", () => {
  test("the same object is the same proxy, and comes back as the same object", async () => {
    const list = await py.expr`[]`;
    expect(await subject.echo(list)).toBe(list);
    expect(await subject.echo(py.tuple(list))[0]).toBe(list);
    expect(await subject.same(list, list)).toBe(true);
    expect(await subject.same(list, py.expr`[]`)).toBe(false);
    expect(await py.import("sys")).toBe(await py.import("sys"));
  });

  test("an expression awaited twice is one call", async () => {
    const log = await py.expr`[]`;
    const call = model.step(log, "once");
    expect(await call).toBe(await call);
    expect(await log.$value()).toEqual(["once"]);
  });
});

describe("arguments", () => {
  test("a plain object at the end is keyword arguments, anything else there is not", async () => {
    expect(await subject.told(1, { a: 2 })).toBe("int 1, a=int 2");
    expect(await subject.told({ a: undefined, b: 1 })).toBe("b=int 1");
    expect(await subject.told(1, py.dict({ a: 2 }))).toBe("int 1, dict {'a': 2}");
    expect(await subject.told(new Map([["a", 2]]))).toBe("dict {'a': 2}");
    expect(await subject.told(Object.assign(Object.create(null), { a: 2 }))).toBe("dict {'a': 2}");
    expect(await subject.told([1])).toBe("list [1]");
    expect(await subject.told(Uint8Array.of(1))).toBe("bytes b'\\x01'");
    expect(await subject.told({ a: 1 }, { b: 2 })).toBe("dict {'a': 1}, b=int 2");
    expect(await subject.told({})).toBe("");
  });

  test("`$call` tells the two kinds apart explicitly", async () => {
    expect(await subject.told.$call([{ a: 1 }])).toBe("dict {'a': 1}");
    expect(await subject.told.$call([1], { b: 2 })).toBe("int 1, b=int 2");
  });

  test("keyword arguments may have any name", async () => {
    const value = await subject.keywords({ self: 1, cls: 2, from: 3, async: 4, lambda: 5, __x: 6 }).$value();
    expect(value).toEqual({ self: 1, cls: 2, from: 3, async: 4, lambda: 5, __x: 6 });
  });

  test("an argument that Python does not take is answered with the hint and the signature", async () => {
    const error = await failureOf(subject.resize("image", { size: 3 }));
    expect(error).toMatchObject({ pythonType: "TypeError" });
    expect(error.message).toContain("py.dict()");
    expect(await failureOf(py.import("json").dumps(1, { indnt: 2 }))).toMatchObject({
      message: expect.stringContaining("indnt"),
    });
  });

  test("an int where Python wants a float is answered with the hint", async () => {
    const error = await failureOf(
      py.expr`(lambda x: (_ for _ in ()).throw(TypeError('expected float, got int')))`.$call([5]),
    );
    expect(error.message).toContain("py.float(5)");
  });
});

describe("members", () => {
  test("falsy ones are there", async () => {
    expect(await model.zero).toBe(0);
    expect(await model.empty).toBe("");
    expect(await model.nothing).toBe(null);
    expect((await model.items).$length).toBe(0);
    model.items.append(1);
    expect(await model.items.$value()).toEqual([1]);
    expect(await failureOf(model.missing)).toMatchObject({
      pythonType: "AttributeError",
      message: expect.stringContaining("missing"),
    });
  });

  test("whose names mean something to JavaScript can be called", async () => {
    expect(await model.length()).toBe("length of Python");
    expect(await model.name()).toBe("name of Python");
    expect(await model.call(1)).toBe("call of Python 1");
    for (const name of ["then", "constructor", "toJSON", "catch"])
      expect(await model.$get(name)()).toBe(`${name} of Python`);
    expect(await model.__class__.__name__).toBe("Model");
  });

  test("waiting for a handle, alone or among others, never calls its `then`", async () => {
    const through = async (): Promise<unknown> => model;
    expect(await model).toBe(model);
    expect(await through()).toBe(model);
    expect(await Promise.resolve(model)).toBe(model);
    expect(await Promise.all([model, 1])).toEqual([model, 1]);
    expect(await model.log.$value()).toEqual([]);
  });

  test("of a module are followed through packages", async () => {
    expect(await py.import("os").path.basename("/a/b")).toBe("b");
    expect(await py.import("os.path").basename("/a/b")).toBe("b");
    expect(await failureOf(py.import("no_such_module").x)).toMatchObject({
      pythonType: "ModuleNotFoundError",
      message: expect.stringContaining('add "no-such-module" to the app\'s requirements'),
    });
  });
});

describe("items", () => {
  test("by index, from either end, and by any other key with `$item`", async () => {
    const list = await py.expr`['a', 'b', 'c']`;
    expect(await list[0]).toBe("a");
    expect(await list[-1]).toBe("c");
    const dict = await py.expr`{'0': 'text', 0: 'number', '3d': 1, '01': 2, (1, 2): 3}`;
    expect(await dict[0]).toBe("number");
    expect(await dict.$item("0")).toBe("text");
    expect(await dict.$item("3d")).toBe(1);
    expect(await dict.$item("01")).toBe(2);
    expect(await dict.$item(py.tuple(1, 2))).toBe(3);
    expect(await failureOf(dict["3d"])).toMatchObject({ pythonType: "AttributeError" });
    expect(await failureOf(dict["01"])).toMatchObject({ pythonType: "AttributeError" });
    expect(await failureOf(dict["-0"])).toMatchObject({ pythonType: "AttributeError" });
  });

  test("are assigned and deleted in order", async () => {
    const list = await py.expr`[1, 2, 3]`;
    list[0] = py.of("first");
    await list.$setItem(-1, "last");
    delete (list as unknown as unknown[])[1];
    expect(await list.$value()).toEqual(["first", "last"]);
    expect(await list.$item(py.slice(0, 1)).$value()).toEqual(["first"]);
    expect(await failureOf(list[9])).toMatchObject({ pythonType: "IndexError" });
  });

  test("of a sized sequence are destructured as expressions, and sent when used", async () => {
    const [first, , third] = await py.expr`['a', 'b', 'c']`;
    expect([await first, await third]).toEqual(["a", "c"]);
    expect(await Promise.all([...(await py.expr`range(3)`)])).toEqual([0, 1, 2]);
    const generator = await py.expr`(x for x in 'ab')`;
    expect(() => [...generator]).toThrow("has no length; iterate it with `for await`");
  });
});

describe("scalars", () => {
  test("are checked by `$number`, `$string` and `$boolean`, which say what came", async () => {
    expect(await py.expr`3`.$number()).toBe(3);
    expect(await py.expr`'x'`.$string()).toBe("x");
    expect(await py.expr`True`.$boolean()).toBe(true);
    expect(await failureOf(py.expr`'x'`.$number())).toMatchObject({
      code: "OUTPUT_INVALID",
      message: expect.stringContaining("got string"),
    });
    expect(await failureOf(py.expr`None`.$string())).toMatchObject({ message: expect.stringContaining("got None") });
    expect(await failureOf(py.expr`[1]`.$number())).toMatchObject({ message: expect.stringContaining("got <list>") });
  });

  test("`$value` with a schema is checked by it, `$repr` is what Python shows", async () => {
    const schema = { parse: (value: unknown) => (value as number[]).map(String) };
    expect(await py.expr`[1, 2]`.$value(schema)).toEqual(["1", "2"]);
    expect(await py.expr`[1, 'a']`.$repr()).toBe("[1, 'a']");
  });
});
