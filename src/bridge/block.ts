// `py.with`: a context manager around a body of TypeScript. While the body runs, only calls made inside of it run in Python: what a
// manager changes (torch's modes, a current device) is seen by everything on its thread. Knows the two calls and nothing of the wire.
import { toError } from "../errors.ts";
import type { PyCall } from "./call.ts";
import { enter } from "./inside.ts";
import type { Scopes } from "./scope.ts";

export interface BlockCalls {
  readonly scopes: Scopes;
  enter(): PyCall;
  /** What it entered, settled. */
  settled(entered: PyCall): Promise<unknown>;
  /** Sent even when the request was cancelled in between. Resolves with true if the manager swallows the error. */
  leave(error: readonly [name: string, message: string] | null, entered: PyCall): Promise<unknown>;
}

/** @throws what the body throws, unless the manager swallows it: then the result is undefined, as after Python's `with` */
export async function runBlock<R>(calls: BlockCalls, body: (value: unknown) => Promise<R>): Promise<R> {
  const { scopes } = calls;
  const entered = calls.enter();
  const value = await calls.settled(entered);
  const { id, path, tag } = entered;
  const inside = enter(scopes.inside, { kind: "block", call: id, path, tag, newest: id });
  return scopes.runInside(scopes.current, inside, async () => {
    let result: R;
    try {
      result = await body(value);
    } catch (thrown) {
      const { name, message } = toError(thrown);
      if ((await calls.leave([name, message], entered)) === true) return undefined as R;
      throw thrown;
    }
    await calls.leave(null, entered);
    return result;
  });
}
