// One call to Python: open, then exactly one outcome. The channel settles it; proxies and scopes look at it.
import { FlambeauError } from "../errors.ts";
import { awaited, type Site } from "./call-sites.ts";
import type { Handle } from "./handles.ts";
import type { Inside } from "./inside.ts";
import type { ScopedCall } from "./scope.ts";
import type { Recipe, ResultTarget } from "./values.ts";

export type CallState =
  | { readonly kind: "pending" }
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "ref"; readonly handle: Handle }
  | { readonly kind: "failed"; readonly error: Error };

export type CallOutcome = Exclude<CallState, { kind: "pending" }>;

export interface CallOptions {
  /** Stops this call, as the request's own signal does; null: not even that one. */
  readonly signal?: AbortSignal | null;
  /** Milliseconds until the call is cancelled with TIMEOUT. */
  readonly timeoutMs?: number;
}

/** What its channel does for a call. */
export interface CallOwner {
  /** Where in TypeScript it is being made, if that is known without asking for too long. */
  site(): Site | undefined;
  cancel(call: PyCall, reason: unknown): void;
}

export class PyCall implements ScopedCall, ResultTarget {
  readonly id: number;
  /** As written: `pipeline.unet.to()`. */
  readonly path: string;
  /** The TypeScript lines that made the call; undefined where the lines that await it have to say enough. */
  readonly site: Site | undefined;
  /** Whatever the call names stays alive until its answer came. */
  held: readonly Recipe[] = [];
  /** Why it is being cancelled. */
  reason: unknown;
  /** Of the scope that made it. */
  tag = 0;
  /** The callbacks and blocks that it was made in. */
  inside: Inside | undefined;
  #state: CallState = { kind: "pending" };
  #observed = false;
  readonly #owner: CallOwner;
  #listeners: ((outcome: CallOutcome) => void)[] = [];

  constructor(id: number, path: string, owner: CallOwner) {
    this.id = id;
    this.path = path;
    this.#owner = owner;
    this.site = owner.site();
  }

  /** Never rejects: resolves with the failure, or undefined. */
  get outcome(): Promise<Error | undefined> {
    return new Promise((resolve) => {
      this.whenSettled((outcome) => resolve(outcome.kind === "failed" ? outcome.error : undefined));
    });
  }

  /** Calls `listener` once it is settled: at once if it is. It must not throw. */
  whenSettled(listener: (outcome: CallOutcome) => void): void {
    if (this.#state.kind === "pending") this.#listeners.push(listener);
    else listener(this.#state);
  }

  get state(): CallState {
    return this.#state;
  }

  get observed(): boolean {
    return this.#observed;
  }

  /** The failure of a call that this one was built on, if one has failed. */
  get failedLink(): Error | undefined {
    for (const recipe of this.held) {
      if (recipe.kind === "result" && recipe.call.state.kind === "failed") return recipe.call.state.error;
    }
    return undefined;
  }

  observe(): void {
    this.#observed = true;
  }

  cancel(reason?: unknown): void {
    if (this.#state.kind === "pending") this.#owner.cancel(this, reason);
  }

  /** Once; what comes later is ignored. */
  settle(outcome: CallOutcome): void {
    if (this.#state.kind !== "pending") return;
    this.#state = outcome;
    this.held = [];
    for (const listener of this.#listeners.splice(0)) listener(outcome);
  }

  /** The value, or what `wrap` makes of the handle of what stayed in Python. */
  result(wrap: (handle: Handle) => unknown = (handle) => handle): Promise<unknown> {
    this.#observed = true;
    return new Promise((resolve, reject) => {
      this.whenSettled((outcome) => {
        if (outcome.kind !== "failed") resolve(outcome.kind === "ref" ? wrap(outcome.handle) : outcome.value);
        else if (this.site !== undefined) reject(outcome.error);
        else resolve(awaited(outcome.error, this.path));
      });
    });
  }
}

/** The longest wait that a timer of the platform keeps. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Cancels the call when its own signal fires or its own time is up. */
export function limitCall(call: PyCall, { signal, timeoutMs }: CallOptions = {}): void {
  if (signal) {
    const abort = (): void => call.cancel(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    call.whenSettled(() => signal.removeEventListener("abort", abort));
  }
  if (timeoutMs === undefined || timeoutMs > MAX_TIMER_MS) return;
  const late = (): void =>
    call.cancel(new FlambeauError("TIMEOUT", `${call.path} took longer than ${timeoutMs} ms and was stopped`));
  const timer = setTimeout(late, timeoutMs);
  call.whenSettled(() => clearTimeout(timer));
}
