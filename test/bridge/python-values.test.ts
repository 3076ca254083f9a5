// Values to a real Python and back: exactly, or refused with their place.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { PyArg, PyExpr, Python } from "../../src/bridge/stub-types.ts";
import { failureOf } from "../support/errors.ts";
import { startWorker, type TestWorker } from "../support/worker.ts";

let running: TestWorker;
let py: Python;
let subject: PyExpr;

beforeAll(async () => {
  running = await startWorker();
  ({ py, subject } = running);
});

afterAll(() => running[Symbol.asyncDispose]());

const told = (...values: PyArg[]): Promise<string> => subject.told.$call(values).$string();
const echo = async (value: PyArg): Promise<unknown> => subject.echo.$call([value]);
const copy = (value: PyArg): Promise<unknown> => subject.echo.$call([value]).$value();

describe("numbers", () => {
  test.each([
    [0, "int 0"],
    [-1, "int -1"],
    [8_589_934_592, "int 8589934592"],
    [Number.MAX_SAFE_INTEGER, "int 9007199254740991"],
    [Number.MIN_SAFE_INTEGER, "int -9007199254740991"],
    [2n ** 53n + 1n, "int 9007199254740993"],
    [2n ** 63n - 1n, "int 9223372036854775807"],
    [2n ** 64n - 1n, "int 18446744073709551615"],
    [-(2n ** 63n), "int -9223372036854775808"],
    [10n ** 40n, `int 1${"0".repeat(40)}`],
    [-(2n ** 200n), `int -${2n ** 200n}`],
    [1.5, "float 1.5"],
    [-0, "float -0.0"],
    [Number.NaN, "float nan"],
    [Number.NEGATIVE_INFINITY, "float -inf"],
    [2 ** 60, "float 1.152921504606847e+18"],
  ])("%s arrives as %s and comes back as it was", async (value, written) => {
    expect(await told(value)).toBe(written);
    expect(await echo(value)).toBe(value);
  });

  test("small integers come as number however they left, large ones as bigint", async () => {
    expect(await echo(5n)).toBe(5);
    expect(await py.expr`2**53 - 1`).toBe(2 ** 53 - 1);
    expect(await py.expr`2**53 + 1`).toBe(2n ** 53n + 1n);
    expect(await py.expr`2**200`).toBe(2n ** 200n);
    expect(await py.expr`[1, 2**70, -(2**64)]`.$value()).toEqual([1, 2n ** 70n, -(2n ** 64n)]);
  });

  test("a float that is whole can be asked for, and Python's 5.0 is 5 here", async () => {
    expect(await told(5, py.float(5), py.int(5))).toBe("int 5, float 5.0, int 5");
    expect(await told([py.float(1)], { scale: py.float(2) })).toBe("list [1.0], dict {'scale': 2.0}");
    expect(await py.expr`5.0`).toBe(5);
  });

  test("booleans, None and complex numbers keep their type", async () => {
    expect(await told(true, false, null, py.none)).toBe("bool True, bool False, NoneType None, NoneType None");
    expect(await py.expr`[1.5-2j]`.$value()).toEqual([{ real: 1.5, imag: -2 }]);
  });
});

describe("text and bytes", () => {
  test.each([
    ["emoji", "🦝 ✨"],
    ["NUL", "a\0b"],
    ["a lone high surrogate", "a\ud800b"],
    ["a lone low surrogate", "\udfff"],
    ["surrogates in the wrong order", "\udc00\ud800"],
    ["nothing", ""],
  ])("%s passes", async (_name, text) => {
    expect(await echo(text)).toBe(text);
    expect(await subject.echo(text).encode("utf-16-le", "surrogatepass").hex()).toBe(
      Buffer.from(text, "utf16le").toString("hex"),
    );
  });

  test("16 MB of text passes", async () => {
    const text = "ß".repeat(8 * 1024 * 1024);
    expect((await echo(text)) === text).toBe(true);
  });

  test.each([0, 1, 16_383, 16_384, 16_385, 65_535, 65_537, 3_000_000])("%d bytes pass", async (length) => {
    const bytes = new Uint8Array(length).map((_, at) => at * 7);
    expect(await py.import("hashlib").sha256(bytes).hexdigest()).toBe(
      (await import("node:crypto")).createHash("sha256").update(bytes).digest("hex"),
    );
    const back = await echo(bytes);
    expect(back instanceof Uint8Array && Buffer.from(back).equals(bytes)).toBe(true);
  });

  test("bytearray, memoryview and array.array are copied as bytes and numbers", async () => {
    expect(await py.expr`[bytearray(b'ab'), memoryview(b'abcd')[::2]]`.$value()).toEqual([
      Uint8Array.of(97, 98),
      Uint8Array.of(97, 99),
    ]);
    expect(await py.expr`__import__('array').array('d', [1.5, -0.0])`.$array(Float64Array)).toEqual(
      Float64Array.of(1.5, -0),
    );
  });
});

