// Every frame type in both directions and the 16-byte header. `README.md` tells the wire byte by byte;
// python/flambeau/protocol.py is the other half, test/wire/vectors.json is read by both.
import { FlambeauError } from "../errors.ts";

export const PROTOCOL_VERSION = 1;
export const HEADER_BYTES = 16;
const MARK = 0xf1;

export const FrameType = {
  hello: 1,
  call: 2,
  cancel: 3,
  release: 4,
  ping: 5,
  pong: 6,
  return: 7,
  shutdown: 8,
  chunk: 9,
  dump: 10,
  result: 16,
  failure: 17,
  stack: 18,
  event: 19,
  invoke: 20,
  dropped: 21,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];
const KNOWN: ReadonlySet<number> = new Set(Object.values(FrameType));

/** Extension types of values; payloads are described in README.md. */
export const Ext = {
  ref: 1,
  path: 2,
  module: 3,
  file: 4,
  int: 5,
  tuple: 7,
  set: 8,
  map: 9,
  date: 11,
  array: 12,
  attach: 13,
  handle: 14,
  function: 15,
  slice: 16,
  ellipsis: 18,
  complex: 19,
} as const;

/** What a call does with the thing that target and path lead to. */
export type Op =
  | "get"
  | "call"
  | "set"
  | "delete"
  | "value"
  | "array"
  | "iter"
  | "next"
  | "close"
  | "len"
  | "repr"
  | "enter"
  | "exit"
  | "pixels";

export interface Header {
  /** Length of the body in bytes. */
  readonly length: number;
  readonly type: FrameType;
  readonly lane: number;
  readonly id: number;
}

export function writeHeader(into: Uint8Array, offset: number, header: Header): void {
  putUint32(into, offset, header.length);
  into[offset + 4] = header.type;
  into[offset + 5] = MARK;
  into[offset + 6] = header.lane;
  into[offset + 7] = header.lane >> 8;
  putUint32(into, offset + 8, header.id);
  putUint32(into, offset + 12, header.id / 2 ** 32);
}

/** Little-endian, the lower 32 bits. By hand: a DataView is one more object for each frame. */
function putUint32(into: Uint8Array, at: number, value: number): void {
  into[at] = value;
  into[at + 1] = value >>> 8;
  into[at + 2] = value >>> 16;
  into[at + 3] = value >>> 24;
}

function getUint32(bytes: Uint8Array, at: number): number {
  const high = bytes[at + 3] ?? 0;
  return ((high << 24) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at] ?? 0)) >>> 0;
}

/** @throws FlambeauError PROTOCOL_ERROR: bytes that are not a header of ours, or a body over the limit */
export function readHeader(bytes: Uint8Array, maxFrameBytes: number, offset = 0): Header {
  const length = getUint32(bytes, offset);
  const type = bytes[offset + 4] ?? 0;
  if (bytes[offset + 5] !== MARK || !isFrameType(type)) {
    const shown = Buffer.from(bytes.buffer, bytes.byteOffset + offset, HEADER_BYTES).toString("latin1");
    throw new FlambeauError(
      "PROTOCOL_ERROR",
      `The worker's channel carried something that is not a frame: ${JSON.stringify(shown)}. Something in the worker wrote to file descriptor 3.`,
    );
  }
  if (length > maxFrameBytes) {
    throw new FlambeauError("PROTOCOL_ERROR", `A frame of ${length} bytes came; at most ${maxFrameBytes} are allowed.`);
  }
  return {
    length,
    type,
    lane: (bytes[offset + 6] ?? 0) | ((bytes[offset + 7] ?? 0) << 8),
    id: getUint32(bytes, offset + 8) + getUint32(bytes, offset + 12) * 2 ** 32,
  };
}

function isFrameType(type: number): type is FrameType {
  return KNOWN.has(type);
}
