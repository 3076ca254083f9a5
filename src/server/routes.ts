// Every route over HTTP. What comes here has passed the guard.
// Knows no socket: a Request comes in, a Response goes out.
import { Hono } from "hono";
import { openapi } from "../app/openapi.ts";
import { FlambeauError, toError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { failureOf, internalFailure } from "../queue/failure.ts";
import { namesOf } from "./admission.ts";
import { type FileSource, fileResponse } from "./files.ts";
import { type RunOptions, runEndpoint } from "./run.ts";
import { failureResponse, METHOD_REFUSED } from "./status.ts";

export interface RouteOptions extends RunOptions {
  readonly files: FileSource;
  readonly readiness: () => { readonly ready: boolean; readonly reason?: string };
  /** Where this server can be reached, once it listens. */
  readonly serverUrl: () => string | undefined;
  readonly needsKey: boolean;
  /** True where pages of other origins may call. */
  readonly isShared: boolean;
  readonly logger: Logger;
}

const readable = ["/", "/openapi.json", "/health/live", "/health/ready"];

export function createRoutes(options: RouteOptions): Hono {
  const { app, files, readiness, isShared } = options;
  const routes = new Hono();
  routes.get("/", (context) => context.json(overview(options), 200, { "cache-control": "no-store" }));
  routes.get("/openapi.json", (context) => {
    const serverUrl = options.serverUrl();
    return context.json(openapi(app, { needsKey: options.needsKey, ...(serverUrl !== undefined && { serverUrl }) }));
  });
  routes.get("/health/live", (context) => context.json({ status: "live" }));
  routes.get("/health/ready", (context) => {
    const { ready, reason } = readiness();
    return ready
      ? context.json({ status: "ready" })
      : context.json({ status: "not ready", reason: reason ?? "starting" }, 503);
  });
  routes.get("/files/:id", (context) => fileResponse(files, context.req.param("id"), context.req.raw, { isShared }));
  // Paths of endpoints are compared as they are: what the router would read as a pattern is part of the name.
  routes.all("*", (context) => {
    const request = context.req.raw;
    const { pathname } = new URL(request.url);
    const endpoint = app.endpoints.find(({ path }) => path === pathname);
    if (endpoint !== undefined && request.method === "POST") return runEndpoint(options, endpoint, request);
    return unrouted(options, request.method, pathname);
  });
  routes.onError((thrown) => {
    options.logger.error(`a route failed: ${toError(thrown).stack ?? String(thrown)}`);
    return failureResponse(internalFailure("the server failed to answer; its log says why"));
  });
  return routes;
}

function overview({ app, needsKey }: RouteOptions): Record<string, unknown> {
  const endpoints = app.endpoints.map(({ name, path, mode }) => ({ name, path, mode, method: "POST" }));
  return {
    name: app.name,
    endpoints,
    needsKey,
    links: { openapi: "/openapi.json", ready: "/health/ready", socket: "/ws" },
  };
}

function unrouted({ app }: RouteOptions, method: string, pathname: string): Response {
  const isEndpoint = app.endpoints.some(({ path }) => path === pathname);
  const isReadable = readable.includes(pathname) || /^\/files\/[^/]+$/.test(pathname);
  if (!isEndpoint && !isReadable) {
    const known = `${namesOf(app)}; /openapi.json describes them`;
    return failureResponse(failureOf(new FlambeauError("NOT_FOUND", `nothing at ${pathname.slice(0, 100)}; ${known}`)));
  }
  const allow = [...(isReadable ? ["GET", "HEAD"] : []), ...(isEndpoint ? ["POST"] : [])].join(", ");
  const error = new FlambeauError(
    "BAD_REQUEST",
    `${pathname.slice(0, 100)} takes ${allow}, got ${method.slice(0, 20)}`,
  );
  return failureResponse(failureOf(error), { status: METHOD_REFUSED, headers: { allow } });
}
