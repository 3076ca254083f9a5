// A full collection of JavaScript's garbage. V8 cannot know what a handle holds in Python and lets finalizers wait for minutes; a
// full collection (some 20 to 90 ms) finds every dropped handle at once. Knows no handles.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

export class Garbage {
  #collect: (() => void) | undefined;

  /** At a quiet moment: nothing else runs meanwhile. */
  collect(): void {
    if (this.#collect === undefined) {
      // There is no other way to ask for it in a process that was started without the flag.
      setFlagsFromString("--expose-gc");
      this.#collect = runInNewContext("gc") as () => void;
    }
    this.#collect();
  }
}
