// The request (or setup) on whose behalf Python is called: its signal, its tag on the wire, and the work that nobody awaited.
// Carried by AsyncLocalStorage into every call. Knows no request, queue or app.
import { AsyncLocalStorage } from "node:async_hooks";
import { FlambeauError } from "../errors.ts";
import type { Inside } from "./inside.ts";

/** A call as its scope sees it. */
export interface ScopedCall {
  /** Someone has asked for its outcome, so its failure needs no other reporter. */
  readonly observed: boolean;
  /** Never rejects: resolves with the failure, or undefined. */
  readonly outcome: Promise<Error | undefined>;
  cancel(reason?: unknown): void;
  /** Calls `listener` once it is settled: at once if it is. */
  whenSettled(listener: (outcome: { readonly kind: string; readonly error?: Error }) => void): void;
}

interface Failed {
  readonly call: ScopedCall;
  readonly error: Error;
}

export class CallScope {
  /** Goes with every call and comes back with its progress and logs. */
  readonly tag: number;
  readonly #signal: AbortSignal | undefined;
  readonly #report: ((error: Error) => void) | undefined;
  readonly #open = new Set<ScopedCall>();
  /** Those of the open ones that end with the signal. */
  readonly #stoppable = new Set<ScopedCall>();
  readonly #failed = new Set<Failed>();
  /** Calls that are built on a failed one fail with the same error. */
  readonly #reported = new WeakSet<Error>();
  readonly #disposals = new Set<() => void>();

  /** With `report`, failures are told to it when nobody has asked for them by the next turn; otherwise they wait for `settle`. */
  constructor(tag: number, signal?: AbortSignal, report?: (error: Error) => void) {
    this.tag = tag;
    this.#signal = signal;
    this.#report = report;
    signal?.addEventListener("abort", this.#cancelAll, { once: true });
  }

  /** The reason why nothing more is called on behalf of this scope. */
  get aborted(): { readonly reason: unknown } | undefined {
    return this.#signal?.aborted ? { reason: this.#signal.reason } : undefined;
  }

  add(call: ScopedCall, { stops = true }: { stops?: boolean } = {}): void {
    this.#open.add(call);
    if (stops && this.#signal !== undefined) this.#stoppable.add(call);
    call.whenSettled((outcome) => {
      this.#open.delete(call);
      if (stops) this.#stoppable.delete(call);
      if (outcome.error !== undefined && !call.observed) this.#unseen({ call, error: outcome.error });
    });
  }

  /** Functions passed to Python live no longer than the scope in which they were passed. Returns how to take that back. */
  onEnd(dispose: () => void): () => void {
    this.#disposals.add(dispose);
    return () => void this.#disposals.delete(dispose);
  }

  /** Something that no call stands for failed, such as a function that Python calls without waiting. */
  failed(error: Error): void {
    const call = { observed: false, outcome: Promise.resolve(error), cancel: () => {}, whenSettled: () => {} };
    this.#unseen({ call, error });
  }

  /**
   * Waits for everything that was started and not awaited, but for calls that themselves wait for the one who asks.
   * @throws the first failure that nobody else has seen
   */
  async settle(waitsForUs: (call: ScopedCall) => boolean = () => false): Promise<void> {
    for (;;) {
      const open = [...this.#open].filter((call) => !waitsForUs(call));
      if (open.length === 0) break;
      await Promise.all(open.map((call) => call.outcome));
    }
    const unseen = [...this.#failed].filter(({ call }) => !call.observed);
    this.#failed.clear();
    const errors = new Set(unseen.map(({ error }) => error));
    const [first] = errors;
    if (first === undefined) return;
    if (errors.size > 1 && first instanceof FlambeauError)
      first.message += ` (and ${errors.size - 1} more that nobody awaited)`;
    throw first;
  }

  end(): void {
    this.#signal?.removeEventListener("abort", this.#cancelAll);
    for (const dispose of this.#disposals) dispose();
    this.#disposals.clear();
  }

  #unseen(failed: Failed): void {
    this.#failed.add(failed);
    if (this.#report === undefined) return;
    // Not unref'd: a process that is about to end says it all the same.
    setImmediate(() => {
      const { call, error } = failed;
      if (!this.#failed.delete(failed) || call.observed || this.#reported.has(error)) return;
      this.#reported.add(error);
      this.#report?.(error);
    });
  }

  readonly #cancelAll = (): void => {
    for (const call of this.#stoppable) call.cancel(this.#signal?.reason);
  };
}

/** Where a flow is, on one channel. */
interface Place {
  readonly of: Scopes;
  readonly scope: CallScope;
  readonly inside: Inside | undefined;
  /** Where it is on another channel. */
  readonly outer: Place | undefined;
}

/**
 * One for all channels. Each store that was ever entered costs every promise of the process from then on, and a host makes a new
 * channel for each generation of its worker: a test of 20,000 channels took twice as long with one store each.
 */
const places = new AsyncLocalStorage<Place>();

/** The scopes of one channel: the current one, or the channel's own. */
export class Scopes {
  readonly #root: CallScope;
  #nextTag = 2;

  /** `report` is told what failed outside of any request with nobody asking. */
  constructor(report?: (error: Error) => void) {
    this.#root = new CallScope(1, undefined, report ?? (() => {}));
  }

  get current(): CallScope {
    return this.#place?.scope ?? this.#root;
  }

  /** The functions and blocks that the flow is in. */
  get inside(): Inside | undefined {
    return this.#place?.inside;
  }

  get #place(): Place | undefined {
    let at = places.getStore();
    while (at !== undefined && at.of !== this) at = at.outer;
    return at;
  }

  create(signal?: AbortSignal): CallScope {
    return new CallScope(this.#nextTag++, signal);
  }

  /** What the flow is inside of stays as it is. */
  run<R>(scope: CallScope, body: () => R): R {
    return this.runInside(scope, this.inside, body);
  }

  runInside<R>(scope: CallScope, inside: Inside | undefined, body: () => R): R {
    const here = places.getStore();
    return places.run({ of: this, scope, inside, outer: here?.of === this ? here.outer : here }, body);
  }
}
