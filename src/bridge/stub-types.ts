// What a Python object looks like from TypeScript. Types only. Names of ours start with `$`, which no Python name can contain;
// every other name is Python's.

/** Comes by value in both directions. Whatever else Python returns comes as a handle. */
export type PyScalar = string | number | bigint | boolean | null | Uint8Array;

/** What `await` gives: a scalar itself, anything else as a settled handle. */
export type Settled<T> = T extends Known ? (T extends PyScalar ? T : PyRef<T>) : PyRef;

/** A settled handle. Not thenable: `await ref`, `return ref` and `Promise.all([ref])` never touch Python. */
export type PyRef<T = unknown> = PyRefCore<T> & Members<T> & Untyped<T>;

/** A recorded path, or a call under way. May be awaited, called, indexed, assigned and passed on without awaiting. */
export type PyExpr<T = unknown> = PyExprCore<T> & Members<T> & Untyped<T>;

/**
 * For fields of an app: a handle. `Py` takes whatever Python gives, typed or not; `Py<"diffusers.StableDiffusionXLPipeline">` is
 * that class once `flambeau types diffusers` has written it, and until then as `Py`.
 */
export type Py<T = unknown> = T extends keyof PyTypes ? PyRef<PyTypes[T]> : T extends string ? PyRef : PyRef<T>;

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

/** In generated types: a proxy of T or of a subclass, or one of which nothing is known. */
export type PyArgOf<T> = PyProxyOf<Kind<T>> | PyUntyped;
/** For setters: the same, and plain values where T is one. */
export type PyInput<T> = Extract<T, PyScalar> | PyArgOf<T>;
/** What can be sent as a positional argument without being taken for keywords. */
export type PyPositional = Exclude<PyArg, { readonly [key: string]: PyArg | undefined }>;
/** Keywords of a Python function that takes any. */
export interface PyKeywords {
  readonly [name: string]: PyArg | undefined;
}

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

interface PyRefCore<out T> extends PyCore {
  /** Never there; they carry T. */
  readonly $of?: T;
  readonly $is?: Kind<T>;
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

interface PyExprCore<out T> extends PyCore {
  /** Never there; they carry T. */
  readonly $of?: T;
  readonly $is?: Kind<T>;
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

/** Every T but `unknown`. T is always on the left of `extends` here: only then can `out T` be checked, and with it Untyped. */
type Known = object | PyScalar | undefined;

/** Members are seen through Optional: Python itself raises on None. Scalars have none. */
type Members<T> = [Exclude<T, PyScalar>] extends [never] ? unknown : Exclude<T, PyScalar>;

/** Classes compare by their bases, as in Python, and not member by member: overriding may change a signature there. */
export type Kind<T> = T extends { readonly $kind?: infer K } ? K : T;
interface PyProxyOf<K> extends PyCore {
  readonly $is?: K;
}
/** In generated types, of `this`: Python's Self. */
export type PySelf<This> = This extends { readonly $of?: infer T } ? T : unknown;
type PyUntyped = PyCore & { readonly [typed]?: never };
declare const typed: unique symbol;

/** A generated sequence says what it holds. */
export interface PyIterable<T> {
  readonly $each?: T;
}
type SettledItem<T> = T extends { readonly $each?: infer I } ? Settled<I> : PyRef;
type Item<T> = T extends { readonly $each?: infer I } ? PyExpr<I> : PyMember;

/**
 * What can be done with an object of which nothing is known: any member, any call. Of a known T it adds nothing that can be used, and
 * yet is there: `out T` lets a typed handle stand where an untyped one is expected, which no index signature alone would allow.
 */
type Untyped<T> = AnyMember<T> & NoMember<T> & AnyCall<T>;
type AnyMember<out T> = { [name in T extends Known ? typeof typed : string]: PyMember };
/** A misspelt name of ours is an error and not a Python attribute. */
type NoMember<out T> = { [ours in T extends Known ? never : `$${string}`]: never };
interface AnyCall<out T> {
  (...args: T extends Known ? NotCallable : PyArg[]): PyExpr;
  // Without these lines Function.prototype would answer (nn.Module.apply, thread.name).
  apply: PyExpr;
  bind: PyExpr;
  call: PyExpr;
  name: PyExpr;
  length: PyExpr;
  caller: PyExpr;
  arguments: PyExpr;
  prototype: PyExpr;
}
/** More arguments than any call has: the compiler then leaves this signature out of what it says about a wrong call. */
type NotCallable = [...Never4, ...Never4, ...Never4, ...Never4, ...Never4, ...Never4, ...Never4, ...Never4];
type Never4 = [notCallable: never, _2: never, _3: never, _4: never];

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
  | BigUint64ArrayConstructor
  | Uint8ArrayConstructor
  | Uint16ArrayConstructor
  | Uint32ArrayConstructor;

/** Modules by name. Filled by generated types (`flambeau types`) through declaration merging. */
// biome-ignore lint/suspicious/noEmptyInterface: merged into by generated types
export interface PyModules {}
/** Classes by qualified name, for fields. Filled in the same way. */
// biome-ignore lint/suspicious/noEmptyInterface: merged into by generated types
export interface PyTypes {}

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
  /**
   * Lets the next bytes that come from Python fill the memory of these, which is twice as fast as new memory from 1 MiB on. The array
   * is empty from then on, and so is every other one over the same buffer. At most 128 MiB are kept.
   */
  recycle(array: ArrayBufferView): void;
  /** A torch tensor from numbers in bulk; the shape defaults to one dimension. */
  tensor(data: ArrayBufferView, shape?: readonly number[], options?: { device?: string; dtype?: PyLike }): PyExpr;
  /** A Python expression with values in it: py.expr`${x}[:, None] * 2`. */
  expr(source: TemplateStringsArray, ...values: PyArg[]): PyExpr;
  /** A Python object whose methods, also special ones such as `__call__`, are these functions: streamers, criteria, callbacks. */
  object(methods: Readonly<Record<string, PyCallback>>): PyExpr;
  /**
   * The same function, called without waiting: Python goes on at once and gets None. With `latest`, calls that come while it still
   * runs replace each other, and only the newest is made: for progress and previews. What it throws fails the request that passed it.
   */
  oneway(fn: PyCallback, options?: { readonly latest?: boolean }): PyCallback;
  /**
   * Enters a context manager, runs the body, leaves it; the manager sees the body's error and may swallow it. Asynchronous ones too.
   * Until the end only calls made inside of the body run in Python; others wait.
   * @throws FlambeauError DEADLOCK when the body awaits one of those
   */
  with<R>(manager: PyLike, body: (value: PyRef) => Promise<R>): Promise<R>;
  /** Gives back every object that came inside, except those in what the body returns and those that said `$keep()`. */
  scope<R>(body: () => Promise<R>): Promise<R>;
  /** Waits for everything that was sent and not awaited; throws its first failure. */
  flush(): Promise<void>;
}
