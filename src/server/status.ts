// The only table from error codes to HTTP statuses, and the body of a failed answer.
// Knows no route.
import type { ErrorCode } from "../errors.ts";
import type { RequestFailure } from "../queue/request.ts";

export const STATUS = {
  INPUT_INVALID: 422,
  OUTPUT_INVALID: 500,
  BAD_REQUEST: 400,
  NOT_FOUND: 404,
  FORBIDDEN: 403,
  TOO_LARGE: 413,
  QUEUE_FULL: 429,
  CANCELLED: 499,
  TIMEOUT: 504,
  WORKER_EXITED: 503,
  CRASH_LOOP: 503,
  SETUP_FAILED: 503,
  OUT_OF_MEMORY: 503,
  PYTHON_RAISED: 500,
  DEADLOCK: 500,
  STALE_REF: 500,
  NOT_SENDABLE: 500,
  PROTOCOL_ERROR: 500,
  NO_PYTHON: 503,
  BAD_PYTHON: 503,
  REQUIREMENT_INVALID: 503,
  ENV_CONFLICT: 503,
  ENV_BROKEN: 503,
  INDEX_UNREACHABLE: 503,
  MODEL_UNREACHABLE: 503,
  DISK_FULL: 507,
  APP_INVALID: 500,
  SETTINGS_INVALID: 500,
  UNSUPPORTED_PLATFORM: 503,
  INTERNAL: 500,
} as const satisfies Record<ErrorCode, number>;

/** What HTTP tells apart and callers of the queue cannot meet: all of them BAD_REQUEST but the last, which is NOT_FOUND's. */
export const METHOD_REFUSED = 405;
export const MEDIA_TYPE_REFUSED = 415;
export const RANGE_REFUSED = 416;

/** Seconds after which a refused caller may try again. */
const retryAfterSeconds = 1;

/** fal's and FastAPI's way to name a field. */
export interface FieldDetail {
  readonly loc: readonly (string | number)[];
  readonly msg: string;
  readonly type: "missing" | "value_error";
}

export interface FailureBody {
  readonly error: RequestFailure;
  /** The message, or for INPUT_INVALID each field at fault. */
  readonly detail: string | readonly FieldDetail[];
}

export interface FailureOptions {
  /** In place of the table's. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** The body that did not fit: tells a missing field from a wrong one. */
  readonly input?: unknown;
}

export function failureResponse(failure: RequestFailure, options: FailureOptions = {}): Response {
  const headers = new Headers({ "content-type": "application/json", ...options.headers });
  if (failure.code === "QUEUE_FULL") headers.set("retry-after", String(retryAfterSeconds));
  const body = failureBody(failure, options.input);
  return new Response(JSON.stringify(body), { status: options.status ?? STATUS[failure.code], headers });
}

/** @param input the body that did not fit */
export function failureBody({ stack: _stack, ...failure }: RequestFailure, input?: unknown): FailureBody {
  return { error: failure, detail: detailOf(failure, input) };
}

function detailOf({ code, message, issues }: RequestFailure, input: unknown): FailureBody["detail"] {
  if (code !== "INPUT_INVALID" || issues === undefined) return message;
  return issues.map((issue) => {
    const type = isMissing(input, issue.path) ? "missing" : "value_error";
    return { loc: ["body", ...issue.path], msg: issue.message, type };
  });
}

function isMissing(input: unknown, path: readonly (string | number)[]): boolean {
  let value = input;
  for (const step of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, step)) return true;
    value = Reflect.get(value, step);
  }
  return false;
}

/**
 * What of a failure is told: everything on the developer's own machine, no traceback and no memory address to anyone else
 * (a heap address in an error text has helped to break into a server before: CVE-2026-22778).
 */
export function told(failure: RequestFailure, isLocal: boolean): RequestFailure {
  const { stack: _stack, ...local } = failure;
  if (isLocal) return local;
  const { traceback: _traceback, ...rest } = local;
  return { ...rest, message: failure.message.replace(/0x[0-9a-f]{4,}/gi, "0x…") };
}
