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
  const view = new DataView(into.buffer, into.byteOffset + offset, HEADER_BYTES);
  view.setUint32(0, header.length, true);
  view.setUint8(4, header.type);
  view.setUint8(5, MARK);
  view.setUint16(6, header.lane, true);
  view.setUint32(8, header.id % 2 ** 32, true);
  view.setUint32(12, Math.floor(header.id / 2 ** 32), true);
}

/** @throws FlambeauError PROTOCOL_ERROR: bytes that are not a header of ours, or a body over the limit */
export function readHeader(bytes: Uint8Array, maxFrameBytes: number): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  const length = view.getUint32(0, true);
  const type = view.getUint8(4);
  if (view.getUint8(5) !== MARK || !isFrameType(type)) {
    const shown = Buffer.from(bytes.buffer, bytes.byteOffset, HEADER_BYTES).toString("latin1");
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
    lane: view.getUint16(6, true),
    id: view.getUint32(8, true) + view.getUint32(12, true) * 2 ** 32,
  };
}

function isFrameType(type: number): type is FrameType {
  return KNOWN.has(type);
}
