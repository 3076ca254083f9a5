// Live objects inside of messages: told to whoever waits for the answer, and refused where they have no meaning any more.
import { describe, expect, test } from "vitest";
import { Encoder } from "../../src/bridge/encode.ts";
import type { EncodedMessage } from "../../src/bridge/encoded.ts";
import { RECIPE, type Recipe } from "../../src/bridge/values.ts";
import { limits } from "../../src/config.ts";
import { FlambeauError } from "../../src/errors.ts";

const owner = {};

function encode(value: unknown, names?: readonly string[]): EncodedMessage {
  const encoder = new Encoder({
    owner,
    limits,
    nextAttachmentId: () => 1,
    registerFunction: () => ({ id: 1, kind: 0 }),
  });
  return encoder.message(value, names);
}

function refusal(value: unknown, names?: readonly string[]): FlambeauError {
  try {
    encode(value, names);
  } catch (error) {
    if (error instanceof FlambeauError) return error;
    throw error;
  }
  throw new TypeError("it was not refused");
}

function proxyOf(recipe: Recipe): object {
  return { [RECIPE]: recipe };
}

describe("live objects in a message", () => {
  const handle = { id: 7, lost: undefined as string | undefined, type: "torch.Tensor" };

  test("are told, so that they stay alive until the answer", () => {
    const ref = { kind: "ref", owner, handle } as const;
    const message = encode([proxyOf(ref), { deep: [proxyOf({ kind: "path", owner, base: ref, steps: ["shape"] })] }]);
    expect(message.refs).toHaveLength(2);
  });

  test("of another process are refused with their place", () => {
    const stranger = proxyOf({ kind: "ref", owner: {}, handle });
    const error = refusal([null, null, null, [1, { pipe: stranger }]], ["op", "target", "path", "args"]);
    expect(error.code).toBe("STALE_REF");
    expect(error.message).toContain("args[1].pipe is an object of another Python process");
  });

  test("that were given back are refused with the reason", () => {
    const lost = { ...handle, lost: "was released: use it before it is disposed of" };
    const error = refusal([proxyOf({ kind: "ref", owner, handle: lost })]);
    expect(error).toMatchObject({
      code: "STALE_REF",
      message: "$[0] (a torch.Tensor) was released: use it before it is disposed of.",
    });
  });

  test("that are results of failed calls fail with the very same error", () => {
    const failed = new Error("first");
    let observed = false;
    const call = {
      id: 3,
      path: "a.b()",
      state: { kind: "failed", error: failed } as const,
      observe: () => {
        observed = true;
      },
    };
    expect(() => encode([proxyOf({ kind: "result", owner, call })])).toThrow(failed);
    expect(observed).toBe(true);
  });
});
