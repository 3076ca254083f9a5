// `--input`: JSON as it stands, `@file`, or `-` for stdin. Knows no schema.
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { text } from "node:stream/consumers";
import { FlambeauError, toError } from "../errors.ts";

export interface InputSources {
  readonly cwd: string;
  readonly stdin: NodeJS.ReadableStream;
}

/**
 * @throws FlambeauError BAD_REQUEST: not JSON; NOT_FOUND: no such file; CANCELLED
 */
export async function readInput(
  given: string,
  sources: InputSources,
  options: { signal?: AbortSignal } = {},
): Promise<unknown> {
  const json = await inputText(given, sources, options);
  try {
    return JSON.parse(json);
  } catch (cause) {
    const from = given === "-" ? "stdin" : given.startsWith("@") ? given.slice(1) : "--input";
    throw new FlambeauError(
      "BAD_REQUEST",
      `${from} is not JSON: ${toError(cause).message}; give JSON, @file, or - for stdin`,
      { cause },
    );
  }
}

/** One input of both: flags win over the same field of `--input`. */
export function mergedInput(whole: unknown, values: Readonly<Record<string, unknown>>): unknown {
  if (whole === undefined) return values;
  if (Object.keys(values).length === 0) return whole;
  if (typeof whole === "object" && whole !== null && !Array.isArray(whole)) return { ...whole, ...values };
  throw new FlambeauError(
    "BAD_REQUEST",
    "--input is not an object, so flags cannot change fields of it; give one or the other",
  );
}

async function inputText(given: string, sources: InputSources, options: { signal?: AbortSignal }): Promise<string> {
  if (given === "-") return await text(sources.stdin);
  if (!given.startsWith("@")) return given;
  const file = resolve(sources.cwd, given.slice(1));
  try {
    return await readFile(file, { encoding: "utf8", ...options });
  } catch (cause) {
    throw new FlambeauError("NOT_FOUND", `--input names ${file}, which cannot be read: ${toError(cause).message}`, {
      cause,
    });
  }
}
