// Damage to bytes that were right: flipped bits, bytes too few and too many, pieces of other messages, lengths that lie.

/** Mulberry32: small, and the same on every machine. */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const WOUNDED_BYTES = 1_024;

/** One to three wounds, in the beginning of what is long. @param others what foreign pieces are cut from */
export function damage(sample: Uint8Array, random: () => number, others: readonly Uint8Array[] = [sample]): Uint8Array {
  const bytes = [...sample.subarray(0, WOUNDED_BYTES)];
  const place = (): number => Math.floor(random() * bytes.length);
  const other = (): Uint8Array => others[Math.floor(random() * others.length)] ?? sample;
  const wounds: readonly (() => void)[] = [
    () => void bytes.splice(place(), 1, Math.floor(random() * 256)),
    () => {
      const at = place();
      bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random() * 8));
    },
    () => void bytes.splice(place(), 1),
    () => void bytes.splice(place(), 0, Math.floor(random() * 256)),
    () => void bytes.splice(place()),
    () => void bytes.splice(place(), 0, ...bytes.slice(place())),
    () => {
      const piece = other();
      const from = Math.floor(random() * piece.length);
      bytes.splice(place(), Math.floor(random() * 8), ...piece.slice(from, from + Math.floor(random() * 64)));
    },
    // The first four bytes of a frame are its length; a length inside of a body stands anywhere.
    () => {
      const at = random() < 0.5 ? 0 : place();
      const lie = Math.floor(2 ** (random() * 32));
      bytes.splice(at, 4, lie & 255, (lie >>> 8) & 255, (lie >>> 16) & 255, lie >>> 24);
    },
  ];
  for (let left = 1 + Math.floor(random() ** 2 * 3); left > 0; left--) wounds[Math.floor(random() * wounds.length)]?.();
  return Buffer.concat([Uint8Array.from(bytes), sample.subarray(WOUNDED_BYTES)]);
}
