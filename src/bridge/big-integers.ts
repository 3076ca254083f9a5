// Integers outside of 64 bits ⇄ little-endian two's complement, as Python's `int.to_bytes` writes it.

/** As short as possible. */
export function twosComplement(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (;;) {
    const low = Number(BigInt.asUintN(8, rest));
    bytes.push(low);
    rest >>= 8n;
    if ((rest === 0n && low < 0x80) || (rest === -1n && low >= 0x80)) return Uint8Array.from(bytes);
  }
}

export function fromTwosComplement(bytes: Uint8Array): bigint {
  const digits = Buffer.from(bytes).reverse().toString("hex");
  return digits === "" ? 0n : BigInt.asIntN(bytes.length * 8, BigInt(`0x${digits}`));
}
