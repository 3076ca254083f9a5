// What requests leave behind in a real Python, and when it goes back although nobody disposes of anything.
import { expect, it, vi } from "vitest";
import { z } from "zod";
import { App } from "../../src/app/app.ts";
import { endpoint } from "../../src/app/endpoint.ts";
import type { Py, PyExpr } from "../../src/bridge/stub-types.ts";
import { Leftovers } from "../../src/host/leftovers.ts";
import { startWorker, type TestWorker } from "../support/worker.ts";
import { hostOf, output } from "./fixture.ts";
import { Nothing } from "./plain-app.ts";

const subjectFile = new URL("../support/subject.py", import.meta.url);

class Wasteful extends App {
  subject: PyExpr = this.py.importFile(subjectFile);
  kept: Py[] = [];

  make = endpoint("/make", { input: z.object({ count: z.int() }), output: Nothing }, async ({ count }) => {
    const made = await Promise.all(Array.from({ length: count }, async () => (await this.subject.Tracked()) as Py));
    this.kept.push(...made.slice(0, 3));
    return {};
  });
  live = endpoint("/live", { input: Nothing, output: z.int() }, () => this.subject.live().$number());
}

it("a request that leaves more than 1,000 objects is followed by a collection; what the app keeps stays", async () => {
  const { host } = await hostOf(Wasteful);
  await output(host.submit("/make", { count: 1_500 }));
  let live = Number.POSITIVE_INFINITY;
  const deadline = performance.now() + 10_000;
  while (live > 3 && performance.now() < deadline) live = Number(await output(host.submit("/live", {})));
  expect(live).toBe(3);
});

/** Makes buffers in Python that nothing in TypeScript reaches afterwards. */
async function waste({ py }: TestWorker, megabytes: readonly number[]): Promise<void> {
  for (const size of megabytes) await py.import("builtins").bytearray(size * 1024 * 1024);
}

it("more than 64 MiB of buffers are given back as well; less is left to the finalizers", async () => {
  await using python = await startWorker();
  const { session, channel } = python.worker;
  const leftovers = new Leftovers(session, { leftHandles: 1_000, leftBytes: 64 * 1024 * 1024 });
  await waste(python, [10]);
  const collections = vi.spyOn(channel.handles, "collect");
  await leftovers.collect(() => true);
  expect(collections).not.toHaveBeenCalled();
  await waste(python, [30, 30]);
  await leftovers.collect(() => true);
  expect((await channel.ping()).bytes).toBe(0);
});

it("while requests never pause, every other one is followed by it all the same", async () => {
  await using python = await startWorker();
  const { session, channel } = python.worker;
  const leftovers = new Leftovers(session, { leftHandles: 1_000, leftBytes: 64 * 1024 * 1024 });
  await waste(python, [70]);
  await leftovers.collect(() => false);
  expect((await channel.ping()).bytes).toBeGreaterThan(0);
  await leftovers.collect(() => false);
  expect((await channel.ping()).bytes).toBe(0);
});
