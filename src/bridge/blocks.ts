// Memory that bulk data from Python arrives in, kept for what comes next once it is given back: the pages of fresh memory take longer
// than the bytes. Nothing is taken back by itself, because nobody can tell what else lies over a buffer.

export interface BlockLimits {
  /** Less than this is not worth keeping. */
  readonly blockBytes: number;
  readonly keptBytes: number;
}

/** Not zeroed: pages that are never filled cost nothing. */
export function fresh(length: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
}

export class Blocks {
  readonly #limits: BlockLimits;
  /** Newest last. */
  #idle: ArrayBuffer[] = [];

  constructor(limits: BlockLimits) {
    this.#limits = limits;
  }

  /** Memory of exactly this length, whatever is in it. */
  take(length: number): Uint8Array {
    const place = this.#idle.findLastIndex(({ byteLength }) => byteLength === length);
    const [kept] = place < 0 ? [] : this.#idle.splice(place, 1);
    return kept === undefined ? fresh(length) : new Uint8Array(kept);
  }

  /** Takes the memory away from whoever still looks at it, so that nobody sees what comes next. */
  giveBack({ buffer }: ArrayBufferView): void {
    if (!(buffer instanceof ArrayBuffer) || buffer.byteLength < this.#limits.blockBytes) return;
    this.#idle.push(structuredClone(buffer, { transfer: [buffer] }));
    let bytes = this.#idle.reduce((sum, { byteLength }) => sum + byteLength, 0);
    while (bytes > this.#limits.keptBytes) bytes -= this.#idle.shift()?.byteLength ?? bytes;
  }

  clear(): void {
    this.#idle = [];
  }
}
