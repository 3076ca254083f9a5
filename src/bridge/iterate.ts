// Iteration over a Python object from TypeScript. Knows the four calls that it takes and nothing of proxies or the wire.
import type { PyCall } from "./call.ts";

export interface IterationCalls {
  /** `iter()` of the object, sent at once. */
  start(): PyCall;
  /** `[done, items]`: of a container of Python's own as many as travel at once, of anything else one. */
  next(iterator: PyCall): Promise<unknown>;
  /** Of a generator; sent even when the request was cancelled. */
  close(iterator: PyCall): PyCall;
  /** Gives back the items that nobody has seen, and the iterator; that may be the very object that is iterated, which others still hold. */
  done(iterator: PyCall, unseen: readonly unknown[]): void;
}

/**
 * Items one by one, each a scalar or a settled proxy. Nothing runs ahead: a generator's next item is asked for when the loop asks.
 * Leaving the loop early closes a generator before the loop's statement completes, so its `finally` has run by then.
 */
export async function* iterate(calls: IterationCalls): AsyncIterableIterator<unknown> {
  const iterator = calls.start();
  let isDone = false;
  let items: unknown[] = [];
  try {
    while (!isDone) {
      const answer = await calls.next(iterator);
      const [done, came] = Array.isArray(answer) ? answer : [true, []];
      isDone = done === true;
      items = Array.isArray(came) ? came.reverse() : [];
      while (items.length > 0) yield items.pop();
    }
  } finally {
    if (!isDone && iterator.state.kind === "ref") {
      await calls
        .close(iterator)
        .result()
        .catch(() => {});
    }
    calls.done(iterator, items);
  }
}
