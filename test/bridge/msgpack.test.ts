// The writer and the strict reader against msgpackr, which shares no line with them, and against frames made to do harm.
import fc from "fast-check";
import { Packr, Unpackr } from "msgpackr";
import { describe, expect, test } from "vitest";
import { MsgpackReader } from "../../src/bridge/msgpack-reader.ts";
import { MsgpackWriter } from "../../src/bridge/msgpack-writer.ts";
import { limits } from "../../src/config.ts";
import { codeOf } from "../support/errors.ts";

const MIB = 1024 * 1024;
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "bigint" });
const packr = new Packr({ useRecords: false, variableMapSize: true });

function put(writer: MsgpackWriter, value: unknown): void {
  if (value === null) writer.nil();
  else if (typeof value === "boolean") writer.boolean(value);
  else if (typeof value === "bigint") expect(writer.bigint(value)).toBe(true);
  else if (typeof value === "number")
    Number.isSafeInteger(value) && !Object.is(value, -0) ? writer.integer(value) : writer.float64(value);
  else if (typeof value === "string") writer.string(value);
  else if (value instanceof Uint8Array) writer.binary(value);
  else if (Array.isArray(value)) {
    writer.array(value.length);
    for (const item of value) put(writer, item);
  } else {
    const entries = Object.entries(value as object);
    writer.map(entries.length);
    for (const [key, item] of entries) {
      writer.string(key);
      put(writer, item);
    }
  }
}

function write(value: unknown, maxBytes = 64 * MIB): Uint8Array {
  const writer = new MsgpackWriter(maxBytes);
  writer.begin(0);
  put(writer, value);
  return writer.finish();
}

function read(bytes: Uint8Array, given: { maxDepth?: number; maxItems?: number } = {}): unknown {
  const reader = new MsgpackReader({ maxDepth: 128, maxItems: 1_000_000, ...given }, (type, _payload, inner) => [
    type,
    inner(),
  ]);
  return reader.read(bytes);
}

function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex"));
}

/** Everything that has one meaning in both libraries. */
const plain = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.double(),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
    fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
    fc.string({ unit: "binary" }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie("value"), { maxLength: 40 }),
    fc.dictionary(
      fc.string({ maxLength: 40 }).filter((key) => key !== "__proto__"),
      tie("value"),
      { maxKeys: 40, noNullPrototype: true },
    ),
  ),
})).value;

describe("msgpack", () => {
  test("what the writer writes is read back as it was", () => {
    fc.assert(
      fc.property(plain, (value) => {
        expect(read(write(value))).toStrictEqual(value);
      }),
    );
  });

  test("what the writer writes, msgpackr reads as the same value", () => {
    fc.assert(
      fc.property(plain, (value) => {
        const theirs: unknown = unpackr.unpack(Buffer.from(write(value)));
        expect(normal(theirs)).toStrictEqual(normal(value));
      }),
    );
  });

  test("what msgpackr writes is read as the same value", () => {
    fc.assert(
      fc.property(plain, (value) => {
        const theirs = packr.pack(value);
        // It writes -0 and whole floats as integers, and integers of 2^32 and more as floats: equal as numbers.
        expect(normal(read(theirs))).toStrictEqual(normal(value));
      }),
    );
  });

  test.each([
    ["-0", -0, "cb8000000000000000"],
    ["NaN", Number.NaN, "cb7ff8000000000000"],
    ["2^32, which msgpackr sends as a float", 2 ** 32, "cf0000000100000000"],
    ["the largest safe integer", Number.MAX_SAFE_INTEGER, "cf001fffffffffffff"],
    ["-33", -33, "d0df"],
    ["2^64 - 1", 2n ** 64n - 1n, "cfffffffffffffffff"],
    ["-2^63", -(2n ** 63n), "d38000000000000000"],
    ["a lone surrogate", "\ud800", "a3eda080"],
    ["a surrogate pair", "😀", "a4f09f9880"],
  ])("%s has exactly these bytes", (_name, value, bytes) => {
    expect(Buffer.from(write(value)).toString("hex")).toBe(bytes);
    expect(read(hex(bytes))).toBe(value);
  });

  test("strings pass with every code unit that JavaScript allows", () => {
    const anyUnits = fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 200 });
    fc.assert(
      fc.property(anyUnits, (units) => {
        const text = String.fromCharCode(...units);
        expect(read(write(text))).toBe(text);
      }),
    );
    const long = `${"ß".repeat(8 * MIB)}\udfff`;
    expect(read(write(long)) === long).toBe(true);
  });

  test("a key named __proto__ is an ordinary member and pollutes nothing", () => {
    const value = JSON.parse('{"__proto__": {"admin": true}, "constructor": 1, "toJSON": 2}') as object;
    const back = read(write(value)) as object;
    expect(Object.keys(back)).toEqual(["__proto__", "constructor", "toJSON"]);
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype);
    expect("admin" in back).toBe(false);
    expect("admin" in {}).toBe(false);
  });

  test("extensions of every width are read, nested ones too", () => {
    expect(read(hex("d40501"))).toEqual([5, 1]);
    expect(read(hex("d505cc80"))).toEqual([5, 128]);
    expect(read(hex("d60593010203"))).toEqual([5, [1, 2, 3]]);
    expect(read(hex("c7010501"))).toEqual([5, 1]);
    expect(read(hex("c800010501"))).toEqual([5, 1]);
    expect(read(hex("c9000000010501"))).toEqual([5, 1]);
    expect(read(hex("c7050592d40701c0"))).toEqual([5, [[7, 1], null]]);
  });

  test("a byte string is a copy of its own", () => {
    const body = write(Uint8Array.of(1, 2, 3));
    const value = read(body) as Uint8Array;
    body.fill(0);
    expect(value).toEqual(Uint8Array.of(1, 2, 3));
    expect(value.buffer.byteLength).toBe(3);
  });
});

