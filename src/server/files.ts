// What GET /files/<id> needs, and its answer: whole or one range, never run as a page of ours.
// Knows no disk: file-store.ts is the source that keeps files on one.
import { FlambeauError } from "../errors.ts";
import { failureOf } from "../queue/failure.ts";
import { failureResponse, RANGE_REFUSED } from "./status.ts";

export interface ServedFile {
  readonly contentType: string;
  /** Bytes. */
  readonly size: number;
  readonly fileName: string;
  /** Bytes `start` to `end`, both included. */
  open(range: { readonly start: number; readonly end: number }): Promise<ReadableStream<Uint8Array>>;
}

export interface FileSource {
  /** Undefined for an id that is unknown or no id at all. */
  find(id: string, options?: { signal?: AbortSignal }): Promise<ServedFile | undefined>;
}

/** Shown in a page; anything else is downloaded. SVG is not among them: it can hold a script. */
const inlineTypes = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/avif"];

export interface FileAnswerOptions {
  /** True where pages of other origins may show files. */
  readonly isShared: boolean;
}

export async function fileResponse(
  files: FileSource,
  id: string,
  request: Request,
  options: FileAnswerOptions,
): Promise<Response> {
  const file = await files.find(id, { signal: request.signal });
  if (file === undefined)
    return failureResponse(failureOf(new FlambeauError("NOT_FOUND", "no such file; it may have been removed")));
  const headers = headersOf(id, file, options);
  if (request.headers.get("if-none-match") === headers.get("etag")) return new Response(null, { status: 304, headers });
  const range = rangeOf(request.headers.get("range"), file.size);
  if (range === undefined) {
    const failure = failureOf(
      new FlambeauError("BAD_REQUEST", `one range within ${file.size} bytes is served, as bytes=0-99`),
    );
    return failureResponse(failure, { status: RANGE_REFUSED, headers: { "content-range": `bytes */${file.size}` } });
  }
  headers.set("content-length", String(range.end - range.start + 1));
  if (range.isPart) headers.set("content-range", `bytes ${range.start}-${range.end}/${file.size}`);
  const body = request.method === "HEAD" || file.size === 0 ? null : await file.open(range);
  return new Response(body, { status: range.isPart ? 206 : 200, headers });
}

function headersOf(id: string, file: ServedFile, { isShared }: FileAnswerOptions): Headers {
  const isInline = inlineTypes.includes(file.contentType);
  return new Headers({
    "content-type": file.contentType,
    "content-disposition": isInline ? "inline" : `attachment; filename="${file.fileName}"`,
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": isShared ? "cross-origin" : "same-origin",
    "cache-control": "private, max-age=31536000, immutable",
    "accept-ranges": "bytes",
    etag: `"${id}"`,
  });
}

interface Range {
  readonly start: number;
  readonly end: number;
  readonly isPart: boolean;
}

/** Undefined where the header cannot be served: several ranges, beyond the end, or not a range. */
function rangeOf(header: string | null, size: number): Range | undefined {
  if (header === null) return { start: 0, end: size - 1, isPart: false };
  const [, first = "", last = ""] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header) ?? [];
  if (first === "" && last === "") return undefined;
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size - 1 : Math.min(Number(last), size - 1);
  return start <= end ? { start, end, isPart: true } : undefined;
}