describe("containers", () => {
  test("arrive as what they are", async () => {
    expect(await told([1, [2]], { a: 1 }, new Map([[1, "x"]]), new Set([1]))).toBe(
      "list [1, [2]], dict {'a': 1}, dict {1: 'x'}, set {1}",
    );
    expect(await told(py.tuple(1, py.tuple("a")), py.set([1]), py.slice(1, null, 2), py.dict({ a: 1 }))).toBe(
      "tuple (1, ('a',)), set {1}, slice slice(1, None, 2), dict {'a': 1}",
    );
  });

  test("undefined is left out of objects and None elsewhere", async () => {
    expect(await told([1, undefined as never], { a: undefined, b: 1 }, undefined as never)).toBe(
      "list [1, None], dict {'b': 1}, NoneType None",
    );
  });

  test("dicts with keys of every kind come back whole", async () => {
    expect(await py.expr`{1: 'a', (1, 2): 3, None: 1, 1.5: 2}`.$value()).toEqual(
      new Map<unknown, unknown>([
        [1, "a"],
        [[1, 2], 3],
        [null, 1],
        [1.5, 2],
      ]),
    );
    expect(await py.expr`{True: 1, 'true': 2}`.$value()).toEqual(
      new Map<unknown, number>([
        [true, 1],
        ["true", 2],
      ]),
    );
  });

  test("keys that JavaScript objects have of their own survive and pollute nothing", async () => {
    const keys = ["__proto__", "constructor", "then", "length", "toJSON"];
    const value = (await py.expr`{k: {'admin': True} for k in ${keys}}`.$value()) as object;
    expect(Object.keys(value)).toEqual(keys);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(({} as { admin?: unknown }).admin).toBeUndefined();
    expect(await told(py.dict(Object.entries(value) as never))).toContain("'__proto__': {'admin': True}");
  });

  test("tuples, named tuples and ranges stay in Python and keep their type", async () => {
    const tuple = await py.expr`(1, 2)`;
    expect(tuple.$type).toBe("tuple");
    expect(await told(tuple)).toBe("tuple (1, 2)");
    const range = await py.expr`range(10**9)`;
    expect(range.$length).toBe(1_000_000_000);
    expect(await range[999_999_999]).toBe(999_999_999);
    const named = await py.import("collections").namedtuple("Point", ["x", "y"])(1, 2);
    expect(await subject.told(named)).toBe("Point Point(x=1, y=2)");
    expect(await named.x).toBe(1);
  });

  test("sets come as Set", async () => {
    expect(await py.expr`[{1, 2}, frozenset('a')]`.$value()).toEqual([new Set([1, 2]), new Set(["a"])]);
  });

  test("a cycle is refused on either side, with its place", async () => {
    const loop: Record<string, PyArg> = {};
    loop["self"] = loop;
    expect(await failureOf(echo(loop))).toMatchObject({
      code: "NOT_SENDABLE",
      message: expect.stringContaining("args[0].self is args[0] again"),
    });
    expect(await failureOf(subject.cyclic().$value())).toMatchObject({
      code: "NOT_SENDABLE",
      message: expect.stringContaining("$.a[1].back"),
    });
  });

  test("10,000 levels are refused on either side; both go on", async () => {
    let deep: PyArg = 1;
    for (let level = 0; level < 10_000; level++) deep = [deep];
    expect(await failureOf(echo(deep))).toMatchObject({ code: "NOT_SENDABLE" });
    expect(await failureOf(subject.deep_list(10_000).$value())).toMatchObject({ code: "NOT_SENDABLE" });
    expect(await failureOf(subject.deep_tuple(10_000).$value())).toMatchObject({ code: "NOT_SENDABLE" });
    expect(await subject.echo(1)).toBe(1);
  });

  test("120 levels of lists and of tuples pass in both directions", async () => {
    const depth = (value: unknown): number => (Array.isArray(value) ? 1 + depth(value[0]) : 0);
    expect(depth(await subject.deep_list(119).$value())).toBe(120);
    expect(depth(await subject.deep_tuple(120).$value())).toBe(120);
    let list: PyArg = 1;
    let tuple: PyArg = 1;
    for (let level = 0; level < 120; level++) [list, tuple] = [[list], py.tuple(tuple)];
    expect(depth(await copy(list))).toBe(120);
    expect(depth(await copy(tuple))).toBe(120);
  });

  test("a member that cannot be copied is named; without a copy it stays where it is", async () => {
    const result = await py.expr`{'a': [1, __import__('threading').Lock()]}`;
    expect(await failureOf(result.$value())).toMatchObject({
      code: "NOT_SENDABLE",
      message: expect.stringMatching(/\$\.a\[1\] is a _thread\.lock/),
    });
    expect(await result.$item("a")[1].locked()).toBe(false);
  });
});

