// The request (or setup) on whose behalf Python is called: its signal, its tag on the wire, and the work that nobody awaited.
// Carried by AsyncLocalStorage into every call. Knows no request, queue or app.
import { AsyncLocalStorage } from "node:async_hooks";
import { FlambeauError } from "../errors.ts";

/** A call as its scope sees it. */
export interface ScopedCall {
  /** Someone has asked for its outcome, so its failure needs no other reporter. */
  readonly observed: boolean;
  /** Never rejects: resolves with the failure, or undefined. */
  readonly outcome: Promise<Error | undefined>;
  cancel(): void;
}

export class CallScope {
  /** Goes with every call and comes back with its progress and logs. */
  readonly tag: number;
  readonly #signal: AbortSignal | undefined;
  readonly #open = new Set<ScopedCall>();
  readonly #failed = new Set<{ readonly call: ScopedCall; readonly error: Error }>();
  readonly #disposals: (() => void)[] = [];
  /** Functions passed to Python live as long as the scope in which they were passed. */
  constructor(tag: number, signal?: AbortSignal) {
    this.tag = tag;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#cancelAll, { once: true });
  }

  /** The reason why nothing more is called on behalf of this scope. */
  get aborted(): { readonly reason: unknown } | undefined {
    return this.#signal?.aborted ? { reason: this.#signal.reason } : undefined;
  }

  add(call: ScopedCall): void {
    this.#open.add(call);
    void call.outcome.then((error) => {
      this.#open.delete(call);
      if (error !== undefined && !call.observed) this.#failed.add({ call, error });
    });
  }

  onEnd(dispose: () => void): void {
    this.#disposals.push(dispose);
  }

  /**
   * Waits for everything that was started and not awaited.
   * @throws the first failure that nobody else has seen
   */
  async settle(): Promise<void> {
    while (this.#open.size > 0) await Promise.all([...this.#open].map((call) => call.outcome));
    const unseen = [...this.#failed].filter(({ call }) => !call.observed).map(({ error }) => error);
    this.#failed.clear();
    const [first] = unseen;
    if (first === undefined) return;
    if (unseen.length > 1 && first instanceof FlambeauError)
      first.message += ` (and ${unseen.length - 1} more that nobody awaited)`;
    throw first;
  }

  end(): void {
    this.#signal?.removeEventListener("abort", this.#cancelAll);
    for (const dispose of this.#disposals.splice(0)) dispose();
  }

  readonly #cancelAll = (): void => {
    for (const call of this.#open) call.cancel();
  };
}

/** The scopes of one channel: the current one, or the channel's own. */
export class Scopes {
  readonly #storage = new AsyncLocalStorage<CallScope>();
  readonly #root = new CallScope(1);
  #nextTag = 2;

  get current(): CallScope {
    return this.#storage.getStore() ?? this.#root;
  }

  create(signal?: AbortSignal): CallScope {
    return new CallScope(this.#nextTag++, signal);
  }

  run<R>(scope: CallScope, body: () => R): R {
    return this.#storage.run(scope, body);
  }
}
