// Writes msgpack into one growing buffer. Knows the format only; which value becomes what is decided in encode.ts.
// Written here because the exact bytes matter: 5.0 stays a float, -0 keeps its sign, lone surrogates pass through,
// extensions nest without a second buffer.
import { FlambeauError } from "../errors.ts";

const INITIAL_BYTES = 4096;
/** A buffer that grew beyond this for one large message is not kept for the next. */
const KEPT_BYTES = 1024 * 1024;

export class MsgpackWriter {
  #bytes = new Uint8Array(new ArrayBuffer(INITIAL_BYTES));
  #view = new DataView(this.#bytes.buffer);
  #at = 0;
  readonly #encoder = new TextEncoder();
  readonly #maxBytes: number;

  /** `maxBytes` bounds a message: whatever would be longer is TOO_LARGE before it takes memory. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Begins a message, leaving room for a header in front. */
  begin(headerBytes: number): void {
    if (this.#bytes.length > KEPT_BYTES) this.#replace(INITIAL_BYTES);
    this.#at = headerBytes;
  }

  /** The message so far as a copy of its own, out of node's pool where it is small: memory of its own costs more than the copy. */
  finish(): Uint8Array {
    if (this.#at > this.#maxBytes) throw this.#tooLarge();
    const message = Buffer.allocUnsafe(this.#at);
    message.set(this.#at === this.#bytes.length ? this.#bytes : this.#bytes.subarray(0, this.#at));
    return message;
  }

  nil(): void {
    this.#byte(0xc0);
  }

  boolean(value: boolean): void {
    this.#byte(value ? 0xc3 : 0xc2);
  }

  /** A safe integer. */
  integer(value: number): void {
    if (value >= 0) {
      if (value < 0x80) return this.#byte(value);
      if (value < 0x100) return this.#tagged8(0xcc, value);
      if (value < 0x10000) return this.#tagged16(0xcd, value);
      if (value < 0x100000000) return this.#tagged32(0xce, value);
      return this.#tagged64(0xcf, BigInt(value));
    }
    if (value >= -0x20) return this.#byte(value & 0xff);
    if (value >= -0x80) return this.#tagged8(0xd0, value & 0xff);
    if (value >= -0x8000) return this.#tagged16(0xd1, value & 0xffff);
    if (value >= -0x80000000) return this.#tagged32(0xd2, value >>> 0);
    return this.#tagged64(0xd3, BigInt(value));
  }

  /** False if it is outside int64 and uint64: nothing is written then. */
  bigint(value: bigint): boolean {
    if (value >= -(2n ** 63n) && value < 0n) this.#tagged64(0xd3, value);
    else if (value >= 0n && value < 2n ** 64n) this.#tagged64(0xcf, value);
    else return false;
    return true;
  }

  float64(value: number): void {
    this.#reserve(9);
    this.#bytes[this.#at] = 0xcb;
    this.#view.setFloat64(this.#at + 1, value);
    this.#at += 9;
  }

  string(value: string): void {
    const worst = value.length * 3;
    this.#reserve(worst + 5, value.length);
    const start = this.#at;
    const head = worst < 32 ? 1 : worst < 0x100 ? 2 : worst < 0x10000 ? 3 : 5;
    const length = this.#utf8(value, start + head);
    if (head === 1) this.#bytes[start] = 0xa0 | length;
    else if (head === 2) this.#header(start, 0xd9, 1, length);
    else if (head === 3) this.#header(start, 0xda, 2, length);
    else this.#header(start, 0xdb, 4, length);
    this.#at = start + head + length;
  }

  binary(value: Uint8Array): void {
    const { length } = value;
    if (length < 0x100) this.#tagged8(0xc4, length);
    else if (length < 0x10000) this.#tagged16(0xc5, length);
    else this.#tagged32(0xc6, length);
    this.raw(value);
  }

  array(length: number): void {
    if (length < 16) this.#byte(0x90 | length);
    else if (length < 0x10000) this.#tagged16(0xdc, length);
    else this.#tagged32(0xdd, length);
  }

  map(length: number): void {
    if (length < 16) this.#byte(0x80 | length);
    else if (length < 0x10000) this.#tagged16(0xde, length);
    else this.#tagged32(0xdf, length);
  }

  /** An extension whose payload `body` writes; its length is filled in afterwards. */
  extension(type: number, body: () => void): void {
    this.#reserve(6);
    const start = this.#at;
    this.#bytes[start] = 0xc9;
    this.#bytes[start + 5] = type;
    this.#at += 6;
    body();
    this.#view.setUint32(start + 1, this.#at - start - 6);
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #utf8(value: string, at: number): number {
    const bytes = this.#bytes;
    if (value.length <= 64) {
      let i = 0;
      for (; i < value.length; i++) {
        const code = value.charCodeAt(i);
        if (code >= 0x80) break;
        bytes[at + i] = code;
      }
      if (i === value.length) return i;
    }
    if (value.isWellFormed()) return this.#encoder.encodeInto(value, bytes.subarray(at)).written;
    return writeSurrogates(value, bytes, at);
  }

  #byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#at++] = value;
  }

  #tagged8(tag: number, value: number): void {
    this.#reserve(2);
    this.#bytes[this.#at] = tag;
    this.#bytes[this.#at + 1] = value;
    this.#at += 2;
  }

  #tagged16(tag: number, value: number): void {
    this.#reserve(3);
    this.#header(this.#at, tag, 2, value);
    this.#at += 3;
  }

  #tagged32(tag: number, value: number): void {
    this.#reserve(5);
    this.#header(this.#at, tag, 4, value);
    this.#at += 5;
  }

