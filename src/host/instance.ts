// One live app: its environment, its worker, the App object that setup() filled, and what Python tells about the work that runs.
// A generation: when its worker is gone it is done, and host.ts makes another.
import { dirname, join } from "node:path";
import { type App, type AppClass, appInternals, type Device, endpointsOf } from "../app/app.ts";
import { type RequestFrame, runRequest } from "../app/context.ts";
import type { AnyEndpoint } from "../app/endpoint.ts";
import type { FileStore } from "../app/files.ts";
import type { PythonSession } from "../bridge/python.ts";
import type { PyExpr } from "../bridge/stub-types.ts";
import { limits, type Settings } from "../config.ts";
import { cancelled, FlambeauError, toError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { outdatedTypes, TYPES_FOLDER } from "../stubgen/folder.ts";
import { provision } from "../workers/environment.ts";
import { inheritedEnvironment } from "../workers/inherited.ts";
import { mayHaveGpu } from "../workers/platform.ts";
import { Worker } from "../workers/worker.ts";
import type { PhaseTiming } from "./contract.ts";
import { Leftovers } from "./leftovers.ts";
import { deliver, type InstanceSink, LogSink, staged } from "./sinks.ts";

export interface InstanceOptions {
  readonly settings: Settings;
  readonly logger: Logger;
  readonly files: FileStore;
  /** The app's own file: its folder can be imported from in Python. */
  readonly file?: string;
  /** Threads of the numeric libraries; null leaves the choice to them. */
  readonly threads?: number | null;
  /** Milliseconds that cancelled work may go on before it is left behind and its worker ended. */
  readonly abandonAfterMs: number;
  /** False where another one was before it: what was said then is not said again. */
  readonly isFirst: boolean;
  onTiming?(timing: PhaseTiming): void;
}

export class Instance {
  readonly app: App;
  readonly worker: Worker;
  readonly #options: InstanceOptions;
  readonly #sinks: Map<number, InstanceSink>;
  readonly #leftovers: Leftovers;
  #isGone = false;

  private constructor(app: App, worker: Worker, options: InstanceOptions, sinks: Map<number, InstanceSink>) {
    this.app = app;
    this.worker = worker;
    this.#options = options;
    this.#sinks = sinks;
    this.#leftovers = new Leftovers(worker.session, limits);
    void worker.exited.then(() => {
      this.#isGone = true;
    });
  }

  /**
   * Provisions, starts, sets up.
   * @throws FlambeauError of any environment code; BAD_PYTHON; SETUP_FAILED with the cause; WORKER_EXITED; CANCELLED
   */
  static async start(
    appClass: AppClass,
    options: InstanceOptions,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<Instance> {
    const { settings, logger } = options;
    const timed = phases(options);
    const python = appClass.python ?? settings.python;
    const request = { requirements: appClass.requirements, python };
    const abort = signal === undefined ? {} : { signal };
    const environment = await timed("environment", () => provision(request, { settings, logger, ...abort }));
    if (options.isFirst && options.file !== undefined) {
      const folder = join(dirname(options.file), TYPES_FOLDER);
      for (const warning of await outdatedTypes(folder, environment.packages)) logger.warn(warning);
    }
    const app = new appClass();
    const { session, setDevice } = appInternals(app);
    const sinks = new Map<number, InstanceSink>();
    const setupSink = new LogSink(logger);
    const worker = await timed("python", () =>
      Worker.start(
        {
          python: environment.python,
          environment: inheritedEnvironment(settings.environment, appClass.environment),
          paths: options.file === undefined ? [] : [dirname(options.file)],
          threads: options.threads ?? null,
          session,
          onLine: (source, line) => lineSink(sinks, setupSink, session).line(source, line),
          onEvent: (tag, event) => deliver(event, sinks.get(tag) ?? setupSink, logger),
          onUnseen: (error) => logger.warn(`A call to Python that nobody awaited failed: ${error.message}`),
        },
        abort,
      ),
    );
    const instance = new Instance(app, worker, options, sinks);
    try {
      setDevice(await deviceFor(appClass, app, options));
      await timed("setup", () => instance.#setup(signal));
      return instance;
    } catch (thrown) {
      await worker.stop();
      throw setupError(appClass, thrown, signal);
    } finally {
      setupSink.finish();
    }
  }

  /** True from the first sign that the worker is ending. */
  get isGone(): boolean {
    return this.#isGone || this.worker.channel.ended !== undefined;
  }

  endpoint(name: string): AnyEndpoint | undefined {
    return endpointsOf(this.app).get(name);
  }

  /** Runs `body` as a request on this worker; what Python reports of it goes to the sink. */
  async run<R>(
    request: { id: string; signal: AbortSignal; sink: InstanceSink },
    body: Parameters<typeof runRequest<R>>[1],
  ): Promise<R> {
    const tags: number[] = [];
    const frame: RequestFrame = {
      requestId: request.id,
      signal: request.signal,
      sink: request.sink,
      files: this.#options.files,
      scopes: this.worker.channel.scopes,
      onTag: (tag, stages) => {
        tags.push(tag);
        this.#sinks.set(tag, staged(request.sink, stages));
      },
    };
    try {
      return await this.#bounded(runRequest(frame, body), request.signal);
    } finally {
      for (const tag of tags) this.#sinks.delete(tag);
      // Not before its answer is on its way.
      setImmediate(() => void this.#leftovers.collect(() => this.#sinks.size === 0));
    }
  }

  /** teardown(), then the worker. */
  async stop(): Promise<void> {
    if (!this.isGone) {
      const { logger, abandonAfterMs } = this.#options;
      const sink = new LogSink(logger);
      const request = { id: "teardown", signal: AbortSignal.timeout(abandonAfterMs), sink };
      await this.run(request, () => this.app.teardown()).catch((thrown: unknown) => {
        logger.warn(`teardown() failed: ${toError(thrown).message}`);
      });
      sink.finish();
    }
    await this.worker.stop();
  }

  async #setup(signal: AbortSignal | undefined): Promise<void> {
    const sink = new LogSink(this.#options.logger);
    const request = { id: "setup", signal: signal ?? new AbortController().signal, sink };
    await this.run(request, () => this.app.setup()).finally(() => sink.finish());
  }

  /** Work that goes on long after its cancel is left behind, together with the worker that it may still be using. */
  async #bounded<R>(work: Promise<R>, signal: AbortSignal): Promise<R> {
    const { abandonAfterMs, logger } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    let wait = (): void => {};
    const late = new Promise<never>((_resolve, reject) => {
      wait = () => {
        timer = setTimeout(() => {
          logger.warn("Work that was cancelled did not end: its handler does not heed the signal. Python is ended.");
          this.#isGone = true;
          this.worker.kill();
          reject(cancelled(signal.reason, "A request that did not end by itself"));
        }, abandonAfterMs);
      };
    });
    if (signal.aborted) wait();
    else signal.addEventListener("abort", wait, { once: true });
    // Once it is left behind, nobody is there to hear of its end.
    work.catch(() => {});
    return Promise.race([work, late]).finally(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", wait);
    });
  }
}

/** Times each phase and says so. */
function phases({ onTiming }: InstanceOptions): <R>(phase: string, body: () => Promise<R>) => Promise<R> {
  return async (phase, body) => {
    const started = performance.now();
    const result = await body();
    onTiming?.({ phase, seconds: (performance.now() - started) / 1000 });
    return result;
  };
}

/**
 * Lines that Python prints come beside the channel, without a word of whose they are. They belong to the request whose call runs, which
 * is the oldest one that is open; where none is, to the newest request, or to setup.
 */
function lineSink(
  sinks: ReadonlyMap<number, InstanceSink>,
  otherwise: InstanceSink,
  session: PythonSession,
): InstanceSink {
  const running = sinks.size > 1 ? session.channel.openCalls[0] : undefined;
  const own = running === undefined ? undefined : sinks.get(running.tag);
  if (own !== undefined) return own;
  return [...sinks.values()].at(-1) ?? otherwise;
}

/** What `this.device` says. Only a machine that shows a sign of a GPU is asked through torch, which takes seconds to import. */
async function deviceFor(appClass: AppClass, app: App, { logger, isFirst }: InstanceOptions): Promise<Device> {
  if (appClass.machineType !== "GPU") return "cpu";
  const probe = app.py.import("flambeau.devices").$get("best") as PyExpr;
  const device = mayHaveGpu() ? await probe().$string() : "cpu";
  if (device === "cuda" || device === "mps") return device;
  if (isFirst) logger.info(`${appClass.name} asks for a GPU and this machine has none: it runs on the CPU.`);
  return "cpu";
}

function setupError(appClass: AppClass, thrown: unknown, signal: AbortSignal | undefined): Error {
  if (signal?.aborted) return cancelled(signal.reason, `The start of ${appClass.name}`);
  const error = toError(thrown);
  if (error instanceof FlambeauError && ["WORKER_EXITED", "MODEL_UNREACHABLE"].includes(error.code)) return error;
  return new FlambeauError("SETUP_FAILED", `setup() of ${appClass.name} failed: ${error.message}`, { cause: error });
}
