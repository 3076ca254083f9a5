// Rejected promises that nobody looks at. Node ends the process over one; here it fails the request that made it, and no other.
// Process-wide by nature. What no request of ours made goes the way that it would go without us.
import { type ClaimedRejection, claimRejection } from "../app/context.ts";
import { toError } from "../errors.ts";

/** On our listeners, so that those of several hosts and of several copies of the package know each other. */
const OURS = Symbol.for("flambeau.rejections");

/** @param onLate told of a rejection that came after its request had ended */
export function watchRejections(onLate: (error: Error) => void): Disposable {
  const claimed = new WeakMap<Promise<unknown>, ClaimedRejection>();
  const rejected = (reason: unknown, promise: Promise<unknown>): void => {
    const claim = claimRejection(promise, reason);
    if (claim === undefined) return passOn(reason, rejected);
    claimed.set(promise, claim);
    if (claim.isLate) onLate(toError(reason));
  };
  const handled = (promise: Promise<unknown>): void => claimed.get(promise)?.forget();
  Object.defineProperty(rejected, OURS, { value: true });
  process.on("unhandledRejection", rejected);
  process.on("rejectionHandled", handled);
  return {
    [Symbol.dispose]: () => {
      process.off("unhandledRejection", rejected);
      process.off("rejectionHandled", handled);
    },
  };
}

/** Where only hosts listen, Node would have ended the process: so does this, once. */
function passOn(reason: unknown, self: object): void {
  const listeners = process.listeners("unhandledRejection");
  if (listeners[0] === self && listeners.every((listener) => OURS in listener)) throw reason;
}
