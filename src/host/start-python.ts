// Python on its own, for scripts, notebooks and tests: an environment, a worker, and `py` over it. Knows no app and no request.
import type { Python } from "../bridge/stub-types.ts";
import { readSettings, type Settings } from "../config.ts";
import { type Logger, silentLogger } from "../log.ts";
import { provision } from "../workers/environment.ts";
import { inheritedEnvironment } from "../workers/inherited.ts";
import { Worker } from "../workers/worker.ts";
import { deliver, LogSink } from "./sinks.ts";

export interface StartPythonOptions {
  /** PEP 508, as in pip: `["torch>=2.2.0"]`. Installed once, and found again by every script and app that asks for the same. */
  readonly requirements?: readonly string[];
  /** A ready interpreter to use; nothing is installed then. */
  readonly python?: string;
  /** Folders that Python can import from; the working folder by default. */
  readonly paths?: readonly string[];
  /** Names of environment variables that Python gets beside the usual ones. */
  readonly environment?: readonly string[];
  /** Where progress, warnings and what Python prints go. Without one, what Python prints goes to this process's own output. */
  readonly logger?: Logger;
  /** FLAMBEAU_* variables by default. */
  readonly settings?: Settings;
  /** Stops the start, an installation as well; a Python that has started is ended by disposing of it. */
  readonly signal?: AbortSignal;
}

/** A Python of one's own: what an app has as `this.py`, until it is disposed of. */
export type StartedPython = Python & AsyncDisposable;

/**
 * Starts Python without an app: `await using py = await startPython({ requirements: ["numpy"] })`. At the end of the block its
 * process ends; one that is idle does not keep this process alive.
 * @throws FlambeauError of any environment code (NO_PYTHON, BAD_PYTHON, ENV_CONFLICT, INDEX_UNREACHABLE, …); WORKER_EXITED when it
 *   does not start; CANCELLED by the signal
 */
export async function startPython(options: StartPythonOptions = {}): Promise<StartedPython> {
  const { requirements = [], python, logger = silentLogger, settings = readSettings() } = options;
  const abort = options.signal === undefined ? {} : { signal: options.signal };
  const environment = await provision({ requirements, python }, { settings, logger, ...abort });
  const sink = new LogSink(logger);
  const worker = await Worker.start(
    {
      python: environment.python,
      environment: inheritedEnvironment(settings.environment, options.environment),
      paths: options.paths ?? [process.cwd()],
      onLine: options.logger === undefined ? passOn : (source, line) => sink.line(source, line),
      onEvent: (_tag, event) => deliver(event, sink, logger),
      onUnseen: (error) => process.emitWarning(`A call to Python that nobody awaited failed: ${error.message}`),
    },
    abort,
  );
  return { ...worker.session.py, [Symbol.asyncDispose]: () => worker.stop() };
}

function passOn(source: "stdout" | "stderr", line: string): void {
  process[source].write(`${line}\n`);
}
