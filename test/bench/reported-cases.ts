// What pythonia's users ran into: issues of extremeheat/JSPyBridge, and what was found by trying.
import type { PyRef } from "../../src/bridge/stub-types.ts";
import { type Case, caught, collected, leftOf, pause } from "./case.ts";

export const REPORTED_CASES: readonly Case[] = [
  {
    name: "the process ends by itself when nothing is open",
    from: "reported",
    right: "ended by itself",
    endsItself: true,
    ours: (target) => target.pid().$number(),
    theirs: (target) => target.pid(),
  },
  {
    name: "a call takes longer than the limit of calls (set to 1 s where there is one)",
    from: "reported",
    right: "slept",
    ours: (target, py) => target.sleep(py.float(2.5)).$string(),
    theirs: (target) => target.sleep(2.5),
  },
  {
    name: "Python calls sys.exit",
    from: "reported",
    right: "PyError: SystemExit: 3",
    ours: (target) => caught(async () => target.leave()),
    theirs: (target) => caught(() => target.leave()),
  },
  {
    name: "Python crashes",
    from: "reported",
    right: "FlambeauError: Python ended by SIGSEGV during cases_target.crash().",
    ours: (target) => caught(async () => target.crash()),
    theirs: (target) => caught(() => target.crash()),
  },
  {
    name: "NaN is returned",
    from: "reported",
    right: "NaN",
    ours: async (target) => target.value("nan").$number(),
    theirs: (target) => target.value("nan"),
  },
  {
    name: "an integer beyond 2^53",
    from: "reported",
    right: "9007199254740993",
    ours: async (target) => String(await target.value("big")),
    theirs: async (target) => String(await target.value("big")),
  },
  {
    name: "an integer beyond 64 bits",
    from: "reported",
    right: String(2n ** 80n),
    ours: async (target) => String(await target.value("huge")),
    theirs: async (target) => String(await target.value("huge")),
  },
  {
    name: "a bigint is passed",
    from: "reported",
    right: "int 9007199254740993",
    ours: (target) => target.told(2n ** 53n + 1n).$string(),
    theirs: (target) => target.told(2n ** 53n + 1n),
  },
  {
    name: "a set is copied",
    from: "reported",
    right: "1",
    ours: async (target) => [...((await target.value("set").$value()) as Set<number>)],
    theirs: async (target) => [...(await (await target.value("set")).valueOf())],
  },
  {
    name: "bytes are returned",
    from: "reported",
    right: "abc",
    ours: async (target) => Buffer.from((await target.value("bytes")) as unknown as Uint8Array).toString(),
    theirs: async (target) => Buffer.from(await (await target.value("bytes")).valueOf()).toString(),
  },
  {
    name: "a list that contains itself is copied",
    from: "reported",
    right: "an error",
    ours: async (target) =>
      (await caught(() => target.value("cyclic").$value())).startsWith("FlambeauError") ? "an error" : "no error",
    theirs: async (target) => {
      const list = await target.value("cyclic");
      return (await caught(() => list.valueOf())).startsWith("no error") ? "no error" : "an error";
    },
  },
  {
    name: "a generator fails half-way",
    from: "reported",
    right: "PyError: ValueError: no third one",
    ours: (target) => caught(() => collected(target.fails_half_way())),
    theirs: async (target) => {
      const generator = await target.fails_half_way();
      return caught(() => collected(generator));
    },
  },
  {
    name: "a loop is left early",
    from: "reported",
    right: "closed",
    ours: async (target) => {
      for await (const _ of target.files()) break;
      return target.EVENTS[-1].$string();
    },
    theirs: async (target, { py }) => {
      for await (const _ of await target.files()) break;
      return py`(${await target.EVENTS} or ['never closed'])[-1]`;
    },
  },
  {
    name: "the body of a context manager throws",
    from: "reported",
    right: "left with an error",
    ours: async (target, py) => {
      await caught(() => py.with(target.Manager(), () => Promise.reject(new Error("body"))));
      return target.EVENTS[-1].$string();
    },
    theirs: async (target, { py }) => {
      await caught(() => py.with(target.Manager(), () => Promise.reject(new Error("body"))));
      return py`(${await target.EVENTS} or ['never left'])[-1]`;
    },
  },
  {
    name: "a member of an empty list that is an attribute",
    from: "reported",
    right: "1",
    ours: async (target) => {
      const thing = await target.Thing();
      await thing.items.append(1);
      return (await thing.items).$length;
    },
    theirs: async (target) => {
      const thing = await target.Thing();
      await thing.items.append(1);
      return await (await thing.items).length;
    },
  },
  {
    name: "a tensor that is an attribute",
    from: "reported",
    right: "3",
    patienceMs: 60_000,
    ours: (target) => target.tensor_holder().tensor.numel().$number(),
    theirs: async (target) => (await target.tensor_holder()).tensor.numel(),
  },
  {
    name: "the key 3d_model of a dict that also has 3",
    from: "reported",
    right: "right",
    ours: (target) => target.value("dict").$item("3d_model").$string(),
    theirs: async (target) => (await target.value("dict"))["3d_model"],
  },
  {
    name: "methods called length and call",
    from: "reported",
    right: "length of Python,call of Python",
    ours: async (target) => [await target.Thing().length(), await target.Thing().call()],
    theirs: async (target) => {
      const thing = await target.Thing();
      return [await thing.length(), await thing.call()];
    },
  },
  {
    name: "an assignment that Python refuses",
    from: "reported",
    right: "PyError: AttributeError",
    ours: async (target, py) => {
      const thing = (await target.Thing()) as PyRef;
      thing.read_only = py.of(2);
      return (await caught(() => py.flush())).split(": ").slice(0, 2).join(": ");
    },
    theirs: async (target) => {
      const thing = await target.Thing();
      thing.read_only = 2;
      await pause(500);
      return "nothing is told";
    },
  },
  {
    name: "an error says its type and message",
    from: "reported",
    right: "PyError: LookupError: what went wrong",
    ours: (target) => caught(async () => target.fail()),
    theirs: (target) => caught(() => target.fail()),
  },
  {
    name: "one object is one object on both sides",
    from: "reported",
    right: "true,true",
    ours: async (target) => {
      const thing = await target.Thing();
      return [(await target.run_it((x: unknown) => x === thing, thing)) as unknown, await target.same(thing, thing)];
    },
    theirs: async (target) => {
      const thing = await target.Thing();
      return [await target.run_it((x: unknown) => x === thing, thing), await target.same(thing, thing)];
    },
  },
  {
    name: "a function is called from a thread of Python",
    from: "reported",
    right: "1!",
    ours: (target) => target.call_in_thread((value: number) => `${value}!`, 1).$string(),
    theirs: (target) => target.call_in_thread((value: number) => `${value}!`, 1),
  },
  {
    name: "what is left of 300 dropped objects after a collection",
    from: "reported",
    right: "none",
    patienceMs: 40_000,
    ours: (target) =>
      leftOf(
        async () => target.Counted(),
        () => target.live().$number(),
      ),
    theirs: (target) =>
      leftOf(
        () => target.Counted(),
        () => target.live(),
      ),
  },
  {
    name: "an attribute is read while another call sleeps for a second",
    from: "reported",
    right: "waits",
    ours: async (target, py) => {
      const sleeping = target.sleep(py.float(1)).then();
      const from = performance.now();
      await target.BIG;
      const waited = performance.now() - from;
      await sleeping;
      return waited > 800 ? "waits" : "does not wait";
    },
    theirs: async (target) => {
      const sleeping = target.sleep(1);
      const slept = sleeping.then();
      const from = performance.now();
      await target.BIG;
      const waited = performance.now() - from;
      await slept;
      return waited > 800 ? "waits" : "does not wait";
    },
  },
];
