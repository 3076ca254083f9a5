// stdout and stderr of a process as lines: always drained, each line bounded, the last ones kept for error messages.
// Knows nothing of who writes or reads.
import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";

export interface LineLimits {
  readonly logLineBytes: number;
  readonly stderrTailLines: number;
}

/** Calls `onLine` for each line; a carriage return (progress bars) replaces the line before it. */
export class Lines {
  readonly #tail: string[] = [];
  readonly #limits: LineLimits;
  readonly #onLine: (line: string) => void;
  readonly #decoder = new StringDecoder("utf8");
  /** Resolves when the stream has ended. */
  readonly ended: Promise<void>;
  #partial = "";

  constructor(stream: Readable, limits: LineLimits, onLine: (line: string) => void) {
    this.#limits = limits;
    this.#onLine = onLine;
    stream.on("data", (bytes: Buffer) => this.#take(this.#decoder.write(bytes)));
    stream.on("error", () => {});
    this.ended = new Promise((resolve) => {
      stream.once("close", () => {
        this.#take(`${this.#decoder.end()}\n`);
        resolve();
      });
    });
  }

  /** The last lines, oldest first. */
  get tail(): readonly string[] {
    return this.#tail;
  }

  #take(text: string): void {
    const parts = (this.#partial + text).split("\n");
    this.#partial = (parts.pop() ?? "").slice(-this.#limits.logLineBytes);
    for (const part of parts) {
      const line = part
        .slice(part.lastIndexOf("\r", part.length - 2) + 1)
        .trimEnd()
        .slice(0, this.#limits.logLineBytes);
      if (line !== "") this.#emit(line);
    }
  }

  #emit(line: string): void {
    this.#tail.push(line);
    if (this.#tail.length > this.#limits.stderrTailLines) this.#tail.shift();
    this.#onLine(line);
  }
}
