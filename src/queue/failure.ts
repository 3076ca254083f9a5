// From anything thrown to the failure that a request ends with.
// Knows no HTTP: which status a code gets, and what of it a remote caller is told, is decided in server/.
import { ERROR_CODES, FlambeauError, InputError, PyError, toError } from "../errors.ts";
import type { RequestFailure } from "./request.ts";

/** An error that is none of ours is a defect of ours or of the app: INTERNAL, with its text. */
export function failureOf(thrown: unknown): RequestFailure {
  if (!(thrown instanceof FlambeauError)) {
    const { message, stack } = toError(thrown);
    return { ...internalFailure(message), ...(stack !== undefined && { stack }) };
  }
  return {
    code: thrown.code,
    message: thrown.message,
    retryable: thrown.retryable,
    ...(thrown instanceof InputError && { issues: thrown.issues }),
    ...(thrown instanceof PyError && { pythonType: thrown.pythonType, traceback: thrown.traceback }),
    ...(thrown.stack !== undefined && { stack: thrown.stack }),
  };
}

export function internalFailure(message: string): RequestFailure {
  return { code: "INTERNAL", message, retryable: ERROR_CODES.INTERNAL.retryable };
}
