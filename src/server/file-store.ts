// Files that endpoints return, kept in one folder under the SHA-256 of their bytes: a name that cannot be guessed, and that needs no index.
// Knows no HTTP. The same bytes are one file; nothing a caller sends becomes a path unless it has exactly the shape of an id.
import { createHash, randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { lstat, mkdir, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { FileStore, StoredFile } from "../app/files.ts";
import { cancelled, FlambeauError, toError } from "../errors.ts";
import type { FileSource, ServedFile } from "./files.ts";

export interface FileStoreOptions {
  /** Made when the first file is kept; of this user alone. */
  readonly dir: string;
  /** Of the server, without a slash at its end: `http://127.0.0.1:3000`. */
  readonly baseUrl: () => string;
  /** Writes a whole new file; for tests of a full disk. */
  readonly write?: (path: string, bytes: Uint8Array, options: { signal?: AbortSignal }) => Promise<void>;
}

const idPattern = /^[0-9a-f]{64}\.[a-z0-9]{1,12}$/;
const typePattern = /^[a-z0-9][\w.+-]{0,63}\/[a-z0-9][\w.+-]{0,63}(?:; ?[\w.-]+=[\w.-]+){0,3}$/i;
const unknownType = "application/octet-stream";

export function createFileStore(options: FileStoreOptions): FileStore & FileSource {
  const { dir, baseUrl, write = writeNew } = options;

  /** Written aside and renamed: a file is whole or not there, whatever ends this process meanwhile. */
  const keep = async (name: string, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> => {
    const aside = join(dir, `.${randomUUID()}.part`);
    try {
      await write(aside, bytes, signal === undefined ? {} : { signal });
      await rename(aside, join(dir, name));
    } catch (thrown) {
      await rm(aside, { force: true });
      throw signal?.aborted ? cancelled(signal.reason, `keeping the file ${name}`) : diskError(thrown, dir);
    }
  };

  const put: FileStore["put"] = async (bytes, { contentType, extension }, { signal } = {}): Promise<StoredFile> => {
    if (signal?.aborted) throw cancelled(signal.reason, "keeping a file");
    const id = `${createHash("sha256").update(bytes).digest("hex")}.${extension.replace(/^\./, "").toLowerCase()}`;
    if (!idPattern.test(id)) {
      throw new FlambeauError(
        "NOT_SENDABLE",
        `a file extension has 1 to 12 letters and digits, got ${JSON.stringify(extension.slice(0, 40))}`,
      );
    }
    await makeFolder(dir);
    const path = join(dir, id);
    // The type first: whoever finds the bytes finds their type.
    const type = typePattern.test(contentType) ? contentType : unknownType;
    await keep(`${id}.type`, Buffer.from(type), signal);
    if ((await sizeOf(path)) !== bytes.byteLength) await keep(id, bytes, signal);
    return { url: `${baseUrl()}/files/${id}`, fileName: id, contentType: type, size: bytes.byteLength };
  };

  const find: FileSource["find"] = async (id, { signal } = {}): Promise<ServedFile | undefined> => {
    if (!idPattern.test(id)) return undefined;
    const path = join(dir, id);
    const size = await sizeOf(path);
    if (size === undefined) return undefined;
    if (signal?.aborted) throw cancelled(signal.reason, `reading the file ${id}`);
    return { contentType: await typeOf(path), size, fileName: id, open: (range) => openRange(path, range) };
  };

  return { put, find };
}

async function writeNew(path: string, bytes: Uint8Array, options: { signal?: AbortSignal }): Promise<void> {
  await writeFile(path, bytes, { ...options, mode: 0o600, flag: "wx" });
}

async function makeFolder(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
  } catch (thrown) {
    throw diskError(thrown, dir);
  }
}

/** Undefined where there is no plain file: a link that somebody put into the folder is not followed. */
async function sizeOf(path: string): Promise<number | undefined> {
  const found = await lstat(path).catch(() => undefined);
  return found?.isFile() ? found.size : undefined;
}

async function typeOf(path: string): Promise<string> {
  const type = await readFile(`${path}.type`, "utf8").catch(() => unknownType);
  return typePattern.test(type) ? type : unknownType;
}

async function openRange(
  path: string,
  range: { readonly start: number; readonly end: number },
): Promise<ReadableStream<Uint8Array>> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  return Readable.toWeb(handle.createReadStream(range));
}

function diskError(thrown: unknown, dir: string): FlambeauError {
  const cause = toError(thrown);
  const code = "code" in cause ? cause.code : undefined;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new FlambeauError(
      "DISK_FULL",
      `no room left to keep files in ${dir}; remove old ones, or set FLAMBEAU_CACHE_DIR to another disk`,
      { cause },
    );
  }
  const message = `files cannot be kept in ${dir}: ${cause.message}; make it writable, or set FLAMBEAU_CACHE_DIR to another folder`;
  return new FlambeauError("SETTINGS_INVALID", message, { cause });
}
