// Ctrl-C, SIGTERM and a terminal that is closed: the first asks everything to stop, the second ends the process now.
// Knows nothing of what is stopped: that listens to the signal.

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
export type StopSignal = (typeof SIGNALS)[number];

/** The part of `process` that is needed. */
export interface SignalSource {
  on(signal: StopSignal, listener: () => void): unknown;
  off(signal: StopSignal, listener: () => void): unknown;
  exit(code: number): unknown;
}

export interface Interrupt extends Disposable {
  /** Fires at the first signal. */
  readonly signal: AbortSignal;
}

/** @param say told once, at the first signal */
export function interruptOf(source: SignalSource, say: (message: string) => void): Interrupt {
  const controller = new AbortController();
  const onSignal = (): void => {
    // The worker notices that its host is gone and ends by itself, so nothing is left to kill here.
    if (controller.signal.aborted) {
      source.exit(130);
      return;
    }
    say("stopping; press Ctrl-C again to stop at once");
    controller.abort(new DOMException("interrupted", "AbortError"));
  };
  for (const signal of SIGNALS) source.on(signal, onSignal);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const signal of SIGNALS) source.off(signal, onSignal);
    },
  };
}
