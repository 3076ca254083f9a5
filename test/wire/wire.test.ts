// The TypeScript half against vectors.json, which the Python half reads as well: what a worker sends is read as the value that
// is written there, and what the host sends says the same as the bytes there. The fake worker of flambeau/testing reads that as well.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Decoder } from "../../src/bridge/decode.ts";
import { Encoder } from "../../src/bridge/encode.ts";
import { MsgpackReader } from "../../src/bridge/msgpack-reader.ts";
import { Ext, FrameType, HEADER_BYTES, type Op, readHeader, writeHeader } from "../../src/bridge/protocol.ts";
import {
  PyDict,
  PyEllipsis,
  PyFloat,
  PySlice,
  PyTuple,
  RECIPE,
  type Recipe,
  type Step,
  TYPED_ARRAYS,
} from "../../src/bridge/values.ts";
import { limits } from "../../src/config.ts";
import { hostOnly, Standin } from "../../src/testing/fake-message.ts";

/** `value` as the file writes it: scalars stand for themselves, anything else is an object with one key. */
type Written = null | boolean | string | { readonly [kind: string]: unknown };

interface Row {
  readonly name: string;
  readonly direction: "host" | "worker" | "both";
  readonly frame?: { readonly type: FrameType; readonly lane: number; readonly id: number };
  readonly value: Written;
  readonly hex: string;
}

/** As an object, so that an operation that is new has to be added here. */
const OPERATIONS = Object.keys({
  get: 1,
  call: 1,
  set: 1,
  delete: 1,
  value: 1,
  array: 1,
  iter: 1,
  next: 1,
  close: 1,
  len: 1,
  repr: 1,
  enter: 1,
  exit: 1,
  pixels: 1,
} satisfies Record<Op, 1>);

const file = new URL("./vectors.json", import.meta.url);
const { rows } = JSON.parse(readFileSync(file, "utf8")) as { rows: readonly Row[] };
/** What this version began with. A row that changes is another protocol: then PROTOCOL_VERSION changes as well. */
const OLD_ROWS = 146;
const OLD_DIGEST = "a7606a6079619b5b87fe1112bc2af26a10440b12315d33f1826eabe221362423";

const owner = {};
/** The body of a CHUNK says nothing: it is bytes. */
const isRaw = (value: Written): value is { readonly raw: string } =>
  typeof value === "object" && value !== null && "raw" in value;
const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"));

/** One entry of an object with one key. */
function only(value: object): readonly [string, unknown] {
  const [entry = ["", undefined]] = Object.entries(value);
  return entry;
}

function list(items: unknown, convert: (value: Written) => unknown): unknown[] {
  return (items as Written[]).map(convert);
}

function integer(text: string): number | bigint {
  return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text);
}

/** A value of the file as the host has it in hand before it sends. */
function given(value: Written): unknown {
  if (typeof value !== "object" || value === null) return value;
  const [kind, data] = only(value);
  const text = String(data);
  switch (kind) {
    case "int":
      return integer(text);
    case "float":
      return new PyFloat(Number(text.replace("inf", "Infinity").replace("nan", "NaN")));
    case "bytes":
      return bytesOf(text);
    case "list":
      return list(data, given);
    case "tuple":
      return new PyTuple(list(data, given));
    case "set":
      return new Set(list(data, given));
    case "map":
      return new PyDict((data as [Written, Written][]).map(([key, item]) => [given(key), given(item)]));
    case "datetime":
      return new Date(text);
    case "slice": {
      const [start, stop, step] = list(data, given);
      return new PySlice(start, stop, step);
    }
    case "ellipsis":
      return new PyEllipsis();
    case "array": {
      const [dtype, , contents] = data as [keyof typeof TYPED_ARRAYS, unknown, Written];
      const { buffer } = given(contents) as Uint8Array;
      // A Uint8Array is bytes to Python; its clamped sister is an array.
      return dtype === "uint8" ? new Uint8ClampedArray(buffer) : new TYPED_ARRAYS[dtype](buffer as ArrayBuffer);
    }
    case "attachment":
      return new Uint8Array((data as [number, number])[1]);
    case "function":
      return () => data;
    default:
      return { [RECIPE]: recipe(kind, data) };
  }
}

