// Values on their way out: what travels, as what, and how the refusal of everything else names its place.
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { Decoder } from "../../src/bridge/decode.ts";
import { Encoder } from "../../src/bridge/encode.ts";
import type { EncodedMessage } from "../../src/bridge/encoded.ts";
import { HEADER_BYTES } from "../../src/bridge/protocol.ts";
import { PyDict, PyFloat, PySlice, PyTuple } from "../../src/bridge/values.ts";
import { limits } from "../../src/config.ts";
import { FlambeauError } from "../../src/errors.ts";
import { codeOf } from "../support/errors.ts";

type Limits = {
  readonly [name in keyof typeof limits]: (typeof limits)[name] extends number ? number : readonly number[];
};

const owner = {};
let nextId = 1;
let functions: unknown[] = [];

beforeEach(() => {
  nextId = 1;
  functions = [];
});

function encoder(given: Partial<Limits> = {}): Encoder {
  return new Encoder({
    owner,
    limits: { ...limits, ...given },
    nextAttachmentId: () => nextId++,
    registerFunction: (fn) => ({ id: functions.push(fn), kind: 0 }),
  });
}

function decoder(given: Partial<Limits> = {}): Decoder {
  return new Decoder({ limits: { ...limits, ...given }, onHandle: (handle) => handle });
}

function body(message: EncodedMessage): Uint8Array {
  return message.bytes.subarray(HEADER_BYTES);
}

/** There and back, attachments delivered. */
function travelled(value: unknown, given: Partial<Limits> = {}): unknown {
  const message = encoder(given).message(value);
  const arrived = decoder().message(body(message));
  for (const { id, bytes } of arrived.expected) {
    const sent = message.attachments.find((attachment) => attachment.id === id);
    bytes.set(sent?.bytes ?? new Uint8Array(0));
  }
  return arrived.value;
}

function refusal(value: unknown, names?: readonly string[]): FlambeauError {
  try {
    encoder().message(value, names);
  } catch (error) {
    if (error instanceof FlambeauError) return error;
    throw error;
  }
  throw new TypeError("it was not refused");
}

