// The edge as a whole: the guard in front of everything, the routes behind it, and the socket beside them.
// Knows no worker and no app class; what runs is behind the queue.
import { randomUUID } from "node:crypto";
import type { Server as HttpServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { AppDescription } from "../app/description.ts";
import { limits } from "../config.ts";
import { FlambeauError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { QueueEngine } from "../queue/engine.ts";
import type { FileSource } from "./files.ts";
import { type Allowance, type GuardRules, guard, isLoopback, refusalResponse, requireKey, urlHost } from "./guard.ts";
import { bind, createListener } from "./listener.ts";
import { createRoutes } from "./routes.ts";
import { REQUEST_ID_HEADER } from "./run.ts";
import { createSockets, type SocketOptions, type Sockets } from "./sockets.ts";

export interface Access {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Needed where other machines can reach the host. */
  readonly key?: string;
  /** Origins of pages that may call. */
  readonly origins: readonly string[];
}

export interface ServerOptions {
  readonly app: AppDescription;
  readonly queue: QueueEngine;
  readonly files: FileSource;
  readonly readiness: () => { readonly ready: boolean; readonly reason?: string };
  readonly access: Access;
  readonly logger: Logger;
  /** Of requests; must not repeat and should not be guessable. */
  readonly newId?: () => string;
}

export interface Server {
  /** Guard and routes without a socket. */
  readonly fetch: (request: Request) => Promise<Response>;
  /**
   * Resolves with the URL, such as `http://127.0.0.1:3000`.
   * @throws FlambeauError SETTINGS_INVALID: no key where one is needed, a port in use, listening already
   */
  listen(options?: { host?: string; port?: number }): Promise<string>;
  /** No more connections; waits for what is open, at most the given time, then ends it. The queue is not closed. */
  close(options?: { timeoutMs?: number }): Promise<void>;
}

/** @throws FlambeauError SETTINGS_INVALID where other machines could call without a key */
export function createServer(options: ServerOptions): Server {
  requireKey(options.access.host, options.access.key);
  return new EdgeServer(options);
}

class EdgeServer implements Server {
  readonly #access: Access;
  readonly #routes: ReturnType<typeof createRoutes>;
  readonly #sockets: SocketOptions;
  #host: string;
  #port: number | null = null;
  #end: ((timeoutMs: number) => Promise<void>) | undefined;

  constructor(options: ServerOptions) {
    const { access, newId = randomUUID } = options;
    this.#access = access;
    this.#host = access.host;
    const shared = { ...options, newId, isLocal: () => isLoopback(this.#host) };
    this.#sockets = { ...shared, verdict: (head) => guard(head, this.#rules) };
    this.#routes = createRoutes({
      ...shared,
      serverUrl: () => this.#url,
      needsKey: access.key !== undefined,
      isShared: access.origins.length > 0,
    });
  }

  readonly fetch = async (request: Request): Promise<Response> => {
    const verdict = guard(request, this.#rules);
    const response = verdict.allowed ? await this.#answer(request, verdict) : refusalResponse(verdict);
    response.headers.set("x-content-type-options", "nosniff");
    if (this.#access.origins.length > 0) response.headers.append("vary", "Origin");
    return response;
  };

  async listen({
    host = this.#access.host,
    port = this.#access.port,
  }: {
    host?: string;
    port?: number;
  } = {}): Promise<string> {
    if (this.#end !== undefined)
      throw new FlambeauError("SETTINGS_INVALID", "this server listens already; close it first");
    requireKey(host, this.#access.key);
    const listener = createListener(this.fetch);
    const sockets = createSockets(this.#sockets);
    listener.on("upgrade", sockets.upgrade);
    this.#end = (timeoutMs) => endAll(listener, sockets, timeoutMs);
    try {
      this.#port = await bind(listener, { host, port });
    } catch (thrown) {
      this.#end = undefined;
      sockets.close();
      throw thrown;
    }
    this.#host = host;
    return originOf(host, this.#port);
  }

  async close({ timeoutMs = limits.drainTimeoutMs }: { timeoutMs?: number } = {}): Promise<void> {
    const end = this.#end;
    this.#end = undefined;
    await end?.(timeoutMs);
    this.#port = null;
  }

  get #rules(): GuardRules {
    const { key, origins } = this.#access;
    return { host: this.#host, port: this.#port, origins, ...(key !== undefined && { key }) };
  }

  get #url(): string | undefined {
    return this.#port === null ? undefined : originOf(this.#host, this.#port);
  }

  async #answer(request: Request, { corsOrigin, isPreflight }: Allowance): Promise<Response> {
    const response = isPreflight ? preflight(request) : await this.#routes.fetch(request);
    if (corsOrigin !== null) {
      response.headers.set("access-control-allow-origin", corsOrigin);
      response.headers.set("access-control-expose-headers", REQUEST_ID_HEADER);
    }
    return response;
  }
}

/** What a browser may send from a configured origin. */
function preflight(request: Request): Response {
  const headers = new Headers({
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "content-type, authorization",
    "access-control-max-age": String(limits.preflightSeconds),
  });
  // Chrome asks this before a page of the internet may reach into a private network.
  if (request.headers.get("access-control-request-private-network") === "true") {
    headers.set("access-control-allow-private-network", "true");
  }
  return new Response(null, { status: 204, headers });
}

/** A server bound to every address is told by one that can be opened. */
function originOf(host: string, port: number): string {
  const shown = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "[::1]" : urlHost(host);
  return `http://${shown}:${port}`;
}

async function endAll(listener: HttpServer, sockets: Sockets, timeoutMs: number): Promise<void> {
  const ended = new Promise<void>((resolve) => listener.close(() => resolve()));
  listener.closeIdleConnections();
  sockets.drain();
  const enough = new AbortController();
  await Promise.race([ended, sleep(timeoutMs, undefined, { signal: enough.signal }).catch(() => {})]);
  enough.abort();
  sockets.close();
  listener.closeAllConnections();
  await ended;
}
