// How many of the objects that subject.py counts are alive in Python.
import { Garbage } from "../../src/bridge/garbage.ts";
import type { PyExpr } from "../../src/bridge/stub-types.ts";

export interface Tracked {
  live(): Promise<number>;
  /** Until the collector has run and Python has let go; how many are left when it is so, or after a second. */
  collected(expected: number): Promise<number>;
}

export function trackedBy(subject: PyExpr): Tracked {
  const garbage = new Garbage();
  const live = (): Promise<number> => subject.live().$number();
  const collected = async (expected: number): Promise<number> => {
    for (let round = 0; round < 100; round++) {
      garbage.collect();
      await new Promise((resolve) => setTimeout(resolve, 10));
      if ((await live()) === expected) break;
    }
    return live();
  };
  return { live, collected };
}
