// The live objects of one worker as the host knows them: identity (the same object is the same handle while anyone holds it),
// how often each id came, and giving them back: at once by `using`, otherwise when the collector finds the handle unreachable.
import type { HandleFields } from "./decode.ts";
import { Garbage } from "./garbage.ts";
import type { RefTarget } from "./values.ts";

/** What is owed for an id. Survives the handle, so that the finalizer can still give it back. */
interface Entry {
  readonly id: number;
  /** How often the worker has sent it: a release gives back exactly that many. */
  owed: number;
  handle: WeakRef<Handle>;
}

export class Handle implements RefTarget {
  readonly id: number;
  readonly type: string;
  /** What `len()` said when it travelled; null for things without. */
  readonly length: number | null;
  readonly callable: boolean;
  readonly iterator: boolean;
  lost: string | undefined;
  /** Someone said `$keep()`: the end of the callback that it came with does not give it back. */
  isKept = false;
  /** The one proxy of this handle while it is reachable. */
  proxy: WeakRef<object> | undefined;

  constructor(fields: HandleFields) {
    this.id = fields.id;
    this.type = fields.type;
    this.length = fields.length;
    this.callable = (fields.flags & 1) !== 0;
    this.iterator = (fields.flags & 2) !== 0;
  }
}

export interface HandleLimits {
  readonly releaseBatchMs: number;
  readonly releaseBatchCount: number;
  /** With more live handles than this, those that can no longer be reached are looked for. */
  readonly collectAboveHandles: number;
}

export class Handles {
  readonly #entries = new Map<number, Entry>();
  readonly #release: (pairs: readonly (readonly [id: number, count: number])[]) => void;
  readonly #limits: HandleLimits;
  readonly #garbage = new Garbage();
  readonly #finalizers = new FinalizationRegistry<Entry>((entry) => {
    // A newer handle of the same object may have taken over what is owed.
    if (this.#entries.get(entry.id) === entry && entry.handle.deref() === undefined) this.#giveBack(entry);
  });
  readonly #isBusy: () => boolean;
  #batch: [number, number][] = [];
  /** The batch holds an object, not just ids of answers that were values. */
  #isUrgent = false;
  #timer: NodeJS.Timeout | undefined;
  /** Above it, garbage is collected: twice of what was left the last time. */
  #collectAbove: number;
  #collection: NodeJS.Immediate | undefined;

  /** `isBusy`: calls are open. */
  constructor(
    release: (pairs: readonly (readonly [number, number])[]) => void,
    options: { readonly limits: HandleLimits; isBusy(): boolean },
  ) {
    this.#release = release;
    this.#limits = options.limits;
    this.#collectAbove = options.limits.collectAboveHandles;
    this.#isBusy = () => options.isBusy();
  }

  get size(): number {
    return this.#entries.size;
  }

  /** A handle has come in a message: the one that is known, or a new one. */
  received(fields: HandleFields): Handle {
    const entry = this.#entries.get(fields.id);
    const known = entry?.handle.deref();
    if (entry !== undefined && known !== undefined) {
      entry.owed++;
      return known;
    }
    const handle = new Handle(fields);
    const fresh: Entry = { id: fields.id, owed: (entry?.owed ?? 0) + 1, handle: new WeakRef(handle) };
    this.#entries.set(fields.id, fresh);
    this.#finalizers.register(handle, fresh, fresh);
    if (this.#entries.size > this.#collectAbove) this.#collection ??= setImmediate(() => this.collect());
    return handle;
  }

  /** Finds every handle that can no longer be reached and gives it back. Takes some 20 to 90 ms, in which nothing else runs. */
  collect(): void {
    clearImmediate(this.#collection);
    this.#collection = undefined;
    this.#garbage.collect();
    for (const entry of [...this.#entries.values()]) if (entry.handle.deref() === undefined) this.#giveBack(entry);
    this.#collectAbove = Math.max(this.#limits.collectAboveHandles, 2 * this.#entries.size);
    this.flush();
  }

  /** Gives an object back at once. Later use is STALE_REF, in these words. */
  dispose(handle: Handle, lost = "was released: use it before it is disposed of"): void {
    const entry = this.#entryOf(handle);
    if (entry === undefined) return;
    this.#let(handle, entry, lost);
    this.flush();
  }

  /** Gives back one of the times that it came; whoever else got the same object still has it. Nobody else: as `dispose`. */
  returned(handle: Handle, lost: string): void {
    this.returnedTogether([[handle, 1]], lost);
  }

  /** The same for several, each as often as it is said, in one message. */
  returnedTogether(handles: Iterable<readonly [handle: Handle, times: number]>, lost: string): void {
    let isGone = false;
    for (const [handle, times] of handles) {
      const entry = this.#entryOf(handle);
      if (entry === undefined || handle.isKept) continue;
      if (entry.owed > times) {
        entry.owed -= times;
        this.#queue(handle.id, times);
      } else {
        this.#let(handle, entry, lost);
        isGone = true;
      }
    }
    if (isGone) this.flush();
  }

  /** Gives back the result that the worker keeps under a call's own id. */
  releaseResult(callId: number): void {
    this.#queue(callId, 1);
  }

  /** No call is open any more. */
  idle(): void {
    if (this.#batch.length > 0) this.#soon();
  }

  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isUrgent = false;
    if (this.#batch.length > 0) this.#release(this.#batch.splice(0));
  }

  /** The worker is gone, and everything with it. */
  clear(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#collection);
    this.#timer = undefined;
    for (const entry of this.#entries.values()) {
      const handle = entry.handle.deref();
      if (handle !== undefined) handle.lost = "belongs to a Python process that has ended: make it again";
    }
    this.#entries.clear();
    this.#batch = [];
  }

  #entryOf(handle: Handle): Entry | undefined {
    const entry = this.#entries.get(handle.id);
    return handle.lost === undefined && entry?.handle.deref() === handle ? entry : undefined;
  }

  #let(handle: Handle, entry: Entry, lost: string): void {
    handle.lost = lost;
    this.#finalizers.unregister(entry);
    this.#giveBack(entry);
  }

  #giveBack(entry: Entry): void {
    this.#entries.delete(entry.id);
    this.#isUrgent = true;
    this.#queue(entry.id, entry.owed);
  }

  #queue(id: number, count: number): void {
    this.#batch.push([id, count]);
    if (this.#isUrgent && this.#isFull) return this.flush();
    this.#soon();
  }

  get #isFull(): boolean {
    return this.#batch.length >= this.#limits.releaseBatchCount;
  }

  #soon(): void {
    // After a turn in which everything has been read that is here.
    this.#timer ??= setTimeout(() => setImmediate(() => this.#due()), this.#limits.releaseBatchMs).unref();
  }

  /**
   * Ids of values take next to no memory, so they wait while calls are open: a frame written to a worker that has just died would
   * close the channel, and with it answers that are here already and not yet read.
   */
  #due(): void {
    this.#timer = undefined;
    if (this.#isUrgent || this.#isFull || !this.#isBusy()) this.flush();
  }
}
