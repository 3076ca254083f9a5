// Where Flambeau says things: the Logger that rooms are handed, and the shape of a long wait.
// Knows no terminal: cli/ draws bars, others may collect lines.

/** One step of a wait over a second: install, download, compile, warm-up. A terminal draws a bar, elsewhere it is a line. */
export interface Wait {
  /** The same id is one bar. */
  readonly id: string;
  /** What is going on, in words: `installing torch 2.13.0`. */
  readonly label: string;
  /** In the unit below, as is the total. */
  readonly done: number;
  /** Null while it is not known. */
  readonly total: number | null;
  readonly unit: "bytes" | "packages" | "steps" | "seconds" | "items";
  /** True once, at the end. */
  readonly finished?: boolean;
}

/** Told by Flambeau, kept by whoever runs it. Must not throw. */
export interface Logger {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
  /** Again and again while something is waited for, the last time with `finished`. */
  wait(wait: Wait): void;
}

const ignore = (): void => {};

/** Says nothing: the default of every room that is not handed a logger. */
export const silentLogger: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore, wait: ignore };
