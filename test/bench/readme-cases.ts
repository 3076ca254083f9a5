// What pythonia's README shows.
import { type Case, collected } from "./case.ts";

export const README_CASES: readonly Case[] = [
  {
    name: "a file is imported and called",
    from: "README",
    right: "string",
    ours: async (target) => typeof (await target.what_time_is_it()),
    theirs: async (target) => typeof (await target.what_time_is_it()),
  },
  {
    name: "a generator is looped over",
    from: "README",
    right: "a,b,c",
    ours: async (target) => (await collected(target.files())).join(),
    theirs: async (target) => (await collected(await target.files())).join(),
  },
  {
    name: "keyword arguments",
    from: "README",
    right: "1,2,3",
    ours: async (target) => (await target.named(1, { b: 2, c: 3 }).$value()) as number[],
    theirs: async (target) => (await target.named$(1, { b: 2, c: 3 })).valueOf(),
  },
  {
    name: "a function is passed and called back",
    from: "README",
    right: "3",
    ours: (target) => target.run_it((a: number, b: number) => a + b, 1, 2).$number(),
    theirs: (target) => target.run_it((a: number, b: number) => a + b, 1, 2),
  },
  {
    name: "an attribute is read and assigned",
    from: "README",
    right: "5,6",
    ours: async (target) => {
      const thing = await target.Thing();
      const before = await thing.value;
      thing.value = 6 as never;
      return [before, await thing.value];
    },
    theirs: async (target) => {
      const thing = await target.Thing();
      const before = await thing.value;
      thing.value = 6;
      return [before, await thing.value];
    },
  },
  {
    name: "an expression of Python with values in it",
    from: "README",
    right: "9",
    ours: (_target, py) => py.expr`${4} + ${5}`.$number(),
    theirs: (_target, { py }) => py`${4} + ${5}`,
  },
  {
    name: "an object is copied with what is in it",
    from: "README",
    right: '{"a":[1,{"b":2}]}',
    ours: async (target) => JSON.stringify(await target.value("nested").$value()),
    theirs: async (target) => JSON.stringify(await (await target.value("nested")).valueOf()),
  },
  {
    name: "a context manager around a body",
    from: "README",
    right: "left",
    ours: async (target, py) => {
      await py.with(target.Manager(), async () => {});
      return target.EVENTS[-1].$string();
    },
    theirs: async (target, { py }) => {
      await py.with(target.Manager(), async () => {});
      return py`${await target.EVENTS}[-1]`;
    },
  },
];
