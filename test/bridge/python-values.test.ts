// Values to a real Python and back: exactly, or refused with their place.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { PyArg } from "../../src/bridge/stub-types.ts";
import { failureOf } from "../support/errors.ts";
import { workerForFile } from "../support/worker.ts";

const { py, subject } = await workerForFile();

/** How the arguments arrived, as Python writes them. */
const told = (...values: PyArg[]): Promise<string> => subject.told.$call(values).$string();
const echo = async (value: PyArg): Promise<unknown> => subject.echo.$call([value]);
const copy = (value: PyArg): Promise<unknown> => subject.echo.$call([value]).$value();
const evaluated = (source: string): Promise<unknown> => py.import("builtins").$get("eval")(source).$value();
const refused = async (promise: PromiseLike<unknown>): Promise<string> => {
  const error = await failureOf(promise);
  expect(error).toMatchObject({ code: "NOT_SENDABLE" });
  return error.message;
};

describe("numbers", () => {
  test("integers of any size arrive exactly: number within 2^53, bigint beyond it, also past 64 bits", async () => {
    for (const value of [
      0,
      -1,
      Number.MAX_SAFE_INTEGER,
      Number.MIN_SAFE_INTEGER,
      2n ** 53n + 1n,
      2n ** 63n - 1n,
      2n ** 64n - 1n,
      -(2n ** 63n),
      10n ** 40n,
      2n ** 200n,
      -(2n ** 200n),
    ]) {
      expect(await told(value)).toBe(`int ${value}`);
      expect(await echo(value)).toBe(value);
    }
    expect(await echo(5n)).toBe(5);
    expect(await py.expr`2**53 - 1`).toBe(2 ** 53 - 1);
    expect(await py.expr`2**53 + 1`).toBe(2n ** 53n + 1n);
    expect(await py.expr`[1, 2**70, -(2**64)]`.$value()).toEqual([1, 2n ** 70n, -(2n ** 64n)]);
  });

  test("a whole number of 2^32 or more is an int in Python and not a float", async () => {
    for (const value of [2 ** 32, 8_589_934_592, 1_795_000_000_000, -(2 ** 33), Number.MAX_SAFE_INTEGER])
      expect(await told(value, [value], { seed: value })).toBe(
        `int ${value}, list [${value}], dict {'seed': ${value}}`,
      );
    // Beyond 2^53 a number of JavaScript is no longer one integer, so it stays the float that it is.
    expect(await told(2 ** 60)).toBe("float 1.152921504606847e+18");
  });

  test("py.float makes a float of a whole number, and torch sees the difference", async () => {
    expect(await told(5, py.float(5), py.int(5))).toBe("int 5, float 5.0, int 5");
    expect(await told([py.float(1)], { scale: py.float(2) })).toBe("list [1.0], dict {'scale': 2.0}");
    expect(await py.expr`5.0`).toBe(5);
    const full = (value: PyArg): Promise<string> =>
      py
        .import("builtins")
        .str(py.import("torch").full(py.tuple(2), value).dtype)
        .$string();
    expect(await full(5)).toBe("torch.int64");
    expect(await full(py.float(5))).toBe("torch.float32");
  });

  test("NaN, both infinities and the zero below zero pass both ways: alone, in lists and in tensors", async () => {
    const values = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 1.5];
    expect(await told(...values)).toBe("float nan, float inf, float -inf, float -0.0, float 1.5");
    for (const value of values) expect(await echo(value)).toBe(value);
    expect(await copy(values)).toEqual(values);
    const floats = Float64Array.from(values);
    expect(await py.tensor(floats).$array(Float64Array)).toEqual(floats);
    expect(await subject.told(py.tensor(floats).tolist())).toBe("list [nan, inf, -inf, -0.0, 1.5]");
  });

  test("booleans and None keep their type; a complex number is its two parts", async () => {
    expect(await told(true, false, null, py.none)).toBe("bool True, bool False, NoneType None, NoneType None");
    expect(await py.expr`[1.5-2j]`.$value()).toEqual([{ real: 1.5, imag: -2 }]);
  });
});

