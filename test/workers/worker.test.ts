// The life of a worker: how it starts or fails to, how it ends, and that its end is told once, soon and with the reason.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FlambeauError } from "../../src/errors.ts";
import { Worker } from "../../src/workers/worker.ts";
import { failureCode, failureOf } from "../support/errors.ts";
import { isGone } from "../support/processes.ts";
import { startWorker, type TestWorker, testEnvironment } from "../support/worker.ts";

/** The promise is 100 ms; a machine that does other work besides is given more. */
const SETTLED_MS = 300;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "flambeau-test-"));
});

afterAll(() => rm(folder, { recursive: true }));

/** A program that stands in for an interpreter. */
async function interpreter(script: string): Promise<string> {
  const path = join(folder, `python-${Math.random().toString(36).slice(2)}`);
  await writeFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

describe("a process that dies", () => {
  /** Says on stderr when it is about to die, and dies. */
  const dying = (how: string): string =>
    `(lambda os, sys, time, ctypes: (print('last words', file=sys.stderr), print(f'dying at {time.time()}', file=sys.stderr), ${how}))(*map(__import__, ('os', 'sys', 'time', 'ctypes')))`;

  async function death(python: TestWorker, how: string) {
    const { worker, py, subject } = python;
    const failures: unknown[] = [];
    const ends: number[] = [];
    const running = py.import("builtins").$get("eval")(dying(how));
    const generator = (async () => {
      for await (const _ of subject.sleeps(60)) throw new TypeError("unreachable");
    })();
    const open = [
      running.then(),
      subject.echo(1).then(),
      subject.Model().step([], "x").then(),
      generator,
      worker.channel.ping(),
    ];
    // A ping is answered while the process lives; all the others end with it.
    const settled = open.map((call) =>
      call.then(
        () => "answered",
        (error: unknown) => {
          failures.push(error);
          ends.push(Date.now());
          return "failed";
        },
      ),
    );
    const outcomes = await Promise.all(settled);
    const ended = await worker.exited;
    const said = python.lines.find(({ line }) => line.startsWith("dying at"))?.line.split(" ")[2];
    return { outcomes, failures, ended, tookMs: Math.max(...ends) - Number(said) * 1_000 };
  }

  test.each([
    ["by a fault in C", "ctypes.string_at(0)", /by SIGSEGV/, "Segmentation fault"],
    ["by abort()", "os.abort()", /by SIGABRT/, "Aborted"],
    ["by os._exit", "os._exit(7)", /with exit code 7/, "last words"],
    ["killed by the system", "os.kill(os.getpid(), 9)", /by SIGKILL.*run out of memory/s, "last words"],
  ])("%s fails every open call once, soon, with the reason and its last words", async (name, how, reason, words) => {
    const python = await startWorker();
    const { outcomes, failures, ended, tookMs } = await death(python, how);
    console.info(`a worker ${name}: everything open had failed ${Math.round(tookMs)} ms after its last words`);
    expect(outcomes.slice(0, 4)).toEqual(["failed", "failed", "failed", "failed"]);
    expect(new Set(failures)).toEqual(new Set([ended]));
    expect(ended).toMatchObject({ code: "WORKER_EXITED", retryable: true, message: expect.stringMatching(reason) });
    expect(ended.message).toContain("during builtins.eval()");
    expect(ended.message).toContain(words);
    expect(tookMs).toBeLessThan(SETTLED_MS);
    expect(await failureOf(python.subject.echo(1))).toBe(ended);
    expect(isGone(python.worker.pid)).toBe(true);
  });

  test("takes no answer back that it gave before", async () => {
    const { subject, py } = await startWorker();
    const answers = Array.from({ length: 500 }, (_, number) => subject.echo(number).then());
    const last = failureOf(py.import("os")._exit(0));
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 500 }, (_, number) => number));
    expect(await last).toMatchObject({ code: "WORKER_EXITED" });
  });

  test("by a kill from outside, while idle, is told as well; later calls fail at once", async () => {
    const { worker, subject } = await startWorker();
    process.kill(worker.pid, "SIGKILL");
    const ended = await worker.exited;
    expect(ended.message).toMatch(/^Python ended by SIGKILL\. The system may have run out of memory/);
    expect(await failureOf(subject.echo(1))).toBe(ended);
    await worker.stop();
  });

  test("while a grandchild outside of its group holds its output open is told just as soon", async () => {
    const python = await startWorker();
    const grandchild = await python.py
      .import("subprocess")
      .Popen(["sleep", "30"], { start_new_session: true })
      .pid.$number();
    try {
      const { tookMs, ended } = await death(python, "os._exit(7)");
      console.info(`with its output held open: ${Math.round(tookMs)} ms`);
      expect(ended.message).toContain("exit code 7");
      expect(tookMs).toBeLessThan(SETTLED_MS);
    } finally {
      process.kill(grandchild);
    }
  });

  test("sys.exit in a call is that call's failure and not the end", async () => {
    await using python = await startWorker();
    expect(await failureOf(python.py.import("sys").exit(3))).toMatchObject({ pythonType: "SystemExit" });
    expect(await python.subject.echo(1)).toBe(1);
  });
});

