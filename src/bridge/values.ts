// The values that JavaScript has no word for (a float that is 5, a tuple, a slice), and the recipe behind every proxy:
// what it stands for on the wire. Knows no encoding and no channel.

/** Under this key every proxy answers with its recipe. Never travels. */
export const RECIPE: unique symbol = Symbol("flambeau.recipe");

export type Step = string | { readonly item: unknown };

/** What a proxy stands for. `owner` tells proxies of another or dead worker apart. */
export type Recipe =
  | { readonly kind: "module"; readonly owner: object; readonly name: string }
  | { readonly kind: "file"; readonly owner: object; readonly path: string }
  | { readonly kind: "data"; readonly owner: object; readonly value: unknown }
  | { readonly kind: "ref"; readonly owner: object; readonly handle: RefTarget }
  | { readonly kind: "result"; readonly owner: object; readonly call: ResultTarget }
  | { readonly kind: "path"; readonly owner: object; readonly base: Recipe; readonly steps: readonly Step[] };

/** A live object of the worker's. */
export interface RefTarget {
  readonly id: number;
  /** Why it can be used no more, in words that follow its name; undefined while it can. */
  readonly lost: string | undefined;
  /** Qualified Python type. */
  readonly type: string;
}

/** The result of a call, known or not. */
export interface ResultTarget {
  readonly id: number;
  /** As written: `pipeline.unet.to()`. */
  readonly path: string;
  /** Not thenable on purpose: what is known by now. */
  readonly state:
    | { readonly kind: "pending" }
    | { readonly kind: "value"; readonly value: unknown }
    | { readonly kind: "ref"; readonly handle: RefTarget }
    | { readonly kind: "failed"; readonly error: Error };
  /** Its failure will be seen by whoever uses it. */
  observe(): void;
}

export function recipeOf(value: unknown): Recipe | undefined {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return undefined;
  return (value as { readonly [RECIPE]?: Recipe })[RECIPE];
}

export class PyFloat {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

export class PyTuple {
  readonly items: readonly unknown[];
  constructor(items: readonly unknown[]) {
    this.items = items;
  }
}

/** A dict, whatever its keys: never taken for keyword arguments. */
export class PyDict {
  readonly entries: readonly (readonly [unknown, unknown])[];
  constructor(entries: readonly (readonly [unknown, unknown])[]) {
    this.entries = entries;
  }
}

export class PySlice {
  readonly parts: readonly [unknown, unknown, unknown];
  constructor(start: unknown, stop: unknown, step: unknown) {
    this.parts = [start, stop, step];
  }
}

/** Python's `...`, as in `x[..., 0]`. */
export class PyEllipsis {}

/** An array that came with more than one dimension. */
export interface PyArray {
  /** As in numpy: `float32`. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** C order. */
  readonly data: ArrayBufferView;
}

export const TYPED_ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
} as const;
export type Dtype = keyof typeof TYPED_ARRAYS;

/** By the array's own tag, which arrays of another realm have as well; undefined for a DataView. */
export function dtypeOf(array: ArrayBufferView): Dtype | undefined {
  const tag = (array as { readonly [Symbol.toStringTag]?: string })[Symbol.toStringTag];
  if (tag === "Uint8ClampedArray") return "uint8";
  for (const [dtype, kind] of Object.entries(TYPED_ARRAYS)) if (kind.name === tag) return dtype as Dtype;
  return undefined;
}

/** `{}` or `{ a: 1 }`, also from another realm; not a class instance, not a null prototype. */
export function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype) return true;
  return (
    typeof prototype === "object" &&
    prototype !== null &&
    Object.getPrototypeOf(prototype) === null &&
    Object.hasOwn(prototype, "hasOwnProperty")
  );
}
