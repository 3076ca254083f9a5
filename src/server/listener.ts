// The HTTP listener: how long a peer may take over a request, and what to say when a port cannot be had.
// Knows no route; what it answers is the fetch that it is handed.
import { createServer, type Server as HttpServer } from "node:http";
import { getRequestListener } from "@hono/node-server";
import { limits } from "../config.ts";
import { FlambeauError, toError } from "../errors.ts";

/** Milliseconds and bytes; `limits` by default. */
export interface Patience {
  readonly headersTimeoutMs: number;
  readonly bodyTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly headerBytes: number;
}

export function createListener(
  fetch: (request: Request) => Promise<Response>,
  patience: Patience = limits,
): HttpServer {
  const options = {
    headersTimeout: patience.headersTimeoutMs,
    requestTimeout: patience.bodyTimeoutMs,
    keepAliveTimeout: patience.keepAliveTimeoutMs,
    maxHeaderSize: patience.headerBytes,
    // How often node looks for peers that are over their time.
    connectionsCheckingInterval: Math.min(patience.headersTimeoutMs / 2, 5_000),
  };
  const server = createServer(options, getRequestListener(fetch, { overrideGlobalObjects: false }));
  // Node drops headers beyond a number, and an Origin among them; their bytes are bounded above, and the guard sees all of them.
  server.maxHeadersCount = 0;
  server.on("request", (_incoming, outgoing) => {
    // While closing, a connection kept alive for another request has served its last one.
    outgoing.once("close", () => setImmediate(() => void (server.listening || server.closeIdleConnections())));
  });
  return server;
}

/**
 * Resolves with the port that was bound.
 * @throws FlambeauError SETTINGS_INVALID for a port in use or an address that this machine does not have
 */
export function bind(server: HttpServer, { host, port }: { host: string; port: number }): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(bindError(error, host, port));
    server.once("error", fail);
    server.listen({ host, port }, () => {
      server.off("error", fail);
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}

function bindError(thrown: unknown, host: string, port: number): FlambeauError {
  const cause = toError(thrown);
  const advice: Record<string, string> = {
    EADDRINUSE: `port ${port} on ${host} is in use by another program; stop it, or choose another port: --port or FLAMBEAU_PORT, 0 for any free one`,
    EACCES: `port ${port} may not be used by this user; choose one above 1023: --port or FLAMBEAU_PORT`,
    EADDRNOTAVAIL: `this machine has no address ${host}; choose one that it has, such as 127.0.0.1: --host or FLAMBEAU_HOST`,
    ENOTFOUND: `the name ${host} is not known here; choose an address, such as 127.0.0.1: --host or FLAMBEAU_HOST`,
  };
  const code = "code" in cause && typeof cause.code === "string" ? cause.code : "";
  return new FlambeauError(
    "SETTINGS_INVALID",
    advice[code] ?? `listening on ${host}:${port} failed: ${cause.message}`,
    { cause },
  );
}
