// What an error was, for expectations about codes.
import { FlambeauError } from "../../src/errors.ts";

/** The code of what `body` throws; `undefined` when it throws nothing, and whatever else it throws comes through. */
export function codeOf(body: () => unknown): string | undefined {
  try {
    body();
    return undefined;
  } catch (error) {
    if (error instanceof FlambeauError) return error.code;
    throw error;
  }
}

/** The error of a promise that has to fail. */
export async function failureOf(promise: PromiseLike<unknown>): Promise<Error> {
  try {
    const value = await promise;
    throw new TypeError(`expected a failure, got ${String(value)}`);
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
}

export async function failureCode(promise: PromiseLike<unknown>): Promise<string> {
  const error = await failureOf(promise);
  if (error instanceof FlambeauError) return error.code;
  throw error;
}