  #tagged64(tag: number, value: bigint): void {
    this.#reserve(9);
    this.#bytes[this.#at] = tag;
    this.#view.setBigUint64(this.#at + 1, BigInt.asUintN(64, value));
    this.#at += 9;
  }

  #header(at: number, tag: number, width: 1 | 2 | 4, value: number): void {
    this.#bytes[at] = tag;
    if (width === 1) this.#bytes[at + 1] = value;
    else if (width === 2) this.#view.setUint16(at + 1, value);
    else this.#view.setUint32(at + 1, value);
  }

  /** Room for `more` bytes, of which `least` are sure to be used. */
  #reserve(more: number, least = more): void {
    if (this.#at + least > this.#maxBytes) throw this.#tooLarge();
    const needed = this.#at + more;
    if (needed <= this.#bytes.length) return;
    this.#replace(Math.max(needed, this.#bytes.length * 2));
  }

  #tooLarge(): FlambeauError {
    return new FlambeauError(
      "TOO_LARGE",
      `What is to be sent takes more than the ${this.#maxBytes} bytes that travel in one message. Send numbers in bulk as typed arrays, and other data in parts.`,
    );
  }

  #replace(length: number): void {
    const grown = new Uint8Array(new ArrayBuffer(length));
    grown.set(this.#bytes.subarray(0, Math.min(this.#at, length)));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/** UTF-8 in which a lone surrogate is three bytes (WTF-8; Python's `surrogatepass`). Returns the bytes written. */
function writeSurrogates(value: string, bytes: Uint8Array, start: number): number {
  let at = start;
  for (const character of value) {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0x80) bytes[at++] = code;
    else if (code < 0x800) {
      bytes[at++] = 0xc0 | (code >> 6);
      bytes[at++] = 0x80 | (code & 0x3f);
    } else if (code < 0x10000) {
      bytes[at++] = 0xe0 | (code >> 12);
      bytes[at++] = 0x80 | ((code >> 6) & 0x3f);
      bytes[at++] = 0x80 | (code & 0x3f);
    } else {
      bytes[at++] = 0xf0 | (code >> 18);
      bytes[at++] = 0x80 | ((code >> 12) & 0x3f);
      bytes[at++] = 0x80 | ((code >> 6) & 0x3f);
      bytes[at++] = 0x80 | (code & 0x3f);
    }
  }
  return at - start;
}
