// The interface of every queue engine. Order, admission and cancel; the work is a Dispatch handed to the engine.
import type { QueuedRequest, RequestEvent } from "./request.ts";

export interface QueueEngine {
  /**
   * Admits a request; it runs when its turn comes.
   * @throws FlambeauError QUEUE_FULL
   */
  submit(request: QueuedRequest): void;
  /**
   * Every event of a request so far, then what follows, until its terminal event. Progress and logs beyond the kept number are
   * dropped oldest first; the terminal event never is. Leaving the loop early does not cancel.
   * @throws FlambeauError NOT_FOUND
   */
  events(id: string, options?: { signal?: AbortSignal }): AsyncIterable<RequestEvent>;
  /** True if it was still open; the terminal event follows in `events`. */
  cancel(id: string): boolean;
  /** The last event, or undefined for an unknown id. */
  last(id: string): RequestEvent | undefined;
  readonly stats: { readonly queued: number; readonly running: number };
  /** No more admissions; waits for what runs, at most the given time, then cancels it. */
  close(options?: { timeoutMs?: number }): Promise<void>;
}
