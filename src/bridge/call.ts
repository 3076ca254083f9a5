// One call to Python: open, then exactly one outcome. The channel settles it; proxies and scopes look at it.
import type { Handle } from "./handles.ts";
import type { ScopedCall } from "./scope.ts";
import type { ResultTarget } from "./values.ts";

export type CallState =
  | { readonly kind: "pending" }
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "ref"; readonly handle: Handle }
  | { readonly kind: "failed"; readonly error: Error };

export type CallOutcome = Exclude<CallState, { kind: "pending" }>;

export class PyCall implements ScopedCall, ResultTarget {
  readonly id: number;
  /** As written: `pipeline.unet.to()`. */
  readonly path: string;
  /** Holds the stack of the TypeScript line that made the call. */
  readonly trace: { stack?: string } = {};
  readonly outcome: Promise<Error | undefined>;
  /** Whatever the call names stays alive until its answer came. */
  held: readonly unknown[] = [];
  /** Why it is being cancelled. */
  reason: unknown;
  #state: CallState = { kind: "pending" };
  #observed = false;
  #cancel: ((reason: unknown) => void) | undefined;
  #settle: (error: Error | undefined) => void = () => {};

  constructor(id: number, path: string, cancel: (reason: unknown) => void) {
    this.id = id;
    this.path = path;
    this.#cancel = cancel;
    this.outcome = new Promise((resolve) => {
      this.#settle = resolve;
    });
    Error.captureStackTrace(this.trace, PyCall);
  }

  get state(): CallState {
    return this.#state;
  }

  get observed(): boolean {
    return this.#observed;
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
