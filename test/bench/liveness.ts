// What stays quick while Python is busy: pings beside bulk and beside torch, stopping each kind of work; and how soon a worker answers.
import { spawn } from "node:child_process";
import type { Duplex } from "node:stream";
import type { PyExpr } from "../../src/bridge/stub-types.ts";
import type { Worker } from "../../src/workers/worker.ts";
import { type Cell, timed } from "./measure.ts";
import { type OurPeer, startWorker } from "./peers.ts";

/** What a call is doing when it is stopped: methods of bench_target.py. */
export const WORK = ["loop", "sleep", "wait", "read", "multiply"] as const;
/** Of those, what has to end at once: the others end with the operation that they are in. */
export const STOPS_AT_ONCE: ReadonlySet<string> = new Set(["loop", "sleep", "wait", "read"]);
const MULTIPLY_S = 0.5;
/** Answers one byte with one byte, and knows nothing. */
const BARE = "import os; os.write(3, os.read(3, 1))";

export function pingCells(ours: OurPeer, size: number): Cell[] {
  const bytes = new Uint8Array(size).fill(1);
  const { worker, thing } = ours;
  return [
    { name: "ping, nothing runs", round: () => timed(200, () => worker.channel.ping()) },
    {
      name: "ping beside 64 MiB up and down",
      round: () => pingsBeside(worker, Promise.all([ours.up(bytes), ours.down(size)])),
    },
    { name: "ping beside torch matmul", round: () => pingsBeside(worker, Promise.resolve(thing.multiply(MULTIPLY_S))) },
  ];
}

export function stopCells({ worker, thing }: OurPeer, count: number): Cell[] {
  return WORK.map((work) => ({ name: `stop ${work}`, round: () => stops(worker, thing[work] as PyExpr, count) }));
}

/** `started`: workers that have answered, to be ended by the caller; not within the time of a start. */
export function replyCells(python: string, started: Worker[]): Cell[] {
  const firstReply = async (): Promise<void> => {
    const worker = await startWorker(python);
    await worker.channel.ping();
    started.push(worker);
  };
  return [
    { name: "flambeau first reply", round: () => timed(1, firstReply) },
    { name: "bare first reply", round: () => timed(1, () => bareReply(python)) },
  ];
}

async function pingsBeside(worker: Worker, work: Promise<unknown>): Promise<number[]> {
  let isOver = false;
  const over = work.finally(() => {
    isOver = true;
  });
  const times: number[] = [];
  while (!isOver) times.push(...(await timed(1, () => worker.channel.ping())));
  await over;
  return times;
}

/** Milliseconds from `abort()` to the rejection, of calls that are in the middle of their work. */
async function stops(worker: Worker, work: PyExpr, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const controller = new AbortController();
    const call = work
      .$opts({ signal: controller.signal })()
      .then(
        () => {
          throw new Error("it ended before it was stopped");
        },
        () => {},
      );
    while ((await worker.channel.ping()).running === null) await new Promise((resolve) => setTimeout(resolve, 1));
    await new Promise((resolve) => setTimeout(resolve, 10 + i));
    const start = performance.now();
    controller.abort();
    await call;
    times.push(performance.now() - start);
  }
  return times;
}

async function bareReply(python: string): Promise<void> {
  const child = spawn(python, ["-I", "-c", BARE], { stdio: ["ignore", "inherit", "inherit", "pipe"] });
  const wire = child.stdio[3] as Duplex;
  wire.write("?");
  await new Promise((resolve) => wire.once("data", resolve));
  wire.destroy();
}
