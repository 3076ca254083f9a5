// Values on their way in: whatever bytes come, a value or a PROTOCOL_ERROR.
import { describe, expect, test } from "vitest";
import { Decoder } from "../../src/bridge/decode.ts";
import { Encoder } from "../../src/bridge/encode.ts";
import { HEADER_BYTES } from "../../src/bridge/protocol.ts";
import { PyTuple } from "../../src/bridge/values.ts";
import { limits } from "../../src/config.ts";
import { codeOf } from "../support/errors.ts";
import { damage, seeded } from "../wire/damage.ts";

function decoder(given: { readonly maxAttachmentBytes?: number } = {}): Decoder {
  return new Decoder({ limits: { ...limits, ...given }, onHandle: (handle) => handle });
}

/** The body of a message that says this. */
function body(value: unknown): Uint8Array {
  const encoder = new Encoder({
    owner: {},
    limits: { ...limits, inlineBytes: 16 },
    nextAttachmentId: () => 1,
    registerFunction: () => ({ id: 1, kind: 0 }),
  });
  return encoder.message(value).bytes.subarray(HEADER_BYTES);
}

describe("what arrives and is not of our wire", () => {
  const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"));

  test.each([
    ["an unknown extension", "d46300"],
    ["an extension that only the host sends", "d40107"],
    ["a handle that is no array", "d40e05"],
    ["a handle without numbers", "c7050e94a0a0a0a0"],
    ["a tuple that is no array", "d40701"],
    ["a set without items", "d6089101c0c0".slice(0, 8)],
    ["a map of things that are no pairs", "d5099101"],
    ["an array of an element type without a typed array", "c70f0c93a7666c6f61743136c0c40100"],
    ["an array whose bytes are no whole elements", "c7100c93a7666c6f61743332c0c403000000"],
    ["an array whose shape does not fit its bytes", "c7130c93a7666c6f617433329202 02c40400000000".replaceAll(" ", "")],
    ["a complex number of eight bytes", "d7130000000000000000"],
    ["an attachment of a negative length", "c7030d9201ff"],
    ["an attachment larger than the limit", "c70b0d9201cf0000100000000000"],
  ])("%s is refused as PROTOCOL_ERROR", (_name, text) => {
    expect(codeOf(() => decoder().message(bytes(text)))).toBe("PROTOCOL_ERROR");
  });

  test("attachments that are too large together are refused", () => {
    const one = "c7060d9201ce7fffffff"; // 2 GiB - 1
    expect(codeOf(() => decoder().message(bytes(`93${one}${one}${one}`)))).toBe("PROTOCOL_ERROR");
  });

  test("20,000 damaged messages are read or refused as PROTOCOL_ERROR, and nothing else happens", () => {
    const samples = [
      [null, true, -1, 2 ** 40, 1.5, "text ß", Uint8Array.of(1, 2, 3)],
      { prompt: "a cat", steps: 30, deep: { a: [{ b: [1, 2, 3] }] } },
      [new PyTuple([1, 2]), new Set([1]), new Map([[1, "x"]]), new Date(0), 2n ** 80n],
      [Float32Array.of(1, 2, 3), new Uint8Array(40), Uint8ClampedArray.of(9)],
    ].map(body);
    samples.push(bytes("c7110e940cac746f7263682e54656e736f720300"), bytes("d8133ff80000000000008000000000000000"));
    const random = seeded(20261123);
    const strict = decoder({ maxAttachmentBytes: 1024 * 1024 });
    const outcomes = new Map<string | undefined, number>();
    for (let round = 0; round < 20_000; round++) {
      const damaged = damage(samples[round % samples.length] ?? new Uint8Array(1), random);
      const code = codeOf(() => strict.message(damaged));
      outcomes.set(code, (outcomes.get(code) ?? 0) + 1);
    }
    expect([...outcomes.keys()].sort()).toEqual(["PROTOCOL_ERROR", undefined]);
    // Both happen often, so the damage reaches past the first byte and does not spare everything.
    for (const count of outcomes.values()) expect(count).toBeGreaterThan(1_000);
  });
});
