// What a Python object looks like from TypeScript. Types only. Names of ours start with `$`, which no Python name can contain;
// every other name is Python's.

/** Comes by value in both directions. Whatever else Python returns comes as a handle. */
export type PyScalar = string | number | bigint | boolean | null | Uint8Array;

/** What `await` gives: a scalar itself, anything else as a settled handle. */
export type Settled<T> = unknown extends T ? PyRef : T extends PyScalar ? T : PyRef<T>;

/** A settled handle. Not thenable: `await ref`, `return ref` and `Promise.all([ref])` never touch Python. */
export type PyRef<T = unknown> = PyRefCore<T> & Members<T>;

/** A recorded path, or a call under way. May be awaited, called, indexed, assigned and passed on without awaiting. */
export type PyExpr<T = unknown> = PyExprCore<T> & Members<T>;

/** For fields of an app: a handle, of a known type where there are generated types. */
export type Py<T = unknown> = PyRef<T>;

/** Any proxy. Parameters take this, results give PyRef or PyExpr. */
export type PyLike<T = unknown> = unknown extends T ? PyCore : PyRefCore<T> | PyExprCore<T>;

/** What can be sent to Python. A plain object as the last argument of a call is its keyword arguments. */
export type PyArg =
  | PyScalar
  | PyCore
  | PyCallback
  | Date
  | ArrayBufferView
  | ReadonlySet<PyArg>
  | ReadonlyMap<PyArg, PyArg>
  | readonly PyArg[]
  | { readonly [key: string]: PyArg | undefined };

/** Python calls it and waits for what it returns (or resolves with). Arguments arrive as settled values. */
export type PyCallback = (...args: never) => unknown;

/** For setters in generated types: a plain value, or a proxy of one. */
export type PyInput<T> = (T extends PyScalar ? T : never) | (T extends PyScalar ? never : PyLike<T>) | PyExprCore<T>;

export interface PyCallOptions {
  /** Stops this call; null: not even the request's own signal does. */
  readonly signal?: AbortSignal | null;
  /** Milliseconds until the call is cancelled with TIMEOUT. */
  readonly timeoutMs?: number;
}

export interface PyCore {
  /** Qualified Python type. Local: it came with the handle; of an expression it is "?". */
  readonly $type: string;
  $get(name: string): PyExpr;
  $set(name: string, value: PyArg): Promise<void>;
  $item(key: PyArg): PyExpr;
  $setItem(key: PyArg, value: PyArg): Promise<void>;
  $call(args: readonly PyArg[], kwargs?: Readonly<Record<string, PyArg | undefined>>): PyExpr;
  /** The same callable, with a signal or time limit of its own. */
  $opts(options: PyCallOptions): PyExpr;
  /**
   * A deep copy as plain data; with a schema, checked by it.
   * @throws FlambeauError NOT_SENDABLE with the path of what cannot be copied
   */
  $value(): Promise<unknown>;
  $value<S extends { parse(value: unknown): unknown }>(schema: S): Promise<ReturnType<S["parse"]>>;
  /**
   * A tensor or array as one typed array in C order.
   * @throws FlambeauError NOT_SENDABLE when its elements are of another type; convert it in Python first (`.float()`)
   */
  $array<A extends TypedArrayConstructor>(as: A): Promise<InstanceType<A>>;
  /** What `repr()` says. */
  $repr(): Promise<string>;
  [Symbol.dispose](): void;
  [Symbol.asyncDispose](): Promise<void>;
}

interface PyRefCore<T> extends PyCore {
  /** Never there; carries T. */
  readonly $of?: T;
  readonly then?: undefined;
  /** What `len()` said when the handle came. */
  readonly $length: number;
  readonly $released: boolean;
  /** Keeps it past the end of the scope it was made in. */
  $keep(): this;
  /** Items of a sized sequence, each an expression: nothing is sent before it is used. */
  [Symbol.iterator](): IterableIterator<Item<T>>;
  [Symbol.asyncIterator](): AsyncIterableIterator<SettledItem<T>>;
}

