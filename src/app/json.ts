// An output as it travels: JSON, in which a typed array is an array of numbers. Knows no HTTP; server/ and cli/ both write by it.
import { FlambeauError, toError } from "../errors.ts";

/**
 * @param space spaces of indentation, for a reader
 * @throws FlambeauError OUTPUT_INVALID: a bigint, a cycle
 */
export function toJson(output: unknown, space?: number): string {
  try {
    return JSON.stringify(output, numbersAsArray, space) ?? "null";
  } catch (cause) {
    const message = `the output cannot be written as JSON (${toError(cause).message}); return plain data`;
    throw new FlambeauError("OUTPUT_INVALID", message, { cause });
  }
}

/** JSON.stringify alone writes a typed array as an object: {"0":0.5,"1":…}. */
function numbersAsArray(_key: string, value: unknown): unknown {
  if (!ArrayBuffer.isView(value) || value instanceof DataView) return value;
  // Every view but a DataView is a typed array, which can be iterated.
  return Array.from(value as unknown as Iterable<number | bigint>);
}
