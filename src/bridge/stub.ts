// The proxies. Reading a name records a step and sends nothing; a call is sent at once, in order; `await` settles.
// A settled handle is not thenable. Loggers and test runners ask for symbols and a few names: those are answered here.
import { inspect } from "node:util";
import { runBlock } from "./block.ts";
import type { CallOptions, PyCall } from "./call.ts";
import type { Channel } from "./channel.ts";
import { describe } from "./describe.ts";
import { HandleScopes } from "./handle-scope.ts";
import type { Handle } from "./handles.ts";
import { deadlock } from "./inside.ts";
import { iterate } from "./iterate.ts";
import { type Actions, handleOf, ownName, type Target } from "./own-names.ts";
import type { Op } from "./protocol.ts";
import { isPlainObject, RECIPE, type Recipe, recipeOf, type Step } from "./values.ts";

const INDEX = /^(0|-?[1-9]\d*)$/;
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

/** What a proxy is made of: a function, so that it can be called. */
interface Behind {
  (): void;
  recipe: Recipe;
  options: CallOptions | undefined;
  [inspect.custom]: typeof show;
}

interface Given {
  readonly args: readonly unknown[];
  readonly kwargs?: Readonly<Record<string, unknown>>;
}

/** Whose proxies these are. The channel is asked for when something is sent, so paths can be recorded before there is one. */
export interface StubOwner {
  /** @throws FlambeauError WORKER_EXITED while there is none */
  readonly channel: Channel;
}

/** Makes every proxy of one owner. */
export class Stubs {
  readonly #owner: StubOwner;
  readonly #scopes = new HandleScopes();
  readonly #handler: ProxyHandler<Behind>;
  readonly #actions: Actions;

  constructor(owner: StubOwner) {
    this.#owner = owner;
    this.#actions = {
      expression: (recipe, options) => this.expression(recipe, options),
      ref: (handle) => this.ref(handle),
      step: (target, step) => this.#step(target, step),
      invoke: (target, args, kwargs) => this.#invoke(target, { args, kwargs }),
      request: (op, target, steps, args) => this.#request(op, target, steps, args),
      settle: (target) => this.settle(target),
    };
    this.#handler = {
      get: (target, key) => this.#get(target, key),
      set: (target, key, value) => this.#change("set", target, key, [value]),
      deleteProperty: (target, key) => this.#change("delete", target, key, []),
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
    // One hidden class for all of them: three plain assignments, always in this order.
    const target = (() => {}) as Behind;
    target.recipe = recipe;
    target.options = options;
    // console.log looks past the proxy, at the target.
    target[inspect.custom] = show;
    return new Proxy(target, this.#handler);
  }

  /** The value of an expression: a scalar itself, anything else as a settled proxy. */
  settle(target: Target): Promise<unknown> {
    const { recipe } = target;
    if (recipe.kind === "ref") return Promise.resolve(this.ref(recipe.handle as Handle));
    if (recipe.kind !== "result") return this.#request("get", target, [], []);
    return this.#awaited(recipe.call as PyCall);
  }

  /** See `py.with`. */
  async block<R>(manager: object, body: (value: unknown) => Promise<R>): Promise<R> {
    // `enter` and `exit` have to meet the same object, so an expression is settled first.
    const settled = await (manager as PromiseLike<unknown>);
    const recipe: Recipe = recipeOf(settled) ?? { kind: "data", owner: this.#owner, value: settled };
    const left: Target = { recipe, options: { signal: null } };
    return runBlock(
      {
        scopes: this.#owner.channel.scopes,
        enter: () => this.#issue("enter", { recipe, options: undefined }, [], { args: [true] }),
        settled: (entered) => this.#awaited(entered),
        leave: (error, entered) => this.#request("exit", left, [], [error, entered.id]),
      },
      body,
    );
  }

  /** See `py.scope`. */
  scope<R>(body: () => Promise<R>): Promise<R> {
    return this.#scopes.run(this.#owner.channel.handles, body);
  }

  /** Rejects with DEADLOCK where waiting would have no end. Not async: that would be one more promise for each call. */
  #awaited(call: PyCall): Promise<unknown> {
    const endless = deadlock(this.#owner.channel.scopes.inside, call);
    return endless === undefined ? call.result(this.#wrap) : Promise.reject(endless);
  }

  readonly #wrap = (handle: Handle): object => this.ref(handle);

  #get(target: Target, key: string | symbol): unknown {
    if (key === RECIPE) return target.recipe;
    if (typeof key === "symbol") return this.#symbol(target, key);
    const isRef = target.recipe.kind === "ref";
    if (isRef && key === "then") return undefined;
    if (!isRef && (key === "then" || key === "catch" || key === "finally")) return this.#promise(target, key);
    if (PROBES.has(key)) return key === "toJSON" ? () => describe(target.recipe) : undefined;
    if (key.startsWith("$")) return ownName(this.#actions, target, key);
    return this.#step(target, stepOf(key));
  }

  #step({ recipe, options }: Target, step: Step): object {
    if (recipe.kind === "path") return this.expression({ ...recipe, steps: [...recipe.steps, step] }, options);
    return this.expression({ kind: "path", owner: this.#owner, base: recipe, steps: [step] }, options);
  }

  #symbol(target: Target, key: symbol): unknown {
    const { recipe } = target;
    switch (key) {
      case inspect.custom:
        return () => describe(recipe);
      case Symbol.toPrimitive:
        return (hint: string) => primitive(recipe, hint);
      case Symbol.asyncIterator:
        return () => this.#iterate(target);
      case Symbol.iterator:
        return recipe.kind === "ref" ? () => this.#items(target, recipe.handle as Handle) : undefined;
      case Symbol.dispose:
        return () => this.#dispose(recipe);
      case Symbol.asyncDispose:
        return () => this.#disposed(target);
      default:
        return undefined;
    }
  }

  #promise(target: Target, key: "then" | "catch" | "finally"): unknown {
    // Settling starts when someone subscribes, once per subscription: reading `then` sends nothing.
    return (...handlers: unknown[]) => {
      const settled = this.settle(target);
      return Reflect.apply(settled[key], settled, handlers);
    };
  }

  async #request(op: Op, target: Target, steps: readonly Step[], args: readonly unknown[]): Promise<unknown> {
    return this.#awaited(this.#issue(op, target, steps, { args }));
  }

