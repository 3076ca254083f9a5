// A worker's surroundings: what it prints, how much, and what user code does to descriptors, streams and signals.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { PyExpr, Python } from "../../src/bridge/stub-types.ts";
import { limits } from "../../src/config.ts";
import { failureOf } from "../support/errors.ts";
import { untilGone } from "../support/processes.ts";
import { startWorker, type TestWorker } from "../support/worker.ts";

let running: TestWorker;
let py: Python;
let subject: PyExpr;

beforeAll(async () => {
  running = await startWorker();
  ({ py, subject } = running);
});

afterAll(() => running[Symbol.asyncDispose]());

/** Until that many lines have come since `from`, which is sooner or later than the call's own answer. */
async function linesSince(from: number, count: number): Promise<string[]> {
  while (running.lines.length < from + count) await new Promise((resolve) => setTimeout(resolve, 5));
  return running.lines.slice(from).map(({ line }) => line);
}

describe("what a worker prints", () => {
  test("comes as lines, whoever in it prints and in whichever way", async () => {
    const from = running.lines.length;
    await subject.prints_in_every_way();
    expect((await linesSince(from, 6)).sort()).toEqual(
      ["print of Python", "print to stderr", "os.write", "os.system", "subprocess", "puts of C"].sort(),
    );
    expect(running.lines.slice(from).find(({ line }) => line === "print to stderr")?.source).toBe("stderr");
  });

  test("20 MB of it neither block nor corrupt anything, and pings are answered meanwhile", async () => {
    const from = running.lines.length;
    const count = 100_000;
    const call = subject.prints(count).then();
    let pings = 0;
    let answered = false;
    void call.then(() => {
      answered = true;
    });
    while (!answered) {
      await running.worker.channel.ping();
      pings++;
      // A ping on the heels of the other would measure nothing but itself.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(await call).toBe(count);
    const lines = await linesSince(from, count);
    expect(lines.length).toBe(count);
    expect(lines.every((line, number) => line === `line ${String(number).padStart(194)}`)).toBe(true);
    expect(pings).toBeGreaterThan(10);
  });

  test("characters are whole though their bytes come one by one, and bytes that are none are shown", async () => {
    const from = running.lines.length;
    await subject.prints_bytes_slowly(Buffer.from("日本 🦝\n"));
    await subject.prints_bytes_slowly(Uint8Array.of(0x61, 0xff, 0x0a));
    expect(await linesSince(from, 2)).toEqual(["日本 🦝", "a\ufffd"]);
  });

  test("at import time is a line like any other", async () => {
    const folder = await mkdtemp(join(tmpdir(), "flambeau-test-"));
    try {
      await writeFile(join(folder, "talkative.py"), "print('imported', flush=True)\nvalue = 1\n");
      await py.import("sys").path.append(folder);
      const from = running.lines.length;
      expect(await py.import("talkative").value).toBe(1);
      expect(await linesSince(from, 1)).toEqual(["imported"]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("a question to the terminal is answered with the end of input", async () => {
    expect(await subject.asks()).toContain("EOFError");
  });
});

describe("user code that", () => {
  test("closes or writes to descriptor 3 does not reach the channel", async () => {
    await using python = await startWorker();
    await python.py.import("os").write(3, Buffer.from("not a frame"));
    await python.subject.closes_descriptors();
    expect(await python.subject.echo("still here")).toBe("still here");
    const large = new Uint8Array(1_000_000).fill(7);
    expect(Buffer.from((await python.subject.echo(large)) as unknown as Uint8Array).equals(large)).toBe(true);
  });

  test("replaces streams, signal handlers, limits and the folder leaves a worker that works", async () => {
    await using python = await startWorker();
    await python.subject.spoils_the_streams();
    expect(await python.subject.echo(1)).toBe(1);
    expect(await failureOf(python.subject.raises("ValueError", "x"))).toMatchObject({ pythonType: "ValueError" });
    expect(await failureOf(python.subject.sleeps.$opts({ timeoutMs: 20 })(60))).toMatchObject({ code: "TIMEOUT" });
  });

  test("writes frames that are none into the channel ends its worker with PROTOCOL_ERROR that shows them", async () => {
    const python = await startWorker();
    const write = python.subject.writes_into_the_channel(Buffer.from("loading shards: 100%"));
    const error = await failureOf(Promise.all([write, python.subject.sleeps(60)]));
    expect(error).toMatchObject({ code: "PROTOCOL_ERROR", message: expect.stringContaining("loading shards:") });
    await untilGone([python.worker.pid], 5_000);
  });

  test("forks leaves the channel to the parent", async () => {
    await using python = await startWorker();
    const child = python.py
      .expr`(lambda os: (lambda pid: os._exit(0) if pid == 0 else os.waitpid(pid, 0)[1])(os.fork()))(__import__('os'))`;
    expect(await child).toBe(0);
    expect(await python.subject.echo(1)).toBe(1);
  });
});

describe("a worker", () => {
  test("is not reached by Ctrl-C in the host's terminal, which goes to another group", async () => {
    const call = subject.sleeps(0.2).then();
    process.kill(running.worker.pid, "SIGINT");
    expect(await call).toBe("slept");
    expect(await subject.echo(1)).toBe(1);
    expect(await py.import("os").getpgrp()).toBe(running.worker.pid);
  });

  test("sees of the environment what it was given and nothing else", async () => {
    process.env["FLAMBEAU_TEST_SECRET"] = "secret";
    await using python = await startWorker();
    delete process.env["FLAMBEAU_TEST_SECRET"];
    expect(await python.py.import("os").environ.get("FLAMBEAU_TEST_SECRET")).toBe(null);
    expect(await python.py.import("sys").flags.isolated).toBe(1);
  });

  test("takes what it has started with it, also processes that ignore its end", async () => {
    const python = await startWorker();
    const ignoring = "import signal, time; signal.signal(15, 1); signal.signal(1, 1); time.sleep(60)";
    const executable = await python.py.import("sys").executable.$string();
    const pid = await python.py.import("subprocess").Popen([executable, "-c", ignoring]).pid.$number();
    await python.worker.stop();
    await untilGone([pid], 2_000);
  });

  test("keeps no more of what it prints than its limits", async () => {
    const python = await startWorker({ stderrTailLines: 2, logLineBytes: 10 });
    await python.py.import("sys").stderr.write(`${"x".repeat(100)}\none\ntwo\nthree\n`);
    await failureOf(python.py.import("os")._exit(1));
    const { message } = await python.worker.exited;
    expect(message.split("\n").slice(1)).toEqual(["Its last lines on stderr:", "  two", "  three"]);
    expect(python.lines[0]?.line.length).toBe(10);
    expect(limits.stderrTailLines).toBeGreaterThan(2);
  });
});
