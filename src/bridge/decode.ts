// One message body → TypeScript values. Bytes that follow as an attachment are made room for here and filled by the transport.
// Knows handles only as numbers: what a handle becomes is handed in.
import { FlambeauError } from "../errors.ts";
import { fromTwosComplement } from "./big-integers.ts";
import { fresh } from "./blocks.ts";
import { MsgpackReader } from "./msgpack-reader.ts";
import { Ext } from "./protocol.ts";
import { type Dtype, type PyArray, TYPED_ARRAYS } from "./values.ts";

export interface HandleFields {
  readonly id: number;
  readonly type: string;
  readonly length: number | null;
  readonly flags: number;
}

/** Room for bytes that are on their way. */
export interface Expected {
  readonly id: number;
  readonly length: number;
  /** Empty where there was no memory for them. */
  readonly bytes: Uint8Array;
}

/** Bytes that this process could get no memory for. */
export interface NoRoom {
  readonly length: number;
  readonly cause: RangeError;
}

/** A message; without room for all that follows it, its value is not to be used. */
export interface Message {
  readonly value: unknown;
  readonly expected: readonly Expected[];
  readonly noRoom: NoRoom | undefined;
}

export interface DecodeContext {
  readonly limits: { readonly maxDepth: number; readonly maxItems: number; readonly maxAttachmentBytes: number };
  onHandle(handle: HandleFields): unknown;
  /** Memory for as many bytes, whatever is in it: a read fills all of it before anyone sees it. Fresh memory without. */
  room?(length: number): Uint8Array;
  /** Extensions that only a host sends; undefined for one that is not known. */
  onHostOnly?(type: number, read: () => unknown): unknown;
}

/** A set or a dict inside of a value is three levels of msgpack: the extension, its array, and an array in that. */
const WIRE_LEVELS = 3;
/** Levels of the message around a value, such as the arguments of a callback. */
const ENVELOPE_LEVELS = 4;
const NOWHERE = new Uint8Array(0);

export class Decoder {
  readonly #reader: MsgpackReader;
  readonly #context: DecodeContext;
  #expected: Expected[] = [];
  #expectedBytes = 0;
  #noRoom: NoRoom | undefined;

  constructor(context: DecodeContext) {
    this.#context = context;
    const { maxDepth, maxItems } = context.limits;
    this.#reader = new MsgpackReader(
      { maxDepth: maxDepth * WIRE_LEVELS + ENVELOPE_LEVELS, maxItems },
      (type, payload, read) => this.#extension(type, payload, read),
    );
  }

  /** @throws FlambeauError PROTOCOL_ERROR */
  message(body: Uint8Array): Message {
    this.#expected = [];
    this.#expectedBytes = 0;
    this.#noRoom = undefined;
    const value = this.#reader.read(body);
    return { value, expected: this.#expected, noRoom: this.#noRoom };
  }

  #extension(type: number, payload: Uint8Array, read: () => unknown): unknown {
    switch (type) {
      case Ext.handle:
        return this.#handle(array(read()));
      case Ext.int:
        return fromTwosComplement(payload);
      case Ext.tuple:
        return array(read());
      case Ext.set:
        return new Set(array(array(read())[1]));
      case Ext.map:
        return new Map(array(read()).map((pair) => [array(pair)[0], array(pair)[1]]));
      case Ext.date:
        return date(array(read()));
      case Ext.attach: {
        const [id, length] = array(read());
        return this.#attach(integer(id), integer(length));
      }
      case Ext.array: {
        const [dtype, shape, data] = array(read());
        return data === NOWHERE ? null : typedArray(String(dtype), shape, data);
      }
      case Ext.complex:
        return complex(payload);
      default:
        return this.#hostOnly(type, payload.length === 0 ? () => null : read);
    }
  }

  #hostOnly(type: number, read: () => unknown): unknown {
    const value = this.#context.onHostOnly?.(type, read);
    if (value === undefined) throw broken(`it has the unknown extension ${type}`);
    return value;
  }

  #handle([id, type, length, flags]: readonly unknown[]): unknown {
    return this.#context.onHandle({
      id: integer(id),
      type: String(type),
      length: length === null ? null : integer(length),
      flags: integer(flags),
    });
  }

  #attach(id: number, length: number): Uint8Array {
    this.#expectedBytes += length;
    const { maxAttachmentBytes } = this.#context.limits;
    if (length < 0 || this.#expectedBytes > maxAttachmentBytes) {
      throw broken(`it announces ${this.#expectedBytes} bytes to follow, and ${maxAttachmentBytes} are allowed`);
    }
    const bytes = this.#room(length);
    this.#expected.push({ id, length, bytes });
    return bytes;
  }

  #room(length: number): Uint8Array {
    try {
      if (this.#noRoom === undefined) return this.#context.room?.(length) ?? fresh(length);
    } catch (thrown) {
      if (!(thrown instanceof RangeError)) throw thrown;
      this.#noRoom = { length, cause: thrown };
    }
    return NOWHERE;
  }
}

function typedArray(dtype: string, shape: unknown, data: unknown): ArrayBufferView | PyArray {
  if (!Object.hasOwn(TYPED_ARRAYS, dtype) || !(data instanceof Uint8Array)) {
    throw broken(`it has an array of the element type ${dtype}, for which there is no typed array`);
  }
  const kind = TYPED_ARRAYS[dtype as Dtype];
  const length = data.byteLength / kind.BYTES_PER_ELEMENT;
  const sizes = shape === null ? [length] : array(shape).map(integer);
  if (sizes.reduce((product, size) => product * size, 1) !== length) {
    throw broken(`it has an array of ${dtype} with the shape [${sizes}] in ${data.byteLength} bytes`);
  }
  // Byte strings and attachments come in a buffer of their own, so they are aligned.
  const values = new kind(data.buffer as ArrayBuffer, data.byteOffset, length);
  return sizes.length <= 1 ? values : { dtype, shape: sizes, data: values };
}

function complex(payload: Uint8Array): { real: number; imag: number } {
  if (payload.length !== 16) throw broken(`it has a complex number of ${payload.length} bytes`);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  return { real: view.getFloat64(0), imag: view.getFloat64(8) };
}

/** A Date when it is exact to the millisecond; otherwise the text or the seconds, so that nothing is lost. */
function date([kind, value]: readonly unknown[]): unknown {
  if (kind !== "datetime" || typeof value !== "string") return value;
  const fraction = /\.(\d+)/.exec(value)?.[1] ?? "";
  const hasZone = /(Z|[+-]\d\d:\d\d)$/.test(value);
  const exact = hasZone && /^\d{0,3}0*$/.test(fraction) ? new Date(value) : undefined;
  return exact === undefined || Number.isNaN(exact.getTime()) ? value : exact;
}

export function array(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw broken(`${typeof value} stands where an array belongs`);
}

export function integer(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  throw broken(`${typeof value} stands where an integer belongs`);
}

function broken(what: string): FlambeauError {
  return new FlambeauError("PROTOCOL_ERROR", `A message of the worker could not be read: ${what}.`);
}
