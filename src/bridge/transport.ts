// Whole frames over a byte stream: control first, then calls in order, then bulk in chunks, so that bulk never starves a ping.
// Knows the header and nothing of what a message says. The stream is a Duplex: fd 3 of a process, or a pair in memory for tests.
import type { Duplex } from "node:stream";
import { FlambeauError, toError } from "../errors.ts";
import { FrameType, HEADER_BYTES, type Header, readHeader, writeHeader } from "./protocol.ts";

export interface TransportLimits {
  readonly maxFrameBytes: number;
  readonly chunkBytes: number;
  /** As many bytes are copied to leave in one piece: cheaper than a write for each frame. */
  readonly joinedBytes: number;
}

export interface TransportHandlers {
  /** The body is a view that is valid during the call only. */
  onFrame(header: Header, body: Uint8Array): void;
  /** Every byte of an expected attachment has come. */
  onAttachment(id: number): void;
  /** Once: the stream ended (undefined), broke, or carried something that is not our protocol. */
  onEnd(error: Error | undefined): void;
}

interface Outgoing {
  readonly id: number;
  readonly bytes: Uint8Array;
  sent: number;
}

interface Incoming {
  /** Of `length` bytes, or empty: then they are forgotten as they come. */
  readonly bytes: Uint8Array;
  readonly length: number;
  filled: number;
}

export class Transport {
  readonly #stream: Duplex;
  readonly #limits: TransportLimits;
  readonly #handlers: TransportHandlers;
  readonly #outgoing: Outgoing[] = [];
  readonly #incoming = new Map<number, Incoming>();
  readonly #head = new Uint8Array(HEADER_BYTES);
  #headFilled = 0;
  #header: Header | undefined;
  #body: Uint8Array | undefined;
  #bodyFilled = 0;
  /** Frames of this turn of the event loop, which leave in one system call. */
  #batch: Uint8Array[] = [];
  #ended = false;