function recipe(kind: string, data: unknown): Recipe {
  if (kind === "ref") return { kind, owner, handle: { id: Number(data), lost: undefined, type: "thing" } };
  if (kind === "module") return { kind, owner, name: String(data) };
  if (kind === "file") return { kind, owner, path: String(data) };
  if (kind !== "path") throw new TypeError(`the file has a value of an unknown kind: ${kind}`);
  const [base, steps] = data as [{ ref: number }, Written[]];
  const step = (one: Written): Step => {
    if (typeof one === "string") return one;
    const [item] = list(only(one as object)[1], given);
    return { item };
  };
  return { kind, owner, base: recipe("ref", base.ref), steps: steps.map(step) };
}

/** A value of the file as the host has it in hand after it was read. */
function expected(value: Written): unknown {
  if (typeof value !== "object" || value === null) return value;
  const [kind, data] = only(value);
  const text = String(data);
  switch (kind) {
    case "float":
    case "timedelta":
      return Number(text.replace("inf", "Infinity").replace("nan", "NaN"));
    case "list":
    case "tuple":
      return list(data, expected);
    case "set":
    case "frozenset":
      return new Set(list(data, expected));
    case "map": {
      const pairs = (data as [Written, Written][]).map(([key, item]) => [expected(key), expected(item)] as const);
      if (!pairs.every(([key]) => typeof key === "string")) return new Map(pairs);
      return JSON.parse(`{${pairs.map(([key]) => `${JSON.stringify(key)}:null`).join()}}`, (key, item: unknown) =>
        key === "" && typeof item === "object" ? item : pairs.find(([name]) => name === key)?.[1],
      );
    }
    // Exact to the millisecond and with a zone: a Date. Otherwise the text, so that nothing is lost.
    case "datetime":
      return /\.\d{3}[+Z]/.test(text) ? new Date(text) : text;
    case "date":
    case "time":
      return text;
    case "complex": {
      const [real, imag] = (data as [string, string]).map(Number);
      return { real, imag };
    }
    case "array": {
      const [dtype, shape, contents] = data as [
        keyof typeof TYPED_ARRAYS,
        { list: Written[] } | number[] | null,
        Written,
      ];
      const array = new TYPED_ARRAYS[dtype]((expected(contents) as Uint8Array).buffer as ArrayBuffer);
      return Array.isArray(shape) && shape.length > 1 ? { dtype, shape, data: array } : array;
    }
    case "slice": {
      const [start, stop, step] = list(data, expected);
      return new PySlice(start, stop, step);
    }
    case "ref":
      return new Standin({ kind, id: Number(data) });
    case "module":
      return new Standin({ kind, name: text });
    case "file":
      return new Standin({ kind, path: text });
    case "function": {
      const [id = 0, how] = data as number[];
      return new Standin({ kind, id, isOneWay: how !== 0 });
    }
    case "path": {
      const [target, steps] = data as [Written, Written[]];
      return new Standin({ kind, target: expected(target), steps: list(steps, expected) });
    }
    case "handle": {
      const [id, type, length, flags] = data as [number, string, number | null, number];
      return { id, type, length, flags };
    }
    default:
      return given(value);
  }
}

/** What bytes say, whatever widths their writer chose. */
function saying(body: Uint8Array): unknown {
  const raw: ReadonlySet<number> = new Set([Ext.int, Ext.complex]);
  const reader = new MsgpackReader(limits, (type, payload, read) => {
    if (raw.has(type) || payload.length === 0) return { type, payload: Buffer.from(payload).toString("hex") };
    const inner = read();
    // A flat array needs no shape: its length follows from its bytes.
    if (type === Ext.array && Array.isArray(inner) && Array.isArray(inner[1]) && inner[1].length === 1) inner[1] = null;
    return { type, inner };
  });
  return reader.read(body);
}

/** Numbers that the file gives to attachments and functions, in the order in which the encoder asks. */
function idsOf(value: Written): { attachments: number[]; functions: number[] } {
  const text = JSON.stringify(value) ?? "";
  const all = (kind: string): number[] =>
    [...text.matchAll(new RegExp(`"${kind}":\\[(\\d+)`, "g"))].map(([, id]) => Number(id));
  return { attachments: all("attachment"), functions: all("function") };
}