describe("values that travel", () => {
  const anything = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      fc.constant(null),
      fc.boolean(),
      fc.maxSafeInteger(),
      fc.double(),
      fc.bigInt({ min: 2n ** 53n, max: 2n ** 300n }),
      fc.bigInt({ min: -(2n ** 300n), max: -(2n ** 53n) }),
      fc.string({ unit: "binary" }),
      fc.uint8Array({ maxLength: 100 }),
      fc.float32Array(),
      fc.float64Array(),
      fc.int16Array(),
      fc.bigInt64Array(),
      fc.date({ min: new Date("0001-01-01T00:00:00Z"), max: new Date("9999-12-31T23:59:59Z"), noInvalidDate: true }),
      fc.array(tie("value"), { maxLength: 10 }),
      fc.uniqueArray(fc.integer()).map((items) => new Set(items)),
      fc.dictionary(fc.string(), tie("value"), { maxKeys: 10, noNullPrototype: true }),
      fc
        .uniqueArray(fc.tuple(fc.integer(), tie("value")), { selector: ([key]) => key, minLength: 1, maxLength: 5 })
        .map((pairs) => new Map(pairs)),
    ),
  })).value;

  test("come back as they were", () => {
    fc.assert(
      fc.property(anything, (value) => {
        expect(travelled(value, { inlineBytes: 8 })).toStrictEqual(value);
      }),
      { numRuns: 300 },
    );
  });

  test.each([
    ["an omitted member is left out", { a: 1, b: undefined }, { a: 1 }],
    ["undefined in an array is None", [1, undefined], [1, null]],
    ["a hole in an array is None", new Array(2), [null, null]],
    ["a tuple is an array here", new PyTuple([1, new PyTuple(["a"])]), [1, ["a"]]],
    ["a float that is whole", new PyFloat(5), 5],
    ["a zero below zero", [-0, new PyFloat(-0)], [-0, -0]],
    ["a dict with text keys", new PyDict([["a", 1]]), { a: 1 }],
    ["a map with text keys", new Map([["a", 1]]), { a: 1 }],
    [
      "a map with other keys",
      new Map<unknown, number>([
        [true, 1],
        ["true", 2],
      ]),
      new Map<unknown, number>([
        [true, 1],
        ["true", 2],
      ]),
    ],
    ["an object without a prototype", Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
    ["a Buffer", Buffer.from([1, 2]), Uint8Array.of(1, 2)],
    ["an ArrayBuffer", Uint8Array.of(1, 2).buffer, Uint8Array.of(1, 2)],
    ["a clamped array is an array of uint8", Uint8ClampedArray.of(1, 2), Uint8Array.of(1, 2)],
    ["a part of an array is that part", Float32Array.of(1, 2, 3).subarray(1), Float32Array.of(2, 3)],
    ["an array of Float64 without items", new Float64Array(0), new Float64Array(0)],
  ])("%s", (_name, value, back) => {
    expect(travelled(value)).toStrictEqual(back);
  });

  test("values of another realm travel as those of this one", () => {
    const foreign: unknown = runInNewContext(
      "({ list: [1], map: new Map([[1, 2]]), set: new Set([3]), date: new Date(4), bytes: new Uint8Array([5]), floats: new Float32Array([6]) })",
    );
    expect(travelled(foreign)).toStrictEqual({
      list: [1],
      map: new Map([[1, 2]]),
      set: new Set([3]),
      date: new Date(4),
      bytes: Uint8Array.of(5),
      floats: Float32Array.of(6),
    });
  });

  test("bytes longer than the limit for messages follow as attachments, without a copy", () => {
    const short = new Uint8Array(limits.inlineBytes).fill(1);
    const long = new Uint8Array(limits.inlineBytes + 1).fill(2);
    const floats = new Float32Array(limits.inlineBytes);
    const message = encoder().message([short, long, { floats }]);
    expect(message.attachments.map(({ id, bytes }) => [id, bytes.length])).toEqual([
      [1, long.length],
      [2, floats.byteLength],
    ]);
    expect(message.attachments[0]?.bytes).toBe(long);
    expect(message.attachments[1]?.bytes.buffer).toBe(floats.buffer);
    expect(message.bytes.length).toBeLessThan(short.length + 200);
    expect(travelled([short, long, { floats }])).toStrictEqual([short, long, { floats }]);
  });

  test("what arrives is aligned for its element type, whatever stands before it", () => {
    for (const prefix of ["", "a", "abc"]) {
      const [, array] = travelled([prefix, Float64Array.of(1.5, -0)]) as [string, Float64Array];
      expect(new Float64Array(array.buffer, array.byteOffset, array.length)).toEqual(Float64Array.of(1.5, -0));
    }
  });

  test("a getter that calls Python in the middle of a message disturbs neither message", () => {
    const shared = encoder();
    let inner: EncodedMessage | undefined;
    const value = {
      before: "x".repeat(100),
      get now() {
        inner = shared.message(["inner", 1]);
        return "now";
      },
      after: [1, 2],
    };
    const outer = decoder().message(body(shared.message(value)));
    expect(outer.value).toEqual({ before: "x".repeat(100), now: "now", after: [1, 2] });
    expect(inner && decoder().message(body(inner)).value).toEqual(["inner", 1]);
  });

  test("after a refusal the next message is whole", () => {
    const same = encoder();
    expect(codeOf(() => same.message([{ a: [Symbol("no")] }]))).toBe("NOT_SENDABLE");
    expect(decoder().message(body(same.message({ a: 1 }))).value).toEqual({ a: 1 });
  });

  test("functions are registered in their order and named by number", () => {
    const first = (): void => {};
    const second = async (): Promise<void> => {};
    encoder().message([first, { deep: second }]);
    expect(functions).toEqual([first, second]);
  });
});

