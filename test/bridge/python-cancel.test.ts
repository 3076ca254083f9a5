// Stopping calls in a real Python: wherever they are, the worker is usable afterwards, and what cannot be stopped is ended.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import type { PyExpr } from "../../src/bridge/stub-types.ts";
import { FlambeauError } from "../../src/errors.ts";
import { failureOf } from "../support/errors.ts";
import { turn } from "../support/signal.ts";
import { startWorker, workerForFile } from "../support/worker.ts";

/** Longer than any test may take: a call that is not stopped fails its test. */
const FOREVER_S = 60;

const { py, subject, worker } = await workerForFile();

/** Until the main thread of Python is in a call, and in this Python function. */
async function inside(word: string, { channel } = worker): Promise<void> {
  while (!(await channel.stack()).includes(word)) await turn();
}

async function stopped(call: (signal: AbortSignal) => PyExpr, word: string): Promise<Error> {
  const controller = new AbortController();
  const failure = failureOf(call(controller.signal));
  await inside(word);
  controller.abort(new Error("the caller left"));
  return failure;
}

describe("a running call is stopped", () => {
  test.each<[string, (signal: AbortSignal) => PyExpr, string]>([
    ["in time.sleep", (signal) => subject.sleeps.$opts({ signal })(FOREVER_S), "in sleeps"],
    ["in a loop of Python", (signal) => subject.loops.$opts({ signal })(FOREVER_S), "in loops"],
    ["while it waits for a lock", (signal) => subject.waits_for_lock.$opts({ signal })(), "in waits_for_lock"],
    [
      "while it waits for a child process",
      (signal) => subject.waits_for_child.$opts({ signal })(FOREVER_S),
      "in waits_for_child",
    ],
    [
      "while it waits for a function of ours",
      (signal) => subject.waits_for_host.$opts({ signal })(() => new Promise(() => {})),
      "in waits_for_host",
    ],
  ])("%s, and the next call runs", async (_name, call, word) => {
    const error = await stopped(call, word);
    expect(error).toMatchObject({ name: "AbortError", code: "CANCELLED", cause: { message: "the caller left" } });
    expect(error.stack).toContain("python-cancel.test.ts");
    expect(await subject.echo("usable")).toBe("usable");
  });

  test("inside of a function of ours that called Python itself, the outer call with it", async () => {
    const error = await stopped(
      (signal) => subject.call_with.$opts({ signal })(() => subject.sleeps.$opts({ signal })(FOREVER_S)),
      "in sleeps",
    );
    expect(error).toMatchObject({ code: "CANCELLED" });
    expect(await subject.echo("usable")).toBe("usable");
  });

  test("by its time limit, as TIMEOUT", async () => {
    const error = await failureOf(subject.sleeps.$opts({ timeoutMs: 20 })(FOREVER_S));
    expect(error).toMatchObject({ code: "TIMEOUT", retryable: true, message: expect.stringContaining("20 ms") });
    expect(error.stack).toContain("python-cancel.test.ts");
  });

  test("and its `finally` blocks run undisturbed", async () => {
    const log = await py.expr`[]`;
    await stopped((signal) => subject.cleans_up.$opts({ signal })(log, FOREVER_S), "in cleans_up");
    expect(await log.$value()).toEqual(["clean", "done"]);
  });

  test("with its request, together with all others of that request", async () => {
    const { scopes } = worker.channel;
    const controller = new AbortController();
    const scope = scopes.create(controller.signal);
    const calls = scopes.run(scope, () =>
      [subject.sleeps(FOREVER_S), subject.echo(1), subject.echo(2)].map((call) => failureOf(call)),
    );
    await inside("in sleeps");
    controller.abort();
    for (const error of await Promise.all(calls)) expect(error).toMatchObject({ code: "CANCELLED" });
    expect(await subject.echo("usable")).toBe("usable");
  });
});

describe("a call that waits its turn", () => {
  test("is stopped at once and never runs; the one before it goes on", async () => {
    const log = await py.expr`[]`;
    const controller = new AbortController();
    const held = subject.sleeps(0.5);
    const first = held.then();
    const queued = failureOf(log.append.$opts({ signal: controller.signal })("never"));
    await inside("in sleeps");
    controller.abort();
    expect(await queued).toMatchObject({ code: "CANCELLED" });
    expect((await worker.channel.ping()).running).not.toBeNull();
    expect(await first).toBe("slept");
    expect(await log.$value()).toEqual([]);
  });
});

describe("a cancel that comes too late", () => {
  test("changes nothing, neither for its call nor for the next one", async () => {
    const controller = new AbortController();
    expect(await subject.echo.$opts({ signal: controller.signal })(1)).toBe(1);
    const next = subject.sleeps(0.05);
    controller.abort();
    expect(await next).toBe("slept");
  });
});

const RACES = 10_000;
/** So many are on their way at a time. */
const WAVE = 500;

