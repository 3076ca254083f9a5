// The JSON body of a request, read within its limits. Counts while it reads: a chunked body announces no length.
// Knows no schema.
import { limits } from "../config.ts";
import { FlambeauError, toError } from "../errors.ts";
import { bodyTooLarge } from "./guard.ts";

/** @throws FlambeauError TOO_LARGE, BAD_REQUEST (not UTF-8, not JSON, nested too deeply), CANCELLED when the caller leaves */
export async function readJson(request: Request, options: { signal?: AbortSignal } = {}): Promise<unknown> {
  const bytes = await readBytes(request, options.signal ?? request.signal);
  if (bytes.byteLength === 0)
    throw new FlambeauError("BAD_REQUEST", "the body is empty; send the input as JSON, {} at least");
  return parseJson(decode(bytes));
}

/** @throws FlambeauError BAD_REQUEST */
export function parseJson(text: string): unknown {
  if (isTooDeep(text)) {
    throw new FlambeauError(
      "BAD_REQUEST",
      `the JSON is nested deeper than ${limits.jsonDepth} levels; send a flatter value`,
    );
  }
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new FlambeauError("BAD_REQUEST", `this is not JSON: ${toError(thrown).message}`, { cause: thrown });
  }
}

async function readBytes(request: Request, signal: AbortSignal): Promise<Uint8Array> {
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader: ReadableStreamDefaultReader<Uint8Array> = request.body.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      size += next.value.byteLength;
      if (size > limits.bodyBytes) {
        // Not awaited: a sender that goes on sending must not hold the answer up.
        void reader.cancel().catch(() => {});
        throw new FlambeauError("TOO_LARGE", bodyTooLarge(size));
      }
      chunks.push(next.value);
    }
  } catch (thrown) {
    if (thrown instanceof FlambeauError) throw thrown;
    const why = signal.aborted ? "the caller left while it was read" : toError(thrown).message;
    throw new FlambeauError(signal.aborted ? "CANCELLED" : "BAD_REQUEST", `the body was not read to its end: ${why}`, {
      cause: thrown,
    });
  }
  return Buffer.concat(chunks, size);
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (thrown) {
    throw new FlambeauError("BAD_REQUEST", "the body is not UTF-8; encode the JSON as UTF-8", { cause: thrown });
  }
}

/** One pass over the text before it is parsed. Strings are jumped over, which also makes a large data URI cheap. */
function isTooDeep(text: string): boolean {
  let depth = 0;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 0x22) index = endOfString(text, index);
    else if (code === 0x5b || code === 0x7b) depth++;
    else if (code === 0x5d || code === 0x7d) depth--;
    if (depth > limits.jsonDepth) return true;
  }
  return false;
}

/** Index of the closing quote, or of the end where there is none. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}
