// A wait as text: what is known of it so far, and the line that says so. Pure: state and time in, text out.
import { limits } from "../config.ts";
import type { Wait } from "../log.ts";
import { bytesText, compact, leftText, secondsText } from "./words.ts";

/** A wait whose sender measured its own speed, as a request's steps do. */
export interface MeasuredWait extends Wait {
  /** In the wait's unit; null while unknown. */
  readonly ratePerSecond: number | null;
  readonly secondsLeft: number | null;
}

interface Sample {
  readonly atMs: number;
  readonly done: number;
}

/** Everything that is remembered of one wait. */
export interface Track {
  readonly wait: Wait | MeasuredWait;
  readonly startedMs: number;
  /** Of the last seconds only, oldest first. */
  readonly samples: readonly Sample[];
}

/** The state after one more report of the wait. A count that went back starts the rate anew. */
export function tracked(before: Track | undefined, wait: Wait | MeasuredWait, nowMs: number): Track {
  const sample = { atMs: nowMs, done: wait.done };
  if (before === undefined) return { wait, startedMs: nowMs, samples: [sample] };
  const restarted = wait.done < before.wait.done;
  const recent = before.samples.filter((one) => nowMs - one.atMs <= limits.rateWindowMs);
  const kept = restarted ? [] : recent.slice(-(limits.rateSamplesMax - 1));
  // The last report before the window anchors the rate of a wait that reports rarely.
  const anchor = kept.length === 0 && !restarted ? before.samples.slice(-1) : [];
  return { wait, startedMs: before.startedMs, samples: [...anchor, ...kept, sample] };
}

/** Units per second over the last seconds; null until two reports differ. */
export function rateOf(track: Track): number | null {
  if ("ratePerSecond" in track.wait) return track.wait.ratePerSecond;
  const [first] = track.samples;
  const last = track.samples.at(-1);
  if (first === undefined || last === undefined) return null;
  const seconds = (last.atMs - first.atMs) / 1000;
  return seconds > 0 && last.done > first.done ? (last.done - first.done) / seconds : null;
}

/** Seconds left at the rate, counted down since the last report; null while unknown, and once the estimate has run out. */
export function secondsLeftOf(track: Track, nowMs: number): number | null {
  const { wait } = track;
  if (wait.finished || wait.total === null) return null;
  const sinceReport = (nowMs - (track.samples.at(-1)?.atMs ?? nowMs)) / 1000;
  const rate = rateOf(track);
  const atReport =
    "secondsLeft" in wait
      ? wait.secondsLeft
      : wait.unit === "seconds"
        ? wait.total - wait.done
        : rate === null
          ? null
          : (wait.total - wait.done) / rate;
  return atReport !== null && atReport > sinceReport ? atReport - sinceReport : null;
}

/** One line without a bar: `step 12/30 18.2 it/s 1 s left`. For pipes and logs. */
export function plainWait(track: Track, nowMs: number): string {
  return [`${track.wait.label}${countText(track.wait)}`, ...measures(track, nowMs)].join(" ");
}

/** One line for a terminal, never longer than `columns`. */
export function barLine(track: Track, nowMs: number, columns: number): string {
  const { wait } = track;
  const after = measures(track, nowMs).join("  ");
  const before = `${wait.label}${countText(wait)}`;
  const room = columns - before.length - after.length - 6;
  const width = Math.min(30, room);
  if (width < 8) return fitted([before, after].filter(Boolean).join("  "), columns);
  return fitted(`${before}  [${barText(track, nowMs, width)}]  ${after}`.trimEnd(), columns);
}

/** The line that stays once a wait is over: `download sdxl 6.9 GB in 33.1 s`. */
export function finishedLine(track: Track, nowMs: number): string {
  const { wait } = track;
  const amount = wait.unit === "bytes" ? ` ${bytesText(wait.done)}` : countText(wait);
  return `${wait.label}${amount} in ${secondsText((nowMs - track.startedMs) / 1000)}`;
}

function barText(track: Track, nowMs: number, width: number): string {
  const { done, total } = track.wait;
  if (total === null || total <= 0) return sweep(nowMs - track.startedMs, width);
  const filled = Math.round(Math.min(1, Math.max(0, done / total)) * width);
  return "█".repeat(filled) + "░".repeat(width - filled);
}

/** A block that goes to and fro: something happens, how much is unknown. */
function sweep(elapsedMs: number, width: number): string {
  const block = Math.max(2, Math.floor(width / 5));
  const path = width - block;
  const at = Math.floor(elapsedMs / limits.redrawMs) % (2 * path);
  const start = at <= path ? at : 2 * path - at;
  return "░".repeat(start) + "█".repeat(block) + "░".repeat(path - start);
}

/** ` 12/30`, ` 1.2 MB`, or nothing where only the clock is known. */
function countText(wait: Wait): string {
  if (wait.unit === "seconds") return "";
  if (wait.unit === "bytes")
    return ` ${bytesText(wait.done)}${wait.total === null ? "" : ` of ${bytesText(wait.total)}`}`;
  // Of one thing, the count says nothing that the label does not.
  if (wait.total === 1) return "";
  if (wait.total === null) return wait.done > 0 ? ` ${wait.done}` : "";
  return ` ${wait.done}/${wait.total}`;
}

/** Rate and time left; the time so far where nothing else is known. */
function measures(track: Track, nowMs: number): string[] {
  const left = secondsLeftOf(track, nowMs);
  const rate = track.wait.unit === "seconds" ? null : rateOf(track);
  const parts: string[] = [];
  if (rate !== null) parts.push(rateText(rate, track.wait.unit));
  if (left !== null) parts.push(`${leftText(left)} left`);
  const seconds = Math.floor((nowMs - track.startedMs) / 1000);
  if (parts.length === 0 && seconds > 0) parts.push(leftText(seconds));
  return parts;
}

function rateText(rate: number, unit: Wait["unit"]): string {
  if (unit === "bytes") return `${bytesText(rate)}/s`;
  const noun = unit === "steps" ? "it" : unit;
  if (rate > 0 && rate < 1) return `${compact(1 / rate)} s/${noun.replace(/s$/, "")}`;
  return `${rate < 99.5 ? rate.toFixed(1) : rate.toFixed(0)} ${noun}/s`;
}

/** Cut to the width with an ellipsis, so that a line never wraps and the redraw stays in place. */
export function fitted(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, Math.max(0, columns - 1))}…`;
}