/** Calls that are cancelled at random moments, some of them while they run: how many came to what. */
async function race(count: number, seed: number): Promise<Map<string, number>> {
  const outcomes = new Map<string, number>();
  let random = seed;
  const next = (below: number): number => {
    random = (random * 16_807) % 2_147_483_647;
    return random % below;
  };
  const one = async (number: number): Promise<string> => {
    const controller = new AbortController();
    const call = subject.busy_echo.$opts({ signal: controller.signal })(number, next(200)).then();
    for (let turns = next(60); turns > 0; turns--) await turn();
    controller.abort();
    return call.then(
      (value: unknown) => (value === number ? "result" : `the result of another call: ${String(value)}`),
      (error: unknown) => (error instanceof FlambeauError ? error.code : String(error)),
    );
  };
  for (let made = 0; made < count; made += WAVE) {
    const wave = await Promise.all(Array.from({ length: WAVE }, (_, at) => one(made + at)));
    for (const outcome of wave) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  return outcomes;
}

describe("a cancel", () => {
  test("a call is stopped before it begins, whatever it does and inside of callbacks; 10,000 cancels at random moments lose nothing", async () => {
    const log = await py.expr`[]`;
    expect(await failureOf(log.append.$opts({ signal: AbortSignal.abort() })("never"))).toMatchObject({
      code: "CANCELLED",
    });
    const torch = py.import("torch");
    await torch.zeros(1);
    const states: readonly [(signal: AbortSignal) => PyExpr, string][] = [
      [(signal) => subject.loops.$opts({ signal })(FOREVER_S), "in loops"],
      [(signal) => subject.sleeps.$opts({ signal })(FOREVER_S), "in sleeps"],
      [(signal) => subject.waits_for_lock.$opts({ signal })(), "in waits_for_lock"],
      [(signal) => subject.waits_for_child.$opts({ signal })(FOREVER_S), "in waits_for_child"],
      [(signal) => subject.multiplies.$opts({ signal })(FOREVER_S), "in multiplies"],
      [(signal) => subject.waits_for_host.$opts({ signal })(() => new Promise(() => {})), "in waits_for_host"],
      [(signal) => subject.call_with.$opts({ signal })(() => subject.sleeps.$opts({ signal })(FOREVER_S)), "in sleeps"],
    ];
    for (const [call, word] of states) {
      const error = await stopped(call, word);
      expect(error).toMatchObject({ name: "AbortError", code: "CANCELLED" });
      expect(error.stack).toContain("python-cancel.test.ts");
    }
    // C that holds the interpreter goes on to its own end, and what comes after it is stopped.
    const controller = new AbortController();
    const held = failureOf(subject.holds_the_lock_and_sleeps.$opts({ signal: controller.signal })(py.float(0.5)));
    setTimeout(() => controller.abort(), 50);
    expect(await held).toMatchObject({ code: "CANCELLED" });
    const outcomes = await race(RACES, 7);
    expect([...outcomes.keys()].sort()).toEqual(["CANCELLED", "result"]);
    expect([...outcomes.values()].reduce((sum, count) => sum + count)).toBe(RACES);
    console.info(`${RACES} cancels at random moments:`, Object.fromEntries(outcomes));
    expect(await log.$value()).toEqual([]);
    expect(await subject.echo("usable")).toBe("usable");
    expect(worker.channel.openCalls).toEqual([]);
  }, 120_000);
});

describe("an import", () => {
  test("is not torn by a cancel: it is finished, and the module works afterwards", async () => {
    const folder = await mkdtemp(join(tmpdir(), "flambeau-test-"));
    try {
      const path = join(folder, "slow_module.py");
      await writeFile(
        path,
        "import time\n\ndef loading():\n    time.sleep(0.3)\n\ndef forever():\n    time.sleep(60)\n\nloading()\nready = True\n",
      );
      await py.import("sys").path.append(folder);
      const error = await stopped((signal) => py.import("slow_module").forever.$opts({ signal })(), "in loading");
      expect(error).toMatchObject({ code: "CANCELLED" });
      expect(await py.import("slow_module").ready).toBe(true);
      expect(await py.importFile(pathToFileURL(path)).ready).toBe(true);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe("code that swallows the cancel", () => {
  test("is ended after the grace: its caller is told CANCELLED, the others why the process ended", async () => {
    await using stubborn = await startWorker({ cancelGraceMs: 200 });
    const controller = new AbortController();
    const call = failureOf(stubborn.subject.swallows.$opts({ signal: controller.signal })(FOREVER_S));
    const bystander = failureOf(stubborn.subject.echo(1));
    await inside("in swallows", stubborn.worker);
    controller.abort();
    expect(await call).toMatchObject({ code: "CANCELLED", name: "AbortError" });
    const ended = await bystander;
    expect(ended).toMatchObject({ code: "WORKER_EXITED", retryable: true });
    expect(ended.message).toMatch(
      /by SIGKILL during subject\.py\.swallows\(\)\. .*did not stop within 200 ms of its cancel/,
    );
    expect(await stubborn.worker.exited).toBe(ended);
  });
});
