// A FAILURE message → the error that TypeScript throws: Python's type, message and traceback, behind the line that made the call.
import { z } from "zod";
import { cancelled, FlambeauError, PyError, type PyErrorFields, PyOutOfMemoryError } from "../errors.ts";
import { headOf, linesOf, type Site } from "./call-sites.ts";

interface Failure {
  type: string;
  mro: string[];
  message: string;
  traceback: string;
  hint?: string | null | undefined;
  cause?: Failure | null | undefined;
  /** Members of an exception group. */
  errors?: Failure[] | null | undefined;
  link?: number | null | undefined;
  live?: { handles: number; bytes: number } | null | undefined;
  code?: string | null | undefined;
  /** The callback whose error Python let pass. */
  callback?: number | null | undefined;
}

const Failure: z.ZodType<Failure> = z.object({
  type: z.string(),
  mro: z.array(z.string()),
  message: z.string(),
  traceback: z.string(),
  hint: z.string().nullish(),
  cause: z.lazy(() => Failure.nullish()),
  errors: z.lazy(() => z.array(Failure).nullish()),
  link: z.number().nullish(),
  live: z.object({ handles: z.number(), bytes: z.number() }).nullish(),
  code: z.string().nullish(),
  callback: z.number().nullish(),
});

/** Codes that Python's side gives to errors of ours, not of the user's Python code. */
const OWN_CODES = ["STALE_REF", "NOT_SENDABLE", "TOO_LARGE", "PROTOCOL_ERROR"] as const;

/** Where in TypeScript the call was made, and what is known of it there. */
export interface CallSite {
  /** `pipeline.unet.to()` */
  readonly path: string;
  readonly site: Site | undefined;
  /** Why the call was cancelled, if it was. */
  readonly reason: unknown;
  /** The failure of the call that this one was built on. */
  readonly failedLink: Error | undefined;
}

/** @param thrownBy the error that a callback of that id threw, while it is remembered */
export function errorFromFailure(
  body: unknown,
  site: CallSite,
  thrownBy: (callbackId: number) => Error | undefined,
): Error {
  const parsed = Failure.safeParse(body);
  if (parsed.success) return convert(parsed.data, site, thrownBy);
  return new FlambeauError(
    "PROTOCOL_ERROR",
    `The worker reported a failure in a form that is not ours: ${parsed.error.message}`,
  );
}

/** What the caller of a stopped call is told: TIMEOUT where that was the reason, otherwise CANCELLED; `cause` where more is known. */
export function stoppedError(site: CallSite, cause?: Error): Error {
  const isTimeout = site.reason instanceof FlambeauError && site.reason.code === "TIMEOUT";
  const error = isTimeout ? (site.reason as FlambeauError) : cancelled(site.reason, `${site.path} in Python`);
  if (cause !== undefined && cause !== error) error.cause ??= cause;
  return withSite(error, site, "");
}

function convert(failure: Failure, site: CallSite, thrownBy: (callbackId: number) => Error | undefined): Error {
  if (failure.code === "CANCELLED") return stoppedError(site);
  const known = failure.link == null ? undefined : site.failedLink;
  const thrown = failure.callback == null ? undefined : thrownBy(failure.callback);
  if (known !== undefined || thrown !== undefined) return known ?? (thrown as Error);
  const message = failure.hint ? `${failure.message}\n  hint: ${failure.hint}` : failure.message;
  const own = OWN_CODES.find((code) => code === failure.code);
  const fields: PyErrorFields = {
    pythonType: failure.type,
    mro: failure.mro,
    message,
    traceback: failure.traceback,
    callPath: site.path,
    errors: (failure.errors ?? []).map((member) => convert(member, site, thrownBy)),
  };
  const options = failure.cause ? { cause: convert(failure.cause, site, thrownBy) } : {};
  if (own !== undefined) return withSite(new FlambeauError(own, message, options), site, "");
  if (failure.code === "MODEL_UNREACHABLE") {
    const python = withSite(new PyError(fields, options), site, failure.traceback);
    return new FlambeauError("MODEL_UNREACHABLE", message, { cause: python });
  }
  const live = failure.live ?? { handles: 0, bytes: 0 };
  const error =
    failure.code === "OUT_OF_MEMORY" ? new PyOutOfMemoryError(fields, live, options) : new PyError(fields, options);
  return withSite(error, site, failure.traceback);
}

/** `stack` reads: the error, the TypeScript lines that made the call, then Python's own lines. */
function withSite<E extends Error>(error: E, site: CallSite, traceback: string): E {
  const python = traceback === "" ? [] : ["  — Python —", traceback.trimEnd()];
  error.stack = [headOf(error, site.path), ...linesOf(site.site), ...python].join("\n");
  return error;
}