describe("values that cannot travel", () => {
  class Prompt {
    text = "a cat";
  }

  test.each([
    ["a class instance", { a: [0, { b: new Prompt() }] }, "$.a[1].b is an instance of Prompt: pass a plain object"],
    ["a symbol", [Symbol("x")], "$[0] is a symbol"],
    ["an invalid date", { when: new Date(Number.NaN) }, "$.when is an invalid Date"],
    ["a date that Python has no year for", { when: new Date(8.64e15) }, "$.when is a Date in the year 275760"],
    ["a URL", { image: new URL("https://example.com/a.png") }, "$.image is a URL: pass url.href"],
    ["a promise", [Promise.resolve(1)], "$[0] is a Promise: await it first"],
    ["a regular expression", [/x/], "$[0] is an instance of RegExp"],
    ["an error", [new Error("x")], "$[0] is an instance of Error"],
    ["a WeakMap", [new WeakMap()], "$[0] is an instance of WeakMap"],
    ["a DataView", [new DataView(new ArrayBuffer(1))], "$[0] is a DataView"],
    ["a value in a map", new Map([[1, new Prompt()]]), "$.1 is an instance of Prompt"],
    ["a value in a set", new Set([new Prompt()]), "$[0] is an instance of Prompt"],
    ["a value in a tuple", new PyTuple([1, new Prompt()]), "$[1] is an instance of Prompt"],
    ["a value in a slice", new PySlice(0, Symbol("x"), null), "$[1] is a symbol"],
  ])("%s: the message names its path and what to do", (_name, value, message) => {
    const error = refusal(value);
    expect(error.code).toBe("NOT_SENDABLE");
    expect(error.message).toContain(message);
  });

  test("the path begins with what the caller wrote", () => {
    const call = [null, null, [], ["x", { a: [new Prompt()] }], { size: Symbol("x") }, 1];
    const names = ["op", "target", "path", "args", "kwargs", "tag"];
    expect(refusal(call, names).message).toContain("args[1].a[0] is an instance of Prompt");
    expect(refusal([null, null, [], [], call[4], 1], names).message).toContain("kwargs.size is a symbol");
  });

  test("a cycle is found and both of its ends are named", () => {
    const outer: Record<string, unknown> = { name: "outer" };
    outer["list"] = [1, { back: outer }];
    expect(refusal({ config: outer }).message).toContain("$.config.list[1].back is $.config again");
    const list: unknown[] = [];
    list.push(list);
    expect(refusal(list).message).toContain("$[0] is $ again");
    const map = new Map<string, unknown>();
    map.set("self", map);
    expect(refusal(map)).toMatchObject({ code: "NOT_SENDABLE" });
  });

  test("depth: as deep as allowed travels in every kind of container, one level more is refused with a path of readable length", () => {
    const wrap: readonly ((value: unknown) => unknown)[] = [
      (value) => [value],
      (value) => ({ a: value }),
      (value) => new PyTuple([value]),
      (value) => new Map([[1, value]]),
      (value) => new Set([value]),
    ];
    for (const around of wrap) {
      let value: unknown = 1;
      for (let level = 0; level < limits.maxDepth; level++) value = around(value);
      expect(() => travelled(value)).not.toThrow();
      const error = refusal(around(value));
      expect(error.message).toContain("nested too deeply: at most 128 levels");
      expect(error.message.length).toBeLessThan(200);
    }
    let deep: unknown = 1;
    for (let level = 0; level < 100_000; level++) deep = [deep];
    expect(refusal(deep).code).toBe("NOT_SENDABLE");
  });

  test("more values than may travel are refused before they take memory", () => {
    const before = process.memoryUsage().arrayBuffers;
    expect(refusal(new Array(1_000_000_000)).code).toBe("TOO_LARGE");
    let doubling: unknown = "x";
    for (let level = 0; level < 100; level++) doubling = [doubling, doubling];
    const started = performance.now();
    expect(codeOf(() => encoder({ maxItems: 100_000 }).message(doubling))).toBe("TOO_LARGE");
    expect(performance.now() - started).toBeLessThan(2_000);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * 1024 * 1024);
  });

  test("a message over the limit of a frame is refused, the next one is not", () => {
    const small = encoder({ maxFrameBytes: 1_000 });
    expect(codeOf(() => small.message(["x".repeat(1_000)]))).toBe("TOO_LARGE");
    expect(small.message(["x".repeat(990)]).bytes.length).toBeLessThan(1_016);
  });

  test("an attachment over the limit is refused with its place", () => {
    expect(codeOf(() => encoder({ maxAttachmentBytes: 20_000 }).message([new Uint8Array(20_001)]))).toBe("TOO_LARGE");
  });
});
