// Iteration over a Python object from TypeScript. Knows the four calls that it takes and nothing of proxies or the wire.
import type { PyCall } from "./call.ts";

export interface IterationCalls {
  /** `iter()` of the object, sent at once. */
  start(): PyCall;
  next(iterator: PyCall): PyCall;
  /** Of a generator; sent even when the request was cancelled. */
  close(iterator: PyCall): PyCall;
  /** Lets go of the iterator; it may be the very object that is iterated, which others still hold. */
  done(iterator: PyCall): void;
}

/**
 * Items one by one, each a scalar or a settled proxy. Leaving the loop early closes a generator before the loop's statement
 * completes, so its `finally` has run by then.
 */
export async function* iterate(calls: IterationCalls): AsyncIterableIterator<unknown> {
  const iterator = calls.start();
  let isDone = false;
  try {
    for (;;) {
      const answer = await calls.next(iterator).result();
      const [done, item] = Array.isArray(answer) ? answer : [true, undefined];
      isDone = done === true;
      if (isDone) return;
      yield item;
    }
  } finally {
    if (!isDone && iterator.state.kind === "ref") {
      await calls
        .close(iterator)
        .result()
        .catch(() => {});
    }
    calls.done(iterator);
  }
}
