// One message body → TypeScript values. Bytes that follow as an attachment are made room for here and filled by the transport.
// Knows handles only as numbers: what a handle becomes is handed in.
import { FlambeauError } from "../errors.ts";
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
  readonly bytes: Uint8Array;
}

export interface DecodeContext {
  readonly limits: { readonly maxDepth: number; readonly maxItems: number; readonly maxAttachmentBytes: number };
  onHandle(handle: HandleFields): unknown;
}

export class Decoder {
  readonly #reader: MsgpackReader;
  readonly #context: DecodeContext;
  #expected: Expected[] = [];

  constructor(context: DecodeContext) {
    this.#context = context;
    this.#reader = new MsgpackReader(context.limits, (type, payload, read) => this.#extension(type, payload, read));
  }

  /** @throws FlambeauError PROTOCOL_ERROR */
  message(body: Uint8Array): { readonly value: unknown; readonly expected: readonly Expected[] } {
    this.#expected = [];
    const value = this.#reader.read(body);
    return { value, expected: this.#expected };
  }

  #extension(type: number, payload: Uint8Array, read: () => unknown): unknown {
    switch (type) {
      case Ext.handle: {
        const [id, name, length, flags] = array(read());
        return this.#context.onHandle({
          id: integer(id),
          type: String(name),
          length: length === null ? null : integer(length),
          flags: integer(flags),
        });
      }
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
        return typedArray(String(dtype), shape, data);
      }
      case Ext.complex: {
        const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
        return { real: view.getFloat64(0), imag: view.getFloat64(8) };
      }
      default:
        throw new FlambeauError("PROTOCOL_ERROR", `A message of the worker has the unknown extension ${type}.`);
    }
  }

  #attach(id: number, length: number): Uint8Array {
    if (length > this.#context.limits.maxAttachmentBytes) {
      throw new FlambeauError(
        "TOO_LARGE",
        `An attachment of ${length} bytes came; at most ${this.#context.limits.maxAttachmentBytes} are allowed.`,
      );
    }
    const bytes = Buffer.allocUnsafeSlow(length);
    const own = new Uint8Array(bytes.buffer, bytes.byteOffset, length);
    this.#expected.push({ id, bytes: own });
    return own;
  }
}

function typedArray(dtype: string, shape: unknown, data: unknown): ArrayBufferView | PyArray {
  if (!Object.hasOwn(TYPED_ARRAYS, dtype) || !(data instanceof Uint8Array)) {
    throw new FlambeauError("PROTOCOL_ERROR", `An array of the element type ${dtype} came, which has no typed array.`);
  }
  const kind = TYPED_ARRAYS[dtype as Dtype];
  const own = data.byteOffset % kind.BYTES_PER_ELEMENT === 0 ? data : data.slice();
  const values = new kind(own.buffer as ArrayBuffer, own.byteOffset, own.byteLength / kind.BYTES_PER_ELEMENT);
  const sizes = shape === null ? [values.length] : array(shape).map(integer);
  return sizes.length <= 1 ? values : { dtype, shape: sizes, data: values };
}

/** A Date when it is exact to the millisecond; otherwise the text or the seconds, so that nothing is lost. */
function date([kind, value]: readonly unknown[]): unknown {
  if (kind !== "datetime" || typeof value !== "string") return value;
  const fraction = /\.(\d+)/.exec(value)?.[1] ?? "";
  const hasZone = /(Z|[+-]\d\d:?\d\d)$/.test(value);
  return hasZone && /^\d{0,3}0*$/.test(fraction) ? new Date(value) : value;
}

function fromTwosComplement(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] ?? 0);
  return BigInt.asIntN(bytes.length * 8, value);
}

export function array(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new FlambeauError("PROTOCOL_ERROR", `A message of the worker has ${typeof value} where an array belongs.`);
}

export function integer(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  throw new FlambeauError("PROTOCOL_ERROR", `A message of the worker has ${typeof value} where an integer belongs.`);
}
