// A real worker for a test file, and the module in it that tests call.
import { afterAll } from "vitest";
import type { PyExpr, Python } from "../../src/bridge/stub-types.ts";
import { limits } from "../../src/config.ts";
import { Worker, type WorkerLimits, type WorkerOptions } from "../../src/workers/worker.ts";
import { testPython } from "./python.ts";

export interface TestWorker extends AsyncDisposable {
  readonly worker: Worker;
  readonly py: Python;
  /** subject.py */
  readonly subject: PyExpr;
  readonly lines: { readonly source: "stdout" | "stderr"; readonly line: string }[];
  readonly unseen: Error[];
}

/** What a Python process needs of the environment of the tests, and no more. */
export function testEnvironment(): Record<string, string> {
  const given = Object.entries(process.env).filter(([name]) => ["PATH", "HOME", "LANG", "TMPDIR"].includes(name));
  return { ...Object.fromEntries(given.map(([name, value]) => [name, value ?? ""])), OMP_NUM_THREADS: "1" };
}

export async function startWorker(
  given: Partial<WorkerLimits> = {},
  options: Partial<WorkerOptions> = {},
): Promise<TestWorker> {
  const lines: TestWorker["lines"] = [];
  const unseen: Error[] = [];
  const worker = await Worker.start({
    python: await testPython(),
    environment: testEnvironment(),
    limits: { ...limits, ...given },
    onLine: (source, line) => lines.push({ source, line }),
    onUnseen: (error) => unseen.push(error),
    ...options,
  });
  const { py } = worker.session;
  const subject = py.importFile(new URL("./subject.py", import.meta.url));
  return { worker, py, subject, lines, unseen, [Symbol.asyncDispose]: () => worker.stop() };
}

/** One worker for all tests of a file: `const { py, subject } = await workerForFile()` at its top. */
export async function workerForFile(
  given: Partial<WorkerLimits> = {},
  options: Partial<WorkerOptions> = {},
): Promise<TestWorker> {
  const running = await startWorker(given, options);
  afterAll(() => running[Symbol.asyncDispose]());
  return running;
}