describe("dates and other types", () => {
  test("a Date is an aware datetime; what it cannot hold comes as text or seconds", async () => {
    const date = new Date("2026-11-23T01:02:03.004Z");
    expect(await told(date)).toBe(
      "datetime datetime.datetime(2026, 11, 23, 1, 2, 3, 4000, tzinfo=datetime.timezone.utc)",
    );
    const module = py.import("datetime");
    expect(await copy(module.datetime(2026, 11, 23, 1, 2, 3, 4000, { tzinfo: module.timezone.utc }))).toEqual(date);
    expect(await copy(module.datetime(2026, 11, 23, 1, 2, 3, 4005, { tzinfo: module.timezone.utc }))).toBe(
      "2026-11-23T01:02:03.004005+00:00",
    );
    expect(await copy(module.datetime(2026, 11, 23))).toBe("2026-11-23T00:00:00");
    expect(await copy(module.date(2026, 11, 23))).toBe("2026-11-23");
    expect(await copy(module.time(1, 2, 3))).toBe("01:02:03");
    expect(await copy(module.timedelta({ milliseconds: -1500 }))).toBe(-1.5);
  });

  test("an invalid date, a class instance and a URL are refused before anything is sent", async () => {
    expect(await failureOf(echo(new Date(Number.NaN)))).toMatchObject({ code: "NOT_SENDABLE" });
    expect(await failureOf(echo(new URL("file:///a") as never))).toMatchObject({ code: "NOT_SENDABLE" });
    expect(await failureOf(echo(new (class Prompt {})() as never))).toMatchObject({ code: "NOT_SENDABLE" });
  });

  test.each([
    ["an enum member is its value", "__import__('enum').Enum('Color', 'RED')['RED']", 1],
    [
      "a dataclass is its fields",
      "__import__('dataclasses').make_dataclass('P', ['x', 'y'])(1, [2])",
      { x: 1, y: [2] },
    ],
    ["a Decimal is text", "__import__('decimal').Decimal('1.10')", "1.10"],
    ["a Fraction is text", "__import__('fractions').Fraction(1, 3)", "1/3"],
    ["a UUID is text", "__import__('uuid').UUID(int=1)", "00000000-0000-0000-0000-000000000001"],
    ["a Path is text", "__import__('pathlib').Path('/a/b')", "/a/b"],
    ["a numpy scalar is a number", "__import__('numpy').int64(7)", 7],
    ["a numpy float is a number", "__import__('numpy').float32(1.5)", 1.5],
    ["a numpy truth is a boolean", "__import__('numpy').bool_(True)", true],
    ["an array without dimensions is a number", "__import__('numpy').array(7)", 7],
  ])("%s in a copy", async (_name, source, value) => {
    expect(await py.import("builtins").$get("eval")(source).$value()).toEqual(value);
  });
});
