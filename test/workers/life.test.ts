// What the life of a worker's process has to withstand, one behaviour a test.
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { limits } from "../../src/config.ts";
import { FlambeauError } from "../../src/errors.ts";
import { PythonProcess } from "../../src/workers/process.ts";
import { failureCode, failureOf } from "../support/errors.ts";
import { isGone, untilGone } from "../support/processes.ts";
import { testPython } from "../support/python.ts";
import { startWorker, testEnvironment } from "../support/worker.ts";

/** The promise is 100 ms; a machine that does other work besides is given more. */
const SETTLED_MS = 300;
/** A flood and a stall in full with FLAMBEAU_TEST_FULL=1: 100 MB and 30 s. */
const IS_FULL = process.env["FLAMBEAU_TEST_FULL"] === "1";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "flambeau test é "));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function fileOf(name: string, source: string): Promise<URL> {
  const path = join(folder, name);
  await writeFile(path, source);
  return pathToFileURL(path);
}

describe("a worker", () => {
  test("a death of any kind fails everything that is open once, soon, and says how, during what and with which last words", async () => {
    const deaths: readonly [how: string | null, said: RegExp][] = [
      ["ctypes.string_at(0)", /by SIGSEGV during .*Segmentation fault.*in dies/s],
      ["os.abort()", /by SIGABRT during .*Aborted/s],
      ["os._exit(7)", /with exit code 7 during .*last words/s],
      [null, /by SIGKILL during .*run out of memory/s],
    ];
    for (const [how, said] of deaths) {
      const python = await startWorker();
      const { worker, subject } = python;
      const fatal = how ?? "time.sleep(60)";
      const running = subject.dies(fatal);
      let rejected = 0;
      const open = [running.then(), subject.echo(1).then(), subject.Model().step([], "x").then()].map((call) =>
        call.catch((error: unknown) => {
          rejected++;
          return error;
        }),
      );
      const stream = failureOf(
        (async () => {
          for await (const _ of subject.tracked(1)) throw new TypeError("unreachable");
        })(),
      );
      if (how === null) process.kill(worker.pid, "SIGKILL");
      const ended = await worker.exited;
      const from = performance.now();
      for (const failed of [...(await Promise.all(open)), await stream]) expect(failed).toBe(ended);
      expect(performance.now() - from).toBeLessThan(SETTLED_MS);
      expect(rejected).toBe(3);
      expect(ended).toMatchObject({ code: "WORKER_EXITED", retryable: true, message: expect.stringMatching(said) });
      expect(await failureOf(subject.echo(1))).toBe(ended);
    }
    await using fresh = await startWorker();
    expect(await fresh.subject.echo("fresh")).toBe("fresh");
  });

  test("a flood on stdout neither blocks nor corrupts a call, and every way to print comes as lines; input is at its end", async () => {
    await using python = await startWorker({ stderrTailLines: 20 });
    const { worker, subject, lines, py } = python;
    const count = IS_FULL ? 500_000 : 50_000;
    const flood = subject.prints(count).then();
    expect((await worker.channel.ping()).queued).toBeGreaterThanOrEqual(0);
    expect(await flood).toBe(count);
    await subject.prints_in_every_way();
    await subject.prints_bytes_slowly(Buffer.from("日\n"));
    await subject.prints_bytes_slowly(Uint8Array.of(0x61, 0xff, 0x0a));
    await py.import("sys").stderr.write("\r 1%\r 50%\r100%\n");
    await py.importFile(await fileOf("talks.py", "print('at import')\nvalue = 1\n")).value;
    const expected = ["print of Python", "os.write", "os.system", "puts of C", "日", "a\ufffd", "100%", "at import"];
    const seen = (): string[] => lines.slice(count).map(({ line }) => line.trim());
    while (!expected.every((line) => seen().includes(line))) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(lines.slice(0, count).every(({ line }, at) => line === `line ${String(at).padStart(194)}`)).toBe(true);
    expect(await subject.asks()).toMatch(/^EOFError/);
  }, 120_000);

  test("a module that fails, prints, exits or takes its time, and code that bends the process, leave a worker that works", async () => {
    await using python = await startWorker();
    const { py, subject } = python;
    const failing = py.importFile(await fileOf("fails.py", "raise RuntimeError('at import')\n"));
    expect(await failureOf(failing.x)).toMatchObject({ message: "RuntimeError: at import" });
    const leaving = py.importFile(await fileOf("leaves.py", "import sys\nprint('bye')\nsys.exit(3)\n"));
    expect(await failureOf(leaving.x)).toMatchObject({ pythonType: "SystemExit" });
    expect(await py.importFile(await fileOf("slow.py", "import time\ntime.sleep(0.5)\nx = 1\n")).x).toBe(1);
    await subject.closes_descriptors();
    await subject.spoils_the_streams();
    expect(await subject.echo("usable")).toBe("usable");
    expect(await failureOf(subject.sleeps.$opts({ timeoutMs: 20 })(60))).toMatchObject({ code: "TIMEOUT" });
  });

  test("an interpreter at an odd path, without msgpack or in a poisoned environment works; one that cannot is named with the fix", async () => {
    const venv = join(folder, "ein Ort ohne msgpack");
    execFileSync(await testPython(), ["-m", "venv", "--without-pip", venv]);
    const poisoned = { PYTHONHOME: "/nowhere", PYTHONPATH: "/nowhere", PYTHONSTARTUP: "/nowhere.py" };
    await using bare = await startWorker(
      {},
      { python: join(venv, "bin", "python"), environment: { ...testEnvironment(), ...poisoned } },
    );
    expect(await failureOf(bare.py.import("msgpack").version)).toMatchObject({ pythonType: "ModuleNotFoundError" });
    expect((await bare.subject.echo([1, "ü", 2n ** 70n])).$type).toBe("list");
    expect(await bare.py.import("sys").prefix).toBe(venv);
    const missing = join(folder, "no python here");
    expect(await failureOf(startWorker({}, { python: missing }))).toMatchObject({
      code: "BAD_PYTHON",
      message: expect.stringContaining(`${missing} cannot be started`),
    });
    const other = join(folder, "python2");
    await writeFile(other, "#!/bin/sh\necho Python 2.7.18 >&2\nexit 2\n", { mode: 0o755 });
    expect(await failureOf(startWorker({}, { python: other }))).toMatchObject({
      code: "WORKER_EXITED",
      message: expect.stringContaining("Python 2.7.18"),
    });
    const dangling = join(folder, "dangling");
    await symlink("/no/such/python", dangling);
    expect(await failureCode(startWorker({}, { python: dangling }))).toBe("BAD_PYTHON");
  });

  test("threads, processes and descriptors without end hurt the worker alone, and killing it ends them; a start without room is told", async () => {
    const python = await startWorker();
    const used = await python.subject.uses_up(500, 20).$item("files").$number();
    expect(used).toBeGreaterThan(50);
    expect(await failureOf(python.py.import("builtins").open("/dev/null"))).toMatchObject({ pythonType: "OSError" });
    const group = execFileSync("ps", ["-axo", "pgid=,pid="], { encoding: "utf8" })
      .split("\n")
      .map((line) => line.trim().split(/\s+/).map(Number))
      .filter(([pgid]) => pgid === python.worker.pid)
      .map(([, pid = 0]) => pid);
    expect(group.length).toBeGreaterThan(20);
    python.worker.kill();
    await python.worker.exited;
    await untilGone(group, 5_000);
    const host = fileURLToPath(new URL("../support/full-host.ts", import.meta.url));
    const said = execFileSync(process.execPath, ["--import", "tsx", host, await testPython()], { encoding: "utf8" });
    expect(JSON.parse(said)).toMatchObject({
      code: "WORKER_EXITED",
      message: expect.stringContaining("no more processes, memory or open files"),
    });
  }, 120_000);

  test("a long stall, a stopped process or a slow import ends nothing, and the stack of a busy worker can be read", async () => {
    await using python = await startWorker({ cancelGraceMs: 200 });
    const { worker, py, subject } = python;
    const held = subject.holds_the_lock(py.float(IS_FULL ? 30 : 1.5)).then();
    const ping = worker.channel.ping();
    expect(await held).toBe(worker.pid);
    expect((await ping).running_ms).toBeGreaterThanOrEqual(0);
    const busy = subject.loops(0.5).then();
    while (!(await worker.channel.stack()).includes("in loops")) await new Promise((resolve) => setImmediate(resolve));
    expect((await worker.channel.ping()).running).not.toBeNull();
    process.kill(worker.pid, "SIGSTOP");
    await new Promise((resolve) => setTimeout(resolve, 500));
    process.kill(worker.pid, "SIGCONT");
    expect(await busy).toBeGreaterThan(0);
    expect(await py.import("torch").tensor([1, 2]).sum().item()).toBe(3);
    expect(isGone(worker.pid)).toBe(false);
  }, 90_000);
});

test("3,000 answers that a worker gave before its end arrive, though the host reads them after it", async () => {
  const python = await startWorker();
  await python.subject.echo(0);
  const calls = Array.from({ length: 3_000 }, (_, at) => python.subject.echo(at).$number());
  const last = failureOf(python.py.import("os")._exit(0));
  // The host is busy while Python answers and dies.
  const until = performance.now() + 1_500;
  await new Promise((resolve) => setImmediate(resolve));
  while (performance.now() < until);
  expect(await Promise.all(calls)).toEqual(Array.from({ length: 3_000 }, (_, at) => at));
  expect(await last).toMatchObject({ code: "WORKER_EXITED" });
});

test("on Windows nothing is started: it is UNSUPPORTED_PLATFORM, and says what to use", async () => {
  const started = PythonProcess.start({
    python: "python",
    environment: {},
    limits,
    platform: "win32",
    onLine: () => {},
  });
  const error = await failureOf(started);
  expect(error).toBeInstanceOf(FlambeauError);
  expect(error).toMatchObject({ code: "UNSUPPORTED_PLATFORM", message: expect.stringContaining("WSL 2") });
});
