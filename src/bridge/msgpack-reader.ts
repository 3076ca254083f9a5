// Reads one whole msgpack value, strictly: every declared length is held against the bytes left, depth and items are bounded,
// reserved codes and bytes behind the value are refused. So a broken or hostile frame costs microseconds and no memory.
// Knows the format only; extensions go to the function that it is handed.
import { FlambeauError } from "../errors.ts";

export interface ReadLimits {
  readonly maxDepth: number;
  readonly maxItems: number;
}

/** Turns an extension into a value; `read` reads the payload as one value, `payload` is it raw (a view: copy to keep). */
export type ReadExtension = (type: number, payload: Uint8Array, read: () => unknown) => unknown;

export class MsgpackReader {
  readonly #limits: ReadLimits;
  readonly #extension: ReadExtension;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #bytes: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(this.#bytes.buffer);
  #at = 0;
  #end = 0;
  #depth = 0;
  #items = 0;

  constructor(limits: ReadLimits, extension: ReadExtension) {
    this.#limits = limits;
    this.#extension = extension;
  }

  /**
   * One value that fills `bytes` exactly. Byte strings are copied out.
   * @throws FlambeauError PROTOCOL_ERROR
   */
  read(bytes: Uint8Array): unknown {
    // A Buffer's own slice() does not copy: a plain view of the same bytes does.
    this.#bytes =
      bytes.constructor === Uint8Array ? bytes : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = 0;
    this.#end = bytes.length;
    this.#depth = 0;
    this.#items = 0;
    const value = this.#value();
    if (this.#at !== this.#end) throw broken(`${this.#end - this.#at} bytes follow the value`);
    return value;
  }

  #value(): unknown {
    if (++this.#items > this.#limits.maxItems) throw broken(`more than ${this.#limits.maxItems} items`);
    const tag = this.#uint(1);
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.#map(tag & 0x0f);
    if (tag < 0xa0) return this.#array(tag & 0x0f);
    if (tag < 0xc0) return this.#string(tag & 0x1f);
    if (tag >= 0xe0) return tag - 0x100;
    return this.#tagged(tag);
  }

  #tagged(tag: number): unknown {
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#take(this.#uint(2 ** (tag - 0xc4))).slice();
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.#ext(this.#uint(2 ** (tag - 0xc7)));
      case 0xca:
        return this.#view.getFloat32(this.#step(4));
      case 0xcb:
        return this.#view.getFloat64(this.#step(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#uint(2 ** (tag - 0xcc));
      case 0xcf:
        return exact(this.#view.getBigUint64(this.#step(8)));
      case 0xd0:
        return this.#view.getInt8(this.#step(1));
      case 0xd1:
        return this.#view.getInt16(this.#step(2));
      case 0xd2:
        return this.#view.getInt32(this.#step(4));
      case 0xd3:
        return exact(this.#view.getBigInt64(this.#step(8)));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#string(this.#uint(2 ** (tag - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(2 * (tag - 0xdb)));
      case 0xde:
      case 0xdf:
        return this.#map(this.#uint(2 * (tag - 0xdd)));
      default:
        if (tag >= 0xd4 && tag <= 0xd8) return this.#ext(2 ** (tag - 0xd4));
        throw broken(`the reserved code 0x${tag.toString(16)}`);
    }
  }

  #array(length: number): unknown[] {
    this.#enter(length);
    const items: unknown[] = [];
    for (let i = 0; i < length; i++) items.push(this.#value());
    this.#depth--;
    return items;
  }

  /** Our own side sends other keys as an extension, so keys are strings here. */
  #map(length: number): Record<string, unknown> {
    this.#enter(length * 2);
    const object: Record<string, unknown> = {};
    for (let i = 0; i < length; i++) {
      const key = this.#value();
      if (typeof key !== "string") throw broken(`a map key of type ${typeof key}`);
      if (key === "__proto__") {
        Object.defineProperty(object, key, {
          value: this.#value(),
          enumerable: true,
          configurable: true,
          writable: true,
        });
      } else object[key] = this.#value();
    }
    this.#depth--;
    return object;
  }

  #ext(length: number): unknown {
    const type = this.#uint(1);
    this.#enter(length);
    const outerEnd = this.#end;
    const start = this.#at;
    this.#end = start + length;
    const payload = this.#bytes.subarray(start, this.#end);
    const value = this.#extension(type, payload, () => {
      const inner = this.#value();
      if (this.#at !== this.#end) throw broken("an extension longer than its value");
      return inner;
    });
    this.#at = start + length;
    this.#end = outerEnd;
    this.#depth--;
    return value;
  }

  #string(length: number): string {
    const bytes = this.#take(length);
    if (length < 32) {
      let text = "";
      let i = 0;
      for (; i < length; i++) {
        const code = bytes[i] ?? 0;
        if (code >= 0x80) break;
        text += String.fromCharCode(code);
      }
      if (i === length) return text;
    }
    try {
      return this.#decoder.decode(bytes);
    } catch {
      return readSurrogates(bytes);
    }
  }

  #enter(least: number): void {
    if (least > this.#end - this.#at)
      throw broken(`${least} items or bytes declared, ${this.#end - this.#at} bytes left`);
    if (++this.#depth > this.#limits.maxDepth) throw broken(`nesting deeper than ${this.#limits.maxDepth}`);
  }

  #take(length: number): Uint8Array {
    const start = this.#step(length);
    return this.#bytes.subarray(start, start + length);
  }

  #step(length: number): number {
    const start = this.#at;
    if (length > this.#end - start) throw broken(`${length} bytes declared, ${this.#end - start} left`);
    this.#at = start + length;
    return start;
  }

  #uint(width: number): number {
    const at = this.#step(width);
    if (width === 1) return this.#view.getUint8(at);
    return width === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }
}

function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function broken(what: string): FlambeauError {
  return new FlambeauError("PROTOCOL_ERROR", `A message of the worker could not be read: ${what}.`);
}

/** The reverse of Python's `surrogatepass`; anything else that is not UTF-8 is refused. */
function readSurrogates(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let out = "";
  let plainFrom = 0;
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const plain = (to: number): void => {
    try {
      out += decoder.decode(text.subarray(plainFrom, to));
    } catch {
      throw broken("a string that is not UTF-8");
    }
  };
  for (let i = 0; i + 2 < text.length; i++) {
    const second = text[i + 1] ?? 0;
    const third = text[i + 2] ?? 0;
    if (text[i] !== 0xed || second < 0xa0 || second > 0xbf || (third & 0xc0) !== 0x80) continue;
    plain(i);
    out += String.fromCharCode(0xd000 | ((second & 0x3f) << 6) | (third & 0x3f));
    plainFrom = i + 3;
    i += 2;
  }
  plain(text.length);
  return out;
}
