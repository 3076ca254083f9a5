// When a dead worker may be replaced: back-off between starts, and an end after too many in a window.
// Pure: the time is handed in.
import { FlambeauError } from "../errors.ts";

export interface RestartLimits {
  readonly restartBackoffMs: readonly number[];
  readonly restartWindowMs: number;
  readonly restartsPerWindow: number;
}

export class RestartPolicy {
  readonly #limits: RestartLimits;
  #deaths: number[] = [];

  constructor(limits: RestartLimits) {
    this.#limits = limits;
  }

  /**
   * A worker died; how long to wait before the next one is started.
   * @param nowMs milliseconds on any monotonic clock
   * @throws FlambeauError CRASH_LOOP with the last cause
   */
  died(nowMs: number, cause: Error): number {
    const { restartBackoffMs, restartWindowMs, restartsPerWindow } = this.#limits;
    this.#deaths = [...this.#deaths.filter((at) => at > nowMs - restartWindowMs), nowMs];
    if (this.#deaths.length > restartsPerWindow) {
      throw new FlambeauError(
        "CRASH_LOOP",
        `Python died ${this.#deaths.length} times in ${Math.round(restartWindowMs / 60_000)} minutes; it is not started again. Last: ${cause.message}`,
        { cause },
      );
    }
    return restartBackoffMs[Math.min(this.#deaths.length, restartBackoffMs.length) - 1] ?? 0;
  }
}
