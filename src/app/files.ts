// Where files that an endpoint returns are kept, as the request context sees it. The store itself is handed in
// (the host keeps files on disk and serves them; `flambeau run` writes them into a folder).

export interface StoredFile {
  /** Where the caller can read it: an http URL under `serve`, a file URL under `run`. */
  readonly url: string;
  readonly fileName: string;
  readonly contentType: string;
  /** Bytes. */
  readonly size: number;
}

export interface FileStore {
  /**
   * Keeps bytes under an opaque, content-addressed id.
   * @throws FlambeauError DISK_FULL; CANCELLED when the signal fires
   */
  put(
    bytes: Uint8Array,
    file: { contentType: string; extension: string },
    options?: { signal?: AbortSignal },
  ): Promise<StoredFile>;
}
