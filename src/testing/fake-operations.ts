// What a call can ask for, over plain TypeScript values: attributes, items, calls, iteration, blocks. As strict as Python: what a
// fake does not have is an AttributeError and not undefined. Knows no wire.
import { inspect } from "node:util";
import { dtypeOf, isPlainObject, PySlice } from "../bridge/values.ts";
import { FakeImage, FakePythonError } from "./fake-modules.ts";
import { isScalar, lengthOf, typeName } from "./fake-objects.ts";

/** A step as the wire has it: a string is an attribute, an array of one an item. */
export type WireStep = string | readonly [unknown];

type Members = Record<string, unknown>;
type Callable = (...args: readonly unknown[]) => unknown;

/** What a path leads to, and what it was found in: methods are called on that. */
export interface Found {
  readonly value: unknown;
  readonly owner: unknown;
}

export function walk(base: unknown, steps: readonly WireStep[]): Found {
  let found: Found = { value: base, owner: undefined };
  for (const step of steps) {
    const owner = found.value;
    found = { owner, value: typeof step === "string" ? attribute(owner, step) : item(owner, step[0]) };
  }
  return found;
}

function attribute(owner: unknown, name: string): unknown {
  if (hasMember(owner, name)) return (Object(owner) as Members)[name];
  throw new FakePythonError(
    "AttributeError",
    `'${typeName(owner)}' object has no attribute '${name}': give the fake one`,
  );
}

/** Where members end that a fake has itself: methods of JavaScript's own types are none of Python's. */
const JAVASCRIPT: ReadonlySet<unknown> = new Set([
  ...[Object, Function, Array, Map, Set, String, Number, Boolean, BigInt].map(({ prototype }) => prototype),
  Object.getPrototypeOf(Uint8Array.prototype),
]);
const OF_JAVASCRIPT = new Set(["length", "name", "prototype", "constructor"]);

function hasMember(owner: unknown, name: string): boolean {
  for (let at: unknown = Object(owner); at !== null && !JAVASCRIPT.has(at); at = Object.getPrototypeOf(at)) {
    const isPlain = isPlainObject(at);
    if (Object.hasOwn(at as object, name)) return isPlain || !OF_JAVASCRIPT.has(name) || isOwnData(at as object, name);
  }
  return false;
}

/** A `name` that an instance has been given, as against the `name` of a function. */
function isOwnData(at: object, name: string): boolean {
  const isGiven = typeof at !== "function" && !Array.isArray(at);
  return isGiven && name !== "constructor" && Object.getOwnPropertyDescriptor(at, name)?.enumerable === true;
}

function item(owner: unknown, key: unknown): unknown {
  if (owner instanceof Map && owner.has(key)) return owner.get(key);
  if (Array.isArray(owner) || ArrayBuffer.isView(owner) || typeof owner === "string") return indexed(owner, key);
  const members = Object(owner) as Members;
  if (typeof members["__getitem__"] === "function") return members["__getitem__"](key);
  if (isPlainObject(owner) && Object.hasOwn(owner, String(key))) return members[String(key)];
  throw new FakePythonError("KeyError", inspect(key));
}

function indexed(owner: string | ArrayBufferView | readonly unknown[], key: unknown): unknown {
  const list = owner as readonly unknown[];
  if (key instanceof PySlice) {
    const [start, stop, step] = key.parts;
    if (step !== null && step !== 1) throw new FakePythonError("ValueError", "a fake list has no slices with a step");
    return list.slice(Number(start ?? 0), stop === null ? undefined : Number(stop));
  }
  const at = Number(key) < 0 ? list.length + Number(key) : Number(key);
  if (Number.isInteger(at) && at >= 0 && at < list.length) return list[at];
  throw new FakePythonError("IndexError", `${typeName(owner)} index out of range: ${inspect(key)}`);
}