describe("the start", () => {
  test("gives what Python says of itself, with paths and threads as asked", async () => {
    await using python = await startWorker({}, { paths: [folder], threads: 1 });
    const { worker, py } = python;
    expect(worker.hello).toMatchObject({ pid: worker.pid, protocol: "flambeau" });
    expect(await py.import("sys").path[0]).toBe(folder);
    expect(await py.import("os").environ.get("OMP_NUM_THREADS")).toBe("1");
    expect(await py.import("os").getpid()).toBe(worker.pid);
  });

  test("of something that does not exist or cannot be executed is BAD_PYTHON, naming it", async () => {
    for (const python of ["/nowhere/python", folder]) {
      const error = await failureOf(Worker.start({ python, environment: testEnvironment() }));
      expect(error).toMatchObject({ code: "BAD_PYTHON", message: expect.stringContaining(python) });
    }
  });

  test("of something that ends at once is WORKER_EXITED with what it said", async () => {
    const python = await interpreter("echo 'no module named site' >&2; exit 9");
    const error = await failureOf(Worker.start({ python, environment: testEnvironment() }));
    expect(error).toMatchObject({
      code: "WORKER_EXITED",
      message: expect.stringMatching(/exit code 9.*no module named site/s),
    });
  });

  test("of something that speaks another language is PROTOCOL_ERROR with what it said, and it is ended", async () => {
    const python = await interpreter(
      `echo $$ > ${folder}/pid; echo 'Python 2.7 says hello to everyone' >&3; exec sleep 60`,
    );
    const error = await failureOf(Worker.start({ python, environment: testEnvironment() }));
    expect(error).toMatchObject({ code: "PROTOCOL_ERROR", message: expect.stringContaining("Python 2.7 says") });
    expect(isGone(await pidIn(`${folder}/pid`))).toBe(true);
  });

  test("of something that says nothing is TIMEOUT, and it is ended", async () => {
    const python = await interpreter(`echo $$ > ${folder}/silent; exec sleep 60`);
    const error = await failureOf(
      Worker.start({
        python,
        environment: testEnvironment(),
        limits: { ...(await import("../../src/config.ts")).limits, helloTimeoutMs: 300 },
      }),
    );
    expect(error).toMatchObject({ code: "TIMEOUT", message: expect.stringContaining("300 ms") });
    expect(isGone(await pidIn(`${folder}/silent`))).toBe(true);
  });

  test("can be cancelled before it began and while it waits, and leaves no process", async () => {
    const python = await interpreter(`echo $$ > ${folder}/cancelled; exec sleep 60`);
    const options = { python, environment: testEnvironment() };
    expect(await failureCode(Worker.start(options, { signal: AbortSignal.abort() }))).toBe("CANCELLED");
    const controller = new AbortController();
    const starting = failureOf(Worker.start(options, { signal: controller.signal }));
    const pid = await pidIn(`${folder}/cancelled`);
    controller.abort(new Error("not needed any more"));
    expect(await starting).toMatchObject({
      code: "CANCELLED",
      name: "AbortError",
      cause: { message: "not needed any more" },
    });
    expect(isGone(pid)).toBe(true);
  });
});

describe("the stop", () => {
  test("lets exit handlers run and ends with code 0", async () => {
    const python = await startWorker();
    await python.py.import("atexit").register(python.py.import("builtins").print, "goodbye");
    await python.worker.stop();
    expect((await python.worker.exited).message).toContain("exit code 0");
    expect(python.lines).toContainEqual({ source: "stdout", line: "goodbye" });
    expect(isGone(python.worker.pid)).toBe(true);
  });

  test("ends a running call, which is told why", async () => {
    const python = await startWorker();
    const call = failureOf(python.subject.sleeps(60));
    while ((await python.worker.channel.ping()).running === null) await new Promise((resolve) => setImmediate(resolve));
    await python.worker.stop();
    expect(await call).toBeInstanceOf(FlambeauError);
    expect(isGone(python.worker.pid)).toBe(true);
  });

  test("insists on a process that does not listen", async () => {
    const python = await startWorker({ shutdownGraceMs: 100 });
    const { py, worker } = python;
    await py.import("signal").signal(15, 1);
    // One long call of C that holds the interpreter: nothing in the process can answer.
    const call = failureOf(py.expr`sum(range(10**12))`);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await worker.stop();
    expect((await worker.exited).message).toContain("by SIGKILL");
    expect(await call).toBe(await worker.exited);
  });

  test("of one that has ended already is no wait, and twice is as good as once", async () => {
    const python = await startWorker();
    await Promise.all([python.worker.stop(), python.worker.stop()]);
    await python.worker.stop();
    expect(isGone(python.worker.pid)).toBe(true);
  });
});

async function pidIn(path: string): Promise<number> {
  const { readFile } = await import("node:fs/promises");
  for (;;) {
    const text = await readFile(path, "utf8").catch(() => "");
    if (text.endsWith("\n")) return Number(text);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