  constructor(stream: Duplex, limits: TransportLimits, handlers: TransportHandlers) {
    this.#stream = stream;
    this.#limits = limits;
    this.#handlers = handlers;
    stream.on("data", (bytes: Uint8Array) => this.#receive(bytes));
    stream.once("end", () => this.#end(undefined));
    stream.once("close", () => this.#end(undefined));
    // Not once: a stream that broke may say so again when something is still written.
    stream.on("error", (error) => this.#end(error));
  }

  /** Sends one frame; `message` has 16 bytes of room in front and belongs to the transport from now on. */
  send(type: FrameType, id: number, message: Uint8Array): void {
    if (this.#ended) return;
    writeHeader(message, 0, { length: message.length - HEADER_BYTES, type, lane: 0, id });
    if (this.#batch.push(message) === 1) process.nextTick(this.#flush);
  }

  /** Sends bytes in chunks between the other frames. The caller must not change them before the answer has come. */
  sendAttachment(id: number, bytes: Uint8Array): void {
    if (this.#ended) return;
    this.#outgoing.push({ id, bytes, sent: 0 });
    if (this.#outgoing.length === 1) this.#pump();
  }

  /** Says where the bytes of an attachment belong: nowhere, where there is no memory for all of its `length`. */
  expect(id: number, bytes: Uint8Array, length = bytes.length): void {
    if (length === 0) this.#handlers.onAttachment(id);
    else this.#incoming.set(id, { bytes, length, filled: 0 });
  }

  close(): void {
    this.#end(undefined);
    this.#stream.destroy();
  }

  readonly #flush = (): void => {
    const batch = this.#batch;
    const [first] = batch;
    if (first === undefined || this.#ended) return;
    this.#batch = [];
    if (batch.length === 1) return void this.#stream.write(first);
    if (batch.reduce((sum, { length }) => sum + length, 0) <= this.#limits.joinedBytes)
      return void this.#stream.write(Buffer.concat(batch));
    this.#stream.cork();
    for (const message of batch) this.#stream.write(message);
    this.#stream.uncork();
  };

  /** Two chunks on their way at most: the next frame of another kind waits behind those and no more. */
  #pump(): void {
    this.#flush();
    while (!this.#ended) {
      const next = this.#outgoing[0];
      if (next === undefined || this.#stream.writableLength >= 2 * this.#limits.chunkBytes) return;
      const bytes = next.bytes.subarray(next.sent, next.sent + this.#limits.chunkBytes);
      const head = new Uint8Array(HEADER_BYTES);
      writeHeader(head, 0, { length: bytes.length, type: FrameType.chunk, lane: 0, id: next.id });
      this.#stream.cork();
      this.#stream.write(head);
      this.#stream.write(bytes, () => this.#pump());
      this.#stream.uncork();
      next.sent += bytes.length;
      this.#outgoing.shift();
      if (next.sent < next.bytes.length) this.#outgoing.push(next);
    }
  }

  #receive(bytes: Uint8Array): void {
    try {
      let at = this.#takeWhole(bytes);
      while (at < bytes.length && !this.#ended)
        at = this.#header === undefined ? this.#takeHeader(bytes, at) : this.#takeBody(bytes, at);
    } catch (thrown) {
      this.#end(asFlambeauError(thrown));
      this.#stream.destroy();
    }
  }

  /** The frames that came in one piece, from the first byte on, which is how small ones come; returns where the rest begins. */
  #takeWhole(bytes: Uint8Array): number {
    let at = 0;
    if (this.#header !== undefined || this.#headFilled > 0) return at;
    while (bytes.length - at >= HEADER_BYTES && !this.#ended) {
      const header = readHeader(bytes, this.#limits.maxFrameBytes, at);
      const end = at + HEADER_BYTES + header.length;
      if (header.type === FrameType.chunk || end > bytes.length) return at;
      // Not `bytes.subarray`: of a Buffer that makes a Buffer, which takes ten times as long.
      const body = new Uint8Array(bytes.buffer, bytes.byteOffset + at + HEADER_BYTES, header.length);
      at = end;
      this.#handlers.onFrame(header, body);
    }
    return at;
  }

  #takeHeader(bytes: Uint8Array, at: number): number {
    const part = bytes.subarray(at, at + HEADER_BYTES - this.#headFilled);
    this.#head.set(part, this.#headFilled);
    this.#headFilled += part.length;
    if (this.#headFilled === HEADER_BYTES) {
      this.#headFilled = 0;
      this.#begin(readHeader(this.#head, this.#limits.maxFrameBytes));
    }
    return at + part.length;
  }

  #begin(header: Header): void {
    this.#bodyFilled = 0;
    this.#body = undefined;
    if (header.length === 0) return this.#handlers.onFrame(header, new Uint8Array(0));
    this.#header = header;
  }

  #takeBody(bytes: Uint8Array, at: number): number {
    const header = this.#header;
    if (header === undefined) return at;
    const part = bytes.subarray(at, at + header.length - this.#bodyFilled);
    if (header.type === FrameType.chunk) this.#fill(header.id, part);
    else if (part.length === header.length) {
      this.#header = undefined;
      this.#handlers.onFrame(header, part);
      return at + part.length;
    } else {
      this.#body ??= new Uint8Array(header.length);
      this.#body.set(part, this.#bodyFilled);
    }
    this.#bodyFilled += part.length;
    if (this.#bodyFilled === header.length) {
      this.#header = undefined;
      if (header.type !== FrameType.chunk && this.#body !== undefined) this.#handlers.onFrame(header, this.#body);
    }
    return at + part.length;
  }

  #fill(id: number, part: Uint8Array): void {
    const incoming = this.#incoming.get(id);
    if (incoming === undefined || incoming.filled + part.length > incoming.length) {
      throw new FlambeauError(
        "PROTOCOL_ERROR",
        `Bytes came for the attachment ${id}, which was not announced or is already whole.`,
      );
    }
    if (incoming.bytes.length > 0) incoming.bytes.set(part, incoming.filled);
    incoming.filled += part.length;
    if (incoming.filled < incoming.length) return;
    this.#incoming.delete(id);
    this.#handlers.onAttachment(id);
  }

  #end(error: Error | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#outgoing.length = 0;
    this.#incoming.clear();
    this.#handlers.onEnd(error);
  }
}

function asFlambeauError(thrown: unknown): FlambeauError {
  if (thrown instanceof FlambeauError) return thrown;
  const cause = toError(thrown);
  return new FlambeauError("INTERNAL", `A frame of the worker could not be handled: ${cause.message}`, { cause });
}
