// Functions that were passed to Python, and the calls that Python makes to them. Knows no wire: the answer is handed back.
import { FlambeauError, toError } from "../errors.ts";
import type { PyCall } from "./call.ts";
import { array, integer } from "./decode.ts";
import type { Encoder } from "./encode.ts";
import type { EncodedMessage } from "./encoded.ts";
import type { Handle, Handles } from "./handles.ts";
import { enter, type Inside } from "./inside.ts";
import type { CallScope, Scopes } from "./scope.ts";
import { recipeOf } from "./values.ts";

export type AnyFunction = (...args: unknown[]) => unknown;

/** Under this key a function says that Python does not wait for it. */
const KIND: unique symbol = Symbol("flambeau.kind");
/** As FUNCTION has it on the wire. */
export const FUNCTION_KINDS = { waits: 0, oneWay: 1, latestWins: 2 } as const;

/** A function like `fn` that Python calls without waiting; with `latest`, calls that come while it still runs replace each other. */
export function oneWay(fn: AnyFunction, { latest = false }: { latest?: boolean } = {}): AnyFunction {
  const kind = latest ? FUNCTION_KINDS.latestWins : FUNCTION_KINDS.oneWay;
  return Object.assign((...args: unknown[]) => fn(...args), { [KIND]: kind });
}

export function kindOf(fn: AnyFunction & { readonly [KIND]?: number }): number {
  return fn[KIND] ?? FUNCTION_KINDS.waits;
}

export interface CallbackParts {
  readonly scopes: Scopes;
  readonly handles: Handles;
  readonly encoder: () => Encoder;
  readonly errorsKept: number;
  /** An open call. */
  call(id: number): PyCall | undefined;
  answer(callbackId: number, message: EncodedMessage): void;
}

interface Registered {
  readonly fn: AnyFunction;
  /** Calls that the function makes are made on behalf of whoever passed it. */
  readonly scope: CallScope;
  /** Takes it out of the scope. */
  readonly forget: () => void;
}

/** Why an argument that was not kept cannot be used any more. */
const LENT = "was an argument of a callback and went back when that returned: call $keep() on what is used later";
/** Of an error's name, message and stack each. */
const ERROR_CHARACTERS = 64 * 1024;
/** How the items of a RETURN body are called in messages. */
const RETURN_NAMES = ["ok", "result"];

export class Callbacks {
  readonly #parts: CallbackParts;
  readonly #functions = new Map<number, Registered>();
  /** What callbacks threw, by callback call: Python may let it pass, and then it comes out as the very same error. */
  readonly #thrown = new Map<number, Error>();

  constructor(parts: CallbackParts) {
    this.#parts = parts;
  }

  /** Until the end of the scope that passes it, or until nothing in Python refers to it, Python may call `fn` under this id. */
  register(id: number, fn: AnyFunction): void {
    const scope = this.#parts.scopes.current;
    const forget = scope.onEnd(() => this.#functions.delete(id));
    this.#functions.set(id, { fn, scope, forget });
  }

  /** Functions that can be called from here. */
  get size(): number {
    return this.#functions.size;
  }

  /** Body of DROPPED: ids of functions that nothing in Python refers to any more. */
  dropped(ids: readonly unknown[]): void {
    for (const id of ids) {
      this.#functions.get(integer(id))?.forget();
      this.#functions.delete(integer(id));
    }
  }

  thrownBy(callbackId: number): Error | undefined {
    return this.#thrown.get(callbackId);
  }

  /**
   * Body of INVOKE: `[function id, args, kwargs, one_way, waiting call, newest call behind it]`.
   * @throws FlambeauError PROTOCOL_ERROR: it is not that; whatever the function throws is its answer
   */
  invoke(id: number, [functionId, args, kwargs, isOneWay, waiting, newest]: readonly unknown[]): void {
    const registered = this.#functions.get(integer(functionId));
    const inside = this.#around(waiting, newest);
    const given = [...array(args)];
    const keyed = typeof kwargs === "object" && kwargs !== null ? kwargs : {};
    const lent = [...given, ...Object.values(keyed)].flatMap(handleOf);
    if (Object.keys(keyed).length > 0) given.push(keyed);
    void this.#answer(id, registered, given, inside).then((message) => {
      const named = new Set(message.refs.map((recipe) => (recipe.kind === "ref" ? recipe.handle : undefined)));
      // Before the answer, so that Python lets go before it goes on. What the answer names is left to the finalizers: another
      // thread of Python's may look it up later than the main one releases it.
      for (const handle of lent) if (!named.has(handle)) this.#parts.handles.returned(handle, LENT);
      if (isOneWay !== true) this.#parts.answer(id, message);
    });
  }

  /** The answer to an INVOKE whose arguments cannot be had. */
  refuse(id: number, error: Error): void {
    this.#parts.answer(id, this.#parts.encoder().message(this.#failed(id, error), RETURN_NAMES));
  }

  clear(): void {
    this.#functions.clear();
    this.#thrown.clear();
  }

  /** The call of ours that waits on Python's main thread until the function returns, if there is one. */
  #around(waiting: unknown, newest: unknown): Inside | undefined {
    const call = typeof waiting === "number" ? this.#parts.call(waiting) : undefined;
    if (call === undefined) return undefined;
    const { id, path, tag } = call;
    return enter(call.inside, { kind: "callback", call: id, path, tag, newest: integer(newest) });
  }

  async #run(
    id: number,
    registered: Registered | undefined,
    given: readonly unknown[],
    inside: Inside | undefined,
  ): Promise<readonly [boolean, unknown]> {
    try {
      if (registered === undefined)
        throw new FlambeauError(
          "STALE_REF",
          "Python called a TypeScript function after the request that passed it had ended.",
        );
      const { fn, scope } = registered;
      return [true, await this.#parts.scopes.runInside(scope, inside, async () => fn(...given))];
    } catch (thrown) {
      // Nobody in Python hears of it.
      if (registered !== undefined && kindOf(registered.fn) !== FUNCTION_KINDS.waits)
        registered.scope.failed(toError(thrown));
      return this.#failed(id, thrown);
    }
  }

  #failed(id: number, thrown: unknown): readonly [false, unknown] {
    const error = toError(thrown);
    this.#thrown.set(id, error);
    const [oldest] = this.#thrown.keys();
    if (oldest !== undefined && this.#thrown.size > this.#parts.errorsKept) this.#thrown.delete(oldest);
    const cut = (text: string): string => text.slice(0, ERROR_CHARACTERS);
    return [false, { name: cut(error.name), message: cut(error.message), stack: cut(error.stack ?? "") }];
  }

  /** Never rejects. */
  async #answer(
    id: number,
    registered: Registered | undefined,
    given: readonly unknown[],
    inside: Inside | undefined,
  ): Promise<EncodedMessage> {
    const answer = await this.#run(id, registered, given, inside);
    const encoder = this.#parts.encoder();
    try {
      return encoder.message(answer, RETURN_NAMES);
    } catch (thrown) {
      return encoder.message(this.#failed(id, thrown), RETURN_NAMES);
    }
  }
}

function handleOf(value: unknown): Handle[] {
  const recipe = recipeOf(value);
  return recipe?.kind === "ref" ? [recipe.handle as Handle] : [];
}