describe("the limits of the reader", () => {
  const nested = (levels: number): Uint8Array => new Uint8Array([...new Array<number>(levels).fill(0x91), 0xc0]);

  test("depth: as many levels as allowed pass, one more is refused", () => {
    expect(() => read(nested(128))).not.toThrow();
    expect(codeOf(() => read(nested(129)))).toBe("PROTOCOL_ERROR");
    expect(codeOf(() => read(hex(`${"d405".repeat(200)}c0`)))).toBe("PROTOCOL_ERROR");
  });

  test("items: as many values as allowed pass, one more is refused", () => {
    expect(() => read(write(new Array(99).fill(null)), { maxItems: 100 })).not.toThrow();
    expect(codeOf(() => read(write(new Array(100).fill(null)), { maxItems: 100 }))).toBe("PROTOCOL_ERROR");
  });

  test.each([
    ["nothing at all", ""],
    ["a reserved code, which msgpackr lets through", "c1"],
    ["a string longer than the message", "a56162"],
    ["a string that is not UTF-8", "a2c328"],
    ["half a surrogate", "a3eda041"],
    ["an overlong surrogate", "a3edc080"],
    ["bytes longer than the message", "c6ffffffff00"],
    ["an extension longer than the message", "c9ffffffff05"],
    ["an extension longer than the value in it", "d505c0c0"],
    ["bytes behind the value", "c0c0"],
    ["half an integer", "cf0000"],
    ["a map key that is no string", "8101c0"],
    ["a map without its last value", "81a161"],
  ])("%s is refused", (_name, bytes) => {
    expect(codeOf(() => read(hex(bytes)))).toBe("PROTOCOL_ERROR");
  });

  const bombs: readonly (readonly [string, Uint8Array])[] = [
    ["five bytes that declare 30 million items", hex("dd01c9c380")],
    ["five bytes that declare 2^32 - 1 map entries", hex("dfffffffff")],
    ["5 KB of array headers in each other", hex("ddffffffff".repeat(1000))],
    ["300 KB of array headers whose length would fit", hex("dcffff".repeat(100_000))],
    ["300 KB of extensions in each other", hex("c700".repeat(150_000))],
    ["8 MB of empty maps, more than may travel", Buffer.concat([hex("dd007a1200"), Buffer.alloc(8_000_000, 0x80)])],
  ];

  test.each(bombs.slice(0, 5))("a bomb is refused at once and takes no memory: %s", (_name, bomb) => {
    const reader = new MsgpackReader(limits, () => null);
    const refuse = (): number => {
      const started = performance.now();
      expect(codeOf(() => reader.read(bomb))).toBe("PROTOCOL_ERROR");
      return performance.now() - started;
    };
    refuse();
    const before = process.memoryUsage();
    const took = Array.from({ length: 50 }, refuse).sort((a, b) => a - b);
    const after = process.memoryUsage();
    expect(took[25]).toBeLessThan(1);
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(MIB);
    expect(after.rss - before.rss).toBeLessThan(20 * MIB);
  });

  test("more items than may travel end the reading there, not at the end of memory", () => {
    const [, bomb = hex("")] = bombs[5] ?? [];
    expect(codeOf(() => new MsgpackReader({ maxDepth: 128, maxItems: 10_000 }, () => null).read(bomb))).toBe(
      "PROTOCOL_ERROR",
    );
  });
});

describe("the limit of the writer", () => {
  test("a message as long as allowed is written, one byte more is refused before it takes memory", () => {
    expect(write("x".repeat(96), 99).length).toBe(99);
    expect(codeOf(() => write("x".repeat(97), 99))).toBe("TOO_LARGE");
    expect(codeOf(() => write("€".repeat(33), 99))).toBe("TOO_LARGE");
    const before = process.memoryUsage().arrayBuffers;
    expect(codeOf(() => write("x".repeat(MIB), 1000))).toBe("TOO_LARGE");
    expect(codeOf(() => write(new Uint8Array(MIB), 1000))).toBe("TOO_LARGE");
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(3 * MIB);
  });

  test("the buffer of one long message is not kept for the next", () => {
    const writer = new MsgpackWriter(64 * MIB);
    writer.begin(0);
    writer.binary(new Uint8Array(8 * MIB));
    const long = writer.finish();
    writer.begin(0);
    writer.nil();
    expect([...writer.finish()]).toEqual([0xc0]);
    expect(long.length).toBe(8 * MIB + 5);
  });
});

/** What two libraries may tell apart and this wire does not: Buffers and byte arrays, -0 and 0, small integers as bigint. */
function normal(value: unknown): unknown {
  if (value instanceof Uint8Array) return { bytes: [...value] };
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (typeof value === "number") return Object.is(value, -0) ? 0 : value;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, normal(item)]));
}
