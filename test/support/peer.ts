// The worker's end of a channel, played by a test: reads what the host sends and answers what it is told to.
import { type Duplex, duplexPair } from "node:stream";
import { MsgpackReader } from "../../src/bridge/msgpack-reader.ts";
import { MsgpackWriter } from "../../src/bridge/msgpack-writer.ts";
import { Ext, FrameType, HEADER_BYTES, PROTOCOL_VERSION, writeHeader } from "../../src/bridge/protocol.ts";
import { limits } from "../../src/config.ts";

export interface Frame {
  readonly type: number;
  readonly id: number;
  readonly body: Buffer;
}

/** An extension as a test sees it: `{ ext: 14, of: [7, "list", 2, 0] }`. */
export interface Extension {
  readonly ext: number;
  readonly of: unknown;
}

export const handle = (id: number, type = "builtins.object", length: number | null = null, flags = 0): Extension => ({
  ext: Ext.handle,
  of: [id, type, length, flags],
});

export function frame(type: FrameType, id: number, body: string | Uint8Array): Buffer {
  const contents = Buffer.from(body);
  const bytes = Buffer.alloc(HEADER_BYTES + contents.length);
  writeHeader(bytes, 0, { length: contents.length, type, lane: 0, id });
  contents.copy(bytes, HEADER_BYTES);
  return bytes;
}

/** Reads frames as they leave, no faster than it is told to. */
export class FrameReader {
  readonly #stream: Duplex;
  #bytes = Buffer.alloc(0);

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.pause();
  }

  async next(): Promise<Frame> {
    const head = await this.#take(HEADER_BYTES);
    const id = head.readUInt32LE(8) + head.readUInt32LE(12) * 2 ** 32;
    return { type: head.readUInt8(4), id, body: await this.#take(head.readUInt32LE(0)) };
  }

  async #take(length: number): Promise<Buffer> {
    while (this.#bytes.length < length) {
      const more: Buffer | null = this.#stream.read();
      if (more === null) await new Promise((resolve) => this.#stream.once("readable", resolve));
      else this.#bytes = Buffer.concat([this.#bytes, more]);
    }
    const taken = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return taken;
  }
}

export class Peer {
  /** The host's end. */
  readonly stream: Duplex;
  readonly #own: Duplex;
  readonly #frames: FrameReader;

  constructor() {
    [this.stream, this.#own] = duplexPair();
    this.#frames = new FrameReader(this.#own);
  }

  /** The next frame of the host, its body read. */
  async next(): Promise<{ readonly type: number; readonly id: number; readonly body: unknown }> {
    const { type, id, body } = await this.#frames.next();
    return { type, id, body: type === FrameType.chunk ? body : readBody(body) };
  }

  /** The next frame, which has to be of this type. */
  async expect(type: FrameType): Promise<{ readonly id: number; readonly body: unknown }> {
    const came = await this.next();
    if (came.type !== type) throw new Error(`expected a frame of type ${type}, got ${JSON.stringify(came)}`);
    return came;
  }

  send(type: FrameType, id: number, body: unknown): void {
    this.#own.write(frame(type, id, writeBody(body)));
  }

  sendRaw(bytes: string | Uint8Array): void {
    this.#own.write(bytes);
  }

  chunk(id: number, bytes: Uint8Array): void {
    this.#own.write(frame(FrameType.chunk, id, bytes));
  }

  async greet(hello: Readonly<Record<string, unknown>> = {}): Promise<void> {
    const whole = { protocol: "flambeau", version: PROTOCOL_VERSION, pid: 1, python: "3.11", executable: "python" };
    this.send(FrameType.hello, 0, { ...whole, platform: "linux", ...hello });
    await this.expect(FrameType.hello);
  }

  end(): void {
    this.#own.end();
  }
}

function readBody(body: Uint8Array): unknown {
  return new MsgpackReader(limits, (ext, payload, read) => ({
    ext,
    of: payload.length === 0 || ext === Ext.int ? payload : read(),
  })).read(body);
}

function writeBody(value: unknown): Uint8Array {
  const writer = new MsgpackWriter(limits.maxFrameBytes);
  writer.begin(0);
  put(writer, value);
  return writer.finish();
}

function put(writer: MsgpackWriter, value: unknown): void {
  if (value === null || value === undefined) writer.nil();
  else if (typeof value === "boolean") writer.boolean(value);
  else if (typeof value === "number") Number.isSafeInteger(value) ? writer.integer(value) : writer.float64(value);
  else if (typeof value === "string") writer.string(value);
  else if (Array.isArray(value)) {
    writer.array(value.length);
    for (const item of value) put(writer, item);
  } else if (isExtension(value)) writer.extension(value.ext, () => put(writer, value.of));
  else {
    const entries = Object.entries(value as object);
    writer.map(entries.length);
    for (const [key, item] of entries) {
      writer.string(key);
      put(writer, item);
    }
  }
}

function isExtension(value: unknown): value is Extension {
  return typeof value === "object" && value !== null && "ext" in value && "of" in value;
}
