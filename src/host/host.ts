// The room that knows the others: an app's instance, the queue in front of it and the server at the edge, started and stopped in order.
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type AppClass, describeApp } from "../app/app.ts";
import type { EndpointDescription } from "../app/description.ts";
import type { FileStore } from "../app/files.ts";
import { parseInput } from "../app/parse-input.ts";
import { limits, type Settings } from "../config.ts";
import { FlambeauError, toError } from "../errors.ts";
import { type Logger, silentLogger } from "../log.ts";
import { createMemoryQueue } from "../queue/memory.ts";
import type { RequestEvent } from "../queue/request.ts";
import { createFileStore } from "../server/file-store.ts";
import { createServer, type Server } from "../server/server.ts";
import { RestartPolicy } from "../workers/restart.ts";
import type { Host, PhaseTiming } from "./contract.ts";
import { createDispatch } from "./dispatch.ts";
import { Instance } from "./instance.ts";

export interface HostOptions {
  readonly settings: Settings;
  readonly logger?: Logger;
  /** Where files that endpoints return go; by default a folder of the cache, served under /files. */
  readonly files?: FileStore;
  /** The file that the app was loaded from: its folder can be imported from in Python. */
  readonly file?: string;
  readonly threads?: number | null;
}

/** A host for one app. Nothing is started before `start`, `submit` or `listen`. */
export function createHost(app: AppClass, options: HostOptions): Host {
  return new AppHost(app, options);
}

type State =
  | { readonly kind: "idle" }
  | { readonly kind: "starting"; readonly instance: Promise<Instance> }
  | { readonly kind: "live"; readonly instance: Instance }
  | { readonly kind: "failed"; readonly error: Error }
  | { readonly kind: "closed" };

class AppHost implements Host {
  readonly description;
  readonly timings: PhaseTiming[] = [];
  readonly #app: AppClass;
  readonly #options: HostOptions;
  readonly #logger: Logger;
  readonly #files: FileStore;
  readonly #queue;
  readonly #server: Server;
  readonly #restarts = new RestartPolicy(limits);
  readonly #stopping = new AbortController();
  #url = "";
  #state: State = { kind: "idle" };

  constructor(app: AppClass, options: HostOptions) {
    this.description = describeApp(app);
    this.#app = app;
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
    const { settings } = options;
    const store = createFileStore({ dir: join(settings.cacheDir, "files"), baseUrl: () => this.#url });
    this.#files = options.files ?? store;
    this.#queue = createMemoryQueue({
      dispatch: createDispatch((signal) => this.#lease(signal)),
      concurrency: app.maxConcurrency,
      logger: this.#logger,
    });
    this.#server = createServer({
      app: this.description,
      queue: this.#queue,
      files: store,
      readiness: () => this.#readiness(),
      access: {
        host: settings.host,
        port: settings.port,
        origins: settings.origins,
        ...(settings.key && { key: settings.key }),
      },
      logger: this.#logger,
    });
  }

  get fetch(): (request: Request) => Promise<Response> {
    return this.#server.fetch;
  }

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
    this.#url = await this.#server.listen(options);
    return this.#url;
  }

  async close(): Promise<void> {
    if (this.#state.kind === "closed") return;
    await this.#server.close();
    await this.#queue.close({ timeoutMs: limits.drainTimeoutMs });
    this.#stopping.abort(new FlambeauError("CANCELLED", "The host is closing."));
    const { kind } = this.#state;
    const instance =
      kind === "live"
        ? this.#state.instance
        : kind === "starting"
          ? await this.#state.instance.catch(() => undefined)
          : undefined;
    this.#state = { kind: "closed" };
    await instance?.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
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

  /** The live instance; the one that is starting; or a new one. */
  async #lease(signal?: AbortSignal): Promise<Instance> {
    const state = this.#state;
    if (state.kind === "closed") throw new FlambeauError("CANCELLED", "The host is closed.");
    if (state.kind === "live") return state.instance;
    if (state.kind === "starting") return withSignal(state.instance, signal);
    const starting = this.#start();
    this.#state = { kind: "starting", instance: starting };
    starting.then(
      (instance) => this.#live(instance),
      (thrown) => {
        if (this.#state.kind === "starting") this.#state = { kind: "failed", error: toError(thrown) };
      },
    );
    return withSignal(starting, signal);
  }

  #start(): Promise<Instance> {
    const { settings, file, threads } = this.#options;
    return Instance.start(
      this.#app,
      {
        settings,
        logger: this.#logger,
        files: this.#files,
        onTiming: (timing) => this.timings.push(timing),
        ...(file === undefined ? {} : { file }),
        ...(threads === undefined ? {} : { threads }),
      },
      { signal: this.#stopping.signal },
    );
  }

  #live(instance: Instance): void {
    if (this.#state.kind === "starting") this.#state = { kind: "live", instance };
    void instance.worker.exited.then((error) => this.#replace(instance, error));
  }

  /** A worker that died is replaced at once (after its back-off), so that the next request finds one. */
  async #replace(dead: Instance, cause: Error): Promise<void> {
    if (this.#state.kind !== "live" || this.#state.instance !== dead) return;
    this.#logger.error(cause.message);
    try {
      const delayMs = this.#restarts.died(performance.now(), cause);
      this.#logger.warn(`Python is started again in ${delayMs} ms.`);
      const next = sleep(delayMs, undefined, { signal: this.#stopping.signal }).then(() => this.#start());
      this.#state = { kind: "starting", instance: next };
      this.#live(await next);
    } catch (thrown) {
      if (this.#state.kind === "starting") this.#state = { kind: "failed", error: toError(thrown) };
      else if (this.#state.kind === "live") this.#state = { kind: "failed", error: toError(thrown) };
    }
  }
}

/** The start itself goes on for others when one caller gives up. */
async function withSignal<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  signal.throwIfAborted();
  let abort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
  });
  return Promise.race([work, aborted]).finally(() => abort && signal.removeEventListener("abort", abort));
}
