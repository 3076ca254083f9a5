// The room that knows the others: an app's instance, the queue in front of it and the server at the edge, started and stopped in order.
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type AppClass, describeApp } from "../app/app.ts";
import type { EndpointDescription } from "../app/description.ts";
import type { FileStore } from "../app/files.ts";
import { parseInput } from "../app/parse-input.ts";
import { limits, type Settings } from "../config.ts";
import { cancelled, FlambeauError, toError } from "../errors.ts";
import { type Logger, silentLogger } from "../log.ts";
import { createMemoryQueue } from "../queue/memory.ts";
import type { QueuedRequest, RequestEvent, TerminalEvent } from "../queue/request.ts";
import { createFileStore } from "../server/file-store.ts";
import type { Server } from "../server/server.ts";
import { type RestartLimits, RestartPolicy } from "../workers/restart.ts";
import type { Host, PhaseTiming } from "./contract.ts";
import { createDispatch } from "./dispatch.ts";
import { Instance } from "./instance.ts";
import { watchRejections } from "./rejections.ts";

export interface HostOptions {
  /** `readSettings()` gives those of the FLAMBEAU_* variables. */
  readonly settings: Settings;
  /** Where waits, warnings and what Python prints go; nowhere by default. */
  readonly logger?: Logger;
  /** Where files that endpoints return go; by default a folder of the cache, served under /files. */
  readonly files?: FileStore;
  /** The file that the app was loaded from: its folder can be imported from in Python. */
  readonly file?: string;
  /** Threads of Python's numeric libraries; by default, and with null, as many as they choose. */
  readonly threads?: number | null;
  /** @internal For tests: the numbers of `limits`, shorter. */
  readonly limits?: HostLimits;
}

/** @internal */
export interface HostLimits extends RestartLimits {
  readonly abandonAfterMs: number;
}

/**
 * A host for one app. Nothing is started before `start`, `submit` or `listen`.
 * @throws FlambeauError APP_INVALID: no endpoints, two under one path, or a static field that is not what it should be
 */
export function createHost(app: AppClass, options: HostOptions): Host {
  return new AppHost(app, options);
}

type State =
  | { readonly kind: "idle" }
  | { readonly kind: "starting"; readonly instance: Promise<Instance> }
  | { readonly kind: "live"; readonly instance: Instance }
  | { readonly kind: "failed"; readonly error: Error; readonly retryAfterMs: number }
  | { readonly kind: "closed" };

class AppHost implements Host {
  readonly description;
  readonly timings: PhaseTiming[] = [];
  readonly #app: AppClass;
  readonly #options: HostOptions;
  readonly #logger: Logger;
  readonly #files: FileStore;
  readonly #queue;
  readonly #store: ReturnType<typeof createFileStore>;
  #server: Promise<Server> | undefined;
  readonly #limits: HostLimits;
  readonly #restarts: RestartPolicy;
  readonly #stopping = new AbortController();
  #url = "";
  #state: State = { kind: "idle" };
  #closing: Promise<void> | undefined;
  /** While there can be requests. */
  #rejections: Disposable | undefined;

