// Where Flambeau says things: the Logger that rooms are handed, and the shape of a long wait.
// Knows no terminal: cli/ draws bars, others may collect lines.

/** One step of a wait over a second: install, download, compile, warm-up. A terminal draws a bar, elsewhere it is a line. */
export interface Wait {
  /** What is going on, in words: `installing torch 2.13.0`. The same id is one bar. */
  readonly id: string;
  readonly label: string;
  readonly done: number;
  /** Null while it is not known. */
  readonly total: number | null;
  readonly unit: "bytes" | "packages" | "steps" | "seconds" | "items";
  /** True once, at the end. */
  readonly finished?: boolean;
}

export interface Logger {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
  wait(wait: Wait): void;
}

const ignore = (): void => {};

/** Says nothing: the default of every room that is not handed a logger. */
export const silentLogger: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore, wait: ignore };
