// The FileStore of `flambeau run`: files land in a folder under names that a person recognises.
// Knows no endpoint but its name.
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { FileStore, StoredFile } from "../app/files.ts";
import { cancelled, FlambeauError, toError } from "../errors.ts";

const SHORT_HASH = 6;

export class OutputFolder implements FileStore {
  readonly #directory: string;
  readonly #prefix: string;
  readonly #paths = new Map<string, string>();
  #parts = 0;

  /** @param prefix what the names begin with: `text-to-image` */
  constructor(directory: string, prefix: string) {
    this.#directory = directory;
    this.#prefix = prefix;
  }

  /** Where a URL that `put` gave lies on disk. */
  pathOf(url: string): string | undefined {
    return this.#paths.get(url);
  }

  async put(
    bytes: Uint8Array,
    file: { contentType: string; extension: string },
    options: { signal?: AbortSignal } = {},
  ): Promise<StoredFile> {
    const { signal } = options;
    try {
      signal?.throwIfAborted();
      await mkdir(this.#directory, { recursive: true });
      const fileName = await this.#freeName(bytes, file.extension.replace(/^\.+/, ""));
      const path = join(this.#directory, fileName);
      await written({ path, aside: `${path}.${process.pid}-${this.#parts++}.part` }, bytes, signal);
      const url = pathToFileURL(path).href;
      this.#paths.set(url, path);
      return { url, fileName, contentType: file.contentType, size: bytes.byteLength };
    } catch (cause) {
      throw storeError(cause, this.#directory, signal);
    }
  }

  /** A short hash, and a longer one where other bytes already have that name. */
  async #freeName(bytes: Uint8Array, extension: string): Promise<string> {
    const hash = createHash("sha256").update(bytes).digest("hex");
    const name = (length: number) =>
      `${this.#prefix}-${hash.slice(0, length)}${extension === "" ? "" : `.${extension}`}`;
    const present = await readFile(join(this.#directory, name(SHORT_HASH))).catch(() => null);
    return present === null || present.equals(bytes) ? name(SHORT_HASH) : name(hash.length);
  }
}

/** Whole or not at all: a reader never sees half a picture. */
async function written(
  to: { path: string; aside: string },
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await writeFile(to.aside, bytes, signal === undefined ? {} : { signal });
    await rename(to.aside, to.path);
  } catch (cause) {
    await rm(to.aside, { force: true });
    throw cause;
  }
}

function storeError(cause: unknown, directory: string, signal: AbortSignal | undefined): Error {
  if (signal?.aborted) return cancelled(signal.reason, "writing a file");
  const error = toError(cause);
  const code = "code" in error ? error.code : undefined;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new FlambeauError("DISK_FULL", `no room in ${directory}: free some, or name another folder with --out`, {
      cause,
    });
  }
  return new FlambeauError(
    "SETTINGS_INVALID",
    `cannot write into ${directory}: ${error.message}; name another folder with --out`,
    { cause },
  );
}
