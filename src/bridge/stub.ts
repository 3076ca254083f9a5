// The proxies. Reading a name records a step and sends nothing; a call is sent at once, in order; `await` settles.
// A settled handle is not thenable. Loggers and test runners ask for symbols and a few names: those are answered here.
import { inspect } from "node:util";
import { FlambeauError } from "../errors.ts";
import type { CallOptions, Channel } from "./channel.ts";
import { describe } from "./describe.ts";
import type { Handle } from "./handles.ts";
import type { Op } from "./protocol.ts";
import { isPlainObject, RECIPE, type Recipe, type Step, TYPED_ARRAYS } from "./values.ts";

const INDEX = /^-?(0|[1-9]\d*)$/;
/** Asked by JSON, test runners and loggers; a Python attribute of such a name is reached with `$get`. */
const PROBES: ReadonlySet<string> = new Set([
  "constructor",
  "prototype",
  "toJSON",
  "asymmetricMatch",
  "$$typeof",
  "nodeType",
  "tagName",
  "@@__IMMUTABLE_ITERABLE__@@",
  "@@__IMMUTABLE_RECORD__@@",
]);

type Target = (() => void) & { recipe: Recipe; options: CallOptions | undefined };

/** Whose proxies these are. The channel is asked for when something is sent, so paths can be recorded before there is one. */
export interface StubOwner {
  /** @throws FlambeauError WORKER_EXITED while there is none */
  readonly channel: Channel;
}

/** Makes every proxy of one owner. */
export class Stubs {
  readonly #owner: StubOwner;
  readonly #handler: ProxyHandler<Target>;

