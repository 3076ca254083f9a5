// A FAILURE message → the error that TypeScript throws: Python's type, message and traceback, behind the line that made the call.
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { cancelled, FlambeauError, PyError, type PyErrorFields, PyOutOfMemoryError } from "../errors.ts";

interface Failure {
  type: string;
  mro: string[];
  message: string;
  traceback: string;
  hint?: string | null | undefined;
  cause?: Failure | null | undefined;
  link?: number | null | undefined;
  live?: { handles: number; bytes: number } | null | undefined;
  code?: string | null | undefined;
}

const Failure: z.ZodType<Failure> = z.object({
  type: z.string(),
  mro: z.array(z.string()),
  message: z.string(),
  traceback: z.string(),
  hint: z.string().nullish(),
  cause: z.lazy(() => Failure.nullish()),
  link: z.number().nullish(),
  live: z.object({ handles: z.number(), bytes: z.number() }).nullish(),
  code: z.string().nullish(),
});

/** Frames of the bridge itself say nothing to whoever reads an error. */
const OWN_FOLDER = fileURLToPath(new URL(".", import.meta.url));

/** Where in TypeScript the call was made. */
export interface CallSite {
  /** `pipeline.unet.to()` */
  readonly path: string;
  /** Holds a V8 stack in `stack`. */
  readonly trace: { readonly stack?: string };
  /** Why the call was cancelled, if it was. */
  readonly reason?: unknown;
}

export function errorFromFailure(body: unknown, site: CallSite): Error {
  const parsed = Failure.safeParse(body);
  if (!parsed.success) {
    return new FlambeauError(
      "PROTOCOL_ERROR",
      `The worker reported a failure in a form that is not ours: ${parsed.error.message}`,
    );
  }
  return convert(parsed.data, site);
}

function convert(failure: Failure, site: CallSite): Error {
  if (failure.code === "CANCELLED") return cancelled(site.reason, `${site.path} in Python`);
  const cause = failure.cause ? convert(failure.cause, site) : undefined;
  const options = cause === undefined ? {} : { cause };
  const fields: PyErrorFields = {
    pythonType: failure.type,
    mro: failure.mro,
    message: failure.hint ? `${failure.message}\n  hint: ${failure.hint}` : failure.message,
    traceback: failure.traceback,
    callPath: site.path,
  };
  if (failure.code === "MODEL_UNREACHABLE") {
    return new FlambeauError("MODEL_UNREACHABLE", fields.message, {
      cause: withSite(new PyError(fields, options), site),
    });
  }
  const isMemory = failure.code === "OUT_OF_MEMORY";
  const live = failure.live ?? { handles: 0, bytes: 0 };
  return withSite(isMemory ? new PyOutOfMemoryError(fields, live, options) : new PyError(fields, options), site);
}

/** `stack` reads: the error, the TypeScript lines that made the call, then Python's own lines. */
function withSite(error: PyError, site: CallSite): PyError {
  const lines = (site.trace.stack ?? "").split("\n").filter((line) => line.startsWith("    at ") && !line.includes(OWN_FOLDER));
  error.stack = [
    `${error.name}: ${error.message}`,
    `    in ${site.path}`,
    ...lines,
    "  — Python —",
    error.traceback.trimEnd(),
  ].join("\n");
  return error;
}
