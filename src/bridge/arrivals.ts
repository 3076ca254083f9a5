// Messages whose attachments are still on their way. Knows no bytes.
import { FlambeauError } from "../errors.ts";
import type { Expected, NoRoom } from "./decode.ts";

export class Arrivals {
  readonly #waiting = new Map<number, { left: number; deliver: () => void }>();

  /**
   * Calls `deliver` when the last of these attachments is whole.
   * @throws FlambeauError PROTOCOL_ERROR for an attachment that another message announced
   */
  expect(expected: readonly Expected[], deliver: () => void): void {
    const waiting = { left: expected.length, deliver };
    for (const { id } of expected) {
      if (this.#waiting.has(id))
        throw new FlambeauError("PROTOCOL_ERROR", `The worker announced the attachment ${id} a second time.`);
      this.#waiting.set(id, waiting);
    }
  }

  arrived(id: number): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (waiting !== undefined && --waiting.left === 0) waiting.deliver();
  }

  /** Nothing more will come. */
  clear(): void {
    this.#waiting.clear();
  }
}

/** What becomes of a message that there is no memory for; its bytes are read and forgotten. */
export function outOfMemory(what: string, { length, cause }: NoRoom): FlambeauError {
  return new FlambeauError(
    "OUT_OF_MEMORY",
    `${what} comes with ${length} bytes from Python, and this process could get no memory for them (${cause.message}). ` +
      "Fetch it in parts, or give back what is no longer needed.",
    { cause },
  );
}
