// The events of one request: what is kept, what may be dropped, and any number of readers that each start at the beginning.
// Knows no queue and no order of requests.
import { cancelled } from "../errors.ts";
import { isTerminal, type RequestEvent, type TerminalEvent } from "./request.ts";

interface Entry {
  readonly order: number;
  readonly event: RequestEvent;
}

/**
 * Three lanes, each in order. `firm` (started, outputs, the terminal event) is never dropped; of `queued` only the newest position
 * is kept; progress and logs together are bounded, and progress gives way first, oldest first, but for its newest.
 */
export class EventLog {
  readonly #kept: number;
  readonly #firm: Entry[] = [];
  readonly #progress: Entry[] = [];
  readonly #logs: Entry[] = [];
  #queued: Entry | undefined;
  #order = 0;
  #last: RequestEvent | undefined;
  /** Readers that have seen everything; each leaves as it is woken. */
  readonly #waiting = new Set<() => void>();

  /** @param kept progress and log events kept together */
  constructor(kept: number) {
    this.#kept = kept;
  }

  get last(): RequestEvent | undefined {
    return this.#last;
  }

  /** Undefined while the request is open. */
  get terminal(): TerminalEvent | undefined {
    return this.#last !== undefined && isTerminal(this.#last) ? this.#last : undefined;
  }

  push(event: RequestEvent): void {
    if (this.terminal !== undefined) return;
    const entry = { order: ++this.#order, event };
    this.#last = event;
    if (event.type === "queued") this.#queued = entry;
    else if (event.type === "progress") this.#progress.push(entry);
    else if (event.type === "log") this.#logs.push(entry);
    else this.#firm.push(entry);
    if (this.#progress.length + this.#logs.length > this.#kept) this.#dropOne();
    for (const wake of this.#waiting) wake();
  }

  /** Everything kept so far, then what follows, up to the terminal event. */
  async *read(signal: AbortSignal | undefined): AsyncGenerator<RequestEvent, void, undefined> {
    let order = 0;
    for (;;) {
      if (signal?.aborted) throw cancelled(signal.reason, "reading the events of a request");
      const entry = this.#after(order);
      if (entry === undefined) {
        await this.#change(signal);
        continue;
      }
      order = entry.order;
      yield entry.event;
      if (isTerminal(entry.event)) return;
    }
  }

  #dropOne(): void {
    if (this.#progress.length > 1 || this.#logs.length === 0) this.#progress.shift();
    else this.#logs.shift();
  }

  #after(order: number): Entry | undefined {
    let next = this.#queued !== undefined && this.#queued.order > order ? this.#queued : undefined;
    for (const lane of [this.#firm, this.#progress, this.#logs]) {
      const entry = lane[firstAfter(lane, order)];
      if (entry !== undefined && (next === undefined || entry.order < next.order)) next = entry;
    }
    return next;
  }

  #change(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal?.addEventListener("abort", wake, { once: true });
    });
  }
}

/** Index of the first entry after `order`; by halves, because a stream may hold a hundred thousand outputs. */
function firstAfter(lane: readonly Entry[], order: number): number {
  let low = 0;
  let high = lane.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((lane[middle]?.order ?? 0) > order) high = middle;
    else low = middle + 1;
  }
  return low;
}
