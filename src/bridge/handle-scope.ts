// `py.scope`: objects that a block of TypeScript got from Python go back at its end, except those that it returns or keeps.
// Carried by AsyncLocalStorage. Knows calls and handles and no wire.
import { AsyncLocalStorage } from "node:async_hooks";
import type { CallOutcome, PyCall } from "./call.ts";
import type { Handle, Handles } from "./handles.ts";
import { isPlainObject, type Recipe, recipeOf } from "./values.ts";

const LOST = "belonged to a py.scope that has ended: return it from there, or call $keep() on it";
/** How deep what the body returns is searched for objects. */
const RESULT_DEPTH = 8;

interface Taken {
  /** The scope keeps nothing alive. */
  readonly handle: WeakRef<Handle>;
  /** How often it came. */
  times: number;
}

class HandleScope {
  readonly #outer: HandleScope | undefined;
  readonly #handles: Handles;
  readonly #taken = new Map<number, Taken>();
  #returned: Found | undefined;

  constructor(handles: Handles, outer: HandleScope | undefined) {
    this.#handles = handles;
    this.#outer = outer;
  }

  watch(call: PyCall): void {
    call.whenSettled((outcome) => {
      for (const handle of handlesOf(outcome)) this.took(handle, call);
    });
  }

  end(result: unknown): void {
    const returned = found(result);
    this.#returned = returned;
    const back: [Handle, number][] = [];
    for (const { handle: reference, times } of this.#taken.values()) {
      const handle = reference.deref();
      if (handle === undefined) continue;
      if (!returned.handles.has(handle)) back.push([handle, times]);
      else this.#outer?.took(handle, undefined, times);
    }
    this.#taken.clear();
    this.#handles.returnedTogether(back, LOST);
  }

  /** It came, from this call or out of an inner scope. */
  took(handle: Handle, call: PyCall | undefined, times = 1): void {
    if (this.#returned !== undefined) {
      // Nobody waited for it inside; it may still be what was returned.
      if (call !== undefined && this.#returned.calls.has(call)) this.#outer?.took(handle, call, times);
      else this.#handles.returned(handle, LOST);
      return;
    }
    const known = this.#taken.get(handle.id);
    if (known !== undefined && known.handle.deref() === handle) known.times += times;
    else this.#taken.set(handle.id, { handle: new WeakRef(handle), times });
  }
}

/** Where a flow is, on one channel. */
interface Place {
  readonly of: HandleScopes;
  readonly scope: HandleScope;
  /** Around it, on this channel and on others. */
  readonly outer: Place | undefined;
}

/** One for all channels, as each costs every promise of the process from then on. */
const places = new AsyncLocalStorage<Place>();

export class HandleScopes {
  /** The scope that the flow is in, if any, is told what comes of the call. */
  watch(call: PyCall): void {
    this.#current?.watch(call);
  }

  get #current(): HandleScope | undefined {
    let at = places.getStore();
    while (at !== undefined && at.of !== this) at = at.outer;
    return at?.scope;
  }

  async run<R>(handles: Handles, body: () => Promise<R>): Promise<R> {
    const scope = new HandleScope(handles, this.#current);
    let result: R | undefined;
    try {
      result = await places.run({ of: this, scope, outer: places.getStore() }, body);
      return result;
    } finally {
      scope.end(result);
    }
  }
}

function handlesOf(outcome: CallOutcome): Iterable<Handle> {
  if (outcome.kind === "ref") return [outcome.handle];
  // The items of an iterator.
  return outcome.kind === "value" && Array.isArray(outcome.value) ? found(outcome.value).handles : [];
}

interface Found {
  readonly handles: Set<Handle>;
  /** Calls whose results are not there yet. */
  readonly calls: Set<PyCall>;
}

function found(value: unknown): Found {
  const all: Found = { handles: new Set(), calls: new Set() };
  search(value, RESULT_DEPTH, all);
  return all;
}

function search(value: unknown, depth: number, all: Found): void {
  const recipe = recipeOf(value);
  if (recipe !== undefined) return searchRecipe(recipe, depth, all);
  if (depth === 0 || typeof value !== "object" || value === null) return;
  const inner = value instanceof Map ? [...value.keys(), ...value.values()] : value instanceof Set ? [...value] : value;
  if (Array.isArray(inner)) for (const item of inner) search(item, depth - 1, all);
  else if (isPlainObject(inner)) for (const item of Object.values(inner)) search(item, depth - 1, all);
}

function searchRecipe(recipe: Recipe, depth: number, all: Found): void {
  if (recipe.kind === "ref") all.handles.add(recipe.handle as Handle);
  else if (recipe.kind === "path") searchRecipe(recipe.base, depth, all);
  else if (recipe.kind === "data") search(recipe.value, depth - 1, all);
  else if (recipe.kind === "result") {
    const call = recipe.call as PyCall;
    if (call.state.kind === "ref") all.handles.add(call.state.handle);
    else all.calls.add(call);
  }
}
