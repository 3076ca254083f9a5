// The Logger of the command line: bars that are redrawn in place on a terminal, plain lines anywhere else.
// Everything goes to the one stream it is handed (stderr). Knows no request and no host.
import { limits, type Settings } from "../config.ts";
import type { Logger, Wait } from "../log.ts";
import { barLine, finishedLine, fitted, type MeasuredWait, plainWait, type Track, tracked } from "./bar.ts";
import { printable } from "./words.ts";

export interface Clock {
  nowMs(): number;
  /** Repeats the task until the returned function is called; does not keep the process alive. */
  every(ms: number, task: () => void): () => void;
}

const systemClock: Clock = {
  nowMs: () => performance.now(),
  every: (ms, task) => {
    const timer = setInterval(task, ms).unref();
    return () => clearInterval(timer);
  },
};

/** The part of a stream that is needed; `process.stderr` is one. */
export interface TerminalStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface TerminalOptions {
  readonly stream: TerminalStream;
  readonly level: Settings["logLevel"];
  /** Colours are asked for and the stream shows them. */
  readonly color: boolean;
  readonly clock?: Clock;
}

interface Shown {
  readonly track: Track;
  /** When the last plain line of this wait was written. */
  readonly writtenMs: number;
}

// A line break in a label would move the cursor away from where the redraw expects it.
const CONTROL = /\p{Cc}+/gu;
const LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

export class Terminal implements Logger, Disposable {
  readonly #stream: TerminalStream;
  readonly #level: number;
  readonly #color: boolean;
  readonly #clock: Clock;
  readonly #waits = new Map<string, Shown>();
  #drawnLines = 0;
  #drawnMs = Number.NEGATIVE_INFINITY;
  #stopRedraw: (() => void) | null = null;

  constructor({ stream, level, color, clock = systemClock }: TerminalOptions) {
    this.#stream = stream;
    this.#level = LEVELS.indexOf(level);
    this.#color = color;
    this.#clock = clock;
  }

  debug(message: string): void {
    if (this.#shows("debug")) this.#line(this.#paint("2", printable(message)));
  }

  info(message: string): void {
    if (this.#shows("info")) this.#line(printable(message));
  }

  warn(message: string): void {
    if (this.#shows("warn")) this.#line(`${this.#paint("33", "warning:")} ${printable(message)}`);
  }

  error(message: string): void {
    if (this.#shows("error")) this.#line(`${this.#paint("31", "error:")} ${printable(message)}`);
  }

  wait(wait: Wait | MeasuredWait): void {
    if (!this.#shows("info")) return;
    const clean = { ...wait, label: printable(wait.label).replace(CONTROL, " ") };
    if (this.#stream.isTTY) this.#waitOnTerminal(clean);
    else this.#waitInLines(clean);
  }

  /** Lets another stream of the same terminal write: the bars make room and come back below. */
  aside(write: () => void): void {
    this.#erase();
    write();
    this.#drawNow();
  }

  /** Removes the bars; what was said stays. */
  [Symbol.dispose](): void {
    this.#waits.clear();
    this.#erase();
    this.#rest();
  }

  #shows(level: Settings["logLevel"]): boolean {
    return LEVELS.indexOf(level) >= this.#level;
  }

  #waitOnTerminal(wait: Wait | MeasuredWait): void {
    const nowMs = this.#clock.nowMs();
    const track = tracked(this.#waits.get(wait.id)?.track, wait, nowMs);
    if (!wait.finished) {
      this.#waits.set(wait.id, { track, writtenMs: nowMs });
      this.#stopRedraw ??= this.#clock.every(limits.redrawMs, () => this.#redraw());
      this.#redraw();
      return;
    }
    this.#waits.delete(wait.id);
    // A wait of less than a second leaves no trace: it was not worth a line.
    if (nowMs - track.startedMs >= limits.plainWaitMs) this.#line(finishedLine(track, nowMs));
    else this.#drawNow();
    if (this.#waits.size === 0) this.#rest();
  }

  #waitInLines(wait: Wait | MeasuredWait): void {
    const nowMs = this.#clock.nowMs();
    const shown = this.#waits.get(wait.id);
    const track = tracked(shown?.track, wait, nowMs);
    const due = shown === undefined || nowMs - shown.writtenMs >= limits.plainWaitMs;
    if (wait.finished) {
      this.#waits.delete(wait.id);
      this.#line(finishedLine(track, nowMs));
      return;
    }
    if (due) this.#line(plainWait(track, nowMs));
    this.#waits.set(wait.id, { track, writtenMs: due ? nowMs : (shown?.writtenMs ?? nowMs) });
  }

  /** A line that stays, above the bars. */
  #line(text: string): void {
    this.#stream.write(`${this.#takeErasure()}${text}\n`);
    this.#drawNow();
  }

  #redraw(): void {
    if (this.#clock.nowMs() - this.#drawnMs >= limits.redrawMs) this.#drawNow();
  }

  #drawNow(): void {
    if (!this.#stream.isTTY) return;
    if (this.#waits.size === 0) {
      this.#erase();
      return;
    }
    const nowMs = this.#clock.nowMs();
    // The last column stays free: some terminals wrap as soon as it is written.
    // A terminal of unknown width says 0.
    const columns = Math.max(20, (this.#stream.columns || 80) - 1);
    const newest = [...this.#waits.values()].slice(-limits.barsMax);
    const lines = newest.map(({ track }) => barLine(track, nowMs, columns));
    const hidden = this.#waits.size - newest.length;
    if (hidden > 0) lines.unshift(fitted(`and ${hidden} more`, columns));
    this.#stream.write(`${this.#takeErasure()}${lines.join("\n")}\n`);
    this.#drawnLines = lines.length;
    this.#drawnMs = nowMs;
  }

  #erase(): void {
    const erasure = this.#takeErasure();
    if (erasure !== "") this.#stream.write(erasure);
  }

  /** What takes the bars off the screen; part of the next write, so that they do not flicker. */
  #takeErasure(): string {
    const lines = this.#drawnLines;
    this.#drawnLines = 0;
    return lines > 0 ? `\x1b[${lines}A\r\x1b[J` : "";
  }

  #rest(): void {
    this.#stopRedraw?.();
    this.#stopRedraw = null;
  }

  #paint(code: string, text: string): string {
    return this.#color ? `\x1b[${code}m${text}\x1b[0m` : text;
  }
}