  constructor(app: AppClass, options: HostOptions) {
    this.description = describeApp(app);
    this.#app = app;
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
    // The worker itself is killed after the first of these when it does not stop; handlers get a little longer.
    this.#limits = options.limits ?? { ...limits, abandonAfterMs: limits.cancelGraceMs + limits.shutdownGraceMs };
    this.#restarts = new RestartPolicy(this.#limits);
    const { settings } = options;
    this.#store = createFileStore({ dir: join(settings.cacheDir, "files"), baseUrl: () => this.#url });
    this.#files = options.files ?? this.#store;
    this.#queue = createMemoryQueue({
      dispatch: createDispatch(
        (signal) => this.#lease(signal),
        (request, terminal, seconds) => this.#log(request, terminal, seconds),
      ),
      concurrency: app.maxConcurrency,
      logger: this.#logger,
    });
  }

  readonly fetch = async (request: Request): Promise<Response> => (await this.#edge()).fetch(request);

  async start({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    await this.#lease(signal);
  }

  async *submit(
    endpoint: string,
    input: unknown,
    { signal }: { signal?: AbortSignal } = {},
  ): AsyncIterable<RequestEvent> {
    const { name, input: schema } = this.#find(endpoint);
    const id = randomUUID();
    this.#queue.submit({ id, endpoint: name, input: parseInput(schema, input) });
    const cancel = (): void => void this.#queue.cancel(id);
    if (signal?.aborted) cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      yield* this.#queue.events(id);
    } finally {
      signal?.removeEventListener("abort", cancel);
      cancel();
    }
  }

  async listen(options: { port?: number; host?: string } = {}): Promise<string> {
    if (this.#closing !== undefined) throw closed();
    this.#url = await (await this.#edge()).listen(options);
    return this.#url;
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Loaded when it is needed: a run without a server need not wait for its libraries. */
  #edge(): Promise<Server> {
    const { host, port, origins, key } = this.#options.settings;
    this.#server ??= import("../server/server.ts").then(({ createServer }) =>
      createServer({
        app: this.description,
        queue: this.#queue,
        files: this.#store,
        readiness: () => this.#readiness(),
        access: { host, port, origins, ...(key && { key }) },
        logger: this.#logger,
      }),
    );
    return this.#server;
  }

  /** One line a request, for whoever watches a server; a run on the command line shows its own. */
  #log({ id, endpoint }: QueuedRequest, terminal: TerminalEvent, seconds: number): void {
    if (this.#url === "") return;
    const said = `${this.#find(endpoint).path} ${terminal.type} in ${seconds.toFixed(2)} s (${id})`;
    if (terminal.type === "failed") this.#logger.warn(`${said}: ${terminal.error.code}: ${terminal.error.message}`);
    else this.#logger.info(said);
  }

  #find(endpoint: string): EndpointDescription {
    const found = this.description.endpoints.find(({ name, path }) => name === endpoint || path === endpoint);
    if (found !== undefined) return found;
    const known = this.description.endpoints.map(({ name, path }) => `${path} (${name})`).join(", ");
    throw new FlambeauError("NOT_FOUND", `${this.description.name} has no endpoint ${endpoint}; it has ${known}.`);
  }

  #readiness(): { ready: boolean; reason?: string } {
    switch (this.#state.kind) {
      case "live":
        return { ready: true };
      case "failed":
        return { ready: false, reason: this.#state.error.message };
      case "closed":
        return { ready: false, reason: "the host is closed" };
      default:
        return { ready: false, reason: "setup() has not finished" };
    }
  }

  async #end(): Promise<void> {
    const server = await this.#server?.catch(() => undefined);
    await server?.close();
    await this.#queue.close({ timeoutMs: limits.drainTimeoutMs });
    this.#stopping.abort(new FlambeauError("CANCELLED", "The host is closing."));
    const state = this.#state;
    const instance =
      state.kind === "live" || state.kind === "starting"
        ? await Promise.resolve(state.instance).catch(() => undefined)
        : undefined;
    this.#state = { kind: "closed" };
    await instance?.stop();
    this.#rejections?.[Symbol.dispose]();
  }

  /** The live instance; the one that is starting; or a new one. */
  async #lease(signal?: AbortSignal): Promise<Instance> {
    const state = this.#state;
    switch (state.kind) {
      case "closed":
        throw closed();
      case "live":
        if (!state.instance.isGone) return state.instance;
        // Its end is under way; what follows from it is decided in #died.
        await withSignal(state.instance.worker.exited, signal);
        return this.#lease(signal);
      case "starting":
        return withSignal(state.instance, signal);
      case "failed":
        if (state.error instanceof FlambeauError && state.error.code === "CRASH_LOOP") throw state.error;
        return withSignal(this.#begin(state.retryAfterMs), signal);
      case "idle":
        return withSignal(this.#begin(0), signal);
    }
  }

  #begin(delayMs: number): Promise<Instance> {
    this.#rejections ??= watchRejections((error) => {
      this.#logger.warn(`A promise of a request that has ended was rejected: ${error.message}`);
    });
    const instance = sleep(delayMs, undefined, { signal: this.#stopping.signal }).then(() => this.#start());
    this.#state = { kind: "starting", instance };
    instance.then(
      (live) => this.#live(live),
      (thrown: unknown) => this.#failed(toError(thrown)),
    );
    return instance;
  }

  #start(): Promise<Instance> {
    const { settings, file, threads } = this.#options;
    return Instance.start(
      this.#app,
      {
        settings,
        logger: this.#logger,
        files: this.#files,
        abandonAfterMs: this.#limits.abandonAfterMs,
        isFirst: this.timings.length === 0,
        onTiming: (timing) => this.timings.push(timing),
        ...(file === undefined ? {} : { file }),
        ...(threads === undefined ? {} : { threads }),
      },
      { signal: this.#stopping.signal },
    );
  }

  #live(instance: Instance): void {
    if (this.#state.kind === "starting") this.#state = { kind: "live", instance };
    void instance.worker.exited.then((error) => this.#died(instance, error));
  }

  /** A worker that died is replaced at once (after its back-off), so that the next request finds one. */
  #died(dead: Instance, cause: Error): void {
    if (this.#state.kind !== "live" || this.#state.instance !== dead) return;
    this.#logger.error(cause.message);
    const delayMs = this.#backOff(cause);
    if (delayMs === undefined) return;
    this.#logger.warn(`Python is started again in ${delayMs} ms.`);
    void this.#begin(delayMs);
  }

  /** A start that failed is tried again by the next request; one in which Python died counts as a death. */
  #failed(error: Error): void {
    if (this.#state.kind !== "starting") return;
    const hasDied = error instanceof FlambeauError && error.code === "WORKER_EXITED";
    const retryAfterMs = hasDied ? this.#backOff(error) : 0;
    if (retryAfterMs !== undefined) this.#state = { kind: "failed", error, retryAfterMs };
  }

  /** How long to wait before the next start; undefined where there is none, and the state says why. */
  #backOff(cause: Error): number | undefined {
    try {
      return this.#restarts.died(performance.now(), cause);
    } catch (thrown) {
      this.#state = { kind: "failed", error: toError(thrown), retryAfterMs: 0 };
      this.#logger.error(toError(thrown).message);
      return undefined;
    }
  }
}

function closed(): FlambeauError {
  return new FlambeauError("CANCELLED", "The host is closed; create another one.");
}

/** The start itself goes on for others when one caller gives up. */
async function withSignal<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  let abort = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(cancelled(signal.reason, "The wait for the start of Python"));
  });
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true });
  return Promise.race([work, aborted]).finally(() => signal.removeEventListener("abort", abort));
}
