// One program on two bridges, and what the programs share.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { PyExpr, Python } from "../../src/bridge/stub-types.ts";

// biome-ignore lint/suspicious/noExplicitAny: pythonia's objects have no types
export type Theirs = any;

export interface Case {
  readonly name: string;
  /** Shown in its README, or reported by its users (issues of extremeheat/JSPyBridge, or found by trying). */
  readonly from: "README" | "reported";
  /** What comes of it where it works. */
  readonly right: string;
  /** Milliseconds until it counts as hanging. */
  readonly patienceMs?: number;
  /** Nothing is closed afterwards: whether the process ends is what is tried. */
  readonly endsItself?: boolean;
  ours(target: PyExpr, py: Python): Promise<unknown>;
  theirs(target: Theirs, all: Theirs): Promise<unknown>;
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export async function caught(body: () => Promise<unknown>): Promise<string> {
  try {
    return `no error but ${String(await body())}`;
  } catch (error) {
    const { name, message } = error as Error;
    return `${name}: ${message.split("\n")[0]}`;
  }
}

export async function collected<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}

/** Drops 300 objects and gives the collectors of both sides some time. */
export async function leftOf(make: () => Promise<unknown>, live: () => Promise<unknown>): Promise<unknown> {
  for (let made = 0; made < 300; made++) await make();
  await pause(1_200);
  collectGarbage();
  await pause(2_500);
  return (await live()) === 0 ? "none" : `${String(await live())} of 300`;
}
