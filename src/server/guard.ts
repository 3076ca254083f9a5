// Who may call: decided from a request's head alone, before any route, for HTTP and for upgrades to a WebSocket alike.
// Knows no route but /files and /health; changes nothing.
import { createHash, timingSafeEqual } from "node:crypto";
import { isIP } from "node:net";
import { limits } from "../config.ts";
import { ERROR_CODES, type ErrorCode, FlambeauError } from "../errors.ts";
import { failureResponse, MEDIA_TYPE_REFUSED } from "./status.ts";

/** The part of a Request that the guard sees. */
export interface RequestHead {
  readonly method: string;
  /** Absolute. */
  readonly url: string;
  readonly headers: Headers;
}

export interface GuardRules {
  /** Name or address that the server is bound to. */
  readonly host: string;
  /** Port that the server listens on; null where someone else listens (`fetch` called from Next or Express): then any. */
  readonly port: number | null;
  readonly key?: string;
  /** Origins of pages that may call, as `https://studio.example`. Their hosts are accepted as Host too: a proxy may stand in front. */
  readonly origins: readonly string[];
}

export type Verdict = Allowance | Refusal;

export interface Allowance {
  readonly allowed: true;
  /** The configured origin that asks, to be named in the CORS headers of the answer; null for everyone else. */
  readonly corsOrigin: string | null;
  /** A browser asking what it may send: answered without a route. */
  readonly isPreflight: boolean;
}

export interface Refusal {
  readonly allowed: false;
  readonly code: ErrorCode;
  readonly message: string;
  /** Where HTTP knows a better one than that of the code. */
  readonly status?: number;
}

const loopbackNames = ["localhost", "127.0.0.1", "[::1]"];

/** Bound to every address of the machine. */
const wildcardHosts = ["0.0.0.0", "::", "[::]"];

/** What `<img>` and health probes read. They send neither Origin nor key: an id of a file is itself as good as a key. */
const openPath = /^\/(?:files|health)\//;

export function guard(head: RequestHead, rules: GuardRules): Verdict {
  const url = new URL(head.url);
  const host = head.headers.get("host") ?? url.host;
  const origin = head.headers.get("origin");
  const isRead = head.method === "GET" || head.method === "HEAD";
  const isOpen = isRead && openPath.test(url.pathname);
  if (host !== url.host || !isHostAllowed(host, rules)) return refuseHost(host, rules);
  const isConfigured = origin !== null && rules.origins.includes(origin);
  if (origin !== null && !isConfigured && origin !== `${url.protocol}//${host}`) return refuseOrigin(origin);
  const site = head.headers.get("sec-fetch-site");
  const isForeign = site !== null && site !== "same-origin" && site !== "none";
  if (isForeign && !isConfigured && !(isOpen && rules.origins.length > 0)) return refuseOrigin(`a ${site} page`);
  const corsOrigin = isConfigured ? origin : null;
  const isPreflight = isConfigured && head.method === "OPTIONS" && head.headers.has("access-control-request-method");
  if (isPreflight) return { allowed: true, corsOrigin, isPreflight };
  if (rules.key !== undefined && !isOpen && !holdsKey(head.headers.get("authorization"), rules.key)) {
    return refuse("FORBIDDEN", "a key is needed: send the header `Authorization: Key <FLAMBEAU_KEY of the server>`");
  }
  return bodyRefusal(head) ?? { allowed: true, corsOrigin, isPreflight };
}

export function refusalResponse({ code, message, status }: Refusal): Response {
  const { retryable } = ERROR_CODES[code];
  return failureResponse({ code, message, retryable }, status === undefined ? {} : { status });
}

/**
 * Refuses to be reachable from other machines without a key.
 * @throws FlambeauError SETTINGS_INVALID
 */
export function requireKey(host: string, key: string | undefined): void {
  if (key !== undefined || isLoopback(host)) return;
  const message = `listening on ${host} lets other machines call this app: set FLAMBEAU_KEY (16 characters or more), or listen on 127.0.0.1`;
  throw new FlambeauError("SETTINGS_INVALID", message);
}

/** True for an address that only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || (isIP(host) === 4 && host.startsWith("127."));
}

/** As it stands in a URL: an IPv6 address in brackets. */
export function urlHost(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}

/** Exact text or nothing: every looser comparison of hosts has been somebody's hole. */
function isHostAllowed(host: string, { host: bound, port, origins }: GuardRules): boolean {
  if (origins.some((origin) => URL.canParse(origin) && new URL(origin).host === host)) return true;
  const [name, hostPort] = splitPort(host);
  if (port !== null && hostPort !== port) return false;
  if (loopbackNames.includes(name) || name === urlHost(bound)) return !wildcardHosts.includes(name);
  // A page can point a name of its own at us (DNS rebinding), but not an address.
  return wildcardHosts.includes(bound) && isIP(name.replace(/^\[|\]$/g, "")) !== 0 && !wildcardHosts.includes(name);
}

function splitPort(host: string): [name: string, port: number] {
  const match = /^(.*?)(?::(\d{1,5}))?$/.exec(host);
  return [match?.[1] ?? "", Number(match?.[2] ?? 80)];
}

/** Equal work for keys of every length: digests are compared, not the keys. */
function holdsKey(authorization: string | null, key: string): boolean {
  const given = /^(?:Key|Bearer) (.*)$/i.exec(authorization ?? "")?.[1] ?? "";
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(key));
}

function bodyRefusal({ method, headers }: RequestHead): Refusal | undefined {
  const length = Number(headers.get("content-length") ?? 0);
  if (length > limits.bodyBytes) return refuse("TOO_LARGE", bodyTooLarge(length));
  if (method !== "POST") return undefined;
  const type = headers.get("content-type") ?? "none";
  // A form or plain text is what a foreign page may send without asking; JSON it may not.
  if (!/^application\/json\s*(?:;|$)/i.test(type)) {
    const message = `the body must be declared as application/json, got ${type.slice(0, 100)}; set the Content-Type header`;
    return { allowed: false, code: "BAD_REQUEST", message, status: MEDIA_TYPE_REFUSED };
  }
  const encoding = headers.get("content-encoding");
  if (encoding === null || encoding === "identity") return undefined;
  const message = `a body with Content-Encoding ${encoding.slice(0, 100)} is not accepted; send it as it is`;
  return { allowed: false, code: "BAD_REQUEST", message, status: MEDIA_TYPE_REFUSED };
}

export function bodyTooLarge(bytes: number): string {
  return `the body may hold ${limits.bodyBytes} bytes, got ${bytes} or more; send large files by URL`;
}

function refuse(code: ErrorCode, message: string): Refusal {
  return { allowed: false, code, message };
}

function refuseHost(host: string, { host: bound, port }: GuardRules): Refusal {
  const expected = `${isLoopback(bound) ? "127.0.0.1" : urlHost(bound)}${port === null ? "" : `:${port}`}`;
  const shown = host.slice(0, 100);
  return refuse(
    "FORBIDDEN",
    `the host ${shown} is not served here, ${expected} is; behind a proxy, name its origin in FLAMBEAU_ORIGINS`,
  );
}

function refuseOrigin(origin: string): Refusal {
  return refuse(
    "FORBIDDEN",
    `${origin.slice(0, 100)} may not call this server; name its origin in FLAMBEAU_ORIGINS to let it`,
  );
}