  #issue(op: Op, { recipe, options }: Target, more: readonly Step[], given: Given): PyCall {
    const [base, steps] = recipe.kind === "path" ? [recipe.base, recipe.steps] : [recipe, []];
    const all = more.length === 0 ? steps : [...steps, ...more];
    const path = describe({ kind: "path", owner: this.#owner, base, steps: all });
    const call = this.#owner.channel.call({
      op,
      target: base,
      steps: all,
      ...given,
      path: op === "call" ? `${path}()` : op === "set" ? `${path} = …` : path,
      options,
    });
    this.#scopes.watch(call);
    return call;
  }

  #call(target: Target, args: readonly unknown[]): object {
    const last = args.at(-1);
    return this.#invoke(target, isPlainObject(last) ? { args: args.slice(0, -1), kwargs: last } : { args });
  }

  #invoke(target: Target, given: Given): object {
    const call = this.#issue("call", target, [], given);
    return this.expression({ kind: "result", owner: this.#owner, call });
  }

  #change(op: "set" | "delete", target: Target, key: string | symbol, args: readonly unknown[]): boolean {
    if (typeof key === "symbol") return false;
    if (key.startsWith("$"))
      throw new TypeError(`${key} is not a Python name: names that start with $ are Flambeau's own`);
    this.#issue(op, target, [stepOf(key)], { args });
    return true;
  }

  #dispose(recipe: Recipe): void {
    const handle = handleOf(recipe);
    if (handle !== undefined) return this.#owner.channel.handles.dispose(handle);
    if (recipe.kind !== "result") return;
    void (recipe.call as PyCall).outcome.then(() => {
      const late = handleOf(recipe);
      if (late !== undefined) this.#owner.channel.handles.dispose(late);
    });
  }

  /** Resolves when Python has let go: whatever is sent after a release is carried out after it. */
  async #disposed(target: Target): Promise<void> {
    const { recipe } = target;
    if (recipe.kind === "result") await (recipe.call as PyCall).outcome;
    const handle = handleOf(recipe);
    if (handle === undefined || handle.lost !== undefined) return;
    this.#dispose(recipe);
    const nothing: Target = { recipe: { kind: "data", owner: this.#owner, value: null }, options: { signal: null } };
    await this.#request("get", nothing, [], []).catch(() => {});
  }

  *#items(target: Target, handle: Handle): IterableIterator<object> {
    if (handle.length === null) {
      throw new TypeError(`${describe(target.recipe)} has no length; iterate it with \`for await\``);
    }
    for (let i = 0; i < handle.length; i++) yield this.#step(target, { item: i });
  }

  #iterate(target: Target): AsyncIterableIterator<unknown> {
    const none: Given = { args: [] };
    const on = (call: PyCall, options = target.options): Target => ({
      recipe: { kind: "result", owner: this.#owner, call },
      options,
    });
    return iterate({
      start: () => this.#issue("iter", target, [], none),
      next: (iterator) => this.#awaited(this.#issue("next", on(iterator), [], none)),
      close: (iterator) => this.#issue("close", on(iterator, { signal: null }), [], none),
      done: ({ state }, unseen) => {
        const handles = unseen.flatMap((item) => handleOf(recipeOf(item)) ?? []);
        if (state.kind === "ref") handles.push(state.handle);
        const once = handles.map((handle) => [handle, 1] as const);
        this.#owner.channel.handles.returnedTogether(once, "was used up by a loop, or not reached by it");
      },
    });
  }
}

/** `this` is the proxy: node calls it on what it was given to show. */
function show(this: { readonly [RECIPE]: Recipe }): string {
  return describe(this[RECIPE]);
}

function stepOf(key: string): Step {
  return INDEX.test(key) && Number.isSafeInteger(Number(key)) ? { item: Number(key) } : key;
}

/** In a template a proxy shows what it is; in arithmetic, as in `a.x += 1`, that text would be a wrong value. */
function primitive(recipe: Recipe, hint: string): string {
  if (hint === "string") return describe(recipe);
  throw new TypeError(
    `${describe(recipe)} is in Python and cannot be calculated with here: await it first, or calculate in Python`,
  );
}
