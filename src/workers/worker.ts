// One generation of a worker: a process, its channel and its session. It is replaced and never repaired.
// Its death settles every open call once, with the reason. Knows no app and no request.
import { Channel } from "../bridge/channel.ts";
import type { ChannelLimits, WorkerHello } from "../bridge/channel-options.ts";
import { PythonSession } from "../bridge/python.ts";
import { limits as allLimits } from "../config.ts";
import { cancelled, FlambeauError } from "../errors.ts";
import { processVariables } from "./platform.ts";
import { type ProcessExit, type ProcessLimits, PythonProcess } from "./process.ts";

export interface WorkerLimits extends ChannelLimits, ProcessLimits {
  readonly shutdownGraceMs: number;
}

export interface WorkerOptions {
  readonly python: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Folders for `import` in Python, first ones first. */
  readonly paths?: readonly string[];
  /** Threads of the numeric libraries; null leaves the choice to them. */
  readonly threads?: number | null;
  /** Recorded paths of an app made before its worker; a new one otherwise. */
  readonly session?: PythonSession;
  readonly limits?: WorkerLimits;
  onLine?(source: "stdout" | "stderr", line: string): void;
  onEvent?(tag: number, event: unknown): void;
  onUnseen?(error: Error): void;
}

export class Worker implements AsyncDisposable {
  readonly session: PythonSession;
  readonly hello: WorkerHello;
  /** Resolves once the process is gone. */
  readonly exited: Promise<FlambeauError>;
  readonly #process: PythonProcess;
  readonly #channel: Channel;
  readonly #limits: WorkerLimits;

  private constructor(parts: {
    process: PythonProcess;
    channel: Channel;
    session: PythonSession;
    hello: WorkerHello;
    exited: Promise<FlambeauError>;
    limits: WorkerLimits;
  }) {
    this.session = parts.session;
    this.hello = parts.hello;
    this.exited = parts.exited;
    this.#process = parts.process;
    this.#channel = parts.channel;
    this.#limits = parts.limits;
  }

  /**
   * Starts Python and waits for its greeting.
   * @throws FlambeauError BAD_PYTHON, PROTOCOL_ERROR, WORKER_EXITED, TIMEOUT; CANCELLED by the signal
   */
  static async start(options: WorkerOptions, { signal }: { signal?: AbortSignal } = {}): Promise<Worker> {
    if (signal?.aborted) throw startCancelled(signal);
    const limits: WorkerLimits = options.limits ?? allLimits;
    const session = options.session ?? new PythonSession();
    const process = await PythonProcess.start({
      python: options.python,
      environment: { ...processVariables(), ...options.environment },
      limits,
      onLine: (source, line) => options.onLine?.(source, line),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    const ending: Ending = {};
    const channel = connect(process, session, { ...options, limits }, ending);
    const exited = process.exited.then((exit) => {
      const error = exitError(exit, channel, ending);
      channel.fail(error);
      return error;
    });
    const abort = (): void => process.kill();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      if (signal?.aborted) throw startCancelled(signal);
      const hello = await channel.hello({
        paths: options.paths ?? [],
        argv0: "flambeau",
        threads: options.threads ?? null,
      });
      session.connect(channel);
      process.hold(false);
      return new Worker({ process, channel, session, hello, exited, limits });
    } catch (error) {
      await process[Symbol.asyncDispose]();
      throw signal?.aborted ? startCancelled(signal) : error;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  get pid(): number {
    return this.#process.pid;
  }

  get channel(): Channel {
    return this.#channel;
  }

  kill(): void {
    this.#process.kill();
  }

  /** Asks it to end, then insists. */
  async stop(): Promise<void> {
    this.#process.hold(true);
    this.#channel.shutdown();
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      if (await ends(this.exited, this.#limits.shutdownGraceMs)) return;
      this.#process.kill(signal);
    }
    await this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** What we know of why it is ended, before it has. */
interface Ending {
  stuck?: string;
}

function startCancelled(signal: AbortSignal): FlambeauError {
  return cancelled(signal.reason, "The start of Python");
}

function connect(
  process: PythonProcess,
  session: PythonSession,
  options: WorkerOptions & { readonly limits: WorkerLimits },
  ending: Ending,
): Channel {
  const { limits } = options;
  const channel: Channel = new Channel(process.stream, {
    limits,
    owner: session,
    wrap: (handle) => session.stubs.ref(handle),
    onEvent: (tag, event) => options.onEvent?.(tag, event),
    onUnseen: (error) => options.onUnseen?.(error),
    onBusy: (isBusy) => process.hold(isBusy),
    onStuck: ({ path }) => {
      ending.stuck = `${path} did not stop within ${limits.cancelGraceMs} ms of its cancel, so its process was ended.`;
      process.kill();
    },
    onEnd: (error) => {
      // The stream ends a moment before `exit` says why; one that carries something else is ended by us.
      if (error instanceof FlambeauError) {
        channel.fail(error);
        process.kill();
      } else setTimeout(() => process.kill(), limits.shutdownGraceMs).unref();
    },
  });
  return channel;
}

function exitError(exit: ProcessExit, channel: Channel, { stuck }: Ending): FlambeauError {
  const how = exit.signal === null ? `with exit code ${exit.code}` : `by ${exit.signal}`;
  const running = channel.openCalls[0];
  const doing = running === undefined ? "" : ` during ${running.path}`;
  const tail = exit.stderrTail.length === 0 ? "" : `\nIts last lines on stderr:\n  ${exit.stderrTail.join("\n  ")}`;
  const killed = "The system may have run out of memory, or the process was killed.";
  const why = stuck ?? (exit.signal === "SIGKILL" ? killed : undefined);
  return new FlambeauError("WORKER_EXITED", `Python ended ${how}${doing}.${why === undefined ? "" : ` ${why}`}${tail}`);
}

async function ends(exited: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs);
  });
  return Promise.race([exited.then(() => true), late]).finally(() => clearTimeout(timer));
}