/** Calls a function, makes an instance of a class, or calls `__call__`. Keyword arguments are one object behind the others. */
export function call({ value, owner }: Found, args: readonly unknown[], kwargs: Readonly<Members>): unknown {
  const given = Object.keys(kwargs).length === 0 ? args : [...args, kwargs];
  if (isClass(value)) return Reflect.construct(value, given);
  if (typeof value === "function") return Reflect.apply(value as Callable, owner, given);
  const method = isScalar(value) ? undefined : (value as Members)["__call__"];
  if (typeof method === "function") return Reflect.apply(method as Callable, value, given);
  throw new FakePythonError("TypeError", `'${typeName(value)}' object is not callable`);
}

function isClass(value: unknown): value is new (...args: readonly unknown[]) => unknown {
  return typeof value === "function" && /^class\b/.test(Function.prototype.toString.call(value));
}

export function assign(owner: unknown, step: WireStep, value: unknown): void {
  if (isScalar(owner)) throw new FakePythonError("TypeError", `'${typeName(owner)}' object cannot be changed`);
  if (typeof step === "string") (owner as Members)[step] = value;
  else if (owner instanceof Map) owner.set(step[0], value);
  else (owner as Members)[String(step[0])] = value;
}

export function remove(owner: unknown, step: WireStep): void {
  const key = typeof step === "string" ? step : String(step[0]);
  if (typeof step !== "string" && owner instanceof Map) owner.delete(step[0]);
  else if (isScalar(owner) || !Reflect.deleteProperty(owner as object, key))
    throw new FakePythonError("AttributeError", `'${typeName(owner)}' object has no attribute '${key}'`);
}

export type FakeIterator = Iterator<unknown> | AsyncIterator<unknown>;

export function iterator(value: unknown): FakeIterator {
  const source = Object(value) as Partial<Iterable<unknown> & AsyncIterable<unknown>>;
  const made = source[Symbol.asyncIterator]?.() ?? source[Symbol.iterator]?.();
  if (made === undefined) throw new FakePythonError("TypeError", `'${typeName(value)}' object is not iterable`);
  return made;
}

export function length(value: unknown): number {
  const known = lengthOf(value) ?? (typeof value === "string" ? value.length : undefined);
  if (known === undefined) throw new FakePythonError("TypeError", `object of type '${typeName(value)}' has no len()`);
  return known;
}

/** The value itself, when its elements are of the type that was asked for. */
export function elements(value: unknown, dtype: unknown): ArrayBufferView {
  const came = ArrayBuffer.isView(value) ? dtypeOf(value) : undefined;
  if (came === undefined || came !== dtype) {
    throw new FakePythonError(
      "flambeau.NotSendable",
      `expected a typed array of ${dtype} from the fake, got ${came ?? typeName(value)}`,
      "NOT_SENDABLE",
    );
  }
  const view = value as ArrayBufferView;
  // A Uint8Array is bytes on the wire; its clamped sister is an array.
  return came === "uint8" ? new Uint8ClampedArray(view.buffer, view.byteOffset, view.byteLength) : view;
}

export function pixels(value: unknown): object {
  if (!(value instanceof FakeImage)) {
    const message = `expected a PIL image, got ${typeName(value)}; fakeImage(width, height) makes one`;
    throw new FakePythonError("flambeau.NotSendable", message, "NOT_SENDABLE");
  }
  return { width: value.width, height: value.height, channels: 3, data: value.pixels };
}

/** `__enter__` of a context manager, where the fake has one. */
export function enter(value: unknown): unknown {
  const method = isScalar(value) ? undefined : (value as Members)["__enter__"];
  return typeof method === "function" ? Reflect.apply(method as Callable, value, []) : value;
}

/** @param error name and message of what ends the body; null when nothing does */
export function leave(value: unknown, error: unknown): unknown {
  const method = isScalar(value) ? undefined : (value as Members)["__exit__"];
  const given = Array.isArray(error) ? error : [null, null];
  return typeof method === "function" ? Reflect.apply(method as Callable, value, given) : false;
}