  constructor(owner: StubOwner) {
    this.#owner = owner;
    this.#handler = {
      get: (target, key) => this.#get(target, key),
      set: (target, key, value) => this.#set(target, key, value),
      deleteProperty: (target, key) => {
        if (typeof key === "string") this.#send("delete", target, stepOf(key), []);
        return true;
      },
      apply: (target, _self, args: unknown[]) => this.#call(target, args),
      has: (_target, key) => key === RECIPE,
      ownKeys: () => [],
      getOwnPropertyDescriptor: () => undefined,
      defineProperty: () => false,
    };
  }

  /** The proxy of a handle: the same one while it is reachable. */
  ref(handle: Handle): object {
    const known = handle.proxy?.deref();
    if (known !== undefined) return known;
    const proxy = this.expression({ kind: "ref", owner: this.#owner, handle });
    handle.proxy = new WeakRef(proxy);
    return proxy;
  }

  expression(recipe: Recipe, options?: CallOptions): object {
    const target: Target = Object.assign(() => {}, { recipe, options });
    Object.defineProperty(target, inspect.custom, { value: () => describe(recipe), enumerable: false });
    return new Proxy(target, this.#handler);
  }

  #get(target: Target, key: string | symbol): unknown {
    if (key === RECIPE) return target.recipe;
    if (typeof key === "symbol") return this.#symbol(target, key);
    const isRef = target.recipe.kind === "ref";
    if (isRef && key === "then") return undefined;
    if (!isRef && (key === "then" || key === "catch" || key === "finally")) return this.#promise(target, key);
    if (PROBES.has(key)) return key === "toJSON" ? () => describe(target.recipe) : undefined;
    if (key.startsWith("$")) return this.#ours(target, key);
    return this.#step(target, stepOf(key));
  }

  #step(target: Target, step: Step): object {
    const { recipe } = target;
    const owner = this.#owner;
    if (recipe.kind === "path") return this.expression({ ...recipe, steps: [...recipe.steps, step] }, target.options);
    return this.expression({ kind: "path", owner, base: recipe, steps: [step] }, target.options);
  }

  #symbol(target: Target, key: symbol): unknown {
    const { recipe } = target;
    if (key === inspect.custom) return () => describe(recipe);
    if (key === Symbol.toPrimitive) return () => describe(recipe);
    if (key === Symbol.asyncIterator) return () => this.#iterate(target);
    if (key === Symbol.iterator)
      return recipe.kind === "ref" ? () => this.#items(target, recipe.handle as Handle) : undefined;
    if (key === Symbol.dispose) return () => this.#dispose(target);
    if (key === Symbol.asyncDispose) return async () => this.#dispose(target);
    return undefined;
  }

  #promise(target: Target, key: "then" | "catch" | "finally"): unknown {
    // Settling starts when someone subscribes, once per subscription: reading `then` sends nothing.
    return (...handlers: unknown[]) => {
      const settled = this.settle(target);
      return Reflect.apply(settled[key], settled, handlers);
    };
  }

  /** The value of an expression: a scalar itself, anything else as a settled proxy. */
  async settle(target: { recipe: Recipe; options: CallOptions | undefined }): Promise<unknown> {
    const { recipe } = target;
    if (recipe.kind === "ref") return this.ref(recipe.handle as Handle);
    if (recipe.kind === "result") {
      recipe.call.observe();
      return this.#settled(await (recipe.call as ReturnType<Channel["call"]>).result());
    }
    return this.#request("get", target, [], []);
  }

  #settled(value: unknown): unknown {
    return isHandle(value) ? this.ref(value) : value;
  }

  async #request(
    op: Op,
    target: { recipe: Recipe; options: CallOptions | undefined },
    more: readonly Step[],
    args: readonly unknown[],
  ): Promise<unknown> {
    return this.#settled(await this.#issue(op, target, more, { args }).result());
  }

  #issue(
    op: Op,
    target: { recipe: Recipe; options: CallOptions | undefined },
    more: readonly Step[],
    given: { args: readonly unknown[]; kwargs?: Readonly<Record<string, unknown>> },
  ) {
    const { recipe, options } = target;
    const [base, steps] = recipe.kind === "path" ? [recipe.base, recipe.steps] : [recipe, []];
    const all = more.length === 0 ? steps : [...steps, ...more];
    const path = describe({ kind: "path", owner: this.#owner, base, steps: all });
    return this.#owner.channel.call({
      op,
      target: base,
      steps: all,
      args: given.args,
      ...(given.kwargs === undefined ? {} : { kwargs: given.kwargs }),
      path: op === "call" ? `${path}()` : op === "set" ? `${path} = …` : path,
      options,
    });
  }

  #send(op: Op, target: Target, step: Step, args: readonly unknown[]) {
    return this.#issue(op, target, [step], { args });
  }

  #call(target: Target, args: readonly unknown[]): object {
    const last = args.at(-1);
    if (!isPlainObject(last)) return this.#invoke(target, args, undefined);
    return this.#invoke(target, args.slice(0, -1), last);
  }

  #invoke(target: Target, args: readonly unknown[], kwargs: Readonly<Record<string, unknown>> | undefined): object {
    const call = this.#issue("call", target, [], kwargs === undefined ? { args } : { args, kwargs });
    return this.expression({ kind: "result", owner: this.#owner, call });
  }

  #set(target: Target, key: string | symbol, value: unknown): boolean {
    if (typeof key === "symbol") return false;
    if (key.startsWith("$"))
      throw new TypeError(`${key} is not a Python name: names that start with $ are Flambeau's own`);
    this.#send("set", target, stepOf(key), [value]);
    return true;
  }

  #dispose(target: Target): void {
    const { recipe } = target;
    if (recipe.kind === "ref") return this.#owner.channel.handles.dispose(recipe.handle as Handle);
    if (recipe.kind !== "result") return;
    const { call } = recipe;
    void (call as ReturnType<Channel["call"]>).outcome.then(() => {
      if (call.state.kind === "ref") this.#owner.channel.handles.dispose(call.state.handle as Handle);
    });
  }

  *#items(target: Target, handle: Handle): IterableIterator<object> {
    if (handle.length === null) {
      throw new TypeError(`${describe(target.recipe)} has no length; iterate it with \`for await\``);
    }
    for (let i = 0; i < handle.length; i++) yield this.#step(target, { item: i });
  }

  async *#iterate(target: Target): AsyncIterableIterator<unknown> {
    const iterator = this.#issue("iter", target, [], { args: [] });
    const source = {
      recipe: { kind: "result", owner: this.#owner, call: iterator } satisfies Recipe,
      options: target.options,
    };
    let isDone = false;
    try {
      for (;;) {
        const answer = await this.#issue("next", source, [], { args: [] }).result();
        const [done, item] = Array.isArray(answer) ? answer : [true, undefined];
        if (done === true) {
          isDone = true;
          return;
        }
        yield item;
      }
    } finally {
      if (!isDone && iterator.state.kind === "ref")
        await this.#issue("close", source, [], { args: [] })
          .result()
          .catch(() => {});
      if (iterator.state.kind === "ref") this.#owner.channel.handles.dispose(iterator.state.handle);
    }
  }

  #ours(target: Target, key: string): unknown {
    const { recipe } = target;
    const handle = recipe.kind === "ref" ? (recipe.handle as Handle) : undefined;
    switch (key) {
      case "$type":
        return handle?.type ?? "?";
      case "$length":
        return handle?.length ?? undefined;
      case "$released":
        return handle?.released ?? false;
      case "$keep":
        return () => this.expression(recipe, target.options);
      case "$get":
        return (name: string) => this.#step(target, name);
      case "$set":
        return async (name: string, value: unknown) => void (await this.#send("set", target, name, [value]).result());
      case "$item":
        return (item: unknown) => this.#step(target, { item });
      case "$setItem":
        return async (item: unknown, value: unknown) =>
          void (await this.#send("set", target, { item }, [value]).result());
      case "$call":
        return (args: readonly unknown[], kwargs?: Readonly<Record<string, unknown>>) =>
          this.#invoke(target, args, kwargs ?? {});
      case "$opts":
        return (options: CallOptions) => this.expression(recipe, { ...target.options, ...options });
      default:
        return this.#conversion(target, key);
    }
  }

  #conversion(target: Target, key: string): unknown {
    switch (key) {
      case "$value":
        return async (schema?: { parse(value: unknown): unknown }) => {
          const value = await this.#request("value", target, [], []);
          return schema === undefined ? value : schema.parse(value);
        };
      case "$array":
        return (as: unknown) => this.#request("array", target, [], [dtypeName(as)]);
      case "$repr":
        return () => this.#request("repr", target, [], []);
      case "$pixels":
        return () => this.#request("pixels", target, [], []);
      case "$enter":
        return () => this.#request("enter", target, [], []);
      case "$exit":
        return (error: unknown) => this.#request("exit", target, [], [error]);
      case "$number":
        return () => this.#scalar(target, "number");
      case "$string":
        return () => this.#scalar(target, "string");
      case "$boolean":
        return () => this.#scalar(target, "boolean");
      default:
        throw new TypeError(
          `${key} is not one of Flambeau's own names ($get, $set, $item, $call, $value, $array, $number, …)`,
        );
    }
  }

  async #scalar(target: Target, expected: "number" | "string" | "boolean"): Promise<unknown> {
    const value = await this.settle(target);
    if (typeof value === expected) return value;
    const came =
      typeof value === "function" ? describe((value as unknown as { [RECIPE]: Recipe })[RECIPE]) : typeof value;
    throw new FlambeauError(
      "OUTPUT_INVALID",
      `${describe(target.recipe)}: expected a ${expected} from Python, got ${came}; for a tensor call .item() first`,
    );
  }
}

function stepOf(key: string): Step {
  return INDEX.test(key) && Number.isSafeInteger(Number(key)) ? { item: Number(key) } : key;
}

function isHandle(value: unknown): value is Handle {
  return typeof value === "object" && value !== null && "proxy" in value && "callable" in value;
}

function dtypeName(as: unknown): string {
  for (const [name, kind] of Object.entries(TYPED_ARRAYS)) if (kind === as) return name;
  throw new TypeError("$array takes a typed array's constructor: Float32Array, Int64Array is BigInt64Array, …");
}
