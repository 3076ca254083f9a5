// What requests leave behind in Python though nothing reaches it any more: given back between two requests, by a full collection of
// garbage, which nothing else would cause for minutes. Knows a session and no request.
import type { PythonSession } from "../bridge/python.ts";

export interface LeftoverLimits {
  /** More live objects than after the last collection, from which another one is worth its 20 to 90 ms. */
  readonly leftHandles: number;
  /** The same in bytes of tensors, arrays and buffers. */
  readonly leftBytes: number;
}

interface Alive {
  readonly handles: number;
  readonly bytes: number;
}

export class Leftovers {
  readonly #session: PythonSession;
  readonly #limits: LeftoverLimits;
  /** After the last collection. */
  #before: Alive = { handles: 0, bytes: 0 };
  #isLate = false;

  constructor(session: PythonSession, limits: LeftoverLimits) {
    this.#session = session;
    this.#limits = limits;
  }

  /** After a request. `isQuiet`: none runs; where that is never so, every other request is followed by one all the same. Never rejects. */
  async collect(isQuiet: () => boolean): Promise<void> {
    try {
      const now = await this.#alive();
      const { leftHandles, leftBytes } = this.#limits;
      if (now.handles - this.#before.handles <= leftHandles && now.bytes - this.#before.bytes <= leftBytes) return;
      if (!isQuiet() && !this.#isLate) {
        this.#isLate = true;
        return;
      }
      this.#isLate = false;
      this.#session.channel.handles.collect();
      this.#before = await this.#alive();
    } catch {
      // The worker is gone, and all of it with it.
    }
  }

  /** When everything that was given back until now has arrived. */
  async #alive(): Promise<Alive> {
    const { channel, py } = this.#session;
    channel.handles.flush();
    await py.none;
    const { bytes } = await channel.ping();
    return { handles: channel.handles.size, bytes };
  }
}
