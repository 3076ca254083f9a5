// Whether processes live: a test's own view, past what the code under test says.
import { readFileSync } from "node:fs";

/** True for one that has ended, also while nobody has collected its exit code. */
export function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return true;
  }
  return state(pid) === "Z";
}

/** Milliseconds until all are gone; fails after `limitMs`. */
export async function untilGone(pids: readonly number[], limitMs: number): Promise<number> {
  const started = performance.now();
  for (;;) {
    const alive = pids.filter((pid) => !isGone(pid));
    const tookMs = performance.now() - started;
    if (alive.length === 0) return tookMs;
    if (tookMs > limitMs) throw new Error(`still alive after ${Math.round(tookMs)} ms: ${alive.join(", ")}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** As in /proc; undefined where there is none. */
function state(pid: number): string | undefined {
  try {
    return /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1];
  } catch {
    return undefined;
  }
}