describe.each([
  ["what a worker sends", "the host", rows.filter(({ direction }) => direction !== "host")],
  ["what the host sends", "a fake worker", rows.filter(({ direction }) => direction !== "worker")],
] as const)("%s", (_what, reader, read) => {
  test.each(read.map((row) => [row.name, row] as const))(`%s is read by ${reader}`, (_name, { frame, value, hex }) => {
    const whole = bytesOf(hex);
    const body = frame === undefined ? whole : whole.subarray(HEADER_BYTES);
    if (frame !== undefined) expect(readHeader(whole, limits.maxFrameBytes)).toEqual({ ...frame, length: body.length });
    if (isRaw(value)) return expect(body).toEqual(bytesOf(value.raw));
    const decoder = new Decoder({ limits, onHandle: (handle) => handle, onHostOnly: hostOnly });
    const message = decoder.message(body);
    // Attachments hold whatever their memory held; here they have come and are zero.
    for (const { bytes } of message.expected) bytes.fill(0);
    expect(message.expected.map(({ id }) => id)).toEqual(idsOf(value).attachments);
    expect(message.value).toStrictEqual(expected(value));
    if (typeof value === "object" && value !== null && "map" in value && !(message.value instanceof Map))
      expect(Object.keys(message.value as object)).toEqual((value["map"] as [string, unknown][]).map(([key]) => key));
  });
});

describe("what the host sends", () => {
  const written = rows.filter(({ direction }) => direction !== "worker");

  test.each(written.map((row) => [row.name, row] as const))("%s is written", (_name, { frame, value, hex }) => {
    const theirs = bytesOf(hex);
    const body = frame === undefined ? theirs : theirs.subarray(HEADER_BYTES);
    if (!isRaw(value)) expect(saying(encoded(value))).toStrictEqual(saying(body));
    if (frame === undefined) return;
    const header = new Uint8Array(HEADER_BYTES);
    writeHeader(header, 0, { ...frame, length: body.length });
    expect(header).toEqual(theirs.subarray(0, HEADER_BYTES));
  });

  function encoded(value: Written): Uint8Array {
    const { attachments, functions } = idsOf(value);
    const encoder = new Encoder({
      owner,
      // An attachment of the file may be shorter than what is sent apart by default.
      limits: { ...limits, inlineBytes: attachments.length > 0 ? 0 : limits.inlineBytes },
      nextAttachmentId: () => attachments.shift() ?? -1,
      registerFunction: () => ({ id: functions.shift() ?? -1, kind: 0 }),
    });
    return encoder.message(given(value)).bytes.subarray(HEADER_BYTES);
  }
});

describe("the table", () => {
  test("keeps its old rows: new ones are written behind them", () => {
    const old = rows.slice(0, OLD_ROWS).map(({ name, direction, hex }) => `${name} ${direction} ${hex}`);
    expect(createHash("sha256").update(old.join("\n")).digest("hex")).toBe(OLD_DIGEST);
  });

  test("names every extension number and has no row twice", () => {
    const used = new Set<number>();
    for (const { frame, value, hex } of rows) {
      if (isRaw(value)) continue;
      const reader = new MsgpackReader(limits, (type, payload, read) => {
        used.add(type);
        return payload.length === 0 || type === Ext.int || type === Ext.complex ? null : read();
      });
      reader.read(bytesOf(hex).subarray(frame === undefined ? 0 : HEADER_BYTES));
    }
    expect([...used].sort((a, b) => a - b)).toEqual(Object.values(Ext));
    expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length);
  });

  test("has a frame of every type, a call of every operation, and every field of a failure", () => {
    const types = new Set(rows.flatMap(({ frame }) => (frame === undefined ? [] : [frame.type])));
    expect([...types].sort((a, b) => a - b)).toEqual(Object.values(FrameType));
    const text = JSON.stringify(rows);
    for (const op of OPERATIONS) expect(text, op).toContain(`{"list":["${op}",`);
    for (const field of ["code", "hint", "cause", "errors", "link", "live", "callback"])
      expect(text, field).toContain(`["${field}",`);
  });
});