describe("text", () => {
  test("text passes whole: emoji, NUL, lone surrogates and 16 MB of it", async () => {
    for (const text of ["🦝 ✨", "a\0b", "a\ud800b", "\udfff", "\udc00\ud800", ""]) {
      expect(await echo(text)).toBe(text);
      expect(await subject.echo(text).encode("utf-16-le", "surrogatepass").hex()).toBe(
        Buffer.from(text, "utf16le").toString("hex"),
      );
    }
    const long = "ß".repeat(8 * 1024 * 1024);
    expect((await echo(long)) === long).toBe(true);
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
    expect(await told(py.ellipsis, py.tuple(py.ellipsis, 0))).toBe("ellipsis Ellipsis, tuple (Ellipsis, 0)");
  });

  test("undefined is left out of keyword arguments and objects, and is None everywhere else", async () => {
    expect(await subject.told(1, { seed: undefined, steps: 2 })).toBe("int 1, steps=int 2");
    expect(await told([1, undefined as never], { a: undefined, b: 1 }, undefined as never)).toBe(
      "list [1, None], dict {'b': 1}, NoneType None",
    );
    expect(await told(new Map([["a", undefined as never]]), new Array(2) as never)).toBe(
      "dict {'a': None}, list [None, None]",
    );
    expect(await subject.call_told(() => undefined)).toBe("NoneType None");
  });

  test("dict keys of every kind come back apart from each other, and none of them pollutes an object", async () => {
    expect(await py.expr`{1: 'a', (1, 2): 3, None: 1, 1.5: 2}`.$value()).toEqual(
      new Map<unknown, unknown>([
        [1, "a"],
        [[1, 2], 3],
        [null, 1],
        [1.5, 2],
      ]),
    );
    const truths = new Map<unknown, unknown>([
      [true, 1],
      ["true", 2],
    ]);
    expect(await py.expr`{True: 1, 'true': 2}`.$value()).toEqual(truths);
    expect(await copy(truths as never)).toEqual(truths);

    const keys = ["__proto__", "constructor", "then", "length", "toJSON"];
    const value = (await py.expr`{k: {'admin': True} for k in ${keys}}`.$value()) as object;
    expect(Object.keys(value)).toEqual(keys);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(({} as { admin?: unknown }).admin).toBeUndefined();
    expect(await told(py.dict(Object.entries(value) as never))).toContain("'__proto__': {'admin': True}");
  });

  test("tuples, named tuples, torch.Size and ranges keep their type, and sets are sets on both sides", async () => {
    const tuple = await py.expr`(1, 2)`;
    expect(tuple.$type).toBe("tuple");
    expect(await told(tuple)).toBe("tuple (1, 2)");
    const range = await py.expr`range(10**9)`;
    expect(range.$length).toBe(1_000_000_000);
    expect(await range[999_999_999]).toBe(999_999_999);
    const named = await py.import("collections").namedtuple("Point", ["x", "y"])(1, 2);
    expect(await subject.told(named)).toBe("Point Point(x=1, y=2)");
    expect(await named.x).toBe(1);
    const size = await py.import("torch").zeros(2, 3).shape;
    expect(await told(size)).toBe("Size torch.Size([2, 3])");
    expect(await size.$value()).toEqual([2, 3]);
    expect(await py.expr`[{1, 2}, frozenset('a')]`.$value()).toEqual([new Set([1, 2]), new Set(["a"])]);
    expect(await told(new Set(["a"]))).toBe("set {'a'}");
  });

  test("what contains itself or is nested 10,000 deep is refused with its path on either side", async () => {
    const loop: Record<string, PyArg> = {};
    loop["list"] = [1, { back: loop }];
    expect(await refused(echo(loop))).toMatch(/^args\[0]\.list\[1]\.back is args\[0] again: .*py\.dict\(\)/);
    expect(await refused(subject.cyclic().$value())).toMatch(
      /^\$\.a\[1]\.back is a dict, the same one as \$: .*handle/,
    );

    let deep: PyArg = 1;
    for (let level = 0; level < 10_000; level++) deep = [deep];
    for (const call of [echo(deep), subject.deep_list(10_000).$value(), subject.deep_tuple(10_000).$value()]) {
      const message = await refused(call);
      expect(message).toMatch(/^(args\[0]|\$)\[0]\[0].* nested /);
      expect(message.length).toBeLessThan(500);
    }
    expect(await echo(1)).toBe(1);
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

  test("what cannot be copied stays in Python behind its own handle, and a copy of what is around it names its path", async () => {
    const result = await py.expr`{'a': [0, 1, 2, {'b': __import__('threading').Lock()}], 'g': (n for n in [])}`;
    expect(await refused(result.$value())).toMatch(/^\$\.a\[3]\.b is a _thread\.lock, .*keep it as a handle/);
    expect(await result.$item("a")[3].$item("b").locked()).toBe(false);
    expect(await refused(py.expr`[${result.$item("g")}]`.$value())).toMatch(/^\$\[0] is a generator/);
    expect(await refused(echo({ a: [0, { b: new (class Prompt {})() as never }] }))).toBe(
      "args[0].a[1].b is an instance of Prompt: pass a plain object of the fields that Python needs, or py.dict() of them.",
    );
    expect(await refused(echo(new Number(5) as never))).toContain("py.float()");
  });

  test("a member that only JavaScript has is answered with what to write for Python's", async () => {
    const list = await py.expr`[1, 2, 3]`;
    expect((await failureOf(list.length)).message).toMatch(/hint: length is JavaScript's; for a list .*\$length/);
    expect((await failureOf(list.map((item: number) => item))).message).toMatch(/hint: map is .*for await/);
    expect((await failureOf(subject.echo(list.size))).message).toMatch(/hint: size is JavaScript's/);
  });
});

describe("dates and records", () => {
  test("dates keep their zone and their microseconds, and an invalid Date is refused", async () => {
    const date = new Date("2026-11-23T01:02:03.004Z");
    expect(await told(date)).toBe(
      "datetime datetime.datetime(2026, 11, 23, 1, 2, 3, 4000, tzinfo=datetime.timezone.utc)",
    );
    const module = py.import("datetime");
    const utc = { tzinfo: module.timezone.utc };
    expect(await copy(module.datetime(2026, 11, 23, 1, 2, 3, 4000, utc))).toEqual(date);
    // What a Date cannot hold comes as text or seconds.
    expect(await copy(module.datetime(2026, 11, 23, 1, 2, 3, 4005, utc))).toBe("2026-11-23T01:02:03.004005+00:00");
    expect(await copy(module.datetime(2026, 11, 23))).toBe("2026-11-23T00:00:00");
    expect(await copy(module.date(2026, 11, 23))).toBe("2026-11-23");
    expect(await copy(module.time(1, 2, 3))).toBe("01:02:03");
    expect(await copy(module.timedelta({ milliseconds: -1500 }))).toBe(-1.5);
    expect(await refused(echo(new Date(Number.NaN)))).toContain("args[0] is an invalid Date");
  });

  test("enums, records, Decimal, UUID, Path, Fraction and complex have one form each, and Python takes text for them", async () => {
    const forms: readonly (readonly [string, unknown])[] = [
      ["__import__('enum').Enum('Color', 'RED')['RED']", 1],
      ["__import__('dataclasses').make_dataclass('P', ['x', 'y'])(1, [2])", { x: 1, y: [2] }],
      ["__import__('collections').namedtuple('P', 'x y')(1, 2)", [1, 2]],
      ["complex(1, -2)", { real: 1, imag: -2 }],
      ["__import__('decimal').Decimal('1.10')", "1.10"],
      ["__import__('fractions').Fraction(1, 3)", "1/3"],
      ["__import__('uuid').UUID(int=1)", "00000000-0000-0000-0000-000000000001"],
      ["__import__('pathlib').Path('/a/b')", "/a/b"],
    ];
    for (const [source, value] of forms) expect(await evaluated(source)).toEqual(value);
    expect(await subject.Dumps(3).$value()).toEqual({ size: 3, next: { size: 2 } });

    expect(await py.import("pathlib").Path("/a/b").$get("name")).toBe("b");
    expect(await py.import("uuid").UUID("00000000-0000-0000-0000-000000000001").$get("int")).toBe(1);
    expect(await py.import("decimal").Decimal("1.10").$value()).toBe("1.10");
  });
});

describe("any value", () => {
  const anything = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      fc.constant(null),
      fc.boolean(),
      fc.maxSafeInteger(),
      fc.bigInt({ min: 2n ** 53n, max: 2n ** 300n }),
      fc.bigInt({ min: -(2n ** 300n), max: -(2n ** 53n) }),
      // A whole float comes back as an integer, which is the same number here.
      fc.double(),
      fc.string({ unit: "binary" }),
      fc.uint8Array({ maxLength: 100 }),
      fc.date({ min: new Date("0001-01-01T00:00:00Z"), max: new Date("9999-12-31T23:59:59Z"), noInvalidDate: true }),
      fc.array(tie("value"), { maxLength: 8 }),
      fc.uniqueArray(fc.integer()).map((items) => new Set(items)),
      fc.dictionary(fc.string(), tie("value"), { maxKeys: 8, noNullPrototype: true }),
      fc
        .uniqueArray(fc.tuple(fc.integer(), tie("value")), { selector: ([key]) => key, minLength: 1, maxLength: 5 })
        .map((pairs) => new Map(pairs)),
    ),
  })).value;

  test("comes back from Python as it was", async () => {
    await fc.assert(
      fc.asyncProperty(anything, async (value) => {
        expect(await copy(value as PyArg)).toStrictEqual(value);
      }),
      { numRuns: 300 },
    );
  });
});
