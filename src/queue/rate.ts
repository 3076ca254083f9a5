// How fast the steps of one request go, and how long the rest will take at that speed.
// Knows no clock of its own: the time is handed in.
import { limits } from "../config.ts";

export interface Rate {
  /** Steps per second over the last steps; null at the first step of a stage. */
  readonly rate: number | null;
  /** Seconds left at that rate; null while the rate or the total is unknown. */
  readonly secondsLeft: number | null;
}

export type RateMeter = (step: number, total: number | null, stage: string | null) => Rate;

interface Sample {
  readonly step: number;
  readonly atMs: number;
}

/**
 * One meter serves one request. A new stage, or a step that goes back, starts it afresh.
 * The window is short so that a slow first step (a compile, a cold cache) is soon forgotten.
 * @param now milliseconds on any monotonic clock
 */
export function createRateMeter(now: () => number): RateMeter {
  let samples: Sample[] = [];
  let currentStage: string | null = null;
  return (step, total, stage) => {
    const newest = samples.at(-1);
    if (newest === undefined || stage !== currentStage || step < newest.step) samples = [];
    currentStage = stage;
    // A repeated report of one step says nothing about speed: its first time counts.
    if (samples.at(-1)?.step !== step) samples.push({ step, atMs: now() });
    if (samples.length > limits.rateWindowSteps + 1) samples.shift();
    const rate = rateOf(samples);
    const secondsLeft = rate === null || total === null ? null : Math.max(0, total - step) / rate;
    return { rate, secondsLeft };
  };
}

function rateOf(samples: readonly Sample[]): number | null {
  const [oldest] = samples;
  const newest = samples.at(-1);
  if (oldest === undefined || newest === undefined || newest.atMs <= oldest.atMs) return null;
  return ((newest.step - oldest.step) * 1_000) / (newest.atMs - oldest.atMs);
}