interface PyExprCore<T> extends PyCore {
  /** Checked on arrival. Not on a PyRef: `await` has made a plain value of a scalar there. */
  $number(): Promise<number>;
  $string(): Promise<string>;
  $boolean(): Promise<boolean>;
  [Symbol.asyncIterator](): AsyncIterableIterator<SettledItem<T>>;
  then<A = Settled<T>, B = never>(
    onfulfilled?: ((value: Settled<T>) => A | PromiseLike<A>) | null,
    onrejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B>;
  catch<B = never>(onrejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<Settled<T> | B>;
  finally(onfinally?: (() => void) | null): Promise<Settled<T>>;
}

/** Members are seen through Optional: Python itself raises on None. Scalars have none. */
type Members<T> = unknown extends T ? Untyped : NonNullable<T> extends PyScalar ? unknown : NonNullable<T>;

/** A generated sequence says what it holds. */
export interface PyIterable<T> {
  readonly $each?: T;
}
type SettledItem<T> = unknown extends T ? PyRef : T extends { readonly $each?: infer I } ? Settled<I> : PyRef;
type Item<T> = unknown extends T ? PyMember : T extends { readonly $each?: infer I } ? PyExpr<I> : PyMember;

interface Untyped {
  (...args: PyArg[]): PyExpr;
  // Without these lines Function.prototype would answer (nn.Module.apply, thread.name).
  apply: PyMember;
  bind: PyMember;
  call: PyMember;
  name: PyMember;
  length: PyMember;
  caller: PyMember;
  arguments: PyMember;
  prototype: PyMember;
  [name: string]: PyMember;
  /** A misspelt name of ours is an error and not a Python attribute. */
  [ours: `$${string}`]: never;
}

/**
 * Reading a member gives an expression, so an expression is what can be assigned; `py.of(x)` makes one of anything.
 * Under noUncheckedIndexedAccess every link of a chain would be possibly undefined: there, and only there, members are `any`.
 */
// biome-ignore lint/suspicious/noExplicitAny: see above
export type PyMember = NoUnchecked extends true ? any : PyExpr;
declare const probe: { readonly [name: string]: 1 };
type NoUnchecked = undefined extends typeof probe.x ? true : false;

export type TypedArrayConstructor =
  | Float32ArrayConstructor
  | Float64ArrayConstructor
  | Int8ArrayConstructor
  | Int16ArrayConstructor
  | Int32ArrayConstructor
  | BigInt64ArrayConstructor
  | Uint8ArrayConstructor
  | Uint16ArrayConstructor
  | Uint32ArrayConstructor;

/** Filled by generated types through declaration merging. */
// biome-ignore lint/suspicious/noEmptyInterface: merged into by generated types
export interface PyModules {}

/** Python as an app sees it: `this.py`. */
export interface Python {
  /** A module, imported when it is first used. */
  import<K extends keyof PyModules>(module: K): PyExpr<PyModules[K]>;
  import(module: string): PyExpr;
  /** A .py file of your own: `py.importFile(new URL("./edge.py", import.meta.url))`. */
  importFile(file: URL): PyExpr;
  /** A float even when it is whole: `py.float(5)` is 5.0. */
  float(value: number): PyLike<number>;
  int(value: number | bigint): PyLike<number>;
  tuple(...items: PyArg[]): PyExpr;
  set(items: Iterable<PyArg>): PyExpr;
  /** A dict as a positional argument (a trailing plain object would be keyword arguments). */
  dict(entries?: Readonly<Record<string, PyArg | undefined>> | Iterable<readonly [PyArg, PyArg]>): PyExpr;
  slice(start: number | null, stop?: number | null, step?: number | null): PyExpr;
  readonly none: PyExpr;
  /** Python's `...`, for items: ``x.$item(py.tuple(py.ellipsis, 0))`` is `x[..., 0]`. */
  readonly ellipsis: PyExpr;
  /** Types only; nothing is checked or sent. */
  as<T>(value: PyLike): PyExpr<T>;
  /** Any value as an expression, so that it can be assigned: `pipe.safety_checker = py.of(null)`. */
  of(value: PyArg): PyExpr;
  /** A torch tensor from numbers in bulk; the shape defaults to one dimension. */
  tensor(data: ArrayBufferView, shape?: readonly number[], options?: { device?: string; dtype?: PyLike }): PyExpr;
  /** A Python expression with values in it: py.expr`${x}[:, None] * 2`. */
  expr(source: TemplateStringsArray, ...values: PyArg[]): PyExpr;
  /** A Python object whose methods, also special ones such as `__call__`, are these functions: streamers, criteria, callbacks. */
  object(methods: Readonly<Record<string, PyCallback>>): PyExpr;
  /** Enters a context manager, runs the body, leaves it; the manager sees the body's error and may swallow it. */
  with<R>(manager: PyLike, body: (value: PyRef) => Promise<R>): Promise<R>;
  /** Waits for everything that was sent and not awaited; throws its first failure. */
  flush(): Promise<void>;
}
