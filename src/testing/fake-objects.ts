// The fake worker's table of live objects: id → value, how often the host holds it, and the same id again for the same object.
import type { HandleFields } from "../bridge/decode.ts";
import { FakePythonError } from "./fake-modules.ts";

/** Ids of objects that are sent unasked count up from here. */
const FIRST_OWN_ID = 2 ** 40;

/** Stands in the table for a call that failed: what builds on it fails in the same words. */
export class Failed {
  readonly failure: Readonly<Record<string, unknown>>;
  readonly callId: number;

  constructor(failure: Readonly<Record<string, unknown>>, callId: number) {
    this.failure = failure;
    this.callId = callId;
  }
}

/** An object on its way to the host, which is told of it and does not get it. */
export class Lent {
  readonly fields: HandleFields;

  constructor(fields: HandleFields) {
    this.fields = fields;
  }
}

export class FakeObjects {
  readonly #entries = new Map<number, { readonly value: unknown; count: number }>();
  /** Ids of an object, the one that the host is told first. */
  readonly #known = new Map<unknown, number[]>();
  #nextOwnId = FIRST_OWN_ID;

  get size(): number {
    return this.#entries.size;
  }

  /** @throws FakePythonError with STALE_REF; the Failed itself where that call failed */
  get(id: number): unknown {
    const entry = this.#entries.get(id);
    if (entry === undefined)
      throw new FakePythonError("flambeau.StaleReference", `object ${id} was released`, "STALE_REF");
    if (entry.value instanceof Failed) throw entry.value;
    return entry.value;
  }

  /** Keeps the result of a call under the call's id; gives what the host is told: a scalar itself, of anything else a handle. */
  result(callId: number, value: unknown): unknown {
    this.#entries.set(callId, { value, count: 1 });
    if (isScalar(value) || value instanceof Failed) return value;
    const ids = this.#idsOf(value);
    ids.push(callId);
    const [first = callId] = ids;
    if (first !== callId) this.#countOne(first);
    return new Lent(handleFields(first, value));
  }

  /** The same for an object that travels inside of a message. */
  lend(value: unknown): unknown {
    if (isScalar(value)) return value;
    const ids = this.#idsOf(value);
    const [known] = ids;
    if (known !== undefined) {
      this.#countOne(known);
      return new Lent(handleFields(known, value));
    }
    const id = this.#nextOwnId++;
    ids.push(id);
    this.#entries.set(id, { value, count: 1 });
    return new Lent(handleFields(id, value));
  }

  release(id: number, count: number): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    entry.count -= count;
    if (entry.count > 0) return;
    this.#entries.delete(id);
    const left = this.#known.get(entry.value)?.filter((known) => known !== id) ?? [];
    if (left.length > 0) this.#known.set(entry.value, left);
    else this.#known.delete(entry.value);
  }

  #idsOf(value: unknown): number[] {
    const ids = this.#known.get(value) ?? [];
    this.#known.set(value, ids);
    return ids;
  }

  #countOne(id: number): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) entry.count++;
  }
}

/** Travels by value, as None, bool, int, float, str and bytes do from Python. */
export function isScalar(value: unknown): boolean {
  if (value === null || value instanceof Uint8Array) return true;
  return ["undefined", "boolean", "number", "bigint", "string"].includes(typeof value);
}

const PYTHON_NAMES: Readonly<Record<string, string>> = {
  Array: "list",
  Object: "object",
  Map: "dict",
  Set: "set",
  Function: "function",
  AsyncFunction: "function",
  FakeImage: "PIL.Image.Image",
};

/** The name that the type has, or would have in Python. */
export function typeName(value: unknown): string {
  if (value === null || value === undefined) return "NoneType";
  const name = Object(value).constructor?.name as string | undefined;
  return PYTHON_NAMES[name ?? "Object"] ?? name ?? "object";
}

function handleFields(id: number, value: unknown): HandleFields {
  const isIterator = typeof value === "object" && value !== null && "next" in value;
  const flags = (typeof value === "function" ? 1 : 0) | (isIterator ? 2 : 0);
  return { id, type: typeName(value), length: lengthOf(value) ?? null, flags };
}

/** What `len()` says; undefined for things without. */
export function lengthOf(value: unknown): number | undefined {
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return (value as { readonly length?: number }).length;
  return value instanceof Map || value instanceof Set ? value.size : undefined;
}
