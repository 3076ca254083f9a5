// One call to Python: open, then exactly one outcome. The channel settles it; proxies and scopes look at it.
import { FlambeauError } from "../errors.ts";
import type { Handle } from "./handles.ts";
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

export class PyCall implements ScopedCall, ResultTarget {
  readonly id: number;
  /** As written: `pipeline.unet.to()`. */
  readonly path: string;
  /** Holds the stack of the TypeScript line that made the call. */
  readonly trace: { readonly stack?: string } = {};
  readonly outcome: Promise<Error | undefined>;
  /** Whatever the call names stays alive until its answer came. */
  held: readonly Recipe[] = [];
  /** Why it is being cancelled. */
  reason: unknown;
  #state: CallState = { kind: "pending" };
  #observed = false;
  #cancel: ((reason: unknown) => void) | undefined;
  #settle: (error: Error | undefined) => void = () => {};

  constructor(id: number, path: string, options: { stackFrames: number; cancel(reason: unknown): void }) {
    this.id = id;
    this.path = path;
    this.#cancel = options.cancel;
    this.outcome = new Promise((resolve) => {
      this.#settle = resolve;
    });
    // The bridge's own frames are cut from what is shown, so more are taken than V8 keeps by itself.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = Math.max(stackTraceLimit, options.stackFrames);
    Error.captureStackTrace(this.trace, PyCall);
    Error.stackTraceLimit = stackTraceLimit;
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
    this.#cancel?.(reason);
  }

  /** Once; what comes later is ignored. */
  settle(outcome: CallOutcome): void {
    if (this.#state.kind !== "pending") return;
    this.#state = outcome;
    this.held = [];
    this.#cancel = undefined;
    this.#settle(outcome.kind === "failed" ? outcome.error : undefined);
  }

  /** The value, or the handle of what stayed in Python. */
  async result(): Promise<unknown> {
    this.#observed = true;
    const error = await this.outcome;
    if (error !== undefined) throw error;
    return this.#state.kind === "value"
      ? this.#state.value
      : this.#state.kind === "ref"
        ? this.#state.handle
        : undefined;
  }
}

/** The longest wait that a timer of the platform keeps. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Cancels the call when its own signal fires or its own time is up. */
export function limitCall(call: PyCall, { signal, timeoutMs }: CallOptions = {}): void {
  if (signal) {
    const abort = (): void => call.cancel(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    void call.outcome.then(() => signal.removeEventListener("abort", abort));
  }
  if (timeoutMs === undefined || timeoutMs > MAX_TIMER_MS) return;
  const late = (): void =>
    call.cancel(new FlambeauError("TIMEOUT", `${call.path} took longer than ${timeoutMs} ms and was stopped`));
  const timer = setTimeout(late, timeoutMs);
  void call.outcome.then(() => clearTimeout(timer));
}
